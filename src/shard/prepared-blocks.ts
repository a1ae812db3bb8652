/**
 * Memory of the shard for what prepared commits have to keep until their end: operations, and what
 * they validated. Small ones have a place of their own for each slot of the transaction table, so
 * that nothing is allocated for them; larger ones get what they need.
 *
 * A slot's place is the shard's from the prepare until the shard lets go of the slot: only then can
 * another commit come to have it.
 */

import type { Kernel } from '../kernel/kernel.js';
import { TRANSACTION_SLOTS } from '../router/transaction-table.js';
import type { MetaAllocator } from './meta-allocator.js';

const PLACE_BYTES = 1024;

export class PreparedBlocks {
  readonly #kernel: Kernel;
  readonly #allocator: MetaAllocator;
  /** Of the places; 0: not needed so far, -1: there is no room for them. */
  #places = 0;

  constructor(kernel: Kernel, allocator: MetaAllocator) {
    this.#kernel = kernel;
    this.#allocator = allocator;
  }

  /** Address of a copy of bytes that stand in the shard's memory; 0 when there is no room. */
  keep(slot: number, from: number, bytes: number): number {
    if (bytes === 0) return 0;
    const address = bytes <= PLACE_BYTES ? this.#placeOf(slot) : this.#allocate(bytes);
    if (address !== 0) this.#kernel.bytes.copyWithin(address, from, from + bytes);
    return address;
  }

  /** As `keep`, of bytes that stand elsewhere. */
  keepBytes(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    const address = this.#allocate(bytes.length);
    if (address !== 0) this.#kernel.bytes.set(bytes, address);
    return address;
  }

  free(block: number): void {
    if (block === 0) return;
    const end = this.#places + TRANSACTION_SLOTS * PLACE_BYTES;
    const isPlace = this.#places > 0 && block >= this.#places && block < end;
    if (!isPlace) this.#allocator.free(block);
  }

  #placeOf(slot: number): number {
    if (this.#places === 0) {
      this.#places = this.#allocator.tryAllocate(TRANSACTION_SLOTS * PLACE_BYTES);
    }
    return this.#places < 0 ? this.#allocate(PLACE_BYTES) : this.#places + slot * PLACE_BYTES;
  }

  #allocate(bytes: number): number {
    return Math.max(this.#allocator.tryAllocate(bytes), 0);
  }
}
