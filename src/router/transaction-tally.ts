/**
 * What the transactions of one thread come to: counters and latency histograms in the control block,
 * written by this thread alone and added up over all threads by `stats()`.
 *
 * Histograms have fixed buckets: bucket n counts what took less than 2^n microseconds (and not less
 * than half of that), the last everything longer.
 */

import { CLIENT_COUNT, CLIENT_FIRST, type ControlBlock } from './control-block.js';

export const TALLY_STARTED = 0;
export const TALLY_COMMITS = 1;
export const TALLY_RETRIES = 2;
const ABORTS = 3;

/** Why transactions end without a commit. */
export const ABORT_REASONS = [
  'conflict',
  'rollback',
  'timeout',
  'aborted',
  'error',
  'unknown',
] as const;
export type AbortReason = (typeof ABORT_REASONS)[number];

const BUCKETS = 32;
/** A histogram: microseconds in all, then the buckets. */
const HISTOGRAM_WORDS = 1 + BUCKETS;
const COMMIT_LATENCY = 16;
const DURATION = COMMIT_LATENCY + HISTOGRAM_WORDS;

export interface LatencyHistogram {
  readonly count: number;
  readonly sumUs: number;
  /**
   * So many took less than `lessThanUs` microseconds, and not less than the bucket before says. The
   * last has those that took longer, too.
   */
  readonly buckets: readonly { readonly lessThanUs: number; readonly count: number }[];
}

export interface TransactionStats {
  /** Active now, on all threads. */
  readonly active: number;
  /** Begun since the database was opened; retries of `db.transaction` begin anew. */
  readonly started: number;
  readonly commits: number;
  readonly aborts: Readonly<Record<AbortReason, number>>;
  /** Conflicts per attempt to commit, 0 to 1. */
  readonly conflictRate: number;
  /** Attempts of `db.transaction` after its first. */
  readonly retries: number;
  /** From `commit` to its acknowledgement. */
  readonly commitLatency: LatencyHistogram;
  /** From the beginning to the end, whatever it is. */
  readonly duration: LatencyHistogram;
  /** Commits of transactions and batches over several shards; counted in any case. */
  readonly acrossShards: {
    readonly committed: number;
    /** By what was to blame: a newer version, a lock, a range, a plain write, a part that was away, the log, a part that hung. */
    readonly aborted: {
      readonly newer: number;
      readonly locked: number;
      readonly range: number;
      readonly wounded: number;
      readonly unavailable: number;
      readonly log: number;
      readonly timeout: number;
    };
    /** Aborted by a plain write to a key that they had prepared. */
    readonly wounded: number;
    /** Prepared and undecided in a log: found at the opening, or when a shard's worker had died. */
    readonly inDoubt: number;
    /** Prepared or being prepared now. */
    readonly preparing: number;
    /** Decided, and not visible yet. */
    readonly unreleased: number;
    /** Whether they took place is found out at the next open: their decisions could not be written. */
    readonly unknown: number;
  };
}

export class TransactionTally {
  /** Undefined: nobody wants to know. */
  readonly #counters: Float64Array | undefined;

  constructor(control: ControlBlock, client: number, isEnabled: boolean) {
    this.#counters = isEnabled ? control.counts.counters(client) : undefined;
  }

  get isEnabled(): boolean {
    return this.#counters !== undefined;
  }

  add(which: number): void {
    const counters = this.#counters;
    if (counters !== undefined) counters[which] = (counters[which] as number) + 1;
  }

  aborted(reason: AbortReason): void {
    this.add(ABORTS + ABORT_REASONS.indexOf(reason));
  }

  commitTook(milliseconds: number): void {
    this.#took(COMMIT_LATENCY, milliseconds);
  }

  transactionTook(milliseconds: number): void {
    this.#took(DURATION, milliseconds);
  }

  #took(histogram: number, milliseconds: number): void {
    const counters = this.#counters;
    if (counters === undefined) return;
    const us = milliseconds * 1000;
    counters[histogram] = (counters[histogram] as number) + us;
    this.add(histogram + 1 + Math.min(BUCKETS - 1, 32 - Math.clz32(us)));
  }
}

/** The sums over all threads. */
export function transactionStats(control: ControlBlock): TransactionStats {
  const sums = new Float64Array(DURATION + HISTOGRAM_WORDS);
  for (let client = CLIENT_FIRST; client < CLIENT_COUNT; client++) {
    const counters = control.counts.counters(client);
    for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (counters[i] as number);
  }
  const of = (which: number): number => sums[which] as number;
  const aborts = Object.fromEntries(
    ABORT_REASONS.map((reason, index) => [reason, of(ABORTS + index)]),
  ) as Record<AbortReason, number>;
  const attempts = of(TALLY_COMMITS) + aborts.conflict;
  return {
    active: control.counts.activeTransactions(),
    started: of(TALLY_STARTED),
    commits: of(TALLY_COMMITS),
    aborts,
    conflictRate: attempts === 0 ? 0 : aborts.conflict / attempts,
    retries: of(TALLY_RETRIES),
    commitLatency: histogram(sums, COMMIT_LATENCY),
    duration: histogram(sums, DURATION),
    acrossShards: control.transactions.counts(),
  };
}

function histogram(sums: Float64Array, start: number): LatencyHistogram {
  const buckets = Array.from({ length: BUCKETS }, (_, n) => ({
    lessThanUs: 2 ** n,
    count: sums[start + 1 + n] as number,
  }));
  return {
    count: buckets.reduce((total, { count }) => total + count, 0),
    sumUs: sums[start] as number,
    buckets,
  };
}
