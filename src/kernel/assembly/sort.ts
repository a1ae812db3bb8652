/**
 * Chunks of a bulk load: entries as they come from the source, sorted in place by shard and key.
 *
 * A chunk is one slot of the load's memory:
 *
 *   head | payload: key, value, key, value … →      items →  …  ← descriptors
 *
 * Descriptor i sits at end − 8 (i + 1): key length | CHUNK_BLOB, value length. They grow downwards
 * while payload grows upwards, so that a host can append both without knowing how many will come.
 * `chunkSort` puts items behind the payload (the writer left room for them) and turns them into
 * runs: per shard an array of run records (RUN_*), ordered by key, one per key (the last of the
 * source wins). `runPack` moves a run to where it waits for its merge.
 *
 * A chunk has one owner at a time: whoever fills it, then the job that sorts it, then the one that
 * packs its runs. Packed runs are read-only.
 */

import { compareBytes, copyBytes, headOf } from './bytes';
import { murmur32 } from './hash';
import {
  CHUNK_BLOB,
  CHUNK_COUNT,
  CHUNK_END,
  CHUNK_ENTRY_OVERHEAD_BYTES,
  CHUNK_HEAD_BYTES,
  CHUNK_TOP,
  RUN_KEY,
  RUN_KEY_LENGTH,
  RUN_RECORD_BYTES,
  RUN_VALUE_LENGTH,
} from './load-layout';

/** Item being sorted: head u64, key address u32, entry number u32. */
const ITEM_HEAD: u32 = 0;
const ITEM_KEY: u32 = 8;
const ITEM_ENTRY: u32 = 12;
const ITEM_BYTES: u32 = 16;

/** Ranges this short are sorted by insertion. */
const INSERTION_ITEMS: u32 = 12;

/** Ranges at least this long are sorted by the digits of their heads: 6 digits of 11 bits. */
const RADIX_ITEMS_MIN: u32 = 1024;
const DIGIT_BITS: u32 = 11;
const DIGITS: u32 = 6;
const DIGIT_VALUES: u32 = 1 << DIGIT_BITS;
const HISTOGRAM_BYTES: u32 = DIGITS * DIGIT_VALUES * 4;

/** Of the chunk being sorted: bytes that all its keys share, where its descriptors end, room to count. */
let prefixBytes: u32 = 0;
let descriptorsEnd: u32 = 0;
let histogram: u32 = 0;
/** Bytes of keys and values in the runs. */
let keptBytes: u32 = 0;

/** Makes a slot an empty chunk. */
export function chunkInit(chunk: u32, bytes: u32): void {
  store<u32>(chunk + CHUNK_COUNT, 0);
  store<u32>(chunk + CHUNK_TOP, chunk + CHUNK_HEAD_BYTES);
  store<u32>(chunk + CHUNK_END, (chunk + bytes) & ~15);
}

/** Payload bytes that one more entry may have; 0 when the chunk is full. */
export function chunkRoom(chunk: u32): u32 {
  const count = load<u32>(chunk + CHUNK_COUNT);
  const used = load<u32>(chunk + CHUNK_TOP) + (count + 1) * CHUNK_ENTRY_OVERHEAD_BYTES + 16;
  const end = load<u32>(chunk + CHUNK_END);
  return used < end ? end - used : 0;
}

/** Records an entry whose key and value already stand at the top of the payload. */
export function chunkCommit(chunk: u32, keyLength: u32, valueLength: u32): void {
  const count = load<u32>(chunk + CHUNK_COUNT);
  const descriptor = load<u32>(chunk + CHUNK_END) - ((count + 1) << 3);
  store<u32>(descriptor, keyLength);
  store<u32>(descriptor + 4, valueLength);
  store<u32>(chunk + CHUNK_COUNT, count + 1);
  const top = load<u32>(chunk + CHUNK_TOP);
  store<u32>(chunk + CHUNK_TOP, top + (keyLength & ~CHUNK_BLOB) + valueLength);
}

/** Appends an entry: 0 done, 1 no room. `keyLength` may carry CHUNK_BLOB. */
export function chunkAdd(
  chunk: u32,
  key: u32,
  keyLength: u32,
  value: u32,
  valueLength: u32,
): i32 {
  const keyBytes = keyLength & ~CHUNK_BLOB;
  if (chunkRoom(chunk) < keyBytes + valueLength) return 1;
  const top = load<u32>(chunk + CHUNK_TOP);
  copyBytes(top, key, keyBytes);
  copyBytes(top + keyBytes, value, valueLength);
  chunkCommit(chunk, keyLength, valueLength);
  return 0;
}

/** Bytes of temporary room that `chunkSort` needs. */
export function chunkSortRoom(chunk: u32): u32 {
  return load<u32>(chunk + CHUNK_COUNT) * (ITEM_BYTES + 1) + HISTOGRAM_BYTES + 64;
}

