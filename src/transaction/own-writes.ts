/**
 * A transaction's own writes as one of the streams that a scan merges. They win over the database's
 * entries of the same keys, and their deletes hide those.
 */

import { copyOf } from '../router/codec.js';
import type { CursorStream } from '../router/scan-cursor.js';
import { allocateStringBuffer, type StringBuffer } from '../router/string-buffer.js';
import type { WriteView } from './write-set.js';

const BATCH_ENTRIES_MAX = 128;
/** Copying ends after so many bytes; a batch has at least one entry. */
const BATCH_BYTES = 64 * 1024;

export class OwnWrites implements CursorStream {
  readonly isOverlay = true;
  readonly loading = undefined;
  bytes: StringBuffer = EMPTY;
  count = 0;
  index = 0;
  done = false;
  readonly #view: WriteView;
  readonly #keyLengths: number[] = [];
  readonly #valueEnds: number[] = [];
  readonly #deletes: boolean[] = [];
  readonly #starts: number[] = [];

  constructor(view: WriteView) {
    this.#view = view;
  }

  /** Copies the next writes together: all of them lie in one buffer then. Always succeeds. */
  fill(): boolean {
    const view = this.#view;
    const { writes } = view;
    const entries: number[] = [];
    let total = 0;
    while (view.left > 0 && entries.length < BATCH_ENTRIES_MAX && total < BATCH_BYTES) {
      const entry = view.next();
      entries.push(entry);
      total += (writes.valueEnds[entry] as number) - (writes.index.keyStarts[entry] as number);
    }
    if (this.bytes.length < total) this.bytes = allocateStringBuffer(total);
    let at = 0;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i] as number;
      const start = writes.index.keyStarts[entry] as number;
      const end = writes.valueEnds[entry] as number;
      this.bytes.set(writes.bytesOf(entry).subarray(start, end), at);
      this.#starts[i] = at;
      this.#keyLengths[i] = writes.index.keyLengths[entry] as number;
      this.#deletes[i] = writes.isDelete(entry);
      at += end - start;
      this.#valueEnds[i] = at;
    }
    this.index = 0;
    this.count = entries.length;
    this.done = view.left === 0;
    return true;
  }

  privateBytes(start: number, end: number): Buffer {
    return copyOf(this.bytes, start, end);
  }

  keyStart(index: number): number {
    return this.#starts[index] as number;
  }

  keyLength(index: number): number {
    return this.#keyLengths[index] as number;
  }

  valueStart(index: number): number {
    return (this.#starts[index] as number) + (this.#keyLengths[index] as number);
  }

  valueLength(index: number): number {
    return (this.#valueEnds[index] as number) - this.valueStart(index);
  }

  isKeyAscii(): boolean {
    return false;
  }

  isValueAscii(): boolean {
    return false;
  }

  isValueElsewhere(): boolean {
    return false;
  }

  /** The key is deleted. */
  isDeleted(index: number): boolean {
    return this.#deletes[index] as boolean;
  }

  close(): void {
    this.done = true;
    this.index = this.count;
  }
}

const EMPTY = allocateStringBuffer(0);
