/**
 * The producing end of a ring: single producer, single consumer, records laid out in place.
 *
 * Use: `reserve(n)` gives the address where up to n payload bytes may be written, or FULL;
 * `commit(...)` makes the record of what was written; `publish()` shows all committed records to
 * the consumer. Nothing is visible before `publish`, and a reservation that is not committed is
 * simply forgotten.
 *
 * Invariants:
 * 1. Positions are multiples of 8 that grow without end (mod 2^32); head - tail is at most the
 *    ring's size. Only the producer stores the head, only the consumer the tail.
 * 2. A record is contiguous. Where one does not fit before the end of the ring, a PAD record fills
 *    the rest; when only 8 bytes are left there, the PAD consists of its first 8 bytes alone. So a
 *    consumer that meets PAD goes to the start of the ring, whatever the length word says.
 * 3. Everything of a record is stored before the head is (release), and read after it (acquire).
 */

import {
  RECORD_ARGUMENT,
  RECORD_HEADER_BYTES,
  RECORD_REQUEST_ID,
  REQUEST_PAD,
} from '../kernel/assembly/layout.js';
import { type RingLocation, type RingMemory, recordPayloadBytesMax } from './ring-location.js';

/** `reserve`: there is no room now. Never an address: payloads lie above the header. */
export const FULL = 0;

export class RingWriter {
  /** Most payload bytes of one record. */
  readonly payloadBytesMax: number;
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #base: number;
  readonly #bytes: number;
  readonly #mask: number;
  readonly #headWord: number;
  readonly #tailWord: number;
  readonly #blockedWord: number;
  /** Where the next record goes: the published head, and committed records after it. */
  #head: number;
  #published: number;
  /** The consumer's tail as last seen. */
  #tail: number;
  /** Position of the reserved record, and the bytes of PAD that go before it. */
  #pad = 0;

  constructor(memory: RingMemory, location: RingLocation) {
    this.payloadBytesMax = recordPayloadBytesMax(location.bytes);
    this.#u32 = memory.u32;
    this.#i32 = memory.i32;
    this.#base = location.base;
    this.#bytes = location.bytes;
    this.#mask = location.bytes - 1;
    this.#headWord = location.headWord;
    this.#tailWord = location.tailWord;
    this.#blockedWord = location.blockedWord;
    this.#head = Atomics.load(this.#i32, this.#headWord);
    this.#published = this.#head;
    this.#tail = Atomics.load(this.#i32, this.#tailWord);
  }

  /**
   * Takes up the head from memory again, dropping what was not published. For a producer that
   * shares its side with the kernel (the shard worker's responses): call before a run of writes.
   */
  reload(): void {
    this.#head = Atomics.load(this.#i32, this.#headWord);
    this.#published = this.#head;
    this.#tail = Atomics.load(this.#i32, this.#tailWord);
  }

  /** Address for a payload of up to `payloadBytes` (at most `payloadBytesMax`), or FULL. */
  reserve(payloadBytes: number): number {
    const recordBytes = (RECORD_HEADER_BYTES + payloadBytes + 7) & ~7;
    const offset = this.#head & this.#mask;
    const toEnd = this.#bytes - offset;
    const pad = recordBytes > toEnd ? toEnd : 0;
    const used = (this.#head - this.#tail) | 0;
    if (pad + recordBytes > this.#bytes - used) {
      this.#tail = Atomics.load(this.#i32, this.#tailWord);
      if (pad + recordBytes > this.#bytes - ((this.#head - this.#tail) | 0)) return FULL;
    }
    this.#pad = pad;
    return this.#base + (pad === 0 ? offset : 0) + RECORD_HEADER_BYTES;
  }

  /** Makes a record of the reserved place; `payloadBytes` is what was written, not more than reserved. */
  commit(
    kind: number,
    flags: number,
    requestId: number,
    argument: number,
    payloadBytes: number,
  ): void {
    const u32 = this.#u32;
    let word = (this.#base + (this.#head & this.#mask)) >>> 2;
    if (this.#pad !== 0) {
      u32[word] = Math.max(this.#pad - RECORD_HEADER_BYTES, 0);
      u32[word + 1] = REQUEST_PAD;
      this.#head = (this.#head + this.#pad) | 0;
      this.#pad = 0;
      word = this.#base >>> 2;
    }
    u32[word] = payloadBytes;
    u32[word + 1] = kind | (flags << 8);
    u32[word + (RECORD_REQUEST_ID >>> 2)] = requestId;
    u32[word + (RECORD_ARGUMENT >>> 2)] = argument;
    this.#head = (this.#head + ((RECORD_HEADER_BYTES + payloadBytes + 7) & ~7)) | 0;
  }

  /** Shows all committed records to the consumer. True when there were any. */
  publish(): boolean {
    if (this.#head === this.#published) return false;
    this.#published = this.#head;
    Atomics.store(this.#i32, this.#headWord, this.#head);
    return true;
  }

  /** True when the consumer has taken everything that was published. */
  isDrained(): boolean {
    this.#tail = Atomics.load(this.#i32, this.#tailWord);
    return this.#tail === this.#published;
  }

  /**
   * Says that something did not fit: the consumer will tell once it made room. The caller tries
   * once more after this, because room may have come up in between.
   */
  block(): void {
    Atomics.store(this.#i32, this.#blockedWord, 1);
  }

  unblock(): void {
    Atomics.store(this.#i32, this.#blockedWord, 0);
  }
}