/**
 * Sorts a chunk. `out` receives per shard the address of its run and its number of records; the
 * result is how many entries were dropped because a later one has the same key.
 */
export function chunkSort(chunk: u32, shards: u32, temporary: u32, out: u32): u32 {
  const count = load<u32>(chunk + CHUNK_COUNT);
  const items = (load<u32>(chunk + CHUNK_TOP) + 15) & ~15;
  descriptorsEnd = load<u32>(chunk + CHUNK_END);
  histogram = (temporary + 15) & ~15;
  const unordered = histogram + HISTOGRAM_BYTES;
  const shardOf = unordered + count * ITEM_BYTES;

  for (let s: u32 = 0; s < shards; s++) store<u64>(out + (s << 3), 0);
  makeItems(chunk + CHUNK_HEAD_BYTES, count, unordered, shards, shardOf, out);

  // The first word of each pair is the address where the shard's next item goes.
  let base = items;
  for (let s: u32 = 0; s < shards; s++) {
    store<u32>(out + (s << 3), base);
    base += load<u32>(out + (s << 3) + 4) * ITEM_BYTES;
  }
  for (let i: u32 = 0; i < count; i++) {
    const cursor = out + (<u32>load<u8>(shardOf + i) << 3);
    const to = load<u32>(cursor);
    store<u32>(cursor, to + ITEM_BYTES);
    v128.store(to, v128.load(unordered + i * ITEM_BYTES));
  }

  let dropped: u32 = 0;
  keptBytes = 0;
  base = items;
  for (let s: u32 = 0; s < shards; s++) {
    const length = load<u32>(out + (s << 3) + 4);
    sortRun(base, length, unordered);
    const kept = makeRun(base, length);
    dropped += length - kept;
    store<u32>(out + (s << 3), base);
    store<u32>(out + (s << 3) + 4, kept);
    base += length * ITEM_BYTES;
  }
  return dropped;
}

/** Bytes of keys and values in the runs of the chunk sorted last by this instance. */
export function chunkKeptBytes(): u32 {
  return keptBytes;
}

/**
 * Copies a run to `to`, 16-byte aligned: its records, then its keys and values in their order, so that
 * a merge reads memory from front to back. Returns the address behind them, 16-byte aligned.
 */
export function runPack(run: u32, records: u32, to: u32): u32 {
  let payload = to + records * RUN_RECORD_BYTES;
  const end = run + records * RUN_RECORD_BYTES;
  for (let record = run; record < end; record += RUN_RECORD_BYTES) {
    const keyLength = load<u32>(record + RUN_KEY_LENGTH);
    const valueLength = load<u32>(record + RUN_VALUE_LENGTH);
    const length = (keyLength & ~CHUNK_BLOB) + valueLength;
    store<u32>(to + RUN_KEY, payload);
    store<u32>(to + RUN_KEY_LENGTH, keyLength);
    store<u32>(to + RUN_VALUE_LENGTH, valueLength);
    copyBytes(payload, load<u32>(record + RUN_KEY), length);
    payload += length;
    to += RUN_RECORD_BYTES;
  }
  return (payload + 15) & ~15;
}

/**
 * Writes an item per entry and sets `prefixBytes`; says in `shardOf` which shard each entry belongs to, and
 * counts them in the second words of `out`. One pass as a rule, since all of a chunk's keys are a cache miss
 * each: the prefix of some keys is tried, and only a key that does not have it makes the pass start again
 * with less.
 */
function makeItems(
  firstKey: u32,
  count: u32,
  items: u32,
  shards: u32,
  shardOf: u32,
  out: u32,
): void {
  let prefix: u32 = 0;
  if (count) {
    prefix = keyLengthOf(0);
    let key = firstKey;
    const stride = max<u32>(count >> 6, 1);
    let next = stride;
    for (let i: u32 = 0; i < count; i++) {
      if (i == next || i == count - 1) {
        prefix = commonPrefix(firstKey, key, min(prefix, keyLengthOf(i)));
        next += stride;
      }
      key += keyLengthOf(i) + valueLengthOf(i);
    }
  }
  let done = false;
  for (let attempt = 0; !done; attempt++) {
    if (attempt == 4) prefix = 0;
    done = true;
    let key = firstKey;
    for (let i: u32 = 0; i < count; i++) {
      const keyLength = keyLengthOf(i);
      if (prefix) {
        const common = commonPrefix(firstKey, key, min(prefix, keyLength));
        if (common < prefix) {
          prefix = common;
          done = false;
        }
      }
      const item = items + i * ITEM_BYTES;
      store<u64>(item + ITEM_HEAD, headOf(key + prefix, keyLength - prefix));
      store<u32>(item + ITEM_KEY, key);
      store<u32>(item + ITEM_ENTRY, i);
      if (attempt == 0) {
        const shard = <u32>((<u64>murmur32(key, keyLength) * <u64>shards) >> 32);
        store<u8>(shardOf + i, <u8>shard);
        const counter = out + (shard << 3) + 4;
        store<u32>(counter, load<u32>(counter) + 1);
      }
      key += keyLength + valueLengthOf(i);
    }
  }
  prefixBytes = prefix;
}

