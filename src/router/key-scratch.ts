/**
 * The key of the call that is being made, encoded and hashed: private memory of one thread. Every
 * operation puts its key here first, learns the shard from the hash, and copies it from here.
 *
 * Whoever calls user code (an encoding's `encode`) does so before it fills the scratch: that code
 * may use the database itself.
 */

import { InvalidArgumentError } from '../errors.js';
import { KEY_BYTES_MAX } from '../limits.js';
import { describe } from '../options.js';
import { murmur3 } from './murmur3.js';
import { allocateStringBuffer, type StringBuffer } from './string-buffer.js';

const ROOM_BYTES = KEY_BYTES_MAX + 8;
/** Below this, a loop over words is faster than making a view. */
const LOOP_BYTES_MAX = 256;

const encoder = new TextEncoder();

export class KeyScratch {
  readonly bytes: StringBuffer = allocateStringBuffer(ROOM_BYTES);
  /** The same memory. Bytes past `length` in the last word are leftovers. */
  readonly words = new Int32Array(this.bytes.buffer);
  length = 0;
  hash = 0;
  /** For `encodeInto`, which is slower on a Buffer. */
  readonly #target = new Uint8Array(this.bytes.buffer);

  setText(key: string): void {
    const { read, written } = encoder.encodeInto(key, this.#target);
    if (written > KEY_BYTES_MAX || read < key.length) throw tooLong(Buffer.byteLength(key));
    this.length = written;
    this.hash = murmur3(this.words, this.#target, written);
  }

  setBytes(key: Uint8Array): void {
    if (key.length > KEY_BYTES_MAX) throw tooLong(key.length);
    this.#target.set(key);
    this.length = key.length;
    this.hash = murmur3(this.words, this.#target, key.length);
  }

  /** Takes back a key that `copyToWords` copied, behind a word each of its length and hash. */
  takeFromWords(from: Int32Array, word: number): void {
    const length = from[word - 2] as number;
    const count = (length + 3) >>> 2;
    const words = this.words;
    if (count <= LOOP_BYTES_MAX) {
      for (let i = 0; i < count; i++) words[i] = from[word + i] as number;
    } else {
      words.set(from.subarray(word, word + count));
    }
    this.length = length;
    this.hash = (from[word - 1] as number) >>> 0;
  }

  /** A copy of the key. */
  toBuffer(): Buffer {
    return Buffer.from(this.bytes.subarray(0, this.length));
  }

  /** Copies the key to a word of shared memory; up to 3 bytes after it may change. */
  copyToWords(target: Int32Array, word: number): void {
    const count = (this.length + 3) >>> 2;
    if (count <= LOOP_BYTES_MAX) {
      const words = this.words;
      for (let i = 0; i < count; i++) target[word + i] = words[i] as number;
    } else {
      target.set(this.words.subarray(0, count), word);
    }
  }

  /** Copies the key to any address. `view` is over the same memory as `target`, from its start. */
  copyTo(target: Uint8Array, view: DataView, at: number): void {
    const length = this.length;
    if (length > LOOP_BYTES_MAX) {
      target.set(this.bytes.subarray(0, length), at);
      return;
    }
    const words = this.words;
    const blocks = length >>> 2;
    for (let i = 0; i < blocks; i++) view.setInt32(at + (i << 2), words[i] as number, true);
    for (let i = blocks << 2; i < length; i++) target[at + i] = this.bytes[i] as number;
  }
}

function tooLong(bytes: number): InvalidArgumentError {
  return new InvalidArgumentError(
    `Parameter "key" must be at most ${KEY_BYTES_MAX} bytes long when encoded, but it has ${bytes}`,
    { details: { parameter: 'key', bytes } },
  );
}

/** The error for an argument of the wrong type. */
export function wrongType(
  parameter: string,
  expected: string,
  given: unknown,
): InvalidArgumentError {
  return new InvalidArgumentError(
    `Parameter "${parameter}" must be ${expected}, but it is ${describe(given)}`,
    { details: { parameter } },
  );
}
