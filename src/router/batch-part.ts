/**
 * The operations of a batch that go to one shard, encoded as they will travel, in a buffer that
 * grows. While a request that waits for room still reads the buffer (it is lent), a change to the
 * batch goes to a copy.
 */

import { LightningError } from '../errors.js';

import { checkValueBytes } from './codec.js';
import type { KeyScratch } from './key-scratch.js';
import { type OperationTarget, putBytesMax, writeDelete, writePut } from './operation-writer.js';
import { allocateStringBuffer, type StringBuffer } from './string-buffer.js';

const CAPACITY_MIN = 1024;
/** Most bytes of one shard's part of a batch. */
const PART_BYTES_MAX = 512 * 1024 * 1024;
/** Text of this length may be encoded without asking for its exact size first. */
const GENEROUS_CHARACTERS_MAX = 1024 * 1024;

export class BatchPart implements OperationTarget {
  bytes: StringBuffer;
  view: DataView;
  /** Bytes used. */
  length = 0;
  /** Operations in them. */
  count = 0;
  #lent = false;

  constructor(capacity = CAPACITY_MIN) {
    this.bytes = allocateStringBuffer(Math.max(capacity, CAPACITY_MIN));
    this.view = new DataView(this.bytes.buffer);
  }

  put(key: KeyScratch, value: string | Uint8Array): void {
    let needed = putBytesMax(key.length, value);
    if (value.length > GENEROUS_CHARACTERS_MAX) {
      const valueBytes = typeof value === 'string' ? Buffer.byteLength(value) : value.length;
      checkValueBytes(valueBytes);
      needed = putBytesMax(key.length, '') + valueBytes;
    }
    this.#makeRoom(needed);
    this.length = writePut(this, this.length, key, value);
    this.count++;
  }

  delete(key: KeyScratch): void {
    this.#makeRoom(key.length + 8);
    this.length = writeDelete(this, this.length, key);
    this.count++;
  }

  /** Adds one operation that is encoded already. */
  append(source: Uint8Array, start: number, end: number): void {
    this.#makeRoom(end - start);
    this.bytes.set(source.subarray(start, end), this.length);
    this.length += end - start;
    this.count++;
  }

  /** Takes back operations from the end: `length` bytes with `count` operations stay. */
  truncate(length: number, count: number): void {
    if (this.#lent) this.#replace(this.bytes.length, length);
    this.length = length;
    this.count = count;
  }

  clear(): void {
    if (this.#lent) this.#replace(CAPACITY_MIN, 0);
    this.length = 0;
    this.count = 0;
  }

  /** The operations, to be kept by the caller for as long as it wants: they do not change any more. */
  lend(): Uint8Array {
    this.#lent = true;
    return this.bytes.subarray(0, this.length);
  }

  #makeRoom(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.bytes.length && !this.#lent) return;
    if (needed > PART_BYTES_MAX) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        'Too many bytes in one batch: write it and go on with another',
      );
    }
    const capacity = needed <= this.bytes.length ? this.bytes.length : needed * 2;
    this.#replace(Math.min(capacity, PART_BYTES_MAX), this.length);
  }

  #replace(capacity: number, used: number): void {
    const larger = allocateStringBuffer(Math.max(capacity, CAPACITY_MIN));
    if (used > 0) larger.set(this.bytes.subarray(0, used));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
    this.#lent = false;
  }
}
