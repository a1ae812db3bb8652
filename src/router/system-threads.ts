/**
 * The system's numbers of the threads of an open database's workers, in the control block: each worker
 * writes its own when it starts, and whoever waits for it can tell by it that the worker is gone. The same
 * of the threads behind client slots: a shard worker that waits for one needs nobody to tell it of its end.
 */

import { isSystemThreadGone } from '../file-system/system-thread.js';

/** Where the numbers stand: indices of words. */
export interface SystemThreadPlaces {
  readonly coordinator: number;
  readonly shard: (shard: number) => number;
  /** i64: the owner of the slot, and its number in the lower half. */
  readonly client: (slot: number) => number;
}

export class SystemThreads {
  readonly #words: Int32Array;
  readonly #longs: BigInt64Array;
  readonly #coordinator: number;
  readonly #shard: (shard: number) => number;
  readonly #client: (slot: number) => number;

  constructor(buffer: SharedArrayBuffer, { coordinator, shard, client }: SystemThreadPlaces) {
    this.#words = new Int32Array(buffer);
    this.#longs = new BigInt64Array(buffer);
    this.#coordinator = coordinator;
    this.#shard = shard;
    this.#client = client;
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

  /** The client slot is that of `owner`, a thread of the system's number `id`. */
  setClient(slot: number, owner: number, id: number): void {
    Atomics.store(this.#longs, this.#client(slot), (BigInt(owner) << 32n) | BigInt(id));
  }

  isClientGone(slot: number, owner: number): boolean {
    const known = Atomics.load(this.#longs, this.#client(slot));
    // Else a new owner has not said so yet, or the system does not tell.
    return Number(known >> 32n) === owner && isSystemThreadGone(Number(known & 0xffff_ffffn));
  }
}
