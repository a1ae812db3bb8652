/** Scans: memtables and runs merged, a batch at a time. See reader.ts. */

import { blockCount, blockEntry, blockPrefixLen, blockPrefixPtr, blockSeek } from './block';
import { compareBytes, copyBytes, headOf, isAscii } from './bytes';
import { readerEnter, readerLeave } from './epoch';
import {
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  H_VERSION,
  LEAF_HEAD,
  LEAF_KEY,
  LEAF_KEY_LENGTH,
  OP_DELETE,
  OP_PUT_BLOB,
  READER_SCANNED,
  SCAN_BATCH_ENTRIES_MAX,
  SCAN_DESCRIPTOR_BYTES,
  SCRATCH_CURSORS,
  SCRATCH_DESCRIPTORS,
  SCRATCH_KEY,
  SCRATCH_KEY2,
  SCRATCH_OUT,
  SCRATCH_OUT_BYTES,
  SCRATCH_RESULT,
  SOURCES_MAX,
  SOURCE_BYTES,
  T_BLOCKS,
  T_CACHE_REFS,
  T_ID,
  T_LARGEST,
  T_LARGEST_BYTES,
  T_SMALLEST,
  T_SMALLEST_BYTES,
  VERSION_LENGTH_MASK,
  VERSION_OLDER,
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
import {
  memtableFirst,
  memtableLast,
  memtableNext,
  memtablePrev,
  memtableSeek,
  memtableSeekLast,
} from './memtable';
import { ownBlockForget } from './own-block';
import { ENTRY, line, scratch, slot, snapshotOf } from './reader';
import { tableFindBlock } from './table-index';

export const SCAN_DONE: i32 = 0;
export const SCAN_BATCH: i32 = 1;
export const SCAN_NEED_BLOCK: i32 = 2;

export const SCAN_REVERSE: u32 = 1;
export const SCAN_HAS_START: u32 = 2;
export const SCAN_START_EXCLUSIVE: u32 = 4;
export const SCAN_HAS_END: u32 = 8;
export const SCAN_END_INCLUSIVE: u32 = 16;
export const SCAN_KEYS_ONLY: u32 = 32;
/** No more than `entriesMax` entries are wanted: what comes after them is not looked at. */
export const SCAN_SHORT: u32 = 64;

/** Keys looked at in one call: bounds the time inside an epoch when most of them are deleted. */
const KEYS_PER_CALL_MAX: u32 = 16384;
const NO_PROGRESS: u32 = 0xffffffff;

/** In a descriptor's value length. */
const VALUE_ELSEWHERE: u32 = 0x80000000;
const VALUE_ASCII: u32 = 0x40000000;
const KEY_ASCII: u32 = 0x20000000;

/** One sorted input of a scan. The key is contiguous: in the leaf, or materialized behind the struct. */
@unmanaged
class Source {
  key: u32;
  keyLength: u32;
  /** Big-endian value of the first 8 bytes of the key, zero-padded: decides most comparisons. */
  head: u64;
  sequence: u64;
  type: u32;
  value: u32;
  valueLength: u32;
  /** 0 exhausted, 1 memtable, 2 run. */
  kind: u32;
  // memtable
  arena: u32;
  leaf: u32;
  // run
  run: u32;
  table: i32;
  meta: u32;
  block: i32;
  raw: u32;
  entry: i32;
  entries: i32;
}

/** A run's `type`: it has no version of the key that the snapshot sees. The scan has come that far. */
const INVISIBLE: u32 = 0xff;

const KIND_DONE: u32 = 0;
const KIND_MEMTABLE: u32 = 1;
const KIND_RUN: u32 = 2;

/** Behind the struct: the memtable cursor, or the materialized key. */
const SOURCE_CURSOR: u32 = 128;
const SOURCE_KEY: u32 = 4352;

let sourceCount: u32 = 0;
let reverse: bool = false;
let scanAt: u64 = 0;
/** Set when a source needs a block that is not cached. */
let missingTable: u32 = 0;
let missingBlock: u32 = 0;
let missing: bool = false;
/** The last key the scan is done with: emitted, deleted or shadowed. */
let consumed: u32 = 0;
let consumedLength: u32 = NO_PROGRESS;

// @ts-ignore: decorator
@inline
function source(i: u32): Source {
  return changetype<Source>(scratch + SCRATCH_CURSORS + i * SOURCE_BYTES);
}

/** Positions a memtable source on its leaf: the newest version that the snapshot sees, if any. */
function takeLeaf(s: Source): bool {
  let record = atomic.load<u32>(s.leaf + LEAF_HEAD);
  while (record && load<u64>(record, VERSION_SEQUENCE) > scanAt) record = load<u32>(record, VERSION_OLDER);
  if (!record) return false;
  s.key = s.leaf + LEAF_KEY;
  s.keyLength = load<u32>(s.leaf, LEAF_KEY_LENGTH);
  s.head = headOf(s.key, s.keyLength);
  const word = load<u32>(record, VERSION_VALUE_LENGTH);
  s.type = word >> VERSION_TYPE_SHIFT;
  s.value = record + VERSION_VALUE;
  s.valueLength = word & VERSION_LENGTH_MASK;
  s.sequence = load<u64>(record, VERSION_SEQUENCE);
  return true;
}

function advanceMemtable(s: Source, first: bool): void {
  const cursor = changetype<u32>(s) + SOURCE_CURSOR;
  while (true) {
    if (!first) s.leaf = reverse ? memtablePrev(cursor) : memtableNext(cursor);
    first = false;
    if (!s.leaf) {
      s.kind = KIND_DONE;
      return;
    }
    if (takeLeaf(s)) return;
  }
}

/** Points the source at a block of its table. False: the block is not cached. */
function openBlock(s: Source, block: i32): bool {
  s.block = block;
  const entry = atomic.load<u32>(load<u32>(s.meta, T_CACHE_REFS) + (<u32>block << 2));
  if (entry <= CACHE_GHOST) {
    missing = true;
    missingTable = load<u32>(s.meta, T_ID);
    missingBlock = <u32>block;
    return false;
  }
  s.raw = entry + CACHE_HEAD_BYTES;
  s.entries = blockCount(s.raw);
  const prefix = blockPrefixLen(s.raw);
  s.key = changetype<u32>(s) + SOURCE_KEY;
  copyBytes(s.key, blockPrefixPtr(s.raw), prefix);
  return true;
}

// @ts-ignore: decorator
@inline
function metaOf(s: Source, table: i32): u32 {
  return load<u32>(load<u32>(s.run, 4) + (<u32>table << 2));
}

/** Steps to the block after (before) the current one, across tables. False: exhausted or missing. */
function nextBlock(s: Source): bool {
  if (reverse) {
    if (s.block > 0) {
      if (!openBlock(s, s.block - 1)) return false;
    } else {
      if (s.table == 0) {
        s.kind = KIND_DONE;
        return false;
      }
      s.table--;
      s.meta = metaOf(s, s.table);
      if (!openBlock(s, <i32>load<u32>(s.meta, T_BLOCKS) - 1)) return false;
    }
    s.entry = s.entries - 1;
    return true;
  }
  if (s.block + 1 < <i32>load<u32>(s.meta, T_BLOCKS)) {
    if (!openBlock(s, s.block + 1)) return false;
  } else {
    if (s.table + 1 >= <i32>load<u32>(s.run)) {
      s.kind = KIND_DONE;
      return false;
    }
    s.table++;
    s.meta = metaOf(s, s.table);
    if (!openBlock(s, 0)) return false;
  }
  s.entry = 0;
  return true;
}

/** Decodes entry `s.entry` into the source. */
// @ts-ignore: decorator
@inline
function decodeEntry(s: Source): void {
  const decoded = scratch + ENTRY;
  blockEntry(s.raw, s.entry, decoded);
  const prefix = blockPrefixLen(s.raw);
  const suffix = load<u32>(decoded, 4);
  copyBytes(s.key + prefix, load<u32>(decoded, 0), suffix);
  s.keyLength = prefix + suffix;
  s.head = headOf(s.key, s.keyLength);
  s.value = load<u32>(decoded, 8);
  s.valueLength = load<u32>(decoded, 12);
  s.type = load<u32>(decoded, 16);
  s.sequence = load<u64>(decoded, 24);
}

/** True when entries i and j of the source's block have the same key. */
function sameKey(s: Source, i: i32, j: i32): bool {
  const a = scratch + ENTRY;
  const b = scratch + ENTRY + 64;
  blockEntry(s.raw, i, a);
  blockEntry(s.raw, j, b);
  const length = load<u32>(a, 4);
  return (
    length == load<u32>(b, 4) &&
    compareBytes(load<u32>(a, 0), length, load<u32>(b, 0), length) == 0
  );
}

/**
 * Moves a run source to the next entry the snapshot sees, starting with `s.entry` itself. Versions
 * of one key stand together, newest first, in one block; older ones are stepped over by the merge.
 *
 * A block that ends with keys the snapshot does not see is left by the merge only, which takes the
 * last of them as INVISIBLE: an old snapshot's scan gets past any number of newer blocks, and needs
 * one of them at a time.
 */
function settleRun(s: Source): void {
  while (true) {
    let hasPassed = false;
    if (reverse) {
      while (s.entry >= 0) {
        hasPassed = true;
        // The oldest version comes first when walking back: find the newest visible of the key.
        let first = s.entry;
        while (first > 0 && sameKey(s, first - 1, s.entry)) first--;
        const last = s.entry;
        s.entry = first - 1;
        for (let i = first; i <= last; i++) {
          blockEntry(s.raw, i, scratch + ENTRY);
          if (load<u64>(scratch + ENTRY, 24) <= scanAt) {
            s.entry = i;
            decodeEntry(s);
            s.entry = first - 1;
            return;
          }
        }
      }
      if (hasPassed) {
        s.entry = 0;
        decodeEntry(s);
        s.entry = -1;
      }
    } else {
      while (s.entry < s.entries) {
        hasPassed = true;
        decodeEntry(s);
        s.entry++;
        if (s.sequence <= scanAt) return;
      }
    }
    if (hasPassed) {
      s.type = INVISIBLE;
      return;
    }
    if (!nextBlock(s)) return;
  }
}

function compareSources(a: Source, b: Source): i32 {
  if (a.head != b.head) return a.head < b.head ? -1 : 1;
  return compareBytes(a.key, a.keyLength, b.key, b.keyLength);
}

/** Positions a run source on the first key of the range. False: a block is missing. */
function seekRun(s: Source, key: u32, keyLength: u32, hasStart: bool): bool {
  const tables = <i32>load<u32>(s.run);
  let table: i32 = reverse ? tables - 1 : 0;
  if (hasStart) {
    let low: i32 = 0;
    let high: i32 = tables;
    if (reverse) {
      // Last table whose smallest key is not above the start.
      while (low < high) {
        const middle = (low + high) >> 1;
        const meta = metaOf(s, middle);
        if (compareBytes(load<u32>(meta, T_SMALLEST), load<u32>(meta, T_SMALLEST_BYTES), key, keyLength) <= 0) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      table = low - 1;
    } else {
      // First table whose largest key is not below the start.
      while (low < high) {
        const middle = (low + high) >> 1;
        const meta = metaOf(s, middle);
        if (compareBytes(load<u32>(meta, T_LARGEST), load<u32>(meta, T_LARGEST_BYTES), key, keyLength) < 0) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      table = low;
    }
  }
  if (table < 0 || table >= tables) {
    s.kind = KIND_DONE;
    return true;
  }
  s.table = table;
  s.meta = metaOf(s, table);
  let block: i32 = reverse ? <i32>load<u32>(s.meta, T_BLOCKS) - 1 : 0;
  if (hasStart) block = <i32>tableFindBlock(s.meta, key, keyLength);
  if (!openBlock(s, block)) return false;
  if (!hasStart) {
    s.entry = reverse ? s.entries - 1 : 0;
  } else {
    const at = blockSeek(s.raw, key, keyLength);
    if (!reverse) {
      s.entry = at;
    } else {
      // Last entry with a key not above the start: every version of the start key itself included.
      let entry = at;
      while (entry < s.entries && entryEquals(s, entry, key, keyLength)) entry++;
      s.entry = entry - 1;
    }
  }
  settleRun(s);
  return !missing;
}

function entryEquals(s: Source, entry: i32, key: u32, keyLength: u32): bool {
  const decoded = scratch + ENTRY;
  blockEntry(s.raw, entry, decoded);
  const prefix = blockPrefixLen(s.raw);
  const suffix = load<u32>(decoded, 4);
  if (prefix + suffix != keyLength) return false;
  return (
    compareBytes(blockPrefixPtr(s.raw), prefix, key, prefix) == 0 &&
    compareBytes(load<u32>(decoded, 0), suffix, key + prefix, suffix) == 0
  );
}

function advance(s: Source): void {
  if (s.kind == KIND_MEMTABLE) {
    advanceMemtable(s, false);
    return;
  }
  // Step over the older versions of the key just seen.
  if (!reverse) {
    while (s.entry < s.entries && sameKey(s, s.entry, s.entry - 1)) s.entry++;
  }
  settleRun(s);
}

/**
 * Fills one batch of a scan as of `snapshot`. Bounds: SCRATCH_KEY holds the start (`startLength`),
 * SCRATCH_KEY2 the far bound (`endLength`); in reverse the start is the upper side. At most
 * `entriesMax` entries and SCRATCH_OUT_BYTES are copied out. See SCAN_* for flags and status.
 *
 * Result words: 0 entries; 3, 4 table id and number of the missing block; 5 length of the key the
 * scan got to, which then stands at SCRATCH_KEY and is the next call's exclusive start, or
 * NO_PROGRESS. A batch may be empty and yet have moved on (deleted keys); it may come with
 * SCAN_NEED_BLOCK, and then its entries are good too.
 */
export function scan(
  startLength: u32,
  endLength: u32,
  flags: u32,
  snapshot: f64,
  entriesMax: u32,
): i32 {
  ownBlockForget();
  reverse = (flags & SCAN_REVERSE) != 0;
  const hasStart = (flags & SCAN_HAS_START) != 0;
  const hasEnd = (flags & SCAN_HAS_END) != 0;
  const keysOnly = (flags & SCAN_KEYS_ONLY) != 0;
  const start = scratch + SCRATCH_KEY;
  const end = scratch + SCRATCH_KEY2;
  const endHead = hasEnd ? headOf(end, endLength) : 0;
  missing = false;
  consumedLength = NO_PROGRESS;
  entriesMax = min(entriesMax, SCAN_BATCH_ENTRIES_MAX);
  store<u32>(scratch + SCRATCH_RESULT, 0);

  readerEnter(slot);
  const version = atomic.load<u32>(H_VERSION);
  scanAt = snapshotOf(snapshot);
  sourceCount = 0;

  const memtables = load<u32>(version, V_MEMTABLE_COUNT);
  for (let i: u32 = 0; i < memtables && sourceCount < SOURCES_MAX; i++) {
    const s = source(sourceCount);
    s.kind = KIND_MEMTABLE;
    s.arena = load<u32>(version + V_MEMTABLES + (i << 2));
    const cursor = changetype<u32>(s) + SOURCE_CURSOR;
    if (hasStart) {
      s.leaf = reverse
        ? memtableSeekLast(cursor, s.arena, start, startLength)
        : memtableSeek(cursor, s.arena, start, startLength);
    } else {
      s.leaf = reverse ? memtableLast(cursor, s.arena) : memtableFirst(cursor, s.arena);
    }
    advanceMemtable(s, true);
    if (s.kind != KIND_DONE) sourceCount++;
  }
  const runs = load<u32>(version, V_RUN_COUNT);
  for (let i: u32 = 0; i < runs && sourceCount < SOURCES_MAX; i++) {
    const s = source(sourceCount);
    s.kind = KIND_RUN;
    s.run = version + V_RUNS + i * V_RUN_BYTES;
    if (!seekRun(s, start, startLength, hasStart)) return endBatch(0, SCAN_NEED_BLOCK);
    if (s.kind != KIND_DONE) sourceCount++;
  }

  let entries: u32 = 0;
  let seen: u32 = 0;
  let out = scratch + SCRATCH_OUT;
  const outEnd = out + SCRATCH_OUT_BYTES;
  const skipStart = hasStart && (flags & SCAN_START_EXCLUSIVE) != 0;

  while (true) {
    // The smallest (largest) key; among equals the first source, which is the newest, that shows it.
    let winner: i32 = -1;
    for (let i: u32 = 0; i < sourceCount; i++) {
      const s = source(i);
      if (s.kind == KIND_DONE) continue;
      if (winner < 0) {
        winner = <i32>i;
        continue;
      }
      const best = source(<u32>winner);
      const order = compareSources(s, best);
      if (order == 0 ? best.type == INVISIBLE : reverse ? order > 0 : order < 0) winner = <i32>i;
    }
    if (winner < 0) return endBatch(entries, SCAN_DONE);
    const w = source(<u32>winner);

    if (hasEnd) {
      let order: i32;
      if (w.head != endHead) order = w.head < endHead ? -1 : 1;
      else order = compareBytes(w.key, w.keyLength, end, endLength);
      if (reverse) order = -order;
      if (order > 0 || (order == 0 && !(flags & SCAN_END_INCLUSIVE))) return endBatch(entries, SCAN_DONE);
    }

    let emit = w.type != OP_DELETE && w.type != INVISIBLE;
    if (skipStart && entries == 0 && compareBytes(w.key, w.keyLength, start, startLength) == 0) emit = false;
    const isElsewhere = w.type == OP_PUT_BLOB || w.valueLength > SCRATCH_OUT_BYTES / 2;
    const hasValue = emit && !keysOnly && !isElsewhere;
    const copiedKey = out;
    const keyLength = w.keyLength;
    // Before the key is copied: it may overwrite the one that the scan got to, where nothing was emitted.
    if (
      out + keyLength + (hasValue ? w.valueLength : 0) > outEnd ||
      entries == entriesMax ||
      seen == KEYS_PER_CALL_MAX
    ) {
      return endBatch(entries, SCAN_BATCH);
    }
    // Keys are copied first: the sources below may be advanced past this entry.
    copyBytes(out, w.key, keyLength);
    if (emit) {
      const descriptor = scratch + SCRATCH_DESCRIPTORS + entries * SCAN_DESCRIPTOR_BYTES;
      let word: u32 = 0;
      let valueAt: u32 = 0;
      let used = keyLength;
      if (isAscii(copiedKey, keyLength)) word |= KEY_ASCII;
      if (!keysOnly && isElsewhere) {
        word |= VALUE_ELSEWHERE;
      } else if (hasValue) {
        valueAt = out + keyLength;
        copyBytes(valueAt, w.value, w.valueLength);
        used += w.valueLength;
        word |= w.valueLength;
        if (isAscii(valueAt, w.valueLength)) word |= VALUE_ASCII;
      }
      store<u32>(descriptor, copiedKey);
      store<u32>(descriptor, keyLength, 4);
      store<u32>(descriptor, valueAt, 8);
      store<u32>(descriptor, word, 12);
      entries++;
      out += used;
    }
    seen++;
    consumed = copiedKey;
    consumedLength = keyLength;
    if (entries == entriesMax && (flags & SCAN_SHORT) != 0) return endBatch(entries, SCAN_BATCH);
    // Step every source that stands on this key; older versions of it are shadowed.
    const winnerHead = w.head;
    for (let i: u32 = 0; i < sourceCount; i++) {
      const s = source(i);
      if (s.kind == KIND_DONE) continue;
      if (<i32>i != winner) {
        if (s.head != winnerHead || compareBytes(s.key, s.keyLength, copiedKey, keyLength) != 0) continue;
      }
      advance(s);
      if (missing) return endBatch(entries, SCAN_NEED_BLOCK);
    }
  }
}

function endBatch(entries: u32, status: i32): i32 {
  readerLeave(slot);
  store<u32>(scratch + SCRATCH_RESULT, entries);
  store<u32>(scratch + SCRATCH_RESULT, consumedLength, 20);
  if (consumedLength != NO_PROGRESS) copyBytes(scratch + SCRATCH_KEY, consumed, consumedLength);
  store<u32>(scratch + SCRATCH_RESULT, missingTable, 12);
  store<u32>(scratch + SCRATCH_RESULT, missingBlock, 16);
  store<u64>(line + READER_SCANNED, load<u64>(line + READER_SCANNED) + entries);
  return status;
}
