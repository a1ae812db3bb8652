/**
 * What a transaction has written: operations in one `BatchPart` per shard, encoded as they will
 * travel, and an index over them. An operation is appended and never changed; a later one of the
 * same key counts. Rolling back to a savepoint cuts the end off.
 *
 * The keys in order of their bytes are put together when a scan asks for them, and brought up to
 * date when the next one does: a few new keys are inserted, many are sorted and merged in.
 *
 * A scan keeps the write set it began with and the number of entries of that moment (`WriteView`).
 * What it refers to stays as it is: before a shared write set would be cut, the transaction goes on
 * with a copy (`truncated`).
 */

import { BatchPart } from '../router/batch-part.js';
import type { KeyScratch } from '../router/key-scratch.js';
import type { Bound } from '../router/scan-query.js';
import type { StringBuffer } from '../router/string-buffer.js';
import { type HashedKey, KeyIndex, NONE } from './key-index.js';

/** New keys up to this many are inserted one by one. */
const INSERTS_MAX = 16;
/** A part that has grown larger is not kept for the next transaction. */
const KEPT_PART_BYTES_MAX = 64 * 1024;
/** Bytes of replaced operations below which nobody minds them. */
const DEAD_BYTES_MIN = 64 * 1024;
const PART_BYTES_FIRST = 2048;

export class WriteSet {
  /** By shard. */
  readonly parts: (BatchPart | undefined)[];
  readonly index: KeyIndex;
  /** Of each entry: where its operation starts. It ends where the value ends. */
  starts = new Int32Array(16);
  /** Of each entry: where the value starts and ends; the start of a delete is NONE. */
  valueStarts = new Int32Array(16);
  valueEnds = new Int32Array(16);
  /** Some scan refers to this write set. */
  shared = false;
  #deadBytes = 0;
  #totalBytes = 0;
  /** First entries in the order of their keys, of the first `#ordered` entries. */
  #order = new Int32Array(0);
  #ordered = 0;

  constructor(shards: number) {
    this.parts = [];
    for (let shard = 0; shard < shards; shard++) this.parts.push(undefined);
    this.index = new KeyIndex(this.parts);
  }

  /** Operations, replaced ones included. */
  get count(): number {
    return this.index.count;
  }

  /** Bytes of all operations. */
  get bytes(): number {
    return this.#totalBytes;
  }

  /** True when more bytes belong to replaced operations than to those that count. */
  get isWasteful(): boolean {
    return this.#deadBytes > DEAD_BYTES_MIN && this.#deadBytes * 2 > this.#totalBytes;
  }

  put(key: KeyScratch, shard: number, value: string | Uint8Array): void {
    const part = this.#part(shard);
    const start = part.length;
    part.put(key, value);
    this.#add(part, key, shard, start, false);
  }

  delete(key: KeyScratch, shard: number): void {
    const part = this.#part(shard);
    const start = part.length;
    part.delete(key);
    this.#add(part, key, shard, start, true);
  }

  /** The newest entry of the key in the scratch, or NONE. */
  find(key: KeyScratch, shard: number): number {
    return this.index.count === 0 ? NONE : this.index.find(key, shard);
  }

  isDelete(entry: number): boolean {
    return this.valueStarts[entry] === NONE;
  }

  bytesOf(entry: number): StringBuffer {
    return (this.parts[this.index.shards[entry] as number] as BatchPart).bytes;
  }

  /** The write set without the entries from `count` on: this one, or a copy when it is shared. */
  truncated(count: number): WriteSet {
    if (this.shared) return this.#copy((entry) => entry < count);
    this.#truncate(count);
    return this;
  }

  /** A copy that holds the newest operation of each key only. Entries have other numbers in it. */
  compacted(): WriteSet {
    const { newest, first } = this.index;
    return this.#copy((entry) => newest[first[entry] as number] === entry);
  }

  /** Empty, to be used again. */
  clear(): void {
    for (let shard = 0; shard < this.parts.length; shard++) {
      const part = this.parts[shard];
      if (part === undefined) continue;
      if (part.bytes.length > KEPT_PART_BYTES_MAX) this.parts[shard] = undefined;
      else part.clear();
    }
    this.index.clear();
    this.#deadBytes = 0;
    this.#totalBytes = 0;
    this.#ordered = 0;
    this.#order = EMPTY;
    if (this.starts.length > 1024) {
      this.starts = new Int32Array(16);
      this.valueStarts = new Int32Array(16);
      this.valueEnds = new Int32Array(16);
    }
  }

  /** All keys within the bounds as they are now, for a scan; undefined when there are none. */
  view(
    lower: Bound | undefined,
    upper: Bound | undefined,
    reverse: boolean,
  ): WriteView | undefined {
    if (this.index.count === 0) return undefined;
    this.#bringOrderUpToDate();
    const from = lower === undefined ? 0 : this.#seek(lower.key, !lower.inclusive);
    const to = upper === undefined ? this.#order.length : this.#seek(upper.key, upper.inclusive);
    if (from >= to) return undefined;
    this.shared = true;
    return new WriteView(this, this.#order, from, to, reverse);
  }

  // ---- the operations -----------------------------------------------------------------

  #part(shard: number): BatchPart {
    let part = this.parts[shard];
    if (part === undefined) {
      part = new BatchPart(PART_BYTES_FIRST);
      this.parts[shard] = part;
    }
    return part;
  }

