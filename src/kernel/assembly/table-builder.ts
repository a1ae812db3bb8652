/**
 * Builds tables one after the other in a memory region of its own: docs/FORMAT.md, "Table".
 *
 * Entries come in order (key ascending, sequence descending). Blocks go to an output buffer that
 * the host writes out; fences, offsets and key hashes gather until `builderFinish` turns them into
 * the index and filter sections. The region:
 *
 *   state | compressor's table | smallest key | blob ids | hashes, then filter | offsets, fence
 *   offsets, fences | stage | raw block | output, then index
 *
 * One builder per kernel instance, so one job per thread at a time.
 */

import { compareBytes, copyBytes } from './bytes';
import {
  stageAdd,
  stageClear,
  stageEntries,
  stageEntriesBeforeKey,
  stageEstimate,
  stageHasRoom,
  stageInit,
  stageKeepKey,
  stageKey,
  stageKeyLength,
  stageLayOut,
  stageOutgrows,
  stagePreviousKey,
  stagePreviousKeyLength,
} from './block-builder';
import { BLOCK_ENTRIES_MAX } from './block';
import { columnsLayOut, columnsRawBytes } from './column-builder';
import { FILTER_HEAD_BYTES, FILTER_LINE_BYTES, filterBuild } from './filter';
import { placementSeed, xxh64 } from './hash';
import {
  indexAddBlock,
  indexAddFence,
  indexBlocks,
  indexClear,
  indexFenceBytes,
  indexInit,
  indexIsFull,
  indexLayOut,
} from './index-builder';
import { LZ4_TABLE_BYTES, lz4Bound, lz4Compress, lz4SetTable } from './lz4';
import {
  BUILDER_STATE_BYTES,
  JOB_DISORDER,
  JOB_DONE,
  JOB_DRAIN,
  JOB_FULL,
  JOB_TOO_LARGE,
  TABLE_BLOBS_MAX,
  WRITE_BYTES_MIN,
} from './job-layout';
import {
  BLOB_REFERENCE_BYTES,
  BLOCK_TRAILER_BYTES,
  COLUMNS_RAW_BYTES_MAX,
  KEY_BYTES_MAX,
  OP_DELETE,
  OP_PUT,
  OP_PUT_BLOB,
  STORED_COLUMNS,
  STORED_COMPRESSED,
} from './layout';

/** BUILDER_* of job-layout.ts. */
@unmanaged
class State {
  out: u32;
  outBytes: u32;
  filter: u32;
  filterBytes: u32;
  index: u32;
  indexBytes: u32;
  fenceBytes: u32;
  unused: u32;
  smallest: u32;
  smallestBytes: u32;
  largest: u32;
  largestBytes: u32;
  blobs: u32;
  blobCount: u32;
  keys: u32;
  blocks: u32;
  entries: f64;
  tombstones: f64;
  rawBytes: f64;
  fileBytes: f64;
  sequenceMin: f64;
  sequenceMax: f64;
}

const CHECKSUM_BYTES: u32 = 8;
/** Blocks larger than this stay as they are: they need no third buffer of their size. */
const COMPRESSED_RAW_BYTES_MAX: u32 = 8 << 20;
/** Room beside a stage's worth of entries for what the block adds. */
const BLOCK_SLACK_BYTES: u32 = 256 << 10;
const ALIGN: u32 = 63;
/** Part of the region for hashes and index, as a divisor, and the most they take. */
const GATHER_SHARE: u32 = 4;
const GATHER_BYTES_MAX: u32 = 64 << 20;
const REGION_BYTES_MIN: u32 = 6 << 20;

let state = changetype<State>(<usize>0);
let hashes: u32 = 0;
let hashBytes: u32 = 0;
let raw: u32 = 0;
let rawCapacity: u32 = 0;
let out: u32 = 0;
let outCapacity: u32 = 0;

let tableId: f64 = 0;
let blockBytesTarget: u32 = 0;
let tableBytesMax: f64 = 0;
/** `lz4Compress` takes it; 0: blocks are not compressed. */
let skipShift: u32 = 0;
let filterBitsPerKey: u32 = 0;
let keysMax: u32 = 0;
let fileBytes: u32 = 0;
let outBytes: u32 = 0;
let keys: u32 = 0;
let entries: u64 = 0;
let tombstones: u64 = 0;
let rawBytes: u64 = 0;
let sequenceMin: u64 = 0;
let sequenceMax: u64 = 0;
let blobs: u32 = 0;
let fingerprint: u32 = 0;
/** Keys at which a table ends, ascending: address u32, length u32 each. */
let cuts: u32 = 0;
let cutCount: u32 = 0;
let cutNext: u32 = 0;