// @ts-ignore: decorator
@inline
function keyLengthOf(entry: u32): u32 {
  return load<u32>(descriptorsEnd - ((entry + 1) << 3)) & ~CHUNK_BLOB;
}

// @ts-ignore: decorator
@inline
function valueLengthOf(entry: u32): u32 {
  return load<u32>(descriptorsEnd - ((entry + 1) << 3) + 4);
}

/** Bytes in which two ranges of `length` bytes agree, counted from their start. */
function commonPrefix(a: u32, b: u32, length: u32): u32 {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const difference = load<u64>(a + i) ^ load<u64>(b + i);
    if (difference) return i + <u32>(ctz<u64>(difference) >> 3);
  }
  for (; i < length; i++) if (load<u8>(a + i) != load<u8>(b + i)) return i;
  return length;
}

/** Order of two items whose heads are equal. */
function compareTails(a: u32, b: u32): i32 {
  return compareBytes(
    load<u32>(a + ITEM_KEY) + prefixBytes,
    keyLengthOf(load<u32>(a + ITEM_ENTRY)) - prefixBytes,
    load<u32>(b + ITEM_KEY) + prefixBytes,
    keyLengthOf(load<u32>(b + ITEM_ENTRY)) - prefixBytes,
  );
}

// @ts-ignore: decorator
@inline
function less(a: u32, b: u32): bool {
  const headA = load<u64>(a + ITEM_HEAD);
  const headB = load<u64>(b + ITEM_HEAD);
  return headA == headB ? compareTails(a, b) < 0 : headA < headB;
}

/** Sorts by head and key, equal keys in the order of the source. Sorted input costs a comparison an item. */
function sortRun(items: u32, count: u32, temporary: u32): void {
  if (isSorted(items, count)) return;
  if (count < RADIX_ITEMS_MIN) {
    mergeSort(items, count, temporary);
    return;
  }
  radixSort(items, count, temporary);
  // What has the same head is in the order of the source still.
  const end = items + count * ITEM_BYTES;
  let low = items;
  while (low < end) {
    const head = load<u64>(low + ITEM_HEAD);
    let high = low + ITEM_BYTES;
    while (high < end && load<u64>(high + ITEM_HEAD) == head) high += ITEM_BYTES;
    const equal = (high - low) / ITEM_BYTES;
    if (equal > 1 && !isSorted(low, equal)) mergeSort(low, equal, temporary);
    low = high;
  }
}

/** Sorts by head alone, from the lowest digit to the highest; digits that are the same everywhere are skipped. */
function radixSort(items: u32, count: u32, temporary: u32): void {
  const bytes = count * ITEM_BYTES;
  memory.fill(histogram, 0, HISTOGRAM_BYTES);
  for (let item = items; item < items + bytes; item += ITEM_BYTES) {
    let head = load<u64>(item + ITEM_HEAD);
    for (let d: u32 = 0; d < DIGITS; d++) {
      const counter = histogram + (((d << DIGIT_BITS) + (<u32>head & (DIGIT_VALUES - 1))) << 2);
      store<u32>(counter, load<u32>(counter) + 1);
      head >>= DIGIT_BITS;
    }
  }
  let from = items;
  let to = temporary;
  for (let d: u32 = 0; d < DIGITS; d++) {
    const counters = histogram + ((d << DIGIT_BITS) << 2);
    const shift = <u64>(d * DIGIT_BITS);
    const first = <u32>(load<u64>(from + ITEM_HEAD) >> shift) & (DIGIT_VALUES - 1);
    if (load<u32>(counters + (first << 2)) == count) continue;
    let place = to;
    for (let c = counters; c < counters + DIGIT_VALUES * 4; c += 4) {
      const length = load<u32>(c);
      store<u32>(c, place);
      place += length * ITEM_BYTES;
    }
    for (let item = from; item < from + bytes; item += ITEM_BYTES) {
      const digit = <u32>(load<u64>(item + ITEM_HEAD) >> shift) & (DIGIT_VALUES - 1);
      const counter = counters + (digit << 2);
      const target = load<u32>(counter);
      store<u32>(counter, target + ITEM_BYTES);
      v128.store(target, v128.load(item));
    }
    const swap = from;
    from = to;
    to = swap;
  }
  if (from != items) memory.copy(items, from, bytes);
}

