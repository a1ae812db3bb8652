/** What `scan` and `scanSync` return: iteration over a `ScanCursor`. */

import type { ScanCursor } from './scan-cursor.js';

/**
 * The entries of a range, in order, as of one moment: the beginning of the iteration, or the moment
 * of the snapshot. Each iteration starts anew.
 */
export class Scan<T> implements AsyncIterable<T> {
  readonly #open: () => ScanCursor;

  /** @internal */
  constructor(open: () => ScanCursor) {
    this.#open = open;
  }

  /** One entry at a time. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return new EntryIterator<T>(this.#open());
  }

  /** Many entries at a time, in arrays that are never empty: the fast way through large ranges. */
  async *batches(): AsyncGenerator<T[], void, void> {
    const cursor = this.#open();
    try {
      for (;;) {
        const entries = await cursor.next();
        if (entries === undefined) return;
        cursor.handedOut(entries.length);
        yield entries as T[];
      }
    } finally {
      cursor.close();
    }
  }

  /** All of it in one array. */
  async toArray(): Promise<T[]> {
    const all: T[] = [];
    for await (const entries of this.batches()) for (const entry of entries) all.push(entry);
    return all;
  }
}

/** Entries out of the batch in hand; the next batch when it is used up. */
class EntryIterator<T> implements AsyncIterableIterator<T> {
  readonly #cursor: ScanCursor;
  #batch: readonly T[] = [];
  #next = 0;
  /** The fetch of the next batch, while it is under way. Calls meanwhile line up behind it. */
  #fetching: Promise<unknown> | undefined;

  constructor(cursor: ScanCursor) {
    this.#cursor = cursor;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#fetching === undefined && this.#next < this.#batch.length) {
      return Promise.resolve({ done: false, value: this.#take() });
    }
    const before = this.#fetching ?? Promise.resolve();
    const result = before.then(() => this.#fetch());
    const settled = result.then(ignore, ignore);
    this.#fetching = settled;
    void settled.then(() => {
      if (this.#fetching === settled) this.#fetching = undefined;
    });
    return result;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#batch = [];
    this.#next = 0;
    this.#cursor.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #fetch(): Promise<IteratorResult<T, undefined>> {
    if (this.#next >= this.#batch.length) {
      const batch = await this.#cursor.next();
      if (batch === undefined) return { done: true, value: undefined };
      this.#batch = batch as T[];
      this.#next = 0;
    }
    return { done: false, value: this.#take() };
  }

  #take(): T {
    const entry = this.#batch[this.#next++] as T;
    this.#cursor.handedOut(this.#next);
    return entry;
  }
}

/** The entries of a range, one at a time, on the calling thread. Iterates once. */
export class SyncScan<T> implements IterableIterator<T> {
  readonly #cursor: ScanCursor;
  #batch: readonly T[] = [];
  #next = 0;

  /** @internal */
  constructor(cursor: ScanCursor) {
    this.#cursor = cursor;
  }

  next(): IteratorResult<T, undefined> {
    if (this.#next === this.#batch.length) {
      const batch = this.#cursor.nextSync();
      if (batch === undefined) {
        this.#batch = [];
        this.#next = 0;
        return { done: true, value: undefined };
      }
      this.#batch = batch as T[];
      this.#next = 0;
    }
    const value = this.#batch[this.#next++] as T;
    this.#cursor.handedOut(this.#next);
    return { done: false, value };
  }

  return(): IteratorResult<T, undefined> {
    this.#batch = [];
    this.#next = 0;
    this.#cursor.close();
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }
}

function ignore(): void {}