/**
 * Divides the region, 64-byte aligned, among the parts. Returns the most bytes that the versions of
 * one key may take in a block, or 0 when the region is too small.
 */
export function builderInit(region: u32, bytes: u32): u32 {
  if (bytes < REGION_BYTES_MIN || (region & ALIGN) != 0) return 0;
  cutCount = 0;
  state = changetype<State>(<usize>region);
  let at = region + BUILDER_STATE_BYTES;
  lz4SetTable(at);
  at += LZ4_TABLE_BYTES;
  state.smallest = at;
  at += KEY_BYTES_MAX + 64;
  state.blobs = at;
  at += TABLE_BLOBS_MAX * 8;

  const gather = min(bytes / GATHER_SHARE, GATHER_BYTES_MAX) & ~ALIGN;
  hashes = at;
  hashBytes = (gather / 4) * 3;
  indexInit((at + hashBytes + ALIGN) & ~ALIGN, gather / 4);
  at += gather + 64;

  // A third of the rest each for stage, raw block and output, until raw blocks that large are no
  // longer compressed: then half of it.
  const rest = region + bytes - at - WRITE_BYTES_MIN - 4 * BLOCK_SLACK_BYTES;
  let stageBytes = (rest - rest / 128) / 3;
  rawCapacity = stageBytes + BLOCK_SLACK_BYTES;
  if (rawCapacity > COMPRESSED_RAW_BYTES_MAX) {
    rawCapacity = COMPRESSED_RAW_BYTES_MAX;
    stageBytes = (rest - rawCapacity) / 2;
  }
  stageBytes &= ~ALIGN;
  stageInit(at, stageBytes);
  at += stageBytes;
  raw = at;
  at = (at + rawCapacity + ALIGN) & ~ALIGN;
  out = at;
  outCapacity = region + bytes - out;
  return stageBytes - 1024;
}

/**
 * Makes tables end before each of `count` keys, ascending, whose addresses and lengths (u32 each)
 * stand at `list`; all of it stays there until the last table is finished. After builderInit.
 */
export function builderCuts(list: u32, count: u32): void {
  cuts = list;
  cutCount = count;
  cutNext = 0;
}

/** Whether a table must end before this key: it is the first at or above a cut. */
function passesCut(key: u32, keyLength: u32): bool {
  let passes = false;
  while (cutNext < cutCount) {
    const cut = cuts + (cutNext << 3);
    if (compareBytes(key, keyLength, load<u32>(cut), load<u32>(cut, 4)) < 0) break;
    cutNext++;
    passes = true;
  }
  return passes && keys > 0;
}

/**
 * Starts a table. The builder is initialized; what was in it is forgotten. `compress` is 0, or what
 * `lz4Compress` takes as `skipShift`.
 */
export function builderBegin(
  id: f64,
  blockBytes: u32,
  tableBytes: f64,
  compress: u32,
  bitsPerKey: u32,
): void {
  tableId = id;
  blockBytesTarget = blockBytes;
  tableBytesMax = tableBytes;
  skipShift = compress;
  filterBitsPerKey = bitsPerKey;
  keysMax = <u32>(
    ((<u64>(hashBytes - FILTER_HEAD_BYTES - FILTER_LINE_BYTES - 128) * 8) / (64 + bitsPerKey))
  );
  stageClear();
  fileBytes = 0;
  outBytes = 0;
  keys = 0;
  entries = 0;
  tombstones = 0;
  rawBytes = 0;
  sequenceMin = u64.MAX_VALUE;
  sequenceMax = 0;
  blobs = 0;
  indexClear();
  state.out = out;
  state.outBytes = 0;
  state.largestBytes = 0;
}

/** The output has been written: its buffer is free again. */
export function builderDrained(): void {
  outBytes = 0;
  state.outBytes = 0;
}

function askDrain(): i32 {
  state.outBytes = outBytes;
  return JOB_DRAIN;
}

