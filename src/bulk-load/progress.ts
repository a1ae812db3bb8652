/** Counts of a running load, and the reports made of them. */

import type { RunPlace } from './load-jobs.js';
import type { BulkLoadOptions, BulkLoadPhase } from './options.js';

const INTERVAL_MS_DEFAULT = 200;

export class LoadProgress {
  records = 0;
  rejected = 0;
  bytes = 0;
  bytesTotal: number | undefined;
  duplicates = 0;
  readonly shardRecords: number[];
  readonly #options: BulkLoadOptions;
  readonly #startedAtMs: number;
  readonly #secondsOf = new Map<BulkLoadPhase, number>();
  #phase: BulkLoadPhase = 'open';
  #phaseStartedAtMs: number;
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #merged = 0;
  #toMerge = 0;

  /** `openMs`: what has been spent before. */
  constructor(options: BulkLoadOptions, shards: number, openMs: number) {
    this.#options = options;
    this.#startedAtMs = performance.now() - openMs;
    this.#phaseStartedAtMs = this.#startedAtMs;
    this.shardRecords = new Array<number>(shards).fill(0);
  }

  get seconds(): number {
    return (performance.now() - this.#startedAtMs) / 1000;
  }

  secondsOf(phase: BulkLoadPhase): number {
    return this.#secondsOf.get(phase) ?? 0;
  }

  /** Ends the phase under way and begins another. */
  enter(phase: BulkLoadPhase): void {
    const now = performance.now();
    const seconds = (now - this.#phaseStartedAtMs) / 1000;
    this.#secondsOf.set(this.#phase, this.secondsOf(this.#phase) + seconds);
    this.#phase = phase;
    this.#phaseStartedAtMs = now;
    this.#report();
  }

  addChunk(chunk: {
    readonly runs: readonly RunPlace[];
    readonly duplicates: number;
    readonly records: number;
  }): void {
    this.records += chunk.records;
    this.duplicates += chunk.duplicates;
    chunk.runs.forEach(({ records }, shard) => {
      this.shardRecords[shard] = (this.shardRecords[shard] ?? 0) + records;
    });
    this.maybeReport();
  }

  /** Entries have got into tables. Those that are spilled do so twice. */
  addMerged(entries: number): void {
    this.#merged += entries;
    this.maybeReport();
  }

  /** Begins to count for the phase `merge`: entries that are to get into tables. */
  expectMerge(entries: number): void {
    this.#merged = 0;
    this.#toMerge = entries;
  }

  maybeReport(): void {
    const interval = this.#options.progressIntervalMs ?? INTERVAL_MS_DEFAULT;
    if (performance.now() - this.#reportedAtMs >= interval) this.#report();
  }

  #report(): void {
    this.#reportedAtMs = performance.now();
    this.#options.onProgress?.({
      phase: this.#phase,
      records: this.records,
      rejected: this.rejected,
      bytes: this.bytes,
      bytesTotal: this.bytesTotal,
      shardRecords: [...this.shardRecords],
      mergedShare: this.#toMerge === 0 ? 0 : Math.min(1, this.#merged / this.#toMerge),
      seconds: this.seconds,
    });
  }
}
