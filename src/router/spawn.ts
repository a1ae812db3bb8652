/**
 * A worker thread of the engine with its control interface. Calls are answered or, when the worker
 * dies, rejected; while a call is under way the worker keeps the process running, otherwise not.
 */

import { Worker } from 'node:worker_threads';
import { type Remote, wrap } from 'comlink';
import { comlinkEndpoint, type MessageEndpoint } from '../coordinator/comlink-endpoint.js';
import type { Outcome } from '../coordinator/control-plane.js';
import { ShardUnavailableError } from '../errors.js';
import { YOUNG_GENERATION_MB } from '../limits.js';
import { PendingCalls } from './pending-calls.js';

export interface SpawnOptions {
  readonly location: URL;
  readonly name: string;
  readonly workerData: unknown;
  readonly transferList: readonly Transferable[];
  /** After each message to the worker: wakes one that blocks its thread. */
  readonly posted?: () => void;
}

/** What a message may carry away; node's types name them in several places. */
type Transferable = NonNullable<
  NonNullable<ConstructorParameters<typeof Worker>[1]>['transferList']
>[number];

/** Why a worker is gone. */
export interface WorkerEnd {
  /** It was asked to end. */
  readonly expected: boolean;
  readonly reason: string;
  readonly cause: unknown;
}

export class EngineWorker<Control extends object> {
  readonly ended: Promise<WorkerEnd>;
  readonly #worker: Worker;
  readonly #control: Remote<Control>;
  readonly #calls: PendingCalls;
  #end: WorkerEnd | undefined;
  #ending = false;

  constructor({ location, name, workerData, transferList, posted }: SpawnOptions) {
    const worker = new Worker(location, {
      name,
      workerData,
      transferList: [...transferList],
      // The application's flags (--input-type, --import, --inspect-brk) are not meant for workers.
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    this.#worker = worker;
    this.#calls = new PendingCalls(worker);
    this.#control = wrap<Control>(comlinkEndpoint(worker as MessageEndpoint, posted));
    let failure: unknown;
    worker.on('error', (error: unknown) => {
      failure = error;
    });
    this.ended = new Promise((resolve) => {
      worker.once('exit', (exitCode) => {
        const reason =
          failure instanceof Error ? failure.message : `its thread ended with code ${exitCode}`;
        const end = { expected: this.#ending, reason, cause: failure };
        this.#end = end;
        this.#calls.end(endedError(end));
        resolve(end);
      });
    });
    worker.unref();
  }

  get threadId(): number {
    return this.#worker.threadId;
  }

  /** Makes a call; rejects with the error that the callee met, or when the worker is gone. */
  async call<T>(invoke: (control: Remote<Control>) => Promise<Outcome<T>>): Promise<T> {
    return this.#calls.run(() => invoke(this.#control));
  }

  /** The end that follows is expected. */
  expectEnd(): void {
    this.#ending = true;
  }

  /** Ends the thread, whatever it does. Resolves when it is gone. Idempotent. */
  async terminate(): Promise<void> {
    this.#ending = true;
    if (this.#end === undefined) await this.#worker.terminate();
    await this.ended;
  }
}

function endedError(end: WorkerEnd): ShardUnavailableError {
  return new ShardUnavailableError(
    `Part of the database stopped before it answered: ${end.reason}`,
    { cause: end.cause, details: { outcome: 'unknown' } },
  );
}
