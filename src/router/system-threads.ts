/**
 * The system's numbers of the threads of an open database's workers, in the control block: each worker
 * writes its own when it starts, and whoever waits for it can tell by it that the worker is gone.
 */

import { isSystemThreadGone } from '../file-system/system-thread.js';

export class SystemThreads {
  readonly #words: Int32Array;
  readonly #coordinator: number;
  readonly #shard: (shard: number) => number;

  /** `coordinator`, `shard`: indices of their words. */
  constructor(words: Int32Array, coordinator: number, shard: (shard: number) => number) {
    this.#words = words;
    this.#coordinator = coordinator;
    this.#shard = shard;
  }

  /** The calling thread, of the system's number `id`, is the coordinator. */
  setCoordinator(id: number): void {
    Atomics.store(this.#words, this.#coordinator, id);
  }

  setShard(shard: number, id: number): void {
    Atomics.store(this.#words, this.#shard(shard), id);
  }

  /** False as well when the system does not tell. */
  isCoordinatorGone(): boolean {
    return isSystemThreadGone(Atomics.load(this.#words, this.#coordinator));
  }

  isShardGone(shard: number): boolean {
    return isSystemThreadGone(Atomics.load(this.#words, this.#shard(shard)));
  }
}
