/** Hands jobs to other threads, a work area each where they need one, and ends all of them after a failure. */

import { AreaPool } from './area-pool.js';
import type { BulkJob, BulkJobResult } from './load-jobs.js';
import { requestAbort } from './load-memory.js';
import type { BulkLoadTarget } from './load-target.js';
import { abortedError } from './record-sink.js';

export class JobRunner {
  readonly #target: BulkLoadTarget;
  readonly #memory: WebAssembly.Memory;
  readonly #works: AreaPool;
  readonly #running = new Set<Promise<unknown>>();
  #isStopped = false;

  constructor(options: {
    readonly target: BulkLoadTarget;
    readonly memory: WebAssembly.Memory;
    /** Work areas. */
    readonly works: number;
  }) {
    this.#target = options.target;
    this.#memory = options.memory;
    this.#works = new AreaPool(options.works);
  }

  async run<J extends BulkJob>(job: J): Promise<BulkJobResult<J>> {
    if (this.#isStopped) throw abortedError();
    const result = this.#target.runJob(job);
    this.#running.add(result);
    try {
      return await result;
    } finally {
      this.#running.delete(result);
    }
  }

  /** Runs the job that `make` makes for a work area, once there is one. */
  async runInArea<J extends BulkJob>(make: (work: number) => J): Promise<BulkJobResult<J>> {
    const work = await this.#works.acquire();
    try {
      return await this.run(make(work));
    } finally {
      this.#works.release(work);
    }
  }

  /** Starts no more jobs, asks those that run to end and waits until they have. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    requestAbort(this.#memory);
    await Promise.allSettled(this.#running);
  }
}
