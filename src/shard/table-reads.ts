/**
 * Reads that need the disk, on the shard worker: block loads into the cache, and gets that missed it.
 */

import { type BlobReference, decodeBlobReference } from '../blob/blob-file.js';
import { CorruptionError, LightningError } from '../errors.js';
import {
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  CACHE_UNIT_BYTES,
  H_CACHE_BYTES,
  H_CACHE_SMALL_BYTES,
  KEY_BYTES_MAX,
  SCRATCH_KEY,
  SCRATCH_RESULT,
  T_BLOCKS,
  T_CACHE_REFS,
  T_OFFSETS,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { GET_UNSETTLED, getSettled } from '../kernel/settled-read.js';
import type { CacheRecordRequest } from '../protocol/requests.js';
import type { OpenTables } from './open-tables.js';
import type { Staging } from './staging.js';
import { lookupUncached, type UncachedLookupOptions } from './uncached-lookup.js';

/** Answers of the kernel's `get` (get.ts). */
const GET_ABSENT = 0;
const GET_FOUND = 1;
const GET_NEED_BLOCK = 2;
const GET_FOUND_HELD = 3;
const GET_BLOB = 4;

/** The shard worker's own client slot. */
export const SHARD_SLOT = 0;

/** Block loads of one get: more mean that the cache cannot hold what one key needs at a time. */
const LOADS_MAX = 64;

export type Lookup =
  | { readonly kind: 'missing' }
  | { readonly kind: 'value'; readonly bytes: Buffer }
  | { readonly kind: 'blob'; readonly reference: BlobReference };

/** There is no room in the cache while readers are inside an epoch: try again in a while. */
export class CacheBusyError extends Error {
  /** The block is larger than the cache: there is no use in that. */
  readonly isForGood: boolean;

  constructor(isForGood = false) {
    super('The block cache has no room at this moment');
    this.name = 'CacheBusyError';
    this.isForGood = isForGood;
  }
}

export class TableReads {
  readonly #options: UncachedLookupOptions;
  readonly #kernel: Kernel;
  readonly #staging: Staging;
  readonly #tables: OpenTables;
  blocksRead = 0;
  bytesRead = 0;

  constructor(options: UncachedLookupOptions) {
    const { kernel, staging, tables } = options;
    this.#options = options;
    this.#kernel = kernel;
    this.#staging = staging;
    this.#tables = tables;
  }

  /** Looks a key up as of `snapshot` (-1: newest), loading what it takes. */
  lookup(key: Uint8Array, snapshot: number): Lookup {
    const { exports, bytes, u32 } = this.#kernel;
    if (key.length > KEY_BYTES_MAX) return { kind: 'missing' };
    const scratch = exports.scratchBase() >>> 0;
    const result = (scratch + SCRATCH_RESULT) >>> 2;
    for (let loads = 0; loads < LOADS_MAX; loads++) {
      bytes.set(key, scratch + SCRATCH_KEY);
      const routing = exports.murmur32(scratch + SCRATCH_KEY, key.length);
      let status = exports.get(key.length, snapshot, routing);
      if (status === GET_UNSETTLED) {
        status = getSettled(this.#kernel, SHARD_SLOT, key.length, this.#options.releases);
      }
      switch (status) {
        case GET_ABSENT:
          return { kind: 'missing' };
        case GET_NEED_BLOCK:
          if (!this.#tryLoad(u32[result + 3] as number, u32[result + 4] as number)) {
            return lookupUncached(this.#options, key, snapshot);
          }
          break;
        default: {
          const value = this.#copyResult(result);
          if (status === GET_FOUND_HELD) exports.readerLeave(SHARD_SLOT);
          if (status === GET_BLOB) return { kind: 'blob', reference: decodeBlobReference(value) };
          if (status === GET_FOUND || status === GET_FOUND_HELD)
            return { kind: 'value', bytes: value };
          throw new RangeError(`Kernel answered a get with ${status}`);
        }
      }
    }
    return lookupUncached(this.#options, key, snapshot);
  }

  /** Sequence number of the key's newest version, deletes included; 0: there is none. */
  newestSequence(key: Uint8Array): number {
    const { exports, bytes, u32, f64 } = this.#kernel;
    const scratch = exports.scratchBase() >>> 0;
    const result = (scratch + SCRATCH_RESULT) >>> 2;
    for (let loads = 0; loads < LOADS_MAX; loads++) {
      bytes.set(key, scratch + SCRATCH_KEY);
      const routing = exports.murmur32(scratch + SCRATCH_KEY, key.length);
      const status = exports.get(key.length, -1, routing);
      if (status === GET_FOUND_HELD) exports.readerLeave(SHARD_SLOT);
      if (status !== GET_NEED_BLOCK) return f64[(scratch + SCRATCH_RESULT + 24) >>> 3] as number;
      if (!this.#tryLoad(u32[result + 3] as number, u32[result + 4] as number)) break;
    }
    // Without room to look, the worst is assumed.
    return Number.POSITIVE_INFINITY;
  }

  /** Address of a raw block that is cached, good until more are loaded; 0: it is not. */
  cachedBlock(table: number, block: number): number {
    const meta = this.#tables.metaOf(table);
    if (meta === 0) return 0;
    const entry = this.#word(this.#word(meta + T_CACHE_REFS) + block * 4);
    return entry > CACHE_GHOST ? entry + CACHE_HEAD_BYTES : 0;
  }

  /** Loads a block for a get; false when the cache has no room for it. */
  #tryLoad(table: number, block: number): boolean {
    try {
      this.loadBlocks(table, block, 1, false);
      return true;
    } catch (error) {
      if (error instanceof CacheBusyError) return false;
      throw error;
    }
  }

  /**
   * Brings blocks into the cache. Blocks of a table that is gone, or was not loaded before, are passed
   * over: whoever asked looks at the newest Version next. Throws `CorruptionError`, or `CacheBusyError` when not even
   * the first block found room.
   */
  loadBlocks(table: number, firstBlock: number, count: number, isScan: boolean): void {
    // What was asked for is the block of its stand-in.
    const wasPending = this.#tables.loadPending(table);
    this.#tables.checkReadable(table);
    if (wasPending) return;
    const meta = this.#tables.metaOf(table);
    if (meta === 0) return;
    const blocks = this.#word(meta + T_BLOCKS);
    const end = Math.min(firstBlock + count, blocks);
    let block = firstBlock;
    while (block < end) {
      if (this.#isCached(meta, block)) {
        block++;
        continue;
      }
      const stop = this.#readableEnd(meta, block, end);
      const loaded = this.#loadRangeOrNote(table, meta, block, stop, isScan);
      if (loaded < stop) {
        if (loaded === firstBlock) throw new CacheBusyError(this.#isTooLarge(meta, loaded));
        return;
      }
      block = stop;
    }
  }

  /**
   * Caches a block that a client read for itself. Its bytes may be anything: what is not the block,
   * or has no place now, is passed over.
   */
  cacheBlock(table: number, block: number, stored: Uint8Array): void {
    const meta = this.#tables.metaOf(table);
    if (meta === 0 || block >= this.#word(meta + T_BLOCKS)) return;
    const offset = this.#offset(meta, block);
    const { transfer, transferAddress } = this.#staging;
    const bytes = this.#offset(meta, block + 1) - offset;
    if (stored.length !== bytes || bytes > transfer.length) return;
    transfer.set(stored);
    this.#kernel.exports.cacheInsert(meta, block, transferAddress, bytes, offset, 0);
  }

  /**
   * Caches a record that a client found in a block that is not cached. `entry`: key, then value;
   * `again`: 1 when the client had missed it before.
   */
  cacheRecord(
    { table, keyLength, sequence }: CacheRecordRequest,
    entry: Uint8Array,
    again: number,
  ): void {
    const meta = this.#tables.metaOf(table);
    const { transfer, transferAddress } = this.#staging;
    if (meta === 0 || keyLength > KEY_BYTES_MAX || entry.length > transfer.length) return;
    transfer.set(entry);
    this.#kernel.exports.cacheRecord(
      meta,
      transferAddress,
      keyLength,
      transferAddress + keyLength,
      entry.length - keyLength,
      sequence,
      again,
    );
  }

  /** End of the uncached blocks from `block` on that fit one read. */
  #readableEnd(meta: number, block: number, end: number): number {
    const start = this.#offset(meta, block);
    const room = this.#staging.transfer.length;
    let stop = block + 1;
    if (this.#offset(meta, stop) - start > room) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        `Cannot read a block of ${this.#offset(meta, stop) - start} bytes: the versions of one key are more than ${room}`,
      );
    }
    while (
      stop < end &&
      !this.#isCached(meta, stop) &&
      this.#offset(meta, stop + 1) - start <= room
    ) {
      stop++;
    }
    return stop;
  }

  #loadRangeOrNote(
    table: number,
    meta: number,
    block: number,
    stop: number,
    isScan: boolean,
  ): number {
    try {
      return this.#loadRange(table, meta, block, stop, isScan);
    } catch (error) {
      this.#tables.noteDamage(error);
      throw error;
    }
  }

  /** Reads and inserts blocks [block, stop); returns the first that found no room. */
  #loadRange(table: number, meta: number, block: number, stop: number, isScan: boolean): number {
    const { transfer, transferAddress } = this.#staging;
    const start = this.#offset(meta, block);
    const bytes = this.#offset(meta, stop) - start;
    const file = this.#tables.file(table);
    const got = file.read(transfer.subarray(0, bytes), start);
    this.bytesRead += got;
    if (got < bytes) {
      throw new CorruptionError('Table is shorter than its index says', {
        file: file.path,
        offset: start + got,
        expected: start + bytes,
        found: start + got,
      });
    }
    for (let at = block; at < stop; at++) {
      const offset = this.#offset(meta, at);
      const length = this.#offset(meta, at + 1) - offset;
      const source = transferAddress + (offset - start);
      const inserted = this.#kernel.exports.cacheInsert(
        meta,
        at,
        source,
        length,
        offset,
        isScan ? 1 : 0,
      );
      if (inserted === -1) {
        throw new CorruptionError('Block of a table is damaged', { file: file.path, offset });
      }
      if (inserted === 0) return at;
      this.blocksRead++;
    }
    return stop;
  }

  /** Whether the cache never has room for a block, which the transfer area begins with. */
  #isTooLarge(meta: number, block: number): boolean {
    const { exports } = this.#kernel;
    const length = this.#offset(meta, block + 1) - this.#offset(meta, block);
    const rawBytes = exports.storedRawBytes(this.#staging.transferAddress, length) >>> 0;
    const room = this.#word(H_CACHE_BYTES) - this.#word(H_CACHE_SMALL_BYTES);
    // As the kernel counts it (entryBytes in cache-queue.ts).
    const units = Math.floor((rawBytes + CACHE_HEAD_BYTES + 15) / CACHE_UNIT_BYTES) + 1;
    return units * CACHE_UNIT_BYTES > room;
  }

  #copyResult(result: number): Buffer {
    const address = this.#kernel.u32[result] as number;
    const length = this.#kernel.u32[result + 1] as number;
    return Buffer.from(this.#kernel.bytes.subarray(address, address + length));
  }

  #isCached(meta: number, block: number): boolean {
    return this.#word(this.#word(meta + T_CACHE_REFS) + block * 4) > CACHE_GHOST;
  }

  #offset(meta: number, block: number): number {
    return this.#word(this.#word(meta + T_OFFSETS) + block * 4);
  }

  #word(address: number): number {
    return this.#kernel.u32[address >>> 2] as number;
  }
}
