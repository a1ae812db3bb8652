/**
 * Which job runs next: a queue by priority in front of the pool.
 *
 * Flushes go first, since writes may wait for them; then merges of young runs, which keep reads fast, and
 * of those the smallest: a large one is many jobs, and runs would gather behind it until writes stop; then
 * merges into the bottom run; then checks.
 *
 * The pool has one thread more than jobs other than flushes may take, so that a flush never waits for
 * one. While there are flushes, whose threads also wait for the medium, the others take one thread
 * less: writes wait for flushes. When there are none they take all; and when runs have gathered, since then
 * writes wait for merges.
 */
import { setMaxListeners } from 'node:events';
import PQueue from 'p-queue';
import type { Piscina } from 'piscina';
import type { Job, MergeJob, VerifyResult } from '../compaction/jobs.js';
import { newRateLimit } from '../compaction/rate-limit.js';
import { LightningError } from '../errors.js';
import { YOUNG_GENERATION_MB } from '../limits.js';
import { type Outcome, unwrap } from './control-plane.js';
import type { JobResult, JobThreadData, PostedJob, ShardMemory } from './jobs.js';
import type { VerifyDatabaseJob } from './verify-database.js';

/** Young merges have up to one more. */
const PRIORITY_BOTTOM_MERGE = 2;
const PRIORITY_OTHER = 1;

/** A thread that has had nothing to do for this long ends. */
const IDLE_MS_MAX = 60_000;

export interface JobSchedulerOptions {
  readonly threads: number;
  /** `file:` URL of the pool's worker. */
  readonly worker: string;
  readonly module: WebAssembly.Module;
  /** Most bytes that merges write per second; undefined: as many as they can. */
  readonly mergeBytesPerSecondMax?: number | undefined;
}

/** The jobs of one shard, to be ended together. */
interface ShardJobs {
  readonly abort: AbortController;
  readonly running: Set<Promise<unknown>>;
}

/** As the owner of jobs that belong to no shard. */
const NO_SHARD = -1;

type Pool = Piscina<PostedJob, Outcome<JobResult>>;

export class JobScheduler {
  /** Started for the first job: module and thread would cost an open a tenth of its time. */
  readonly #startPool: () => Promise<Pool>;
  #pool: Promise<Pool> | undefined;
  readonly #flushes: PQueue;
  readonly #others: PQueue;
  readonly #shards = new Map<number, ShardJobs>();
  readonly #threads: number;
  /** Queued and running. */
  #flushCount = 0;
  #urgentCount = 0;
  #isClosed = false;

  constructor({ threads, worker, module, mergeBytesPerSecondMax }: JobSchedulerOptions) {
    const rateLimit =
      mergeBytesPerSecondMax === undefined ? undefined : newRateLimit(mergeBytesPerSecondMax);
    const workerData: JobThreadData = { module, rateLimit };
    this.#threads = threads;
    const poolThreads = threads + 1;
    this.#startPool = async () => {
      const { Piscina } = await import('piscina');
      return new Piscina({
        filename: worker,
        minThreads: 0,
        maxThreads: poolThreads,
        idleTimeout: IDLE_MS_MAX,
        workerData,
        execArgv: [],
        recordTiming: false,
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      });
    };
    this.#flushes = new PQueue({ concurrency: poolThreads });
    this.#others = new PQueue({ concurrency: threads });
  }

  get queued(): number {
    return this.#flushes.size + this.#others.size;
  }

  get running(): number {
    return this.#flushes.pending + this.#others.pending;
  }

  /** Runs a shard's job when its turn comes; `memory` is that of the shard. */
  async runShardJob(job: Job, memory: ShardMemory): Promise<JobResult> {
    if (job.kind === 'flush') {
      this.#countFlush(1);
      try {
        return await this.#enqueue(this.#flushes, { job, shardMemory: memory }, job.shard, 0);
      } finally {
        this.#countFlush(-1);
      }
    }
    if (job.kind === 'verify')
      return this.#enqueue(this.#others, { job }, job.shard, PRIORITY_OTHER);
    return this.#runMerge(job);
  }

  async #runMerge(job: MergeJob): Promise<JobResult> {
    const { isBottom, isUrgent, compactionBytes, shard } = job;
    const priority = isBottom ? PRIORITY_BOTTOM_MERGE : youngMergePriority(compactionBytes);
    if (!isUrgent) return this.#enqueue(this.#others, { job }, shard, priority);
    this.#countUrgent(1);
    try {
      return await this.#enqueue(this.#others, { job }, shard, priority);
    } finally {
      this.#countUrgent(-1);
    }
  }

  async runCheck(job: VerifyDatabaseJob): Promise<VerifyResult> {
    const result = await this.#enqueue(this.#others, { job }, NO_SHARD, PRIORITY_OTHER);
    return result as VerifyResult;
  }

  /** Drops a shard's queued jobs and waits for the running ones: they still write its files. */
  async endShard(shard: number): Promise<void> {
    const jobs = this.#shards.get(shard);
    if (jobs === undefined) return;
    this.#shards.delete(shard);
    jobs.abort.abort();
    await Promise.allSettled(jobs.running);
  }

  /** Ends every job and the pool's threads. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { abort } of this.#shards.values()) abort.abort();
    await (await this.#pool)?.destroy();
  }

  #countFlush(change: 1 | -1): void {
    this.#flushCount += change;
    this.#shareThreads();
  }

  #countUrgent(change: 1 | -1): void {
    this.#urgentCount += change;
    this.#shareThreads();
  }

  #shareThreads(): void {
    const standBack = this.#flushCount > 0 && this.#urgentCount === 0;
    this.#others.concurrency = Math.max(standBack ? this.#threads - 1 : this.#threads, 1);
  }

  async #enqueue(
    queue: PQueue,
    posted: PostedJob,
    shard: number,
    priority: number,
  ): Promise<JobResult> {
    const jobs = this.#jobsOf(shard);
    const { signal } = jobs.abort;
    const outcome = await queue
      .add(() => this.#post(posted, jobs, signal), { priority, signal })
      .catch((cause: unknown) => {
        const reason = cause instanceof Error ? cause.message : String(cause);
        const message = `The job did not come to its end: ${reason}`;
        throw new LightningError('LIGHTNING_ABORTED', message, { cause });
      });
    return unwrap(outcome);
  }

  async #post(
    posted: PostedJob,
    jobs: ShardJobs,
    signal: AbortSignal,
  ): Promise<Outcome<JobResult>> {
    this.#pool ??= this.#startPool();
    const pool = await this.#pool;
    // Nothing is started for a shard that has ended, nor after a close, which waits for the pool.
    signal.throwIfAborted();
    const running = pool.run(posted);
    jobs.running.add(running);
    try {
      return await running;
    } finally {
      jobs.running.delete(running);
    }
  }

  #jobsOf(shard: number): ShardJobs {
    let jobs = this.#shards.get(shard);
    if (jobs === undefined) {
      jobs = { abort: new AbortController(), running: new Set() };
      // One listener per queued job: a merge may have dozens.
      setMaxListeners(0, jobs.abort.signal);
      this.#shards.set(shard, jobs);
    }
    return jobs;
  }
}

/** From just above that of bottom merges to that of the smallest. */
function youngMergePriority(compactionBytes: number): number {
  return PRIORITY_BOTTOM_MERGE + 1 / (1 + compactionBytes / 2 ** 20);
}
