/**
 * A table's index in memory: which block may hold a key. The section of the file is unpacked
 * (docs/FORMAT.md, "Index"), of version 1 used as it stands; a TableMeta (layout.ts) points into it:
 *
 *   head (INDEX_*) | heads u64[n] | offsets u32[n + 1] | fence offsets u32[n + 1] | fences | checksum
 *
 * Only version 1 has a checksum there.
 *
 * The shard worker fills a TableMeta and publishes it with a Version; it is immutable from then on.
 */

import { commonPrefix, compareBytes, copyBytes, headOf } from './bytes';
import { FILTER_HEAD_BYTES, FILTER_LINE_BYTES } from './filter';
import {
  BLOCK_HEAD_BYTES,
  BLOCK_TRAILER_BYTES,
  KEY_BYTES_MAX,
  T_BLOCKS,
  T_CACHE_REFS,
  T_FENCES,
  T_FENCE_OFFSETS,
  T_FILTER,
  T_FILTER_LINES,
  T_HEADS,
  T_OFFSETS,
  T_PREFIX,
  T_PREFIX_BYTES,
} from './layout';

export const INDEX_HEAD_BYTES: u32 = 64;
export const INDEX_COUNT: u32 = 0; // u32: blocks
export const INDEX_PREFIX_BYTES: u32 = 4; // u32
export const INDEX_FENCE_BYTES: u32 = 8; // u32
const CHECKSUM_BYTES: u32 = 8;

export const TABLE_META_OK: i32 = 0;
export const TABLE_META_BAD_FILTER: i32 = -1;
export const TABLE_META_BAD_INDEX: i32 = -2;

/** Where the last varint ended; 0: not before the end. */
let cursor: u32 = 0;

/** A varint of 32 bits. */
// @ts-ignore: decorator
@inline
function varint(p: u32, end: u32): u64 {
  let value: u64 = 0;
  let shift: u64 = 0;
  cursor = 0;
  while (p < end && shift < 35) {
    const byte = <u64>load<u8>(p++);
    value |= (byte & 0x7f) << shift;
    shift += 7;
    if (byte < 0x80) {
      cursor = p;
      break;
    }
  }
  return value;
}

/**
 * Unpacks the `bytes` bytes of an index section at `packed`, checksum left out, into an index at
 * `index`, which has INDEX_HEAD_BYTES, 16 for each block, 8, `fenceBytes` and 8 bytes. False when they
 * are not of as many blocks and bytes of fences. Works on any bytes; `tableMetaInit` checks what they mean.
 */
export function indexUnpack(
  packed: u32,
  bytes: u32,
  blocks: u32,
  fenceBytes: u32,
  index: u32,
): bool {
  if (blocks == 0 || blocks > bytes) return false;
  const heads = index + INDEX_HEAD_BYTES;
  const offsets = heads + (blocks << 3);
  const fenceOffsets = offsets + ((blocks + 1) << 2);
  const fences = fenceOffsets + ((blocks + 1) << 2);
  const fencesEnd = fences + fenceBytes;
  const end = packed + bytes;
  let p = packed;
  let offset: u64 = 0;
  let top = fences;
  let before = fences;
  for (let i: u32 = 0; i < blocks; i++) {
    const length = varint(p, end);
    if (!cursor) return false;
    p = cursor;
    store<u32>(offsets + (i << 2), <u32>offset);
    store<u32>(fenceOffsets + (i << 2), top - fences);
    offset += length;
    if (offset > u32.MAX_VALUE) return false;
    if (i == 0) continue;
    const shared = varint(p, end);
    if (!cursor) return false;
    const rest = varint(cursor, end);
    if (!cursor) return false;
    p = cursor;
    if (shared > top - before || rest > end - p || shared + rest > fencesEnd - top) return false;
    copyBytes(top, before, <u32>shared);
    copyBytes(top + <u32>shared, p, <u32>rest);
    before = top;
    top += <u32>(shared + rest);
    p += <u32>rest;
  }
  if (p != end || top != fencesEnd) return false;
  store<u32>(offsets + (blocks << 2), <u32>offset);
  store<u32>(fenceOffsets + (blocks << 2), fenceBytes);
  let prefixBytes: u32 = 0;
  if (blocks > 1) {
    prefixBytes = commonPrefix(fences, load<u32>(fenceOffsets, 8), before, fencesEnd - before);
  }
  memory.fill(index, 0, INDEX_HEAD_BYTES);
  store<u32>(index, blocks, INDEX_COUNT);
  store<u32>(index, prefixBytes, INDEX_PREFIX_BYTES);
  store<u32>(index, fenceBytes, INDEX_FENCE_BYTES);
  store<u64>(heads, 0);
  for (let i: u32 = 1; i < blocks; i++) {
    const from = load<u32>(fenceOffsets + (i << 2));
    const length = load<u32>(fenceOffsets + (i << 2), 4) - from;
    if (length < prefixBytes) return false;
    store<u64>(heads + (i << 3), headOf(fences + from + prefixBytes, length - prefixBytes));
  }
  return true;
}

