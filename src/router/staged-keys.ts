/**
 * Keys of one shard that are looked up together: each is put into the scratch, then the kernel finds all
 * of them in one call, whose memory accesses overlap, and leaves the values one after the other, so that
 * one copy makes them private.
 *
 * Until then the keys are in private memory: the scratch has other users.
 */

import {
  GET_MANY_KEY_BYTES,
  GET_MANY_KEYS_MAX,
  MANY_RESULT_BYTES,
  SCRATCH_KEY2,
  SCRATCH_OUT,
} from '../kernel/assembly/layout.js';
import { type Codec, decode } from './codec.js';
import type { KeyScratch } from './key-scratch.js';
import { PrivateSequence } from './private-bytes.js';
import type { ShardClient } from './shard-client.js';

/** The longest key that is staged, and the words that it takes. */
export const STAGED_BYTES_MAX = 512;
const STAGED_WORDS_MAX = 2 + STAGED_BYTES_MAX / 4;
const ROOM_WORDS = GET_MANY_KEY_BYTES / 4;

/** Answers of the kernel. */
const GET_ABSENT = 0;
const GET_FOUND = 1;
/** Words of a result. */
const RESULT_WORDS = MANY_RESULT_BYTES >>> 2;

export class StagedKeys {
  readonly #shard: ShardClient;
  #count = 0;
  /** Words in use. */
  #words = 0;
  /** Of each key: its place in the answer, and the word at which its bytes stand. */
  readonly #positions = new Int32Array(GET_MANY_KEYS_MAX);
  readonly #keyWords = new Int32Array(GET_MANY_KEYS_MAX);
  readonly #keys = new Int32Array(ROOM_WORDS);
  readonly #parts = new PrivateSequence();

  constructor(shard: ShardClient) {
    this.#shard = shard;
  }

  get isFull(): boolean {
    return this.#count === GET_MANY_KEYS_MAX || this.#words > ROOM_WORDS - STAGED_WORDS_MAX;
  }

  /** Adds a key of at most STAGED_BYTES_MAX bytes; not when it is full. */
  add(key: KeyScratch, position: number): void {
    const words = this.#keys;
    const at = this.#words;
    words[at] = key.length;
    words[at + 1] = key.hash;
    key.copyToWords(words, at + 2);
    this.#words += 2 + ((key.length + 3) >>> 2);
    this.#positions[this.#count] = position;
    this.#keyWords[this.#count++] = at + 2;
  }

  /** Keys that were added are not looked up after all. */
  forget(): void {
    this.#count = 0;
    this.#words = 0;
  }

  /**
   * Looks all of them up and puts what they have into `values`. Returns how many are left, which have to
   * be looked up one by one: `leftPosition` and `takeLeft` tell of them until the next key is added.
   */
  read(codec: Codec, snapshot: number, values: unknown[]): number {
    const shard = this.#shard;
    const count = this.#count;
    const keyWords = this.#words;
    this.forget();
    if (count === 0) return 0;
    shard.checkReadable();
    const { kernel, bytes } = shard;
    kernel.i32.set(this.#keys.subarray(0, keyWords), (shard.scratch + SCRATCH_KEY2) >>> 2);
    const used = kernel.exports.getMany(count, snapshot);
    const words = kernel.i32;
    const out = shard.scratch + SCRATCH_OUT;
    const isCopied = codec.kind === 'buffer';
    const parts = this.#parts;
    if (isCopied) parts.of(bytes, out, used);
    const positions = this.#positions;
    let left = 0;
    let at = shard.descriptorWord;
    for (let i = 0; i < count; i++, at += RESULT_WORDS) {
      const status = words[at] as number;
      const position = positions[i] as number;
      if (status === GET_FOUND) {
        const start = words[at + 1] as number;
        const length = words[at + 2] as number;
        values[position] = isCopied
          ? parts.take(start, length)
          : decode(codec, bytes, out + start, out + start + length, words[at + 3] !== 0);
      } else if (status === GET_ABSENT) {
        values[position] = undefined;
      } else {
        positions[left] = position;
        this.#keyWords[left++] = this.#keyWords[i] as number;
      }
    }
    return left;
  }

  /** Place in the answer of one that is left. */
  leftPosition(index: number): number {
    return this.#positions[index] as number;
  }

  /** Puts the key of one that is left into `key`. */
  takeLeft(index: number, key: KeyScratch): void {
    key.takeFromWords(this.#keys, this.#keyWords[index] as number);
  }
}
