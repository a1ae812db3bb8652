/**
 * What the cache keeps when a merge moves keys to new blocks: before the new tables are published, the
 * blocks into which the keys of hot cached blocks go are marked, and read soon after.
 */

import { blockCount, blockEntry, blockPrefixLen, blockPrefixPtr } from './block';
import { compareBytes, copyBytes } from './bytes';
import { FROM_SCAN, MAIN, keyRoom, queue, tally } from './cache-queue';
import {
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  CACHE_TOUCHED,
  COUNTER_CACHE_CARRIED,
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  T_BLOCKS,
  T_CACHE_REFS,
  T_LARGEST,
  T_LARGEST_BYTES,
} from './layout';
import { tableFindBlock } from './table-index';

/** Whether a cached block is worth a place when its keys move to another. */
function isHot(entry: u32): bool {
  const main = queue(MAIN);
  if (entry - main.base < main.bytes) return true;
  const mark = atomic.load<u32>(entry, CACHE_TOUCHED);
  // While the main queue has never been full, whatever a point read brought stays.
  return (mark & ~FROM_SCAN) != 0 || (mark != FROM_SCAN && main.head <= main.bytes);
}

/** Room behind the key in `keyRoom`: a decoded entry. */
const KEY_ROOM_BYTES: u32 = 66560;
const NO_BLOCK: u64 = u64.MAX_VALUE;

/** Table (by its place in the list) and block that may hold entry `i` of a raw block, or NO_BLOCK. */
function placeOf(raw: u32, i: i32, tables: u32, count: u32): u64 {
  const key = keyRoom();
  const decoded = key + KEY_ROOM_BYTES;
  blockEntry(raw, i, decoded);
  const prefixBytes = blockPrefixLen(raw);
  const suffixBytes = load<u32>(decoded, ENTRY_SUFFIX_BYTES);
  const length = prefixBytes + suffixBytes;
  copyBytes(key, blockPrefixPtr(raw), prefixBytes);
  copyBytes(key + prefixBytes, load<u32>(decoded, ENTRY_SUFFIX), suffixBytes);
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const meta = load<u32>(tables + (middle << 2));
    const largest = load<u32>(meta, T_LARGEST);
    if (compareBytes(largest, load<u32>(meta, T_LARGEST_BYTES), key, length) < 0) low = middle + 1;
    else high = middle;
  }
  if (low == count) return NO_BLOCK;
  const block = tableFindBlock(load<u32>(tables + (low << 2)), key, length);
  return (<u64>low << 32) | <u64>block;
}

/**
 * Marks the blocks of new tables, which nobody reads yet, into which the keys of hot cached blocks of
 * a table go that they replace: with CACHE_GHOST, so that they enter the main queue when they are
 * inserted. `tables` lists the TableMetas of `count` new tables in key order. Looks at `most` blocks of the old
 * table from `from` on; returns the next one, or -1 at the end.
 */
export function cacheCarry(meta: u32, from: u32, most: u32, tables: u32, count: u32): i32 {
  const refs = load<u32>(meta, T_CACHE_REFS);
  const end = min(from + most, load<u32>(meta, T_BLOCKS));
  for (let block = from; block < end; block++) {
    const entry = load<u32>(refs + (block << 2));
    if (entry <= CACHE_GHOST || !isHot(entry)) continue;
    const raw = entry + CACHE_HEAD_BYTES;
    const first = placeOf(raw, 0, tables, count);
    const last = placeOf(raw, blockCount(raw) - 1, tables, count);
    if (first != NO_BLOCK) mark(tables, first);
    if (last == NO_BLOCK) continue;
    mark(tables, last);
    // Within one table they are neighbours, or nearly.
    if (first >> 32 != last >> 32) continue;
    for (let place = first + 1; place < last; place++) mark(tables, place);
  }
  return end < load<u32>(meta, T_BLOCKS) ? <i32>end : -1;
}

function mark(tables: u32, place: u64): void {
  const meta = load<u32>(tables + (<u32>(place >> 32) << 2));
  const ref = load<u32>(meta, T_CACHE_REFS) + (<u32>place << 2);
  if (load<u32>(ref) != 0) return;
  store<u32>(ref, CACHE_GHOST);
  tally(COUNTER_CACHE_CARRIED);
}
