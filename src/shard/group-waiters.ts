/**
 * Who waits for the commits of the group under way: they stand in the kernel, which acknowledges them;
 * here they are told when it does not.
 */
import type { LightningError } from '../errors.js';
import type { Kernel } from '../kernel/kernel.js';
import { NOBODY } from './wal-commit.js';

export class GroupWaiters {
  readonly #kernel: Kernel;
  readonly #answer: (client: number, requestId: number, error: LightningError) => void;
  #areTold = false;

  constructor(
    kernel: Kernel,
    answer: (client: number, requestId: number, error: LightningError) => void,
  ) {
    this.#kernel = kernel;
    this.#answer = answer;
  }

  /** The group is refused, and forgotten. */
  refuse(error: LightningError): void {
    const waiters = this.#take();
    this.#kernel.exports.groupBegin();
    this.#areTold = false;
    for (const { client, requestId } of waiters) this.#answer(client, requestId, error);
  }

  /** The group goes on, but nobody is to wait for it: they are told so once. */
  tell(error: LightningError): void {
    const waiters = this.#take();
    this.#areTold = true;
    this.#kernel.exports.dropAcks();
    for (const { client, requestId } of waiters) this.#answer(client, requestId, error);
  }

  /** Acknowledges the commits of a group that is applied; returns how many answers have yet to be sent. */
  acknowledge(): number {
    this.#areTold = false;
    return this.#kernel.exports.groupAck();
  }

  #take(): { readonly client: number; readonly requestId: number }[] {
    if (this.#areTold) return [];
    const { exports } = this.#kernel;
    const commits = exports.groupCommits() >>> 0;
    const waiters: { client: number; requestId: number }[] = [];
    for (let i = 0; i < commits; i++) {
      const client = exports.groupClient(i) >>> 0;
      if (client !== NOBODY) waiters.push({ client, requestId: exports.groupRequestId(i) >>> 0 });
    }
    return waiters;
  }
}
