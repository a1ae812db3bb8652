/** Point reads: a key's newest version at or below a snapshot, from memory alone. See reader.ts. */

import { blockEntry, blockFind } from './block';
import { compareBytes, copyText, isAscii } from './bytes';
import { readerEnter, readerLeave } from './epoch';
import { filterMayContain } from './filter';
import { murmur32, xxh64 } from './hash';
import { hintBlock, hintFind, hintNote, hintPrefetch } from './hint';
import {
  BLOCK_HEAD_BYTES,
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  CACHE_TOUCHED,
  H_UNSETTLED,
  H_VERSION,
  OP_DELETE,
  OP_PUT_BLOB,
  READER_CACHE_HITS,
  READER_CACHE_MISSES,
  READER_FILTER_CHECKS,
  READER_FILTER_NEGATIVES,
  READER_GETS,
  READER_MEMTABLE_HITS,
  SCRATCH_KEY,
  SCRATCH_OUT,
  SCRATCH_OUT_BYTES,
  SCRATCH_RESULT,
  T_CACHE_REFS,
  T_FILTER,
  T_FILTER_LINES,
  T_ID,
  T_LARGEST,
  T_LARGEST_BYTES,
  T_OFFSETS,
  T_SMALLEST,
  T_SMALLEST_BYTES,
  VERSION_LENGTH_MASK,
  VERSION_SEQUENCE,
  VERSION_TYPE_SHIFT,
  VERSION_VALUE,
  VERSION_VALUE_LENGTH,
  V_MEMTABLES,
  V_MEMTABLE_COUNT,
  V_RUNS,
  V_RUN_BYTES,
  V_RUN_COUNT,
} from './layout';
import { memtableFind } from './memtable';
import { ownBlock, ownBlockNote } from './own-block';
import { ENTRY, scratch, slot, snapshotOf, tally, touchedBit } from './reader';
import { tableFindBlock } from './table-index';

export const GET_ABSENT: i32 = 0;
export const GET_FOUND: i32 = 1;
export const GET_NEED_BLOCK: i32 = 2;
export const GET_FOUND_HELD: i32 = 3;
export const GET_BLOB: i32 = 4;
/** Newer than H_UNSETTLED: the transaction table knows whether anybody may see it. */
export const GET_UNSETTLED: i32 = 5;

/** Latest reads: only what lies below `bound`; what has the number `settled` may be seen. */
let isLatest: bool = false;
let bound: u64 = u64.MAX_VALUE;
let settled: u64 = 0;

/**
 * Lookups in a row that found nothing. After some, filters are asked before anything waits for the hint,
 * which is a cache miss that only a key that is there is worth.
 */
let absentInARow: u32 = 0;
const ABSENT_EXPECTED: u32 = 3;
const RUNS_ASKED_FIRST_MAX: u32 = 8;

/** Whether a lookup has met tables. */
let hadRuns: bool = false;

/** Of the version that `find` has found: OP_*, and where its value stands. */
export let foundType: u32 = 0;
export let foundValue: u32 = 0;
export let foundBytes: u32 = 0;
export let foundSequence: u64 = 0;

/** Notes a version that was found. */
// @ts-ignore: decorator
@inline
function note(type: u32, value: u32, length: u32, sequence: u64): void {
  absentInARow = 0;
  foundType = type;
  foundValue = value;
  foundBytes = length;
  foundSequence = sequence;
}

/** Whether what was found is for the transaction table to decide: nobody may see it yet, perhaps. */
// @ts-ignore: decorator
@inline
export function isUnsettled(): bool {
  // After the version was found: whoever put it there lowered the word before.
  return isLatest && foundSequence >= atomic.load<u64>(H_UNSETTLED) && foundSequence != settled;
}

/** Hands out what was found: copied, or held in place when it is larger than the room. */
// @ts-ignore: decorator
@inline
function handOut(): i32 {
  const result = scratch + SCRATCH_RESULT;
  const length = foundBytes;
  store<f64>(result, <f64>foundSequence, 24);
  if (isUnsettled()) {
    readerLeave(slot);
    return GET_UNSETTLED;
  }
  if (foundType == OP_DELETE) {
    readerLeave(slot);
    return GET_ABSENT;
  }
  store<u32>(result, length, 4);
  if (length > SCRATCH_OUT_BYTES) {
    store<u32>(result, foundValue, 0);
    store<u32>(result, <u32>isAscii(foundValue, length), 8);
    return GET_FOUND_HELD;
  }
  const out = scratch + SCRATCH_OUT;
  const ascii = copyText(out, foundValue, length);
  readerLeave(slot);
  store<u32>(result, out, 0);
  if (foundType == OP_PUT_BLOB) return GET_BLOB;
  store<u32>(result, <u32>ascii, 8);
  return GET_FOUND;
}

