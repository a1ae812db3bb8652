/**
 * Operations as they travel in WRITE requests and stand in the WAL:
 *
 *   type u8, key length varint, value length varint (not for deletes), key, value
 *
 * Varints are LEB128, at most 5 bytes.
 */

import { OP_DELETE, OP_PUT, OP_PUT_BLOB } from '../kernel/assembly/layout.js';

/** Bytes of type and lengths, at most. */
export const OPERATION_HEAD_BYTES_MAX = 11;

/** LEB128 bytes of a u32. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 5;
}

/** Writes a u32 as LEB128 at `at`; returns the address after it. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value >>> 0;
  let position = at;
  while (rest >= 0x80) {
    target[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}

/** Exact bytes of a put. */
export function putBytes(keyBytes: number, valueBytes: number): number {
  return 1 + varintBytes(keyBytes) + varintBytes(valueBytes) + keyBytes + valueBytes;
}

/** Exact bytes of a delete. */
export function deleteBytes(keyBytes: number): number {
  return 1 + varintBytes(keyBytes) + keyBytes;
}

/** Walks the operations of a WRITE payload, checking every length against its end. */
export class OperationReader {
  /** OP_PUT, OP_DELETE or OP_PUT_BLOB. */
  type = 0;
  keyStart = 0;
  keyBytes = 0;
  valueStart = 0;
  valueBytes = 0;
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #position: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  /** Where the next operation starts. */
  get position(): number {
    return this.#position;
  }

  /** Goes to the next operation; false at the end. Throws when the bytes are not operations. */
  next(): boolean {
    if (this.#position === this.#end) return false;
    this.type = this.#bytes[this.#position++] as number;
    if (this.type !== OP_PUT && this.type !== OP_DELETE && this.type !== OP_PUT_BLOB) {
      throw new RangeError(`Cannot read operations: unknown type ${this.type}`);
    }
    this.keyBytes = this.#varint();
    this.valueBytes = this.type === OP_DELETE ? 0 : this.#varint();
    this.keyStart = this.#position;
    this.valueStart = this.keyStart + this.keyBytes;
    if (this.valueStart + this.valueBytes > this.#end) {
      throw new RangeError('Cannot read operations: a length points past the end');
    }
    this.#position = this.valueStart + this.valueBytes;
    return true;
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.#position >= this.#end) break;
      const byte = this.#bytes[this.#position++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80 && value <= 0xffffffff) return value;
      if (byte < 0x80) break;
    }
    throw new RangeError('Cannot read operations: a length is not a varint of 32 bits');
  }
}
