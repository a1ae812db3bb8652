/**
 * Hints: where in the block cache a key was found before. A hit replaces filter, index search, cache
 * reference and block search, a chain of ten dependent cache and TLB misses over a large data set,
 * by two: the hint, then live bit, block head and entry at once, since the hint gives all addresses.
 *
 * A table of lines of eight slots in shared memory, of which the worker takes half into use at first, found by the key's routing hash (murmur3), which a
 * client thread has before anything else, so that the line is on its way while the call is made:
 *
 *   bits 36..63  address of the raw block, in units of 16
 *   bits 20..35  offset of the entry in it
 *   bits 12..19  number of the entry
 *   bits  0..11  tag: top 12 bits of xxh64(key, 0), 1 for 0
 *
 * Who writes: any reader after it found a key the long way, and the shard worker when it caches a
 * block or record; atomic stores of whole slots. Nobody owns a slot and nothing is ever cleared, so a
 * slot is never believed, whatever is in it:
 * 1. It names a place for an entry inside the cache region.
 * 2. What is there counts only when the live map says so, from inside the caller's epoch: then an
 *    entry begins there that is whole, immutable and stays. It must be of the table that the caller
 *    searches: by its TableMeta, or a record by the table's id, which is never used twice (a record
 *    outlives its table).
 * 3. The entry counts only when the block's own offsets say that an entry starts there, when its key
 *    is the key, and when the entry before it is of another key, by its fingerprint: then it is the
 *    newest version that the table has, since all versions of a key are in one block, newest first.
 * 4. It is used only for a snapshot at or above the entry's sequence.
 */

import { copyBytes, equalBytes } from './bytes';
import { murmur32, xxh64 } from './hash';
import {
  BLOCK_BASE_SEQUENCE,
  BLOCK_COUNT,
  BLOCK_FLAGS,
  BLOCK_FLAG_WIDE,
  BLOCK_HEAD_BYTES,
  BLOCK_PREFIX_BYTES,
  CACHE_BLOCK,
  CACHE_HEAD_BYTES,
  CACHE_META,
  CACHE_RECORD,
  CACHE_UNIT_BYTES,
  H_CACHE_BASE,
  H_CACHE_BYTES,
  H_HINT_BASE,
  H_HINT_MASK,
  H_HINT_MASK_MAX,
  T_ID,
} from './layout';
import { isLive, liveWord } from './live-map';

/** Eight slots of 8 bytes: a cache line. */
const LINE_SHIFT: u32 = 6;
const LINE_BYTES: u32 = 64;
const TAG_MASK: u64 = 0xfff;
const TAG_SHIFT: u64 = 52;
const INDEX_MAX: u32 = 0xff;

/** The raw block that `hintFind` found the entry in. */
export let hintBlock: u32 = 0;

// @ts-ignore: decorator
@inline
function lineOf(base: u32, routing: u32): u32 {
  return base + ((routing & atomic.load<u32>(H_HINT_MASK)) << LINE_SHIFT);
}

/**
 * The cache holds `used` bytes: from two fifths of it on, hints have all of their table. Up to then half of
 * it is enough, and more of that stays in the processor's caches. Half of the hints are where nobody looks
 * for them any more then, and come again as keys are found.
 */
export function hintsGrow(used: f64): void {
  const max = load<u32>(H_HINT_MASK_MAX);
  if (load<u32>(H_HINT_MASK) == max) return;
  if (used * 5 > <f64>load<u32>(H_CACHE_BYTES) * 2) atomic.store<u32>(H_HINT_MASK, max);
}

// @ts-ignore: decorator
@inline
function tagOf(hash: u64): u64 {
  return max<u64>(hash >> TAG_SHIFT, 1);
}

/** Slots of a line, as bits, whose lowest bits under `mask` are `wanted`. */
// @ts-ignore: decorator
@inline
function slotsOf(line: u32, mask: u64, wanted: u64): u32 {
  const masks = i64x2.splat(mask);
  const tags = i64x2.splat(wanted);
  return (
    <u32>i64x2.bitmask(v128.eq<i64>(v128.and(v128.load(line), masks), tags)) |
    (<u32>i64x2.bitmask(v128.eq<i64>(v128.and(v128.load(line, 16), masks), tags)) << 2) |
    (<u32>i64x2.bitmask(v128.eq<i64>(v128.and(v128.load(line, 32), masks), tags)) << 4) |
    (<u32>i64x2.bitmask(v128.eq<i64>(v128.and(v128.load(line, 48), masks), tags)) << 6)
  );
}

