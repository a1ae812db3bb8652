/**
 * Appends entries to a chunk (sort.ts in the kernel) from JavaScript, without a call into the kernel
 * per entry. One writer per thread, on a slot that it owns.
 */

import {
  CHUNK_BLOB,
  CHUNK_COUNT,
  CHUNK_DESCRIPTOR_BYTES,
  CHUNK_END,
  CHUNK_ENTRY_OVERHEAD_BYTES,
  CHUNK_HEAD_BYTES,
  CHUNK_TOP,
} from '../kernel/assembly/load-layout.js';
import { BLOB_REFERENCE_BYTES } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { asStringBuffer, type StringBuffer } from '../router/string-buffer.js';

/** A UTF-16 unit takes at most three bytes. */
const UTF8_BYTES_PER_UNIT_MAX = 3;
const ALIGN_SLACK_BYTES = 16;

/** What came of an entry. */
export const ADDED = 0;
export const CHUNK_FULL = 1;
export const KEY_TOO_LONG = 2;
/** Not added: the value belongs in a blob. */
export const VALUE_LARGE = 3;

export type AddStatus = 0 | 1 | 2 | 3;

export interface ChunkLimits {
  readonly keyBytesMax: number;
  /** Longest value kept among the entries. */
  readonly valueBytesMax: number;
}

export class ChunkWriter {
  readonly #bytes: StringBuffer;
  readonly #words: Uint32Array;
  readonly #limits: ChunkLimits;
  #chunk = 0;
  #top = 0;
  #descriptor = 0;
  #count = 0;

  constructor(kernel: Pick<Kernel, 'bytes' | 'u32'>, limits: ChunkLimits) {
    this.#bytes = asStringBuffer(kernel.bytes);
    this.#words = kernel.u32;
    this.#limits = limits;
  }

  get count(): number {
    return this.#count;
  }

  /** Bytes of keys and values in the chunk. */
  get payloadBytes(): number {
    return this.#top - this.#chunk - CHUNK_HEAD_BYTES;
  }

  /** Starts an empty chunk at `address`. */
  begin(address: number, bytes: number): void {
    this.#chunk = address;
    this.#top = address + CHUNK_HEAD_BYTES;
    const end = Math.floor((address + bytes) / 16) * 16;
    this.#words[(address + CHUNK_END) >>> 2] = end;
    this.#descriptor = end;
    this.#count = 0;
  }

  /** Goes on with a chunk that the kernel has appended to. */
  resume(address: number): void {
    this.#chunk = address;
    this.#count = this.#words[(address + CHUNK_COUNT) >>> 2] as number;
    this.#top = this.#words[(address + CHUNK_TOP) >>> 2] as number;
    const end = this.#words[(address + CHUNK_END) >>> 2] as number;
    this.#descriptor = end - this.#count * CHUNK_DESCRIPTOR_BYTES;
  }

  /** Writes the head: whoever takes the chunk over finds its entries. */
  finish(): void {
    this.#words[(this.#chunk + CHUNK_COUNT) >>> 2] = this.#count;
    this.#words[(this.#chunk + CHUNK_TOP) >>> 2] = this.#top;
  }

  add(key: string | Uint8Array, value: string | Uint8Array): AddStatus {
    const { keyBytesMax, valueBytesMax } = this.#limits;
    let at = this.#top;
    let room = this.#room();
    if (typeof value === 'string') {
      if (value.length > valueBytesMax) return VALUE_LARGE;
      // Close to the end the true length decides, not the longest possible.
      if ((key.length + value.length) * UTF8_BYTES_PER_UNIT_MAX > room) {
        return this.#addMeasured(key, value);
      }
    } else {
      if (value.length > valueBytesMax) return VALUE_LARGE;
      if (key.length * UTF8_BYTES_PER_UNIT_MAX + value.length > room) {
        return this.#addMeasured(key, value);
      }
    }
    if (key.length > keyBytesMax) return KEY_TOO_LONG;
    const keyLength = this.#write(key, at);
    if (keyLength > keyBytesMax) return KEY_TOO_LONG;
    at += keyLength;
    room -= keyLength;
    const valueLength = this.#write(value, at);
    if (valueLength > valueBytesMax) return VALUE_LARGE;
    this.#commit(keyLength, keyLength, valueLength);
    return ADDED;
  }

  /** An entry whose value stands in the same memory at [start, end). */
  addCopy(key: string, start: number, end: number): AddStatus {
    const { keyBytesMax, valueBytesMax } = this.#limits;
    const valueLength = end - start;
    if (valueLength > valueBytesMax) return VALUE_LARGE;
    let room = this.#room() - valueLength;
    if (key.length * UTF8_BYTES_PER_UNIT_MAX > room) room -= Buffer.byteLength(key);
    if (room < 0) return CHUNK_FULL;
    const keyLength = this.#write(key, this.#top);
    if (keyLength > keyBytesMax) return KEY_TOO_LONG;
    this.#bytes.copyWithin(this.#top + keyLength, start, end);
    this.#commit(keyLength, keyLength, valueLength);
    return ADDED;
  }

  /** Whether `addBlob` has room for this key. */
  hasRoomForBlob(key: string | Uint8Array): boolean {
    return byteLength(key) + BLOB_REFERENCE_BYTES <= this.#room();
  }

  /** An entry whose value is in a blob file. */
  addBlob(key: string | Uint8Array, reference: Uint8Array): AddStatus {
    const keyLength = byteLength(key);
    if (keyLength > this.#limits.keyBytesMax) return KEY_TOO_LONG;
    if (keyLength + reference.length > this.#room()) return CHUNK_FULL;
    this.#write(key, this.#top);
    this.#bytes.set(reference, this.#top + keyLength);
    this.#commit((keyLength | CHUNK_BLOB) >>> 0, keyLength, reference.length);
    return ADDED;
  }

  #addMeasured(key: string | Uint8Array, value: string | Uint8Array): AddStatus {
    const { keyBytesMax, valueBytesMax } = this.#limits;
    const keyLength = byteLength(key);
    const valueLength = byteLength(value);
    if (keyLength > keyBytesMax) return KEY_TOO_LONG;
    if (valueLength > valueBytesMax) return VALUE_LARGE;
    if (keyLength + valueLength > this.#room()) return CHUNK_FULL;
    this.#write(key, this.#top);
    this.#write(value, this.#top + keyLength);
    this.#commit(keyLength, keyLength, valueLength);
    return ADDED;
  }

  /** Payload bytes that fit with one more entry. */
  #room(): number {
    const itemsBytes =
      (this.#count + 1) * (CHUNK_ENTRY_OVERHEAD_BYTES - CHUNK_DESCRIPTOR_BYTES) + ALIGN_SLACK_BYTES;
    return this.#descriptor - CHUNK_DESCRIPTOR_BYTES - itemsBytes - this.#top;
  }

  #write(text: string | Uint8Array, at: number): number {
    if (typeof text === 'string') return this.#bytes.utf8Write(text, at);
    this.#bytes.set(text, at);
    return text.length;
  }

  #commit(descriptor: number, keyLength: number, valueLength: number): void {
    this.#descriptor -= CHUNK_DESCRIPTOR_BYTES;
    const word = this.#descriptor >>> 2;
    this.#words[word] = descriptor;
    this.#words[word + 1] = valueLength;
    this.#top += keyLength + valueLength;
    this.#count++;
  }
}

function byteLength(text: string | Uint8Array): number {
  return typeof text === 'string' ? Buffer.byteLength(text) : text.length;
}
