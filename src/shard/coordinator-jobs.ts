/**
 * Runs a shard's jobs, and barriers for it, through the coordinator. When that dies, jobs under way are
 * rejected, to be repeated by their owner; new ones wait until a coordinator is connected again, or
 * are rejected, too, when the database closes and there will be none.
 */

import type { MessagePort } from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import type {
  BuildResult,
  FlushJob,
  MergeJob,
  VerifyJob,
  VerifyResult,
} from '../compaction/jobs.js';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import { type Outcome, unwrap } from '../coordinator/control-plane.js';
import type { JobService, ShardService } from '../coordinator/shard-link.js';
import { LightningError } from '../errors.js';
import type { Durability, JobRunner } from './shard-options.js';

export class CoordinatorJobs implements JobRunner, Durability {
  readonly #service: ShardService;
  readonly #posted: () => void;
  #port: MessagePort | undefined;
  #remote: Remote<JobService> | undefined;
  /** Ends jobs under way when the coordinator goes. */
  #rejects = new Set<(error: unknown) => void>();
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #isLast = false;
  /** Why there is no coordinator any more. */
  #ended: LightningError | undefined;
  #isClosed = false;

  /** `service` is what the coordinator may call; `posted` wakes it after each message. */
  constructor(service: ShardService, posted: () => void) {
    this.#service = service;
    this.#posted = posted;
  }

  /** Takes up the connection to a (new) coordinator. */
  connect(port: MessagePort): void {
    if (this.#ended !== undefined) {
      port.close();
      return;
    }
    this.#disconnect('Another coordinator has taken over');
    const endpoint = comlinkEndpoint(port, this.#posted);
    expose(this.#service, endpoint);
    this.#remote = wrap<JobService>(endpoint);
    this.#port = port;
    port.once('close', () => {
      if (this.#port === port) this.#disconnect('The coordinator is gone');
    });
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { resolve } of waiting) resolve();
  }

  /** There is no coordinator any more: whatever is asked of it is rejected with the reason. */
  end(reason: LightningError): void {
    this.#ended = reason;
    this.#disconnect('The coordinator is gone');
    this.#rejectWaiting('The coordinator is gone');
  }

  /** The coordinator will not be replaced any more when it dies, or has died. */
  expectNoOther(): void {
    this.#isLast = true;
    if (this.#remote === undefined) this.#rejectWaiting('The coordinator is gone');
  }

  /** Jobs that run are rejected, and new ones too. */
  close(): void {
    this.#isClosed = true;
    this.#disconnect('The shard is closed');
    this.#rejectWaiting('The shard is closed');
  }

  #rejectWaiting(reason: string): void {
    for (const { reject } of this.#waiting) reject(this.#ended ?? gone(reason));
    this.#waiting = [];
  }

  async flush(job: FlushJob): Promise<BuildResult> {
    return (await this.#call((remote) => remote.run(job))) as BuildResult;
  }

  async merge(job: MergeJob): Promise<BuildResult> {
    return (await this.#call((remote) => remote.run(job))) as BuildResult;
  }

  async verify(job: VerifyJob): Promise<VerifyResult> {
    return (await this.#call((remote) => remote.run(job))) as VerifyResult;
  }

  /** Asking again does no harm: the next coordinator is asked when one dies. */
  async covering(sequence: number): Promise<void> {
    for (;;) {
      const remote = this.#remote;
      try {
        await this.#call((it) => it.cover(sequence));
        return;
      } catch (error) {
        if (this.#isClosed || this.#ended !== undefined || this.#remote === remote) throw error;
      }
    }
  }

  async #call<T>(invoke: (remote: Remote<JobService>) => Promise<Outcome<T>>): Promise<T> {
    if (this.#isClosed) throw gone('The shard is closed');
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#remote === undefined) {
      if (this.#isLast) throw gone('The coordinator is gone');
      await new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
      return this.#call(invoke);
    }
    const remote = this.#remote;
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject);
      invoke(remote)
        .then((outcome) => resolve(unwrap(outcome)))
        .catch(reject)
        .finally(() => this.#rejects.delete(reject));
    });
  }

  #disconnect(reason: string): void {
    const port = this.#port;
    this.#remote = undefined;
    this.#port = undefined;
    port?.close();
    const rejects = this.#rejects;
    this.#rejects = new Set();
    for (const reject of rejects) reject(this.#ended ?? gone(reason));
  }
}

function gone(reason: string): LightningError {
  return new LightningError('LIGHTNING_ABORTED', `The job was given up: ${reason}`);
}
