/**
 * Reading a raw (decompressed) block: docs/FORMAT.md, "Raw block".
 *
 * Everything here but `blockValidate` trusts the block: a block is validated once, when it comes
 * from disk, and is immutable from then on. `blockFind` loads fingerprints 16 at a time and so may
 * read up to 15 bytes behind the end of a very short block; it never uses them.
 */

import { compareBytes, equalBytes } from './bytes';
import {
  BLOB_REFERENCE_BYTES,
  BLOCK_BASE_SEQUENCE,
  BLOCK_COUNT,
  BLOCK_FLAGS,
  BLOCK_FLAG_DIFFERENCES,
  BLOCK_FLAG_WIDE,
  BLOCK_HEAD_BYTES,
  BLOCK_PREFIX_BYTES,
  ENTRY_SEQUENCE,
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  ENTRY_TYPE,
  ENTRY_VALUE,
  ENTRY_VALUE_BYTES,
  KEY_BYTES_MAX,
  OP_DELETE,
  OP_PUT,
  OP_PUT_BLOB,
} from './layout';

export const BLOCK_ENTRIES_MAX: u32 = 65535;
export const SEQUENCE_LIMIT: u64 = <u64>1 << 53;

/** Entries of the block; versions of one key count each. */
export function blockCount(block: u32): i32 {
  return load<u16>(block, BLOCK_COUNT);
}

/** Length of the prefix that all keys of the block share. */
export function blockPrefixLen(block: u32): u32 {
  return load<u32>(block, BLOCK_PREFIX_BYTES);
}

// @ts-ignore: decorator
@inline
function offsetsOf(block: u32, count: u32): u32 {
  return block + ((BLOCK_HEAD_BYTES + count + 3) & ~3);
}

// @ts-ignore: decorator
@inline
function isWide(block: u32): u32 {
  return <u32>load<u8>(block, BLOCK_FLAGS) & BLOCK_FLAG_WIDE;
}

/** Address of the prefix that all keys of the block share. */
export function blockPrefixPtr(block: u32): u32 {
  const count = <u32>load<u16>(block, BLOCK_COUNT);
  return offsetsOf(block, count) + (count << (1 + isWide(block)));
}

// @ts-ignore: decorator
@inline
function entryAt(block: u32, offsets: u32, wide: u32, i: u32): u32 {
  return block + (wide ? load<u32>(offsets + (i << 2)) : <u32>load<u16>(offsets + (i << 1)));
}

/** Where the last varint ended. */
let cursor: u32 = 0;

// @ts-ignore: decorator
@inline
function varint32(p: u32): u32 {
  const byte = <u32>load<u8>(p);
  if (byte < 0x80) {
    cursor = p + 1;
    return byte;
  }
  return longVarint32(p, byte);
}

