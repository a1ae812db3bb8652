/**
 * Checks a table block by block, more thoroughly than reading does: fingerprints, the filter, the
 * fences and the order across blocks, and counts what the properties claim.
 */

import { compareBytes, copyBytes } from './bytes';
import { blockCount, blockEntry, blockPrefixLen, blockPrefixPtr } from './block';
import { filterMayContain } from './filter';
import { xxh64 } from './hash';
import {
  VERIFY_BLOBS,
  VERIFY_BLOB_SUM,
  VERIFY_CHECKSUM,
  VERIFY_COMPRESSION,
  VERIFY_ENTRIES,
  VERIFY_ENTRY_BYTES,
  VERIFY_FENCE,
  VERIFY_FILTER,
  VERIFY_FINGERPRINT,
  VERIFY_FIRST,
  VERIFY_FIRST_BYTES,
  VERIFY_KEYS,
  VERIFY_KEY_BYTES,
  VERIFY_LAST,
  VERIFY_LAST_BYTES,
  VERIFY_MALFORMED,
  VERIFY_OK,
  VERIFY_ORDER,
  VERIFY_RAW,
  VERIFY_RAW_BYTES,
  VERIFY_SEQUENCE_MAX,
  VERIFY_SEQUENCE_MIN,
  VERIFY_STATE_BYTES,
  VERIFY_TOMBSTONES,
} from './job-layout';
import {
  BLOCK_HEAD_BYTES,
  ENTRY_SEQUENCE,
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  ENTRY_TYPE,
  ENTRY_VALUE,
  OP_DELETE,
  OP_PUT_BLOB,
  T_BLOCKS,
  T_FENCES,
  T_FENCE_OFFSETS,
  T_FILTER,
  T_FILTER_LINES,
  T_ID,
  T_OFFSETS,
} from './layout';
import {
  STORED_BAD,
  STORED_MALFORMED,
  storedIsPlain,
  storedIsPossible,
  storedOpen,
  storedRawBytes,
  storedVerify,
} from './stored-block';

let state: u32 = 0;
let first: u32 = 0;
let last: u32 = 0;
let next: u32 = 0;
let room: u32 = 0;
let lastKnown: bool = false;
let rawWanted: u32 = 0;

/** Starts with a table; `address` has VERIFY_BYTES, 16-byte aligned; results: VERIFY_*. */
export function verifyInit(address: u32): void {
  state = address;
  memory.fill(state, 0, VERIFY_STATE_BYTES + VERIFY_ENTRY_BYTES);
  store<f64>(state, Infinity, VERIFY_SEQUENCE_MIN);
  first = state + VERIFY_STATE_BYTES + VERIFY_ENTRY_BYTES;
  last = first + VERIFY_KEY_BYTES;
  next = last + VERIFY_KEY_BYTES;
  room = next + VERIFY_KEY_BYTES;
  lastKnown = false;
}

/** The capacity that VERIFY_RAW asks for. */
export function verifyRawBytes(): u32 {
  return rawWanted;
}

// @ts-ignore: decorator
@inline
function add(field: u32, amount: f64): void {
  store<f64>(state + field, load<f64>(state + field) + amount);
}

/**
 * Checks block number `block` of the table at `meta`, which stands as in the file at `chunk`; `raw`
 * has room for `rawCapacity` decompressed bytes. Blocks come in order. Returns VERIFY_*.
 */
export function verifyBlock(
  meta: u32,
  block: u32,
  chunk: u32,
  raw: u32,
  rawCapacity: u32,
): i32 {
  const offsets = load<u32>(meta, T_OFFSETS);
  const from = load<u32>(offsets + (block << 2));
  const length = load<u32>(offsets + (block << 2), 4) - from;
  if (!storedVerify(chunk, length, load<u32>(meta, T_ID), <f64>from)) return VERIFY_CHECKSUM;
  if (!storedIsPossible(chunk, length)) return VERIFY_COMPRESSION;
  const rawBytes = storedRawBytes(chunk, length);
  if (rawBytes > rawCapacity && !storedIsPlain(chunk, length)) {
    rawWanted = rawBytes;
    return VERIFY_RAW;
  }
  const address = storedOpen(chunk, length, raw, room);
  if (address == STORED_BAD) return VERIFY_COMPRESSION;
  if (address == STORED_MALFORMED) return VERIFY_MALFORMED;
  add(VERIFY_RAW_BYTES, <f64>rawBytes);
  return verifyEntries(meta, block, address);
}