/**
 * Fills the index and filter fields of the TableMeta at `meta` from the two sections, whose
 * checksums the host has verified, and validates everything, so that no later read leaves the
 * sections whatever their bytes. `filter` is 64-byte aligned, or 0 when no filter will be asked;
 * `index` is 8-byte aligned; `cacheRefs` is a zeroed u32 per block, or 0 when there is no cache.
 * The host sets T_ID, T_SMALLEST, T_LARGEST and T_HAS_TOMBSTONES. Returns TABLE_META_*.
 */
export function tableMetaInit(
  meta: u32,
  index: u32,
  indexBytes: u32,
  filter: u32,
  filterBytes: u32,
  cacheRefs: u32,
): i32 {
  let lines: u32 = 0;
  if (filter) {
    if (filterBytes < FILTER_HEAD_BYTES + FILTER_LINE_BYTES + CHECKSUM_BYTES) {
      return TABLE_META_BAD_FILTER;
    }
    lines = load<u32>(filter);
    const filterNeeds = <u64>lines * FILTER_LINE_BYTES + FILTER_HEAD_BYTES + CHECKSUM_BYTES;
    if (filterNeeds != filterBytes || (filter & 63) != 0) return TABLE_META_BAD_FILTER;
  }

  if (indexBytes < INDEX_HEAD_BYTES + CHECKSUM_BYTES) return TABLE_META_BAD_INDEX;
  const blocks = load<u32>(index, INDEX_COUNT);
  const prefixBytes = load<u32>(index, INDEX_PREFIX_BYTES);
  const fenceBytes = load<u32>(index, INDEX_FENCE_BYTES);
  const indexNeeds =
    <u64>blocks * 16 + 8 + <u64>fenceBytes + INDEX_HEAD_BYTES + CHECKSUM_BYTES;
  if (blocks == 0 || indexNeeds != indexBytes || (index & 7) != 0) return TABLE_META_BAD_INDEX;

  const heads = index + INDEX_HEAD_BYTES;
  const offsets = heads + (blocks << 3);
  const fenceOffsets = offsets + ((blocks + 1) << 2);
  const fences = fenceOffsets + ((blocks + 1) << 2);
  if (!validOffsets(offsets, blocks)) return TABLE_META_BAD_INDEX;
  if (!validFences(heads, fenceOffsets, fences, blocks, fenceBytes, prefixBytes)) {
    return TABLE_META_BAD_INDEX;
  }

  store<u32>(meta, blocks, T_BLOCKS);
  store<u32>(meta, prefixBytes, T_PREFIX_BYTES);
  store<u32>(meta, fences, T_PREFIX);
  store<u32>(meta, heads, T_HEADS);
  store<u32>(meta, offsets, T_OFFSETS);
  store<u32>(meta, fenceOffsets, T_FENCE_OFFSETS);
  store<u32>(meta, fences, T_FENCES);
  store<u32>(meta, cacheRefs, T_CACHE_REFS);
  store<u32>(meta, filter + FILTER_HEAD_BYTES, T_FILTER);
  store<u32>(meta, lines, T_FILTER_LINES);
  return TABLE_META_OK;
}