/** Writes a block with the first `count` staged entries to the output. JOB_DONE or JOB_DRAIN. */
function cutBlock(count: u32): i32 {
  const estimate = stageEstimate();
  const needed = lz4Bound(estimate) + BLOCK_TRAILER_BYTES;
  if (outBytes > 0 && (outBytes >= WRITE_BYTES_MIN || needed > outCapacity - outBytes)) {
    return askDrain();
  }
  const target = out + outBytes;
  let length: u32 = 0;
  let stored: u32 = 0;
  let form: u32 = 0;
  if (skipShift && estimate <= rawCapacity) {
    // Worth it from an eighth on. The compressor keeps away from its capacity by 32 bytes.
    if (estimate <= COLUMNS_RAW_BYTES_MAX) {
      form = STORED_COMPRESSED | STORED_COLUMNS;
      const packed = columnsLayOut(count, raw);
      length = columnsRawBytes();
      stored = lz4Compress(raw, packed, target, length - (length >> 3) + 32, skipShift);
    } else {
      form = STORED_COMPRESSED;
      length = stageLayOut(count, raw, true);
      stored = lz4Compress(raw, length, target, length - (length >> 3) + 32, skipShift);
    }
  }
  if (stored == 0) {
    form = 0;
    length = stageLayOut(count, target, false);
    stored = length;
  }
  store<u32>(target + stored, (length << 1) | form);
  store<u64>(
    target + stored + 4,
    xxh64(target, stored + 4, placementSeed(tableId, <f64>fileBytes)),
  );
  indexAddBlock(fileBytes);
  rawBytes += length;
  fileBytes += stored + BLOCK_TRAILER_BYTES;
  outBytes += stored + BLOCK_TRAILER_BYTES;
  return JOB_DONE;
}

/** Whether the table ends before the next key: it is large enough, or its index may have no more room. */
function isAtEnd(): bool {
  return indexBlocks() > 0 && (<f64>fileBytes >= tableBytesMax || indexIsFull());
}

/** Room for the first entry of a new key: cuts the block before it when that is large enough. */
function openKey(key: u32, keyLength: u32, valueLength: u32): i32 {
  // Half of the blob list is left to the versions of one key.
  if (keys >= keysMax || blobs >= TABLE_BLOBS_MAX / 2) return JOB_FULL;
  // `openVersion` may have cut the last block.
  if (isAtEnd()) return JOB_FULL;
  if (cutNext < cutCount && passesCut(key, keyLength)) return JOB_FULL;
  const staged = stageEntries();
  if (staged) {
    if (
      stageOutgrows(blockBytesTarget, key, keyLength, valueLength) ||
      staged >= BLOCK_ENTRIES_MAX ||
      !stageHasRoom(keyLength, valueLength)
    ) {
      const status = cutBlock(staged);
      if (status != JOB_DONE) return status;
      stageClear();
    }
  }
  if (stageEntries() == 0) {
    if (isAtEnd()) return JOB_FULL;
    if (indexBlocks() > 0) indexAddFence(stageKey(), stageKeyLength(), key, keyLength);
    if (!stageHasRoom(keyLength, valueLength)) return JOB_TOO_LARGE;
  }
  return JOB_DONE;
}

/** Room for another version of the newest key: such a key gets a block of its own. */
function openVersion(keyLength: u32, valueLength: u32): i32 {
  const before = stageEntriesBeforeKey();
  if (before > 0 && stageEstimate() + keyLength + valueLength > blockBytesTarget) {
    const status = cutBlock(before);
    if (status != JOB_DONE) return status;
    indexAddFence(stagePreviousKey(), stagePreviousKeyLength(), stageKey(), keyLength);
    stageKeepKey();
  }
  if (stageEntries() >= BLOCK_ENTRIES_MAX || !stageHasRoom(0, valueLength)) return JOB_TOO_LARGE;
  return JOB_DONE;
}

/**
 * Adds an entry whose order the caller vouches for. `newKey`: the key is not that of the entry
 * before. JOB_DONE; JOB_DRAIN or JOB_FULL (only at a new key): nothing was added, call again
 * afterwards; JOB_TOO_LARGE.
 */