/**
 * Stable merge sort from the bottom up: insertion sort of short stretches, then merges between the
 * items and `temporary`, each a plain copy when its two halves are in order already.
 */
function mergeSort(items: u32, count: u32, temporary: u32): void {
  const bytes = count * ITEM_BYTES;
  const end = items + bytes;
  let width = INSERTION_ITEMS * ITEM_BYTES;
  // An odd number of passes would end in the temporary room: longer stretches make it even.
  let passes = 0;
  for (let w = width; w < bytes; w <<= 1) passes++;
  if (passes & 1) width <<= 1;
  for (let low = items; low < end; low += width) insertionSort(low, min(low + width, end));
  let from = items;
  let to = temporary;
  while (width < bytes) {
    for (let offset: u32 = 0; offset < bytes; offset += width << 1) {
      const middle = min(offset + width, bytes);
      const high = min(offset + (width << 1), bytes);
      mergeItems(from + offset, from + middle, from + high, to + offset);
    }
    const swap = from;
    from = to;
    to = swap;
    width <<= 1;
  }
}

function isSorted(items: u32, count: u32): bool {
  for (let i: u32 = 1; i < count; i++) {
    const item = items + i * ITEM_BYTES;
    if (less(item, item - ITEM_BYTES)) return false;
  }
  return true;
}

function insertionSort(low: u32, high: u32): void {
  for (let i = low + ITEM_BYTES; i < high; i += ITEM_BYTES) {
    if (!less(i, i - ITEM_BYTES)) continue;
    const head = load<u64>(i + ITEM_HEAD);
    const rest = load<u64>(i + ITEM_KEY);
    let j = i;
    do {
      v128.store(j, v128.load(j - ITEM_BYTES));
      j -= ITEM_BYTES;
    } while (j > low && lessThanItem(head, rest, j - ITEM_BYTES));
    store<u64>(j + ITEM_HEAD, head);
    store<u64>(j + ITEM_KEY, rest);
  }
}

/** Whether the item with this head and (key address, entry) word comes before the one at `b`. */
// @ts-ignore: decorator
@inline
function lessThanItem(head: u64, rest: u64, b: u32): bool {
  const headB = load<u64>(b + ITEM_HEAD);
  if (head != headB) return head < headB;
  return (
    compareBytes(
      <u32>rest + prefixBytes,
      keyLengthOf(<u32>(rest >> 32)) - prefixBytes,
      load<u32>(b + ITEM_KEY) + prefixBytes,
      keyLengthOf(load<u32>(b + ITEM_ENTRY)) - prefixBytes,
    ) < 0
  );
}

/** Merges [low, middle) and [middle, high) into `to`. Branch-free but for equal heads. */
function mergeItems(low: u32, middle: u32, high: u32, to: u32): void {
  if (middle >= high || !less(middle, middle - ITEM_BYTES)) {
    memory.copy(to, low, high - low);
    return;
  }
  let a = low;
  let b = middle;
  let out = to;
  while (a < middle && b < high) {
    const headA = load<u64>(a + ITEM_HEAD);
    const headB = load<u64>(b + ITEM_HEAD);
    let takeB = <u32>(headB < headA);
    if (headA == headB) takeB = <u32>(compareTails(b, a) < 0);
    const from = select<u32>(b, a, takeB);
    v128.store(out, v128.load(from));
    out += ITEM_BYTES;
    b += takeB << 4;
    a += (takeB ^ 1) << 4;
  }
  if (a < middle) memory.copy(out, a, middle - a);
  else memory.copy(out, b, high - b);
}

/**
 * Turns sorted items into run records in place, keeping the last of equal keys; returns how many.
 * Adds the bytes of their keys and values to `keptBytes`.
 */
function makeRun(items: u32, count: u32): u32 {
  let to = items;
  const end = items + count * ITEM_BYTES;
  for (let item = items; item < end; item += ITEM_BYTES) {
    const next = item + ITEM_BYTES;
    if (
      next < end &&
      load<u64>(item + ITEM_HEAD) == load<u64>(next + ITEM_HEAD) &&
      compareTails(item, next) == 0
    ) {
      continue;
    }
    const key = load<u32>(item + ITEM_KEY);
    const descriptor = descriptorsEnd - ((load<u32>(item + ITEM_ENTRY) + 1) << 3);
    const keyLength = load<u32>(descriptor);
    const valueLength = load<u32>(descriptor + 4);
    store<u32>(to + RUN_KEY, key);
    store<u32>(to + RUN_KEY_LENGTH, keyLength);
    store<u32>(to + RUN_VALUE_LENGTH, valueLength);
    keptBytes += (keyLength & ~CHUNK_BLOB) + valueLength;
    to += RUN_RECORD_BYTES;
  }
  return (to - items) / RUN_RECORD_BYTES;
}