/** Marks an entry of a cached block as used; a mark that is there is not written again. */
// @ts-ignore: decorator
@inline
function touch(raw: u32, index: i32): void {
  const entry = raw - CACHE_HEAD_BYTES;
  const marks = load<u32>(entry, CACHE_TOUCHED);
  const bit = touchedBit(<u32>index);
  // Of marks that two threads make at the same moment one may be lost.
  if (!(marks & bit)) store<u32>(entry, marks | bit, CACHE_TOUCHED);
}

/** Notes entry `index` of a block. */
// @ts-ignore: decorator
@inline
function noteEntry(raw: u32, index: i32): void {
  const decoded = scratch + ENTRY;
  blockEntry(raw, index, decoded);
  note(
    load<u32>(decoded, 16),
    load<u32>(decoded, 8),
    load<u32>(decoded, 12),
    load<u64>(decoded, 24),
  );
}

/** Whether the entry before is of another key, by its fingerprint: versions stand newest first. */
// @ts-ignore: decorator
@inline
function isNewest(raw: u32, index: i32, hash: u64): bool {
  return index == 0 || <u64>load<u8>(raw + BLOCK_HEAD_BYTES + index - 1) != hash >> 56;
}

/** The caller may want to keep the record: see own-block.ts. */
function noteOwnHit(meta: u32, hash: u64): void {
  ownBlockNote(load<u32>(meta, T_ID));
  store<u32>(scratch + SCRATCH_RESULT, <u32>hash, 40);
}

/** The block that `find` wants and that is not in memory. */
let missingMeta: u32 = 0;
let missingBlock: u32 = 0;

/** Tells which block is wanted, and where in its file it stands. */
function missing(): i32 {
  const meta = missingMeta;
  const block = missingBlock;
  const result = scratch + SCRATCH_RESULT;
  const offsets = load<u32>(meta, T_OFFSETS) + (block << 2);
  tally(READER_CACHE_MISSES);
  store<u32>(result, load<u32>(meta, T_ID), 12);
  store<u32>(result, block, 16);
  store<u32>(result, load<u32>(offsets), 32);
  store<u32>(result, load<u32>(offsets, 4) - load<u32>(offsets), 36);
  readerLeave(slot);
  return GET_NEED_BLOCK;
}

