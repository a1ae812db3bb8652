/**
 * Gives up commits over several shards that cannot come to a decision: a participant hangs, or there
 * is nobody to decide. One that is merely slow is waited for, however long it takes.
 *
 * A worker that lives takes a turn when its doorbell rings, whatever it is waiting for. So each look
 * rings the shards whose votes are missing; one whose heartbeat stands still over all looks of
 * `STILL_MS_MAX` hangs. A commit that every shard has voted for is decided within microseconds, or after
 * the `fdatasync` of the decisions before it: after as long a time, the coordinator hangs or is gone.
 *
 * Giving up is an abort like any other: it fails when the decision has been taken. What hangs drops the
 * commit when it comes back; until then its slot is used up, so nothing more is sent to it.
 */

import { ABORT_TIMEOUT, type TransactionTable } from './transaction-table.js';

const LOOK_MS = 1000;
/** As long as a read that waits on its thread. */
const STILL_MS_MAX = 10_000;

/** A commit that was sent to its participants. */
export interface WatchedCommit {
  readonly slot: number;
  /** The slot's word while it is PREPARING. */
  readonly word: number;
  /** It was aborted: nobody needs to wait for the answers. */
  readonly givenUp: () => void;
}

export interface WatchedShard {
  heartbeat(): number;
  /** Makes a worker that lives take a turn. */
  wake(): void;
}

export interface CommitWatchOptions {
  readonly transactions: TransactionTable;
  readonly shards: readonly WatchedShard[];
}

interface Pulse {
  readonly heartbeat: number;
  readonly sinceMs: number;
}

export class CommitWatch {
  readonly #options: CommitWatchOptions;
  readonly #commits = new Set<WatchedCommit>();
  /** Of the shards that commits wait for. */
  #pulses = new Map<number, Pulse>();
  /** The heartbeats at which shards were found to hang. */
  readonly #hung = new Map<number, number>();
  /** Since when commits that are prepared everywhere wait for their decision. */
  #undecided = new Map<WatchedCommit, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CommitWatchOptions) {
    this.#options = options;
  }

  add(commit: WatchedCommit): void {
    this.#commits.add(commit);
    this.#timer ??= setTimeout(() => this.#look(), LOOK_MS).unref();
  }

  /** It has come to its end. */
  remove(commit: WatchedCommit): void {
    this.#commits.delete(commit);
  }

  /** Whether the shard was found to hang, and has not stirred since. */
  isHung(shard: number): boolean {
    if (this.#hung.size === 0) return false;
    const heartbeat = this.#hung.get(shard);
    if (heartbeat === undefined) return false;
    if (this.#options.shards[shard]?.heartbeat() === heartbeat) return true;
    this.#hung.delete(shard);
    return false;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#commits.clear();
  }

  #look(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    const { transactions, shards } = this.#options;
    const pulses = new Map<number, Pulse>();
    const undecided = new Map<WatchedCommit, number>();
    for (const commit of this.#commits) {
      const { slot, word } = commit;
      if (transactions.word(slot) !== word) continue;
      let isHopeless = false;
      for (let shard = 0; shard < shards.length; shard++) {
        if (!transactions.unprepared(slot, shard)) continue;
        const pulse = pulses.get(shard) ?? this.#feel(shard, nowMs);
        pulses.set(shard, pulse);
        if (nowMs - pulse.sinceMs < STILL_MS_MAX) continue;
        this.#hung.set(shard, pulse.heartbeat);
        isHopeless = true;
      }
      if (transactions.isPrepared(slot)) {
        const sinceMs = this.#undecided.get(commit) ?? nowMs;
        undecided.set(commit, sinceMs);
        isHopeless = nowMs - sinceMs >= STILL_MS_MAX;
      }
      if (isHopeless && transactions.abort(slot, word, ABORT_TIMEOUT)) {
        this.#commits.delete(commit);
        commit.givenUp();
      }
    }
    this.#pulses = pulses;
    this.#undecided = undecided;
    for (const shard of pulses.keys()) shards[shard]?.wake();
    if (undecided.size > 0) transactions.ring();
    if (this.#commits.size > 0) this.#timer = setTimeout(() => this.#look(), LOOK_MS).unref();
  }

  #feel(shard: number, nowMs: number): Pulse {
    const heartbeat = this.#options.shards[shard]?.heartbeat() ?? 0;
    const before = this.#pulses.get(shard);
    return before?.heartbeat === heartbeat ? before : { heartbeat, sinceMs: nowMs };
  }
}