/** Blocks lie back to back from the start of the file and none is too short to be one. */
function validOffsets(offsets: u32, blocks: u32): bool {
  if (load<u32>(offsets) != 0) return false;
  for (let i: u32 = 0; i < blocks; i++) {
    const from = load<u32>(offsets + (i << 2));
    const to = load<u32>(offsets + (i << 2), 4);
    if (to < from || to - from < BLOCK_TRAILER_BYTES + 1) return false;
  }
  return true;
}

/** Fences ascend, share the prefix and have the heads that stand beside them. */
function validFences(
  heads: u32,
  fenceOffsets: u32,
  fences: u32,
  blocks: u32,
  fenceBytes: u32,
  prefixBytes: u32,
): bool {
  if (load<u32>(fenceOffsets) != 0 || load<u64>(heads) != 0) return false;
  if (load<u32>(fenceOffsets + (blocks << 2)) != fenceBytes) return false;
  // Fence 0 is empty, so fence 1 starts where all fences do, and so does the prefix.
  if (load<u32>(fenceOffsets, 4) != 0 || prefixBytes > fenceBytes) return false;
  let previous = fences;
  let previousBytes: u32 = 0;
  for (let i: u32 = 1; i < blocks; i++) {
    const from = load<u32>(fenceOffsets + (i << 2));
    const to = load<u32>(fenceOffsets + (i << 2), 4);
    if (to < from || to > fenceBytes) return false;
    const length = to - from;
    if (length < prefixBytes || length > KEY_BYTES_MAX) return false;
    const fence = fences + from;
    if (compareBytes(fence, prefixBytes, fences, prefixBytes) != 0) return false;
    if (compareBytes(previous, previousBytes, fence, length) >= 0) return false;
    if (headOf(fence + prefixBytes, length - prefixBytes) != load<u64>(heads + (i << 3))) {
      return false;
    }
    previous = fence;
    previousBytes = length;
  }
  return true;
}

/** The last block whose fence is not above the key: the only one that may hold it. */
export function tableFindBlock(meta: u32, key: u32, keyLength: u32): u32 {
  const blocks = load<u32>(meta, T_BLOCKS);
  const prefixBytes = load<u32>(meta, T_PREFIX_BYTES);
  const common = min(prefixBytes, keyLength);
  const order = compareBytes(key, common, load<u32>(meta, T_PREFIX), common);
  if (order < 0 || keyLength < prefixBytes) return order > 0 ? blocks - 1 : 0;
  if (order > 0) return blocks - 1;

  const head = headOf(key + prefixBytes, keyLength - prefixBytes);
  const heads = load<u32>(meta, T_HEADS);
  // The first block with a greater head; block 0 is never asked.
  let low: u32 = 1;
  let left = blocks - 1;
  while (left > 0) {
    const half = left >> 1;
    const above = load<u64>(heads + ((low + half) << 3)) > head;
    low = select<u32>(low, low + half + 1, above);
    left = select<u32>(half, left - half - 1, above);
  }
  if (low == 1 || load<u64>(heads + ((low - 1) << 3)) < head) return low - 1;
  return lastAmongEqualHeads(meta, heads, head, low, key, keyLength);
}

/** Heads of some blocks before `end` equal the key's: their fences decide. */
function lastAmongEqualHeads(
  meta: u32,
  heads: u32,
  head: u64,
  end: u32,
  key: u32,
  keyLength: u32,
): u32 {
  let low: u32 = 1;
  let high = end - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u64>(heads + (middle << 3)) < head) low = middle + 1;
    else high = middle;
  }
  // Of the blocks from `low` on, the first whose fence is above the key.
  const fenceOffsets = load<u32>(meta, T_FENCE_OFFSETS);
  const fences = load<u32>(meta, T_FENCES);
  high = end;
  while (low < high) {
    const middle = (low + high) >> 1;
    const from = load<u32>(fenceOffsets + (middle << 2));
    const to = load<u32>(fenceOffsets + (middle << 2), 4);
    if (compareBytes(fences + from, to - from, key, keyLength) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