/** The hint for a hash, or 0. */
// @ts-ignore: decorator
@inline
function hintOf(line: u32, hash: u64): u64 {
  const slots = slotsOf(line, TAG_MASK, tagOf(hash));
  return slots ? atomic.load<u64>(line + (ctz(slots) << 3)) : 0;
}

// @ts-ignore: decorator
@inline
function offsetsOf(raw: u32, count: u32): u32 {
  return raw + ((BLOCK_HEAD_BYTES + count + 3) & ~3);
}

/** The raw block that a slot names, or 0 when no entry can be there. */
// @ts-ignore: decorator
@inline
function rawOf(hint: u64): u32 {
  const raw = <u32>(hint >> 36) << 4;
  const distance = raw - CACHE_HEAD_BYTES - load<u32>(H_CACHE_BASE);
  return distance < load<u32>(H_CACHE_BYTES) && distance % CACHE_UNIT_BYTES == 0 ? raw : 0;
}

/** What touched lines held, so that the loads are not left out as useless. */
let touched: u32 = 0;

/** Starts bringing the hint for a routing hash to this core's caches. */
export function hintTouch(routing: u32): void {
  const base = load<u32>(H_HINT_BASE);
  if (base) touched = load<u32>(lineOf(base, routing));
}

/** Where `hintPlace` leaves the entry that a hint names. */
export let hintedEntry: u32 = 0;

/** The raw block that the hint for a hash names, or 0; the entry in it is `hintedEntry`. */
// @ts-ignore: decorator
@inline
export function hintPlace(hash: u64, routing: u32): u32 {
  const base = load<u32>(H_HINT_BASE);
  if (!base) return 0;
  const hint = hintOf(lineOf(base, routing), hash);
  const raw = rawOf(hint);
  hintedEntry = raw + (<u32>(hint >> 20) & 0xffff);
  return raw;
}

/** Starts bringing to this core's caches what a lookup will want of a block and an entry in it. */
// @ts-ignore: decorator
@inline
export function touchEntry(raw: u32, p: u32): void {
  touched =
    load<u32>(raw) ^
    load<u32>(p) ^
    load<u32>(liveWord(raw - CACHE_HEAD_BYTES)) ^
    load<u32>(raw, 48) ^
    load<u32>(p, 64) ^
    load<u32>(p, 128) ^
    load<u32>(p, 192) ^
    load<u32>(p, 256);
}

/**
 * Starts bringing to this core's caches what a lookup of the hash will want: the lines that its hint
 * names. Loads that nothing waits for run beside each other, and beside the search of the memtables.
 */
export function hintPrefetch(hash: u64, routing: u32): void {
  const raw = hintPlace(hash, routing);
  if (raw) touchEntry(raw, hintedEntry);
}

/** Number of the entry of table `meta` with the newest version of the key, at or below `at`; or -1. */
export function hintFind(
  meta: u32,
  key: u32,
  keyLength: u32,
  hash: u64,
  routing: u32,
  at: u64,
): i32 {
  const base = load<u32>(H_HINT_BASE);
  if (!base) return -1;
  const hint = hintOf(lineOf(base, routing), hash);
  if ((hint & TAG_MASK) != tagOf(hash)) return -1;
  const raw = rawOf(hint);
  if (!raw) return -1;
  const entry = raw - CACHE_HEAD_BYTES;
  if (!isLive(entry)) return -1;
  const isRecord = load<u32>(entry, CACHE_BLOCK) == CACHE_RECORD;
  if (load<u32>(entry, CACHE_META) != (isRecord ? load<u32>(meta, T_ID) : meta)) return -1;

  const offset = <u32>(hint >> 20) & 0xffff;
  const index = <u32>(hint >> 12) & INDEX_MAX;
  const count = <u32>load<u16>(raw, BLOCK_COUNT);
  if (index >= count || (<u32>load<u8>(raw, BLOCK_FLAGS) & BLOCK_FLAG_WIDE) != 0) return -1;
  const offsets = offsetsOf(raw, count);
  if (<u32>load<u16>(offsets + (index << 1)) != offset) return -1;

  const fingerprint = raw + BLOCK_HEAD_BYTES + index;
  if (index > 0 && <u64>load<u8>(fingerprint - 1) == hash >> 56) return -1;

  const prefixBytes = load<u32>(raw, BLOCK_PREFIX_BYTES);
  if (keyLength < prefixBytes) return -1;
  if (!equalBytes(offsets + (count << 1), key, prefixBytes)) return -1;
  return hintedKey(raw, raw + offset, key + prefixBytes, keyLength - prefixBytes, at)
    ? <i32>index
    : -1;
}