  #add(part: BatchPart, key: HashedKey, shard: number, start: number, isDelete: boolean): void {
    const { bytes, length } = part;
    let at = start + 1;
    while ((bytes[at++] as number) >= 0x80);
    let valueBytes = 0;
    if (!isDelete) {
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++] as number;
        valueBytes |= (byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
    }
    const found = this.index.find(key, shard);
    const entry = this.index.add(key, shard, at, found);
    if (entry === this.starts.length) this.#grow();
    this.starts[entry] = start;
    this.valueStarts[entry] = isDelete ? NONE : length - valueBytes;
    this.valueEnds[entry] = length;
    this.#totalBytes += length - start;
    if (found !== NONE) this.#deadBytes += this.#operationBytes(found);
  }

  #operationBytes(entry: number): number {
    return (this.valueEnds[entry] as number) - (this.starts[entry] as number);
  }

  #grow(): void {
    this.starts = doubled(this.starts);
    this.valueStarts = doubled(this.valueStarts);
    this.valueEnds = doubled(this.valueEnds);
  }

  #truncate(count: number): void {
    const { index } = this;
    for (let entry = index.count - 1; entry >= count; entry--) {
      const part = this.parts[index.shards[entry] as number] as BatchPart;
      const replaced = index.previous[entry] as number;
      this.#totalBytes -= this.#operationBytes(entry);
      if (replaced !== NONE) this.#deadBytes -= this.#operationBytes(replaced);
      part.truncate(this.starts[entry] as number, part.count - 1);
    }
    index.truncate(count);
    if (count < this.#ordered) {
      this.#order = this.#order.filter((entry) => entry < count);
      this.#ordered = count;
    }
  }

  #copy(isKept: (entry: number) => boolean): WriteSet {
    const copy = new WriteSet(this.parts.length);
    const { index } = this;
    for (let entry = 0; entry < index.count; entry++) {
      if (!isKept(entry)) continue;
      const shard = index.shards[entry] as number;
      const part = copy.#part(shard);
      const start = part.length;
      part.append(
        this.bytesOf(entry),
        this.starts[entry] as number,
        this.valueEnds[entry] as number,
      );
      const keyStart = index.keyStarts[entry] as number;
      const key: HashedKey = {
        bytes: this.bytesOf(entry).subarray(keyStart),
        length: index.keyLengths[entry] as number,
        hash: index.hashes[entry] as number,
      };
      copy.#add(part, key, shard, start, this.isDelete(entry));
    }
    return copy;
  }

  // ---- the order ----------------------------------------------------------------------

  #bringOrderUpToDate(): void {
    const { index } = this;
    if (this.#ordered === index.count) return;
    const added: number[] = [];
    for (let entry = this.#ordered; entry < index.count; entry++) {
      if (index.previous[entry] === NONE) added.push(entry);
    }
    this.#ordered = index.count;
    if (added.length === 0) return;
    const old = this.#order;
    const order = new Int32Array(old.length + added.length);
    if (added.length <= INSERTS_MAX && old.length > 0) {
      order.set(old);
      let length = old.length;
      for (const entry of added) {
        const place = this.#placeOf(order, length, entry);
        order.copyWithin(place + 1, place, length);
        order[place] = entry;
        length++;
      }
    } else {
      added.sort((a, b) => this.#compare(a, b));
      let next = 0;
      let at = 0;
      for (const entry of added) {
        while (next < old.length && this.#compare(old[next] as number, entry) < 0) {
          order[at++] = old[next++] as number;
        }
        order[at++] = entry;
      }
      order.set(old.subarray(next), at);
    }
    this.#order = order;
  }

  #placeOf(order: Int32Array, length: number, entry: number): number {
    let low = 0;
    let high = length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(order[middle] as number, entry) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Place of the first key that is not below `key`; with `past`, of the first that is above. */
  #seek(key: Buffer, past: boolean): number {
    const { index } = this;
    let low = 0;
    let high = this.#order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#order[middle] as number;
      const start = index.keyStarts[entry] as number;
      const end = start + (index.keyLengths[entry] as number);
      const order = this.bytesOf(entry).compare(key, 0, key.length, start, end);
      if (order < 0 || (past && order === 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compare(a: number, b: number): number {
    const { keyStarts, keyLengths } = this.index;
    const startA = keyStarts[a] as number;
    const startB = keyStarts[b] as number;
    return this.bytesOf(a).compare(
      this.bytesOf(b),
      startB,
      startB + (keyLengths[b] as number),
      startA,
      startA + (keyLengths[a] as number),
    );
  }
}

/** The keys of a write set within bounds, as they were when a scan began, in the scan's direction. */
export class WriteView {
  readonly writes: WriteSet;
  readonly #order: Int32Array;
  readonly #count: number;
  readonly #step: 1 | -1;
  #next: number;
  #left: number;

  constructor(writes: WriteSet, order: Int32Array, from: number, to: number, reverse: boolean) {
    this.writes = writes;
    this.#order = order;
    this.#count = writes.count;
    this.#step = reverse ? -1 : 1;
    this.#next = reverse ? to - 1 : from;
    this.#left = to - from;
  }

  /** Keys that are left. */
  get left(): number {
    return this.#left;
  }

  /** The entry that counts of the next key. */
  next(): number {
    const { newest, previous } = this.writes.index;
    let entry = newest[this.#order[this.#next] as number] as number;
    while (entry >= this.#count) entry = previous[entry] as number;
    this.#next += this.#step;
    this.#left--;
    return entry;
  }
}

const EMPTY = new Int32Array(0);

function doubled(old: Int32Array): Int32Array<ArrayBuffer> {
  const words = new Int32Array(old.length * 2);
  words.set(old);
  return words;
}
