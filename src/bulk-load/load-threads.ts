/**
 * The threads of one bulk load, at the service of whoever drives it.
 *
 * Not those of the database's pool: starting a thread takes some 20 ms of CPU, as much as 20,000 records,
 * so that these start while the database is still being opened, with nothing in them that a load does not
 * need, and as many as have something to do. Nobody waits for the database meanwhile that they would have
 * to give way to.
 */

import { ClosedError, LightningError, ShardUnavailableError } from '../errors.js';
import { EngineWorker } from '../router/spawn.js';
import type { BulkJob, BulkJobResult } from './load-jobs.js';
import type { LoadThreadControl, LoadThreadData } from './load-thread.js';

interface QueuedJob {
  readonly job: BulkJob;
  readonly resolve: (result: BulkJobResult<BulkJob>) => void;
  readonly reject: (error: unknown) => void;
}

export class LoadThreads {
  readonly #location: URL;
  readonly #data: LoadThreadData;
  readonly #threadsWanted: number;
  readonly #threadsMax: number;
  readonly #threads: EngineWorker<LoadThreadControl>[] = [];
  readonly #queue: QueuedJob[] = [];
  /** Of threads that have nothing to do. */
  readonly #wakes: (() => void)[] = [];
  /** Threads that will look for a job of their own accord. */
  #starting = 0;
  #isEnded = false;

  /**
   * `threads`: as many as jobs start by themselves; `threadsMax`: as may be asked for. The first one is
   * started at once.
   */
  constructor(options: {
    readonly location: URL;
    readonly module: WebAssembly.Module;
    readonly threads: number;
    readonly threadsMax: number;
  }) {
    this.#location = options.location;
    this.#data = { module: options.module };
    this.#threadsWanted = options.threads;
    this.#threadsMax = options.threadsMax;
    this.startThreads(1);
  }

  /** Sees to it that so many threads have been started, or as many as there may be. */
  startThreads(count: number): void {
    while (this.#threads.length < Math.min(count, this.#threadsMax)) this.#start();
  }

  /** Jobs start in the order of the calls. */
  run(job: BulkJob): Promise<BulkJobResult<BulkJob>> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ job, resolve, reject });
      const wake = this.#wakes.shift();
      const { length } = this.#threads;
      if (wake !== undefined) wake();
      else if (this.#queue.length > this.#starting && length < this.#threadsWanted) this.#start();
    });
  }

  /** Ends the threads, whatever they do. */
  async end(): Promise<void> {
    this.#isEnded = true;
    for (const wake of this.#wakes.splice(0)) wake();
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
    for (const { reject } of this.#queue.splice(0)) reject(new ClosedError());
  }

  #start(): void {
    const thread = new EngineWorker<LoadThreadControl>({
      location: this.#location,
      name: 'lightning-db load',
      workerData: this.#data,
      transferList: [],
    });
    this.#threads.push(thread);
    this.#starting++;
    void this.#serve(thread);
  }

  /** Never rejects: what goes wrong is the error of a job. */
  async #serve(thread: EngineWorker<LoadThreadControl>): Promise<void> {
    // When it does not start, its first job says so.
    await thread.call((it) => it.start()).catch(() => {});
    this.#starting--;
    while (!this.#isEnded) {
      const next = this.#queue.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => this.#wakes.push(resolve));
        continue;
      }
      await thread
        .call((it) => it.run(next.job))
        .then(next.resolve, (error: unknown) => {
          next.reject(error instanceof ShardUnavailableError ? didNotEnd(error) : error);
        });
    }
  }
}

function didNotEnd(cause: Error): LightningError {
  return new LightningError(
    'LIGHTNING_ABORTED',
    `The job did not come to its end: ${cause.message}`,
    { cause },
  );
}