export function builderAppend(
  key: u32,
  keyLength: u32,
  newKey: bool,
  type: u32,
  sequence: u64,
  value: u32,
  valueLength: u32,
): i32 {
  if (type == OP_PUT_BLOB && blobs >= TABLE_BLOBS_MAX) return JOB_TOO_LARGE;
  if (newKey) {
    const status = openKey(key, keyLength, valueLength);
    if (status != JOB_DONE) return status;
    const hash = xxh64(key, keyLength, 0);
    store<u64>(hashes + (keys << 3), hash);
    fingerprint = <u32>(hash >> 56);
    if (keys == 0) {
      copyBytes(state.smallest, key, keyLength);
      state.smallestBytes = keyLength;
    }
    keys++;
  } else {
    const status = openVersion(keyLength, valueLength);
    if (status != JOB_DONE) return status;
  }
  stageAdd(key, keyLength, newKey, fingerprint, type, sequence, value, valueLength);
  entries++;
  if (type == OP_DELETE) tombstones++;
  else if (type == OP_PUT_BLOB) store<f64>(state.blobs + (blobs++ << 3), load<f64>(value));
  sequenceMin = min(sequenceMin, sequence);
  sequenceMax = max(sequenceMax, sequence);
  return JOB_DONE;
}

let lastSequence: u64 = 0;

/**
 * Adds an entry and checks that it belongs behind the last one. As `builderAppend`, and
 * JOB_DISORDER when it does not, or is not well formed.
 */
export function builderAdd(
  key: u32,
  keyLength: u32,
  type: u32,
  sequence: f64,
  value: u32,
  valueLength: u32,
): i32 {
  const number = <u64>sequence;
  let newKey = true;
  if (keyLength > KEY_BYTES_MAX || type < OP_PUT || type > OP_PUT_BLOB) return JOB_DISORDER;
  if (type == OP_DELETE && valueLength != 0) return JOB_DISORDER;
  if (type == OP_PUT_BLOB && valueLength != BLOB_REFERENCE_BYTES) return JOB_DISORDER;
  if (keys > 0) {
    const order = compareBytes(stageKey(), stageKeyLength(), key, keyLength);
    if (order > 0 || (order == 0 && number >= lastSequence)) return JOB_DISORDER;
    newKey = order != 0;
  }
  const status = builderAppend(key, keyLength, newKey, type, number, value, valueLength);
  if (status == JOB_DONE) lastSequence = number;
  return status;
}

/**
 * Ends the table: the last block goes to the output (JOB_DRAIN: write, drain, call again), then the
 * index and filter sections are made. JOB_DONE: the state describes the whole table, and its output
 * must still be drained. The table has at least one entry.
 */
export function builderFinish(): i32 {
  const staged = stageEntries();
  if (staged) {
    const status = cutBlock(staged);
    if (status != JOB_DONE) return status;
    stageClear();
  }
  if (outBytes > 0) {
    // The sections need the room behind the output.
    return askDrain();
  }
  state.largest = stageKey();
  state.largestBytes = stageKeyLength();
  state.blobCount = blobs;
  state.keys = keys;
  state.blocks = indexBlocks();
  state.entries = <f64>entries;
  state.tombstones = <f64>tombstones;
  state.rawBytes = <f64>rawBytes;
  state.fileBytes = <f64>fileBytes;
  state.sequenceMin = <f64>sequenceMin;
  state.sequenceMax = <f64>sequenceMax;
  makeFilter();
  state.fenceBytes = indexFenceBytes();
  // The output is free.
  state.index = out;
  const indexOffset = <f64>fileBytes + <f64>state.filterBytes;
  state.indexBytes = indexLayOut(tableId, fileBytes, indexOffset, out);
  return JOB_DONE;
}

function makeFilter(): void {
  const filter = (hashes + (keys << 3) + ALIGN) & ~ALIGN;
  const lines = max<u32>(1, <u32>((<u64>keys * filterBitsPerKey + 511) >> 9));
  memory.fill(filter, 0, FILTER_HEAD_BYTES);
  store<u32>(filter, lines);
  filterBuild(hashes, keys, filter + FILTER_HEAD_BYTES, lines);
  const length = FILTER_HEAD_BYTES + lines * FILTER_LINE_BYTES;
  store<u64>(filter + length, xxh64(filter, length, placementSeed(tableId, <f64>fileBytes)));
  state.filter = filter;
  state.filterBytes = length + CHECKSUM_BYTES;
}
