/** What the parts of one running load share: memory, jobs, chunks, numbers, counts. */

import type { FileSystem } from '../file-system/file-system.js';
import { nodeFileSystem } from '../file-system/node.js';
import { RUN_RECORD_BYTES } from '../kernel/assembly/load-layout.js';
import { Kernel } from '../kernel/kernel.js';
import { valueInlineBytesMax } from '../kernel/shard-memory.js';
import { AreaPool } from './area-pool.js';
import { ChunkStore, type PackedChunk } from './chunk-store.js';
import { FileNumbers } from './file-numbers.js';
import { JobRunner } from './job-runner.js';
import type { ChunkJob, ChunkResult, PackJob, RunPlace } from './load-jobs.js';
import {
  createLoadMemory,
  LOAD_JOBS_MAX,
  type LoadLayout,
  planLoadLayout,
  RANGE_BYTES,
  RANGE_BYTES_MIN,
  RUN_ALIGNMENT,
} from './load-memory.js';
import type { BulkLoadTarget } from './load-target.js';
import type { BulkLoadOptions } from './options.js';
import type { LoadProgress } from './progress.js';
import type { RejectLog } from './reject-log.js';
import { WorkArea } from './work-area.js';

export interface LoadSessionOptions {
  readonly target: BulkLoadTarget;
  readonly options: BulkLoadOptions;
  readonly rejects: RejectLog;
  readonly progress: LoadProgress;
  readonly memoryBytes: number;
  /** Other sizes than the usual ones. */
  readonly tuning: { readonly rangeBytes?: number; readonly rangeBytesMin?: number };
  readonly spill: (chunks: readonly PackedChunk[]) => Promise<void>;
}

export class LoadSession {
  readonly fs: FileSystem = nodeFileSystem;
  readonly target: BulkLoadTarget;
  readonly options: BulkLoadOptions;
  readonly rejects: RejectLog;
  readonly progress: LoadProgress;
  readonly shards: number;
  /** Jobs at a time. */
  readonly jobs: number;
  readonly layout: LoadLayout;
  readonly memory: WebAssembly.Memory;
  /** The main thread's kernel over the load's memory. */
  readonly kernel: Kernel;
  readonly numbers: FileNumbers;
  readonly runner: JobRunner;
  readonly store: ChunkStore;
  readonly texts: AreaPool;
  /** Longest value kept in tables. */
  readonly valueBytesMax: number;
  /** Most bytes of a piece of text. */
  readonly rangeBytes: number;
  /** Least bytes of a piece of a file: small files are cut finer, so that every thread gets some. */
  readonly rangeBytesMin: number;
  /** Whether the load is part of the database, whatever happens from now on. */
  isCommitted = false;
  /** Rejects when a part that nobody waits for fails; never resolves. */
  readonly failure: Promise<never>;
  #failed: { readonly error: unknown } | undefined;
  #rejectFailure: (error: unknown) => void = () => {};
  /** What lets go of the source before its end. */
  readonly #releases: (() => void)[] = [];

  constructor(options: LoadSessionOptions) {
    const { target, memoryBytes } = options;
    this.target = target;
    this.options = options.options;
    this.rejects = options.rejects;
    this.progress = options.progress;
    this.shards = target.config.shards;
    this.jobs = Math.max(1, Math.min(target.jobThreads, LOAD_JOBS_MAX));
    this.layout = planLoadLayout({ memoryBytes, jobs: this.jobs });
    this.memory = createLoadMemory(this.layout);
    this.kernel = new Kernel(target.module, this.memory);
    this.texts = new AreaPool(this.layout.texts);
    this.rangeBytes = options.tuning.rangeBytes ?? RANGE_BYTES;
    this.rangeBytesMin = options.tuning.rangeBytesMin ?? RANGE_BYTES_MIN;
    this.numbers = new FileNumbers(target);
    this.valueBytesMax = valueInlineBytesMax(target.config.arenaBytes);
    this.failure = new Promise<never>((_, reject) => {
      this.#rejectFailure = reject;
    });
    // Somebody races it most of the time, but not always.
    this.failure.catch(() => {});
    this.runner = new JobRunner({
      target,
      memory: this.memory,
      works: this.layout.works - 1,
    });
    this.store = new ChunkStore({
      slots: this.layout.slots,
      heapBase: this.layout.heapBase,
      heapBytes: this.layout.heapBytes,
      pack: (runs, address) => this.#pack(runs, address),
      spill: options.spill,
      onFailure: (error) => this.fail(error),
    });
  }

  /** Room of the main thread's own, for what it does with the kernel between two awaits. */
  workArea(): WorkArea {
    return new WorkArea(this.layout, this.layout.works - 1);
  }

  /** Throws when the load is to end. */
  checkAborted(): void {
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  /** Ends the load, whatever it waits for. */
  fail(error: unknown): void {
    this.#failed ??= { error };
    this.#rejectFailure(error);
  }

  /** `release` is called if the load ends early. */
  onEarlyEnd(release: () => void): void {
    this.#releases.push(release);
  }

  /** Waits until no job runs any more, and lets go of the source. */
  async end(): Promise<void> {
    await this.runner.stop();
    for (const release of this.#releases) release();
  }

  /** A slot for the next chunk. */
  async acquireSlot(): Promise<number> {
    this.checkAborted();
    return this.store.acquireSlot();
  }

  /** Runs a job that parses into a slot, and sorts it. */
  runChunk(slot: number, input: ChunkJob['input']): Promise<ChunkResult> {
    return this.#runChunk(slot, input, undefined);
  }

  /** Takes over the next chunk in the order of the source: a filled slot with so many bytes of entries. */
  async sortChunk(
    slot: number,
    chunk: { readonly records: number; readonly payloadBytes: number },
  ): Promise<void> {
    const { records, payloadBytes } = chunk;
    const bytes = packedBytesMax(this.shards, records, payloadBytes);
    const result = await this.store.sortInto(slot, bytes, (address) =>
      this.#runChunk(slot, undefined, address),
    );
    this.progress.addChunk({ ...result, records });
  }

  #runChunk(
    slot: number,
    input: ChunkJob['input'],
    packAt: number | undefined,
  ): Promise<ChunkResult> {
    const { memory, layout, shards } = this;
    return this.runner.runInArea<ChunkJob>((work) => ({
      kind: 'bulk-chunk',
      memory,
      layout,
      slot,
      work,
      shards,
      input,
      packAt,
    }));
  }

  /** Takes over the next chunk in the order of the source, which is sorted. */
  addChunk(slot: number, { runs, packedBytes, duplicates, records }: ChunkResult): void {
    this.progress.addChunk({ runs, duplicates, records });
    this.store.add({ slot, runs, packedBytes });
  }

  async #pack(runs: readonly RunPlace[], address: number): Promise<readonly RunPlace[]> {
    const { memory, layout } = this;
    const job = { kind: 'bulk-pack', memory, layout, runs, address } as const;
    return (await this.runner.run<PackJob>(job)).runs;
  }
}

/** Most bytes of the heap that the runs of a chunk take. */
function packedBytesMax(shards: number, records: number, payloadBytes: number): number {
  return records * RUN_RECORD_BYTES + payloadBytes + shards * RUN_ALIGNMENT;
}
