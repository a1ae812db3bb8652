/**
 * The sorted chunks that wait in memory to become tables, in the order of the source.
 *
 * A chunk's runs are packed into the heap, which frees its slot. When the heap is full, all runs in it
 * are spilled: written to tables of their own. What is spilled later is newer throughout.
 */

import { AreaPool } from './area-pool.js';
import type { RunPlace } from './load-jobs.js';
import { RUN_ALIGNMENT } from './load-memory.js';

export interface SortedChunk {
  readonly slot: number;
  /** Per shard. */
  readonly runs: readonly RunPlace[];
  /** Bytes that the runs take in the heap. */
  readonly packedBytes: number;
}

/** A chunk in the heap. */
export interface PackedChunk {
  /** Per shard. */
  readonly runs: readonly RunPlace[];
  readonly bytes: number;
}

interface ChunkStoreOptions {
  readonly slots: number;
  readonly heapBase: number;
  readonly heapBytes: number;
  /** Copies runs to the heap; returns where they are then. */
  readonly pack: (runs: readonly RunPlace[], address: number) => Promise<readonly RunPlace[]>;
  /** Writes chunks to tables. */
  readonly spill: (chunks: readonly PackedChunk[]) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

export class ChunkStore {
  readonly #options: ChunkStoreOptions;
  readonly #slots: AreaPool;
  /** In the order of the source. */
  #packed: Promise<PackedChunk>[] = [];
  #top: number;
  /** Chunks find their place in the heap one after the other. */
  #placing: Promise<void> = Promise.resolve();

  constructor(options: ChunkStoreOptions) {
    this.#options = options;
    this.#slots = new AreaPool(options.slots);
    this.#top = options.heapBase;
  }

  acquireSlot(): Promise<number> {
    return this.#slots.acquire();
  }

  releaseSlot(slot: number): void {
    this.#slots.release(slot);
  }

  /** Adds the next chunk of the source. Its slot is free again some time later. */
  add(chunk: SortedChunk): void {
    if (chunk.runs.every(({ records }) => records === 0)) {
      this.releaseSlot(chunk.slot);
      return;
    }
    this.#placing = this.#placing.then(async () => {
      const packed = this.#pack(chunk, await this.#allocate(chunk.packedBytes));
      packed.catch(this.#options.onFailure);
      this.#packed.push(packed);
    });
    this.#placing.catch(this.#options.onFailure);
  }

  /**
   * Gives the next chunk of the source its place in the heap before it is sorted, since no more than
   * `bytes` will come of it. `sort` brings it there; its slot is free again afterwards.
   */
  sortInto<R extends { readonly runs: readonly RunPlace[] }>(
    slot: number,
    bytes: number,
    sort: (address: number) => Promise<R>,
  ): Promise<R> {
    const sorted = this.#placing.then(async () => {
      const address = await this.#allocate(bytes);
      const result = sort(address);
      const packed = result.then(({ runs }) => ({ runs, bytes }));
      packed.catch(this.#options.onFailure);
      this.#packed.push(packed);
      return { result };
    });
    this.#placing = sorted.then(() => {});
    this.#placing.catch(this.#options.onFailure);
    return sorted.then(async ({ result }) => {
      const value = await result;
      this.releaseSlot(slot);
      return value;
    });
  }

  /** All chunks that are not spilled, oldest first, once they are in the heap. */
  async finish(): Promise<readonly PackedChunk[]> {
    await this.#placing;
    return Promise.all(this.#packed);
  }

  async #pack({ slot, runs, packedBytes }: SortedChunk, address: number): Promise<PackedChunk> {
    const packed = await this.#options.pack(runs, address);
    this.releaseSlot(slot);
    return { runs: packed, bytes: packedBytes };
  }

  async #allocate(bytes: number): Promise<number> {
    const { heapBase, heapBytes, spill } = this.#options;
    if (this.#top + bytes > heapBase + heapBytes) {
      const chunks = await Promise.all(this.#packed);
      this.#packed = [];
      await spill(chunks);
      this.#top = heapBase;
    }
    const address = this.#top;
    this.#top += Math.ceil(bytes / RUN_ALIGNMENT) * RUN_ALIGNMENT;
    return address;
  }
}
