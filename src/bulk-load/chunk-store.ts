/**
 * The sorted chunks that wait in memory to become tables, in the order of the source.
 *
 * When all slots are taken and somebody wants one, the chunks so far are spilled: written to tables
 * of their own. Only chunks whose place in the order is settled take part, so that what is spilled
 * later is newer throughout.
 */

import { AreaPool } from './area-pool.js';
import type { RunPlace } from './load-jobs.js';

export interface SortedChunk {
  readonly slot: number;
  /** Per shard. */
  readonly runs: readonly RunPlace[];
  readonly payloadBytes: number;
}

interface ChunkStoreOptions {
  readonly slots: number;
  /** Writes chunks to tables. */
  readonly spill: (chunks: readonly SortedChunk[]) => Promise<void>;
  /** Whether a job is running that will add a chunk. */
  readonly isBusy: () => boolean;
  readonly onFailure: (error: unknown) => void;
}

export class ChunkStore {
  readonly #options: ChunkStoreOptions;
  readonly #slots: AreaPool;
  #chunks: SortedChunk[] = [];
  #isSpilling = false;

  constructor(options: ChunkStoreOptions) {
    this.#options = options;
    this.#slots = new AreaPool(options.slots, () => this.maybeSpill());
  }

  /** All chunks that are not spilled, oldest first. */
  get chunks(): readonly SortedChunk[] {
    return this.#chunks;
  }

  /** Whether somebody waits for a slot. */
  get isStarved(): boolean {
    return this.#slots.isStarved;
  }

  acquireSlot(): Promise<number> {
    return this.#slots.acquire();
  }

  releaseSlot(slot: number): void {
    this.#slots.release(slot);
  }

  /** Adds the next chunk of the source. */
  add(chunk: SortedChunk): void {
    if (chunk.runs.some(({ records }) => records > 0)) this.#chunks.push(chunk);
    else this.releaseSlot(chunk.slot);
    this.maybeSpill();
  }

  /** To be called when a job has ended: what was worth waiting for may be there. */
  maybeSpill(): void {
    if (this.#isSpilling || !this.#slots.isStarved || this.#chunks.length === 0) return;
    // Few chunks make a small spill: while there are jobs that will add some, they are waited for.
    if (this.#chunks.length < this.#options.slots / 2 && this.#options.isBusy()) return;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#isSpilling = true;
    this.#options.spill(chunks).then(
      () => {
        this.#isSpilling = false;
        for (const { slot } of chunks) this.releaseSlot(slot);
        this.maybeSpill();
      },
      (error) => this.#options.onFailure(error),
    );
  }
}
