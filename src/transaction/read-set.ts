/**
 * What a transaction has read and what must still be so when it commits: single keys, by shard, each
 * once, and the ranges that its scans have seen. Encoded as a commit wants them.
 */

import {
  RANGE_END_INCLUSIVE,
  RANGE_HAS_END,
  RANGE_HAS_START,
  RANGE_START_EXCLUSIVE,
} from '../kernel/assembly/layout.js';
import type { KeyList, RangeList } from '../router/commit-request.js';
import type { KeyScratch } from '../router/key-scratch.js';
import type { ScanQuery } from '../router/scan-query.js';
import { KeyIndex, NONE } from './key-index.js';
import { type KeyRange, SeenRange } from './seen-range.js';

const LIST_BYTES_FIRST = 512;
/** A list that has grown larger is not kept for the next transaction. */
const KEPT_LIST_BYTES_MAX = 64 * 1024;
const LENGTH_BYTES = 4;
const RANGE_HEAD_BYTES = 9;

/** Keys of one shard; see `KeyList`. */
class ReadKeys implements KeyList {
  bytes = Buffer.allocUnsafe(LIST_BYTES_FIRST);
  length = 0;
  count = 0;

  /** Returns where the key lies. */
  add(key: KeyScratch): number {
    const keyStart = this.length + LENGTH_BYTES;
    const end = keyStart + key.length;
    if (end > this.bytes.length) {
      const larger = Buffer.allocUnsafe(end * 2);
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    this.bytes.writeUInt32LE(key.length, this.length);
    this.bytes.set(key.bytes.subarray(0, key.length), keyStart);
    this.length = end;
    this.count++;
    return keyStart;
  }

  clear(): void {
    this.length = 0;
    this.count = 0;
  }
}

export class ReadSet {
  readonly #lists: (ReadKeys | undefined)[];
  readonly #index: KeyIndex;
  #scans: SeenRange[] = [];

  constructor(shards: number) {
    this.#lists = new Array<ReadKeys | undefined>(shards).fill(undefined);
    this.#index = new KeyIndex(this.#lists);
  }

  /** Adds the key in the scratch. */
  add(key: KeyScratch, shard: number): void {
    if (this.#index.find(key, shard) !== NONE) return;
    let list = this.#lists[shard];
    if (list === undefined) {
      list = new ReadKeys();
      this.#lists[shard] = list;
    }
    this.#index.add(key, shard, list.add(key), NONE);
  }

  /** A scan begins: what it hands out is what the transaction has seen of the range. */
  scan(query: ScanQuery): SeenRange {
    const seen = new SeenRange(query);
    this.#scans.push(seen);
    return seen;
  }

  /** Empty, to be used again. */
  clear(): void {
    for (let shard = 0; shard < this.#lists.length; shard++) {
      const list = this.#lists[shard];
      if (list === undefined) continue;
      if (list.bytes.length > KEPT_LIST_BYTES_MAX) this.#lists[shard] = undefined;
      else list.clear();
    }
    this.#index.clear();
    if (this.#scans.length > 0) this.#scans = [];
  }

  /** By shard; undefined when there are none. */
  keys(): readonly (KeyList | undefined)[] | undefined {
    return this.#index.count === 0 ? undefined : this.#lists;
  }

  /** The same list for every shard; undefined when nothing was scanned. */
  ranges(): readonly RangeList[] | undefined {
    const seen = this.#scans.flatMap((scan) => scan.range() ?? []);
    if (seen.length === 0) return undefined;
    const list = rangeList(seen);
    return this.#lists.map(() => list);
  }
}

function rangeList(ranges: readonly KeyRange[]): RangeList {
  let total = 0;
  for (const { lower, upper } of ranges) {
    total += RANGE_HEAD_BYTES + (lower?.key.length ?? 0) + (upper?.key.length ?? 0);
  }
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  for (const { lower, upper } of ranges) {
    let flags = 0;
    if (lower !== undefined)
      flags |= RANGE_HAS_START | (lower.inclusive ? 0 : RANGE_START_EXCLUSIVE);
    if (upper !== undefined) flags |= RANGE_HAS_END | (upper.inclusive ? RANGE_END_INCLUSIVE : 0);
    at = bytes.writeUInt8(flags, at);
    for (const bound of [lower, upper]) {
      at = bytes.writeUInt32LE(bound?.key.length ?? 0, at);
      if (bound !== undefined) at += bound.key.copy(bytes, at);
    }
  }
  return { bytes, length: total, count: ranges.length };
}