/** The table of a run whose key range may hold the key, or 0. */
function tableOfRun(run: u32, key: u32, keyLength: u32): u32 {
  const tables = load<u32>(run, 4);
  let low: i32 = 0;
  let high: i32 = <i32>load<u32>(run) - 1;
  // First table whose largest key is not below the key.
  while (low < high) {
    const middle = (low + high) >> 1;
    const meta = load<u32>(tables + (<u32>middle << 2));
    if (compareBytes(load<u32>(meta, T_LARGEST), load<u32>(meta, T_LARGEST_BYTES), key, keyLength) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const meta = load<u32>(tables + (<u32>low << 2));
  if (compareBytes(load<u32>(meta, T_SMALLEST), load<u32>(meta, T_SMALLEST_BYTES), key, keyLength) > 0) {
    return 0;
  }
  if (compareBytes(load<u32>(meta, T_LARGEST), load<u32>(meta, T_LARGEST_BYTES), key, keyLength) < 0) {
    return 0;
  }
  return meta;
}

/** Whether a run may hold the key, by the tables' key ranges and filters. */
function mayBeInRuns(version: u32, runs: u32, key: u32, keyLength: u32, hash: u64): bool {
  for (let i: u32 = 0; i < runs; i++) {
    const meta = tableOfRun(version + V_RUNS + i * V_RUN_BYTES, key, keyLength);
    if (!meta) continue;
    tally(READER_FILTER_CHECKS);
    if (filterMayContain(load<u32>(meta, T_FILTER), load<u32>(meta, T_FILTER_LINES), hash)) {
      return true;
    }
    tally(READER_FILTER_NEGATIVES);
  }
  return false;
}

/** Of the Version that `open` has found: its address, its runs, and the moment that is read. */
export let version: u32 = 0;
let runCount: u32 = 0;
let moment: u64 = 0;

/** Looks at the Version, from inside the epoch. Returns the number of runs. */
// @ts-ignore: decorator
@inline
export function open(snapshot: f64): u32 {
  version = atomic.load<u32>(H_VERSION);
  isLatest = snapshot < 0;
  moment = min(snapshotOf(snapshot), bound - 1);
  runCount = load<u32>(version, V_RUN_COUNT);
  return runCount;
}

/** Whether keys that are looked up are as a rule absent, so that hints are not worth waiting for. */
// @ts-ignore: decorator
@inline
export function expectsAbsent(): bool {
  return absentInARow >= ABSENT_EXPECTED && runCount <= RUNS_ASKED_FIRST_MAX;
}

/**
 * Looks up a key in what `open` has found. GET_FOUND: `found…` tell what; it may be a tombstone, or
 * unsettled. GET_ABSENT, GET_NEED_BLOCK: as of `get`. `isPrefetched`: whether what the key's hint names has
 * been asked for.
 */
// @ts-ignore: decorator
@inline
export function find(
  key: u32,
  keyLength: u32,
  hash: u64,
  routing: u32,
  isPrefetched: bool,
): i32 {
  const current = version;
  const at = moment;
  let runs = runCount;
  if (runs) {
    if (expectsAbsent() && !mayBeInRuns(current, runs, key, keyLength, hash)) runs = 0;
    else if (!isPrefetched) hintPrefetch(hash, routing);
  }
  const memtables = load<u32>(current, V_MEMTABLE_COUNT);
  for (let i: u32 = 0; i < memtables; i++) {
    const record = memtableFind(load<u32>(current + V_MEMTABLES + (i << 2)), key, keyLength, at);
    if (record) {
      tally(READER_MEMTABLE_HITS);
      const word = load<u32>(record, VERSION_VALUE_LENGTH);
      note(
        word >> VERSION_TYPE_SHIFT,
        record + VERSION_VALUE,
        word & VERSION_LENGTH_MASK,
        load<u64>(record, VERSION_SEQUENCE),
      );
      return GET_FOUND;
    }
  }
  for (let i: u32 = 0; i < runs; i++) {
    const meta = tableOfRun(current + V_RUNS + i * V_RUN_BYTES, key, keyLength);
    if (!meta) continue;
    const hinted = hintFind(meta, key, keyLength, hash, routing, at);
    if (hinted >= 0) {
      tally(READER_CACHE_HITS);
      touch(hintBlock, hinted);
      noteEntry(hintBlock, hinted);
      return GET_FOUND;
    }
    tally(READER_FILTER_CHECKS);
    if (!filterMayContain(load<u32>(meta, T_FILTER), load<u32>(meta, T_FILTER_LINES), hash)) {
      tally(READER_FILTER_NEGATIVES);
      continue;
    }
    const block = tableFindBlock(meta, key, keyLength);
    const entry = atomic.load<u32>(load<u32>(meta, T_CACHE_REFS) + (block << 2));
    const isCached = entry > CACHE_GHOST;
    const raw = isCached ? entry + CACHE_HEAD_BYTES : ownBlock(load<u32>(meta, T_ID), block);
    if (!raw) {
      missingMeta = meta;
      missingBlock = block;
      return GET_NEED_BLOCK;
    }
    if (isCached) tally(READER_CACHE_HITS);
    const index = blockFind(raw, key, keyLength, hash, at);
    if (index >= 0) {
      if (isCached) {
        touch(raw, index);
        hintNote(raw, index, hash, routing);
      } else if (isNewest(raw, index, hash)) {
        noteOwnHit(meta, hash);
      }
      noteEntry(raw, index);
      return GET_FOUND;
    }
  }
  absentInARow = min<u32>(absentInARow + 1, ABSENT_EXPECTED);
  return GET_ABSENT;
}

/**
 * Looks up the key at SCRATCH_KEY, whose murmur3 is `routing`, as of `snapshot` (-1: latest). See GET_* for the answer; result
 * words: value address, value length, ASCII flag, table id, block, and the sequence as f64 at byte 24;
 * for GET_NEED_BLOCK also the block's file offset and length at bytes 32 and 36; when `ownBlockHit` has
 * something to tell, half of the key's hash at byte 40.
 * A snapshot is never above an unreleased commit; the newest state may be: then GET_UNSETTLED.
 */
export function get(keyLength: u32, snapshot: f64, routing: u32): i32 {
  const key = scratch + SCRATCH_KEY;
  ownBlockNote(0);
  // Before the epoch, whose store waits for whatever is on its way: the hint's line, as a rule.
  let hash: u64 = hadRuns ? xxh64(key, keyLength, 0) : 0;
  readerEnter(slot);
  tally(READER_GETS);
  if (open(snapshot)) {
    if (!hadRuns) hash = xxh64(key, keyLength, 0);
    hadRuns = true;
  }
  const status = find(key, keyLength, hash, routing, false);
  if (status == GET_FOUND) return handOut();
  if (status == GET_NEED_BLOCK) return missing();
  readerLeave(slot);
  store<f64>(scratch + SCRATCH_RESULT, 0, 24);
  return GET_ABSENT;
}

/**
 * Looks up the key at SCRATCH_KEY as of now, after GET_UNSETTLED: passes over everything from the
 * sequence number `hidden` on (0: nothing), and takes what has the number `seen` as it is (0: none).
 */
export function getSettled(keyLength: u32, hidden: f64, seen: f64): i32 {
  if (hidden > 0) bound = <u64>hidden;
  settled = <u64>seen;
  const status = get(keyLength, -1, murmur32(scratch + SCRATCH_KEY, keyLength));
  bound = u64.MAX_VALUE;
  settled = 0;
  return status;
}