function longVarint32(p: u32, byte: u32): u32 {
  let value = byte & 0x7f;
  let shift: u32 = 7;
  do {
    byte = load<u8>(++p);
    value |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  cursor = p + 1;
  return value;
}

// @ts-ignore: decorator
@inline
function varint64(p: u32): u64 {
  const byte = <u32>load<u8>(p);
  if (byte < 0x80) {
    cursor = p + 1;
    return byte;
  }
  return longVarint64(p, byte);
}

function longVarint64(p: u32, byte: u32): u64 {
  let value: u64 = byte & 0x7f;
  let shift: u64 = 7;
  do {
    byte = load<u8>(++p);
    value |= <u64>(byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  cursor = p + 1;
  return value;
}

// @ts-ignore: decorator
@inline
function skipVarint(p: u32): u32 {
  while (load<u8>(p) >= 0x80) p++;
  return p + 1;
}

/** Decodes entry `i` into the struct ENTRY_* at `out`. */
export function blockEntry(block: u32, i: i32, out: u32): void {
  const count = <u32>load<u16>(block, BLOCK_COUNT);
  const p = entryAt(block, offsetsOf(block, count), isWide(block), <u32>i);
  const delta = varint64(p + 1);
  const suffixBytes = varint32(cursor);
  const valueBytes = varint32(cursor);
  const suffix = cursor;
  store<u32>(out, suffix, ENTRY_SUFFIX);
  store<u32>(out, suffixBytes, ENTRY_SUFFIX_BYTES);
  store<u32>(out, suffix + suffixBytes, ENTRY_VALUE);
  store<u32>(out, valueBytes, ENTRY_VALUE_BYTES);
  store<u32>(out, <u32>load<u8>(p), ENTRY_TYPE);
  store<u64>(out, load<u64>(block, BLOCK_BASE_SEQUENCE) + delta, ENTRY_SEQUENCE);
}

/**
 * Index of the newest version of the key at or below `snapshot`, or -1. `hash` is xxh64(key, 0).
 */
export function blockFind(block: u32, key: u32, keyLength: u32, hash: u64, snapshot: u64): i32 {
  const count = <u32>load<u16>(block, BLOCK_COUNT);
  const prefixBytes = load<u32>(block, BLOCK_PREFIX_BYTES);
  if (keyLength < prefixBytes) return -1;
  const suffixWanted = keyLength - prefixBytes;
  const fingerprints = block + BLOCK_HEAD_BYTES;
  const wanted = i8x16.splat(<i8>(hash >> 56));
  let samePrefix = false;
  for (let base: u32 = 0; base < count; base += 16) {
    let hits = <u32>i8x16.bitmask(i8x16.eq(v128.load(fingerprints + base), wanted));
    const left = count - base;
    if (left < 16) hits &= (<u32>1 << left) - 1;
    while (hits) {
      const i = base + ctz(hits);
      hits &= hits - 1;
      const offsets = offsetsOf(block, count);
      const wide = isWide(block);
      if (!samePrefix) {
        if (!equalBytes(offsets + (count << (1 + wide)), key, prefixBytes)) return -1;
        samePrefix = true;
      }
      const p = entryAt(block, offsets, wide, i);
      const delta = varint64(p + 1);
      const suffixBytes = varint32(cursor);
      if (suffixBytes != suffixWanted) continue;
      if (load<u64>(block, BLOCK_BASE_SEQUENCE) + delta > snapshot) continue;
      const suffix = skipVarint(cursor);
      if (equalBytes(suffix, key + prefixBytes, suffixBytes)) return <i32>i;
    }
  }
  return -1;
}

/** What touched lines held, so that the loads are not left out as useless. */
let touched: u32 = 0;

/**
 * Starts loading the entries that the first steps of a binary search may look at, all at once: each
 * is in a line of its own, and one after the other they would cost a miss each.
 */
// @ts-ignore: decorator
@inline
function prefetchMiddles(block: u32, offsets: u32, wide: u32, count: u32): void {
  const eighth = count >> 3;
  const quarter = count >> 2;
  const half = count >> 1;
  touched =
    load<u8>(entryAt(block, offsets, wide, half)) ^
    load<u8>(entryAt(block, offsets, wide, quarter)) ^
    load<u8>(entryAt(block, offsets, wide, half + quarter)) ^
    load<u8>(entryAt(block, offsets, wide, eighth)) ^
    load<u8>(entryAt(block, offsets, wide, quarter + eighth)) ^
    load<u8>(entryAt(block, offsets, wide, half + eighth)) ^
    load<u8>(entryAt(block, offsets, wide, half + quarter + eighth));
}

/** Index of the first entry whose key is not below the target; the count when there is none. */
export function blockSeek(block: u32, key: u32, keyLength: u32): i32 {
  const count = <u32>load<u16>(block, BLOCK_COUNT);
  const prefixBytes = load<u32>(block, BLOCK_PREFIX_BYTES);
  const offsets = offsetsOf(block, count);
  const wide = isWide(block);
  const common = min(prefixBytes, keyLength);
  const order = compareBytes(offsets + (count << (1 + wide)), common, key, common);
  if (order > 0) return 0;
  if (order < 0) return <i32>count;
  if (keyLength <= prefixBytes) return 0;
  if (count > 4) prefetchMiddles(block, offsets, wide, count);
  const target = key + prefixBytes;
  const targetBytes = keyLength - prefixBytes;
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const p = skipVarint(entryAt(block, offsets, wide, middle) + 1);
    const suffixBytes = varint32(p);
    const suffix = skipVarint(cursor);
    if (compareBytes(suffix, suffixBytes, target, targetBytes) < 0) low = middle + 1;
    else high = middle;
  }
  return <i32>low;
}

/** A varint of at most `bytesMax` bytes before `end`; `cursor` is 0 when there is none. */
function checkedVarint(p: u32, end: u32, bytesMax: u32): u64 {
  let value: u64 = 0;
  let shift: u64 = 0;
  const limit = end - p < bytesMax ? end : p + bytesMax;
  while (p < limit) {
    const byte = <u64>load<u8>(p++);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      cursor = p;
      return value;
    }
    shift += 7;
  }
  cursor = 0;
  return 0;
}

/** Whether an entry of that type may have a value of as many bytes. */
// @ts-ignore: decorator
@inline
export function fitsType(type: u32, valueBytes: u64): bool {
  if (type == OP_PUT) return true;
  if (type == OP_DELETE) return valueBytes == 0;
  return type == OP_PUT_BLOB && valueBytes == BLOB_REFERENCE_BYTES;
}

/**
 * Whether `bytes` bytes at `block` are a well-formed block: every later read stays inside, entries
 * lie back to back in ascending order of key and, for one key, in descending order of sequence.
 * Works on any bytes. Fingerprints are not recomputed here: see verify.ts.
 *
 * Offsets that are stored as differences are made offsets, so this comes before anything else is read,
 * and the caller's copy is nobody else's yet.
 */
export function blockValidate(block: u32, bytes: u32): bool {
  if (bytes < BLOCK_HEAD_BYTES) return false;
  const count = <u32>load<u16>(block, BLOCK_COUNT);
  const prefixBytes = load<u32>(block, BLOCK_PREFIX_BYTES);
  const flags = load<u16>(block, BLOCK_FLAGS);
  if (count == 0 || flags > (BLOCK_FLAG_WIDE | BLOCK_FLAG_DIFFERENCES)) return false;
  if (prefixBytes > KEY_BYTES_MAX) return false;
  const wide = <u32>flags & BLOCK_FLAG_WIDE;
  const differences = (<u32>flags & BLOCK_FLAG_DIFFERENCES) != 0;
  const offsets = offsetsOf(block, count);
  const end = block + bytes;
  const entries = offsets - block + (count << (1 + wide)) + prefixBytes;
  if (entries > bytes) return false;
  const base = load<u64>(block, BLOCK_BASE_SEQUENCE);
  if (base >= SEQUENCE_LIMIT) return false;

  let p = block + entries;
  /** What the next difference counts from. */
  let before = block;
  let previous: u32 = 0;
  let previousBytes: u32 = 0;
  let previousSequence: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    if (end - p < 4) return false;
    if (differences) {
      if (entryAt(before, offsets, wide, i) != p) return false;
      if (wide) store<u32>(offsets + (i << 2), p - block);
      else store<u16>(offsets + (i << 1), <u16>(p - block));
      before = p;
    } else if (entryAt(block, offsets, wide, i) != p) {
      return false;
    }
    const type = <u32>load<u8>(p);
    const delta = checkedVarint(p + 1, end, 8);
    if (!cursor) return false;
    const suffixBytes = checkedVarint(cursor, end, 5);
    if (!cursor) return false;
    const valueBytes = checkedVarint(cursor, end, 5);
    if (!cursor) return false;
    const sequence = base + delta;
    if (sequence >= SEQUENCE_LIMIT) return false;
    if (suffixBytes + prefixBytes > KEY_BYTES_MAX) return false;
    if (suffixBytes + valueBytes > <u64>(end - cursor)) return false;
    if (!fitsType(type, valueBytes)) return false;
    const suffix = cursor;
    if (i) {
      const order = compareBytes(previous, previousBytes, suffix, <u32>suffixBytes);
      if (order > 0 || (order == 0 && previousSequence <= sequence)) return false;
    }
    previous = suffix;
    previousBytes = <u32>suffixBytes;
    previousSequence = sequence;
    p = suffix + <u32>suffixBytes + <u32>valueBytes;
  }
  if (p != end) return false;
  if (differences) store<u16>(block, <u16>wide, BLOCK_FLAGS);
  return true;
}
