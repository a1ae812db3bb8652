/** One workload's measurement: what it did, how long it took, and what it cost. */

import type { LatencySummary } from './latency-histogram.js';
import type { Pace } from './pace.js';
import {
  type IoBytes,
  type ProcessCounters,
  processCounters,
  residentBytes,
  type ThreadCounters,
  threadIds,
} from './process-counters.js';
import { RECORD_BYTES } from './records.js';
import type { BenchStore, Durability, StoreCounters } from './store.js';

/** By what threads do: 'client', 'shard', 'coordinator', 'background', 'runtime'. */
export type ByRole = Readonly<Record<string, number>>;

export interface Measurement {
  readonly name: string;
  readonly operations: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Keys and values, per second. */
  readonly bytesPerSecond: number;
  readonly durability?: Durability;
  readonly cpuSeconds: number;
  /** CPU time by what the threads do, as far as they lived to the end. */
  readonly threads: ByRole;
  /** Time that threads could run and had no core, likewise. */
  readonly waiting: ByRole;
  /** How often threads parked, likewise: waits for messages, locks and files. */
  readonly parks: ByRole;
  readonly latency?: LatencySummary | undefined;
  readonly residentBytes: number;
  readonly io?: IoBytes | undefined;
  readonly counters?: StoreCounters | undefined;
  /** Operations in each quarter of a second. */
  readonly samples?: readonly number[];
  /** Resident memory at the end of each. */
  readonly residentSamples?: readonly number[];
  /** Further figures, by name. */
  readonly figures?: Readonly<Record<string, number>>;
  /** What was wrong with what the workload read or left: the figures count for nothing then. */
  readonly failed?: string;
  /** How this differs from what the name says. */
  readonly note?: string | undefined;
}

/** Knows which thread does what. Made before the store is opened. */
export class ThreadCensus {
  readonly #runtime: ReadonlySet<number> = new Set(threadIds());
  readonly #roles = new Map<number, string>();

  constructor() {
    this.#roles.set(process.pid, 'client');
  }

  /** Called when a store has just been opened: its threads are the newest, in order of `roles`. */
  enlist(roles: readonly string[]): void {
    const started = threadIds().filter((id) => !this.#runtime.has(id) && !this.#roles.has(id));
    roles.forEach((role, index) => {
      const id = started[index];
      if (id !== undefined) this.#roles.set(id, role);
    });
  }

  /** A client thread of the benchmark. */
  enlistClient(id: number): void {
    this.#roles.set(id, 'client');
  }

  /** What each role added to one of the counters of threads. */
  added(
    counter: keyof ThreadCounters,
    { threads: before }: ProcessCounters,
    { threads: after }: ProcessCounters,
  ): ByRole {
    const sums: Record<string, number> = {};
    for (const [id, counters] of after) {
      const role = this.#roles.get(id) ?? (this.#runtime.has(id) ? 'runtime' : 'background');
      sums[role] = (sums[role] ?? 0) + counters[counter] - (before.get(id)?.[counter] ?? 0);
    }
    return sums;
  }
}

export interface MeasureOptions {
  readonly name: string;
  readonly store: BenchStore | undefined;
  readonly census: ThreadCensus;
  readonly durability?: Durability;
  readonly note?: string | undefined;
  readonly samples?: boolean;
  readonly bytesPerOperation?: number | undefined;
}

/** Runs `work`; operations are what `pace` counted. */
export async function measure(
  options: MeasureOptions,
  pace: Pace,
  work: () => void | Promise<void>,
): Promise<Measurement> {
  const { name, store, census, durability, note, bytesPerOperation = RECORD_BYTES } = options;
  const countersBefore = await store?.counters?.();
  const before = processCounters();
  pace.start();
  await work();
  pace.stop();
  const after = processCounters();
  const countersAfter = await store?.counters?.();
  const { operations, seconds } = pace;
  return {
    name,
    operations,
    seconds,
    perSecond: operations / seconds,
    bytesPerSecond: (operations / seconds) * bytesPerOperation,
    ...(durability === undefined ? {} : { durability }),
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    threads: census.added('cpuSeconds', before, after),
    waiting: census.added('waitSeconds', before, after),
    parks: census.added('parks', before, after),
    latency: pace.histogram?.summary(),
    residentBytes: residentBytes(),
    io: differences(before.io, after.io),
    counters: differences(countersBefore, countersAfter),
    ...(options.samples ? { samples: pace.samples } : {}),
    ...(note === undefined ? {} : { note }),
  };
}

/** Field by field, what was added. */
function differences<T extends { readonly [field in keyof T]: number }>(
  before: T | undefined,
  after: T | undefined,
): T | undefined {
  if (before === undefined || after === undefined) return undefined;
  const entries = Object.entries<number>(after).map(([field, value]) => [
    field,
    value - (before[field as keyof T] ?? 0),
  ]);
  return Object.fromEntries(entries) as T;
}

/** Median, least and greatest of one workload over the rounds. */
export interface Summary {
  readonly name: string;
  /** The round with the median rate. */
  readonly median: Measurement;
  readonly perSecondMin: number;
  readonly perSecondMax: number;
  readonly rounds: number;
}

export function summarize(measurements: readonly Measurement[]): Summary | undefined {
  const sorted = [...measurements].sort((a, b) => a.perSecond - b.perSecond);
  const [first] = sorted;
  const last = sorted.at(-1);
  const median = sorted[sorted.length >> 1];
  if (first === undefined || last === undefined || median === undefined) return undefined;
  return {
    name: median.name,
    median,
    perSecondMin: first.perSecond,
    perSecondMax: last.perSecond,
    rounds: sorted.length,
  };
}