function verifyEntries(meta: u32, block: u32, address: u32): i32 {
  const decoded = state + VERIFY_STATE_BYTES;
  const prefixBytes = blockPrefixLen(address);
  const count = blockCount(address);
  let result = VERIFY_OK;
  for (let i = 0; i < count; i++) {
    blockEntry(address, i, decoded);
    const suffixBytes = load<u32>(decoded, ENTRY_SUFFIX_BYTES);
    const length = prefixBytes + suffixBytes;
    copyBytes(next, blockPrefixPtr(address), prefixBytes);
    copyBytes(next + prefixBytes, load<u32>(decoded, ENTRY_SUFFIX), suffixBytes);
    if (i == 0) {
      if (lastKnown && compareBytes(last, load<u32>(state, VERIFY_LAST_BYTES), next, length) >= 0) {
        result = VERIFY_ORDER;
      }
      if (!fenceHolds(meta, block, next, length)) result = VERIFY_FENCE;
    }
    if (i == count - 1 && !fenceAbove(meta, block + 1, next, length)) result = VERIFY_FENCE;
    const hash = xxh64(next, length, 0);
    if (load<u8>(address + BLOCK_HEAD_BYTES + i) != <u8>(hash >> 56)) result = VERIFY_FINGERPRINT;
    const lines = load<u32>(meta, T_FILTER_LINES);
    // Without one when it is known to be bad.
    if (
      lines != 0 &&
      result == VERIFY_OK &&
      !filterMayContain(load<u32>(meta, T_FILTER), lines, hash)
    ) {
      result = VERIFY_FILTER;
    }
    if (
      i == 0 ||
      compareBytes(last, load<u32>(state, VERIFY_LAST_BYTES), next, length) != 0
    ) {
      add(VERIFY_KEYS, 1);
    }
    if (!lastKnown) {
      copyBytes(first, next, length);
      store<u32>(state, first, VERIFY_FIRST);
      store<u32>(state, length, VERIFY_FIRST_BYTES);
      lastKnown = true;
    }
    const swap = last;
    last = next;
    next = swap;
    store<u32>(state, last, VERIFY_LAST);
    store<u32>(state, length, VERIFY_LAST_BYTES);
    const type = load<u32>(decoded, ENTRY_TYPE);
    const sequence = <f64>load<u64>(decoded, ENTRY_SEQUENCE);
    add(VERIFY_ENTRIES, 1);
    if (type == OP_DELETE) add(VERIFY_TOMBSTONES, 1);
    if (type == OP_PUT_BLOB) {
      add(VERIFY_BLOBS, 1);
      add(VERIFY_BLOB_SUM, load<f64>(load<u32>(decoded, ENTRY_VALUE)));
    }
    store<f64>(state, min(load<f64>(state, VERIFY_SEQUENCE_MIN), sequence), VERIFY_SEQUENCE_MIN);
    store<f64>(state, max(load<f64>(state, VERIFY_SEQUENCE_MAX), sequence), VERIFY_SEQUENCE_MAX);
  }
  return result;
}

function compareFence(meta: u32, block: u32, key: u32, length: u32): i32 {
  const fenceOffsets = load<u32>(meta, T_FENCE_OFFSETS);
  const from = load<u32>(fenceOffsets + (block << 2));
  const to = load<u32>(fenceOffsets + (block << 2), 4);
  return compareBytes(load<u32>(meta, T_FENCES) + from, to - from, key, length);
}

/** Whether the block's fence is not above its first key. */
function fenceHolds(meta: u32, block: u32, key: u32, length: u32): bool {
  return compareFence(meta, block, key, length) <= 0;
}

/** Whether the fence of the block after, if there is one, is above the key. */
function fenceAbove(meta: u32, block: u32, key: u32, length: u32): bool {
  return block >= load<u32>(meta, T_BLOCKS) || compareFence(meta, block, key, length) > 0;
}
