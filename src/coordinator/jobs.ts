/**
 * The pool thread's side of jobs: runs one job at a time over the file system and a kernel.
 *
 * Instances of the kernel are kept: one over the thread's own memory, and one per memory of a shard
 * that the thread has flushed, until that shard gets a new one.
 */

import { CheckBoard } from '../compaction/check-board.js';
import { flushMemtable } from '../compaction/flush-memtable.js';
import { JOB_MEMORY_BYTES } from '../compaction/job-memory.js';
import type { BuildResult, Job, VerifyResult } from '../compaction/jobs.js';
import { mergeTables } from '../compaction/merge-tables.js';
import { RateLimit, type RateLimitSettings } from '../compaction/rate-limit.js';
import { verifyFile } from '../compaction/verify-file.js';
import type { FileSystem } from '../file-system/file-system.js';
import { Kernel } from '../kernel/kernel.js';
import { createJobMemory } from '../kernel/shard-memory.js';
import { type Outcome, outcomeOf } from './control-plane.js';
import { type VerifyDatabaseJob, verifyDatabase } from './verify-database.js';

/** A job as it is posted to the pool. */
export interface PostedJob {
  readonly job: Job | VerifyDatabaseJob;
  /** For a flush: the memory of its shard, and which one that is. */
  readonly shardMemory?: ShardMemory;
}

export interface ShardMemory {
  readonly memory: WebAssembly.Memory;
  readonly generation: number;
}

export type JobResult = BuildResult | VerifyResult;

/** `workerData` of a pool thread. */
export interface JobThreadData {
  readonly module: WebAssembly.Module;
  /** Of compactions. */
  readonly rateLimit?: RateLimitSettings | undefined;
}

interface ShardKernel {
  readonly generation: number;
  readonly kernel: Kernel;
}

export class JobThread {
  readonly #fs: FileSystem;
  readonly #module: WebAssembly.Module;
  readonly #shardKernels = new Map<number, ShardKernel>();
  #privateKernel: Kernel | undefined;
  /** Of merges: flushes are not held up, since writes would be. */
  #beforeWrite: ((bytes: number) => void) | undefined;

  constructor(fs: FileSystem, { module, rateLimit }: JobThreadData) {
    this.#fs = fs;
    this.#module = module;
    if (rateLimit !== undefined) {
      const limit = new RateLimit(rateLimit);
      this.#beforeWrite = (bytes) => limit.take(bytes);
    }
  }

  /** Never rejects: what a job throws would lose its class and code on the way back. */
  run(posted: PostedJob): Promise<Outcome<JobResult>> {
    return outcomeOf(() => this.#run(posted));
  }

  #run({ job, shardMemory }: PostedJob): JobResult {
    const fs = this.#fs;
    switch (job.kind) {
      case 'flush': {
        if (shardMemory === undefined) throw new TypeError('A flush needs the memory of its shard');
        const kernel = this.#kernelOf(job.shard, shardMemory);
        return flushMemtable(fs, kernel, job.memtable, job.target, job.retention);
      }
      case 'merge':
        return mergeTables(
          fs,
          this.#ownKernel(),
          job.input,
          job.target,
          job.retention,
          this.#beforeWrite,
        );
      case 'verify':
        return verifyFile(
          fs,
          this.#ownKernel(),
          job.target,
          job.expected,
          job.board === undefined ? undefined : new CheckBoard(job.board),
        );
      case 'verify-database':
        return { problems: verifyDatabase(fs, job) };
    }
  }

  #ownKernel(): Kernel {
    this.#privateKernel ??= new Kernel(this.#module, createJobMemory(JOB_MEMORY_BYTES));
    return this.#privateKernel;
  }

  #kernelOf(shard: number, { memory, generation }: ShardMemory): Kernel {
    const known = this.#shardKernels.get(shard);
    if (known?.generation === generation) return known.kernel;
    const kernel = new Kernel(this.#module, memory);
    this.#shardKernels.set(shard, { generation, kernel });
    return kernel;
  }
}
