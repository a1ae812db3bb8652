/** How much of its range a scan has handed out: what a serializable transaction depends on. */

import type { ScanObserver } from '../router/scan-cursor.js';
import type { Bound, ScanQuery } from '../router/scan-query.js';

/** A range of keys; a bound that is not there is open. */
export interface KeyRange {
  readonly lower: Bound | undefined;
  readonly upper: Bound | undefined;
}

export class SeenRange implements ScanObserver {
  readonly #query: ScanQuery;
  /** Keys of the present batch, back to back, and where each ends. */
  #keys: Buffer = Buffer.alloc(0);
  #ends: number[] = [];
  #handedOut = 0;
  /** The last key that was handed out of the batches before. */
  #last: Buffer | undefined;
  #isWhole = false;

  constructor(query: ScanQuery) {
    this.#query = query;
  }

  batchBegins(): void {
    this.#last = this.#lastKey();
    this.#ends = [];
    this.#handedOut = 0;
  }

  collected(bytes: Uint8Array, start: number, end: number): void {
    const at = this.#ends.at(-1) ?? 0;
    const needed = at + end - start;
    if (needed > this.#keys.length) {
      const larger = Buffer.allocUnsafe(needed * 2);
      larger.set(this.#keys.subarray(0, at));
      this.#keys = larger;
    }
    this.#keys.set(bytes.subarray(start, end), at);
    this.#ends.push(needed);
  }

  handedOut(count: number): void {
    this.#handedOut = count;
  }

  ended(): void {
    this.#isWhole = true;
    this.#keys = Buffer.alloc(0);
  }

  /** What was seen so far; undefined when it is nothing. */
  range(): KeyRange | undefined {
    const { lower, upper, reverse } = this.#query;
    if (this.#isWhole) return { lower, upper };
    const key = this.#lastKey();
    if (key === undefined) return undefined;
    const bound = { key, inclusive: true };
    return reverse ? { lower: bound, upper } : { lower, upper: bound };
  }

  #lastKey(): Buffer | undefined {
    if (this.#handedOut === 0) return this.#last;
    const start = this.#ends[this.#handedOut - 2] ?? 0;
    return Buffer.from(this.#keys.subarray(start, this.#ends[this.#handedOut - 1]));
  }
}