/** Whether the entry at `p` has the key suffix, and a sequence at or below `at`. */
// @ts-ignore: decorator
@inline
function hintedKey(raw: u32, p: u32, suffix: u32, suffixBytes: u32, at: u64): bool {
  hintBlock = raw;
  let delta: u64 = 0;
  let shift: u64 = 0;
  let byte: u64;
  do {
    byte = load<u8>(++p);
    delta |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  if (load<u64>(raw, BLOCK_BASE_SEQUENCE) + delta > at) return false;
  let length: u32 = 0;
  shift = 0;
  do {
    byte = load<u8>(++p);
    length |= (<u32>byte & 0x7f) << <u32>shift;
    shift += 7;
  } while (byte >= 0x80);
  if (length != suffixBytes) return false;
  // Behind the length of the value.
  while (load<u8>(++p) >= 0x80) {}
  return equalBytes(p + 1, suffix, suffixBytes);
}

/** Notes all keys of a block that was just cached; `room` takes the longest key. */
export function hintNoteAll(raw: u32, room: u32): void {
  if (!load<u32>(H_HINT_BASE) || (<u32>load<u8>(raw, BLOCK_FLAGS) & BLOCK_FLAG_WIDE) != 0) return;
  const count = min<u32>(load<u16>(raw, BLOCK_COUNT), INDEX_MAX + 1);
  const prefixBytes = load<u32>(raw, BLOCK_PREFIX_BYTES);
  const offsets = offsetsOf(raw, load<u16>(raw, BLOCK_COUNT));
  copyBytes(room, offsets + (<u32>load<u16>(raw, BLOCK_COUNT) << 1), prefixBytes);
  let previous: u32 = 0;
  let previousBytes: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    let p = raw + <u32>load<u16>(offsets + (index << 1)) + 1;
    while (load<u8>(p++) >= 0x80) {}
    let suffixBytes: u32 = 0;
    let shift: u32 = 0;
    let byte: u32;
    do {
      byte = load<u8>(p++);
      suffixBytes |= (byte & 0x7f) << shift;
      shift += 7;
    } while (byte >= 0x80);
    while (load<u8>(p++) >= 0x80) {}
    // The first of a key's versions is the newest.
    const isSame =
      index > 0 && suffixBytes == previousBytes && equalBytes(p, previous, suffixBytes);
    previous = p;
    previousBytes = suffixBytes;
    if (isSame) continue;
    copyBytes(room + prefixBytes, p, suffixBytes);
    const bytes = prefixBytes + suffixBytes;
    hintNote(raw, index, xxh64(room, bytes, 0), murmur32(room, bytes));
  }
}

/** Notes that entry `index` of the cached block at `raw` has the key of these hashes. */
export function hintNote(raw: u32, index: u32, hash: u64, routing: u32): void {
  const base = load<u32>(H_HINT_BASE);
  if (!base || index > INDEX_MAX || (<u32>load<u8>(raw, BLOCK_FLAGS) & BLOCK_FLAG_WIDE) != 0) return;
  const count = <u32>load<u16>(raw, BLOCK_COUNT);
  const offset = <u64>load<u16>(offsetsOf(raw, count) + (index << 1));
  const tag = tagOf(hash);
  const hint = (<u64>(raw >> 4) << 36) | (offset << 20) | (<u64>index << 12) | tag;
  atomic.store<u64>(placeFor(lineOf(base, routing), tag, hash), hint);
}

/** Where a hint goes: over one with its tag, to a free place, over one that leads nowhere, or over any. */
function placeFor(line: u32, tag: u64, hash: u64): u32 {
  const same = slotsOf(line, TAG_MASK, tag);
  if (same) return line + (ctz(same) << 3);
  const free = slotsOf(line, u64.MAX_VALUE, 0);
  if (free) return line + (ctz(free) << 3);
  for (let at: u32 = 0; at < LINE_BYTES; at += 8) {
    const raw = rawOf(atomic.load<u64>(line + at));
    if (!raw || !isLive(raw - CACHE_HEAD_BYTES)) return line + at;
  }
  return line + ((<u32>(hash >> 40) & 7) << 3);
}
