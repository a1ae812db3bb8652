/**
 * The consuming end of a ring; see `ring-writer.ts` for the invariants.
 *
 * Use: while `next()` is true, the record's fields and payload may be read in place; `release()`
 * gives the room of everything read so far back to the producer.
 */

import {
  RECORD_ARGUMENT,
  RECORD_HEADER_BYTES,
  RECORD_REQUEST_ID,
  REQUEST_PAD,
} from '../kernel/assembly/layout.js';
import type { RingLocation, RingMemory } from './ring-location.js';

export class RingReader {
  /** Fields of the record that `next` stopped at. */
  kind = 0;
  flags = 0;
  requestId = 0;
  argument = 0;
  /** Address and length of the payload. */
  payload = 0;
  payloadBytes = 0;

  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #base: number;
  readonly #bytes: number;
  readonly #mask: number;
  readonly #headWord: number;
  readonly #tailWord: number;
  readonly #blockedWord: number;
  /** Start of the next record to read. */
  #position: number;
  #released: number;
  #head: number;

  constructor(memory: RingMemory, location: RingLocation) {
    this.#u32 = memory.u32;
    this.#i32 = memory.i32;
    this.#base = location.base;
    this.#bytes = location.bytes;
    this.#mask = location.bytes - 1;
    this.#headWord = location.headWord;
    this.#tailWord = location.tailWord;
    this.#blockedWord = location.blockedWord;
    this.#position = Atomics.load(this.#i32, this.#tailWord);
    this.#released = this.#position;
    this.#head = this.#position;
  }

  /** Takes up the tail from memory again: for a consumer that shares its side with the kernel. */
  reload(): void {
    this.#position = Atomics.load(this.#i32, this.#tailWord);
    this.#released = this.#position;
    this.#head = this.#position;
  }

  /** Goes to the next record. False: nothing more is published. */
  next(): boolean {
    for (;;) {
      if (this.#position === this.#head) {
        this.#head = Atomics.load(this.#i32, this.#headWord);
        if (this.#position === this.#head) return false;
      }
      const offset = this.#position & this.#mask;
      const word = (this.#base + offset) >>> 2;
      const kindWord = this.#u32[word + 1] as number;
      if ((kindWord & 0xff) === REQUEST_PAD) {
        this.#position = (this.#position + this.#bytes - offset) | 0;
        continue;
      }
      const payloadBytes = this.#u32[word] as number;
      if (payloadBytes > this.#bytes - offset - RECORD_HEADER_BYTES) {
        throw new Error('A record in a ring is longer than the ring: its producer is broken');
      }
      this.kind = kindWord & 0xff;
      this.flags = (kindWord >>> 8) & 0xff;
      this.requestId = this.#u32[word + (RECORD_REQUEST_ID >>> 2)] as number;
      this.argument = this.#u32[word + (RECORD_ARGUMENT >>> 2)] as number;
      this.payload = this.#base + offset + RECORD_HEADER_BYTES;
      this.payloadBytes = payloadBytes;
      this.#position = (this.#position + ((RECORD_HEADER_BYTES + payloadBytes + 7) & ~7)) | 0;
      return true;
    }
  }

  /** True when there is a record that `next` has not shown. */
  hasNext(): boolean {
    return Atomics.load(this.#i32, this.#headWord) !== this.#position;
  }

  /**
   * Gives the room of all records read so far back. True when the producer had said it waits for
   * room (its mark is cleared): wake it.
   */
  release(): boolean {
    if (this.#position === this.#released) return false;
    this.#released = this.#position;
    Atomics.store(this.#i32, this.#tailWord, this.#position);
    if (Atomics.load(this.#i32, this.#blockedWord) === 0) return false;
    return Atomics.exchange(this.#i32, this.#blockedWord, 0) === 1;
  }

  /** Drops everything that was published until now, unread. */
  skipAll(): void {
    this.#head = Atomics.load(this.#i32, this.#headWord);
    this.#position = this.#head;
    this.release();
  }
}
