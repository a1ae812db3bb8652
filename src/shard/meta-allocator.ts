/**
 * Allocator of a shard's meta region: Versions, and the indexes and filters of tables.
 *
 * First fit over a list of free ranges in address order; neighbours that become free are joined. The
 * shard worker alone uses it, and frees only what no reader can see any more (see `Retirement`). The
 * list lives in private memory: a new worker starts with a new shard memory.
 */
import { assert } from '../assert.js';
import { LightningError } from '../errors.js';

/** Filters are laid out in cache lines. */
const ALIGNMENT = 64;
/** What tables leave free, unless a 16th is less. */
const RESERVE_BYTES_MAX = 4 * 1024 * 1024;

interface FreeRange {
  address: number;
  bytes: number;
}

export class MetaAllocator {
  readonly #free: FreeRange[];
  readonly #allocated = new Map<number, number>();
  readonly bytesTotal: number;
  readonly #start: number;
  #bytesUsed = 0;
  #bytesTouched = 0;

  constructor(base: number, bytes: number) {
    const start = roundUp(base);
    this.#start = start;
    this.bytesTotal = Math.floor((base + bytes - start) / ALIGNMENT) * ALIGNMENT;
    this.#free = [{ address: start, bytes: this.bytesTotal }];
  }

  get #reserveBytes(): number {
    return Math.min(RESERVE_BYTES_MAX, this.bytesTotal / 16);
  }

  get bytesUsed(): number {
    return this.#bytesUsed;
  }

  /** Bytes of the region that have been in use, which the system keeps in memory. */
  get bytesTouched(): number {
    return this.#bytesTouched;
  }

  /** Address of `bytes` free bytes, 64-byte aligned. Throws `LIGHTNING_LIMIT_EXCEEDED`. */
  allocate(bytes: number): number {
    const address = this.tryAllocate(bytes);
    if (address >= 0) return address;
    throw this.#tooMuch();
  }

  /** As `allocate`; -1 when there is no such room. */
  tryAllocate(bytes: number): number {
    const wanted = roundUp(Math.max(bytes, 1));
    for (let i = 0; i < this.#free.length; i++) {
      const range = this.#free[i] as FreeRange;
      if (range.bytes < wanted) continue;
      const { address } = range;
      range.address += wanted;
      range.bytes -= wanted;
      if (range.bytes === 0) this.#free.splice(i, 1);
      this.#allocated.set(address, wanted);
      this.#bytesUsed += wanted;
      this.#bytesTouched = Math.max(this.#bytesTouched, address + wanted - this.#start);
      return address;
    }
    return -1;
  }

  /**
   * The same, for what a table needs: a reserve is left for the Versions that come. A change that is
   * durable can so be shown, and what is too much fails before.
   */
  allocateForTable(bytes: number): number {
    if (this.#bytesUsed + bytes > this.bytesTotal - this.#reserveBytes) throw this.#tooMuch();
    return this.allocate(bytes);
  }

  free(address: number): void {
    const bytes = this.#allocated.get(address);
    assert(bytes !== undefined, 'only allocated memory is freed');
    this.#allocated.delete(address);
    this.#bytesUsed -= bytes;
    const at = this.#firstAfter(address);
    const before = this.#free[at - 1];
    const after = this.#free[at];
    const joinsBefore = before !== undefined && before.address + before.bytes === address;
    const joinsAfter = after !== undefined && address + bytes === after.address;
    if (joinsBefore) {
      before.bytes += bytes + (joinsAfter ? after.bytes : 0);
      if (joinsAfter) this.#free.splice(at, 1);
    } else if (joinsAfter) {
      after.address = address;
      after.bytes += bytes;
    } else {
      this.#free.splice(at, 0, { address, bytes });
    }
  }

  #tooMuch(): LightningError {
    return new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      `Tables' indexes and filters do not fit the ${this.bytesTotal} bytes a shard has for them: use more shards or fewer filter bits per key`,
      { details: { bytesUsed: this.#bytesUsed, bytesTotal: this.bytesTotal } },
    );
  }

  /** Index of the first free range above `address`. */
  #firstAfter(address: number): number {
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#free[middle] as FreeRange).address < address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
