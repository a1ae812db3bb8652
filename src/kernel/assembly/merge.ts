/**
 * Merges runs of tables into new tables.
 *
 * A source is one run, read from its first key on. The host reads stretches of whole blocks into
 * memory and feeds them (`mergeFeed`); the kernel verifies, decompresses and validates block by
 * block and picks the smallest key of all sources with a loser tree (Knuth, TAOCP 3, 5.4.1). Most
 * comparisons are of two u64: the 8 bytes of each key behind the prefix that all keys share.
 *
 * Order: key ascending, sequence descending, then the source given first, which is the newest.
 */

import { compareBytes, copyBytes, headOf } from './bytes';
import { blockCount, blockEntry, blockPrefixLen, blockPrefixPtr, blockSeek } from './block';
import {
  JOB_CORRUPT,
  JOB_DISORDER,
  JOB_DONE,
  JOB_INPUT,
  JOB_RAW,
  MERGE_SOURCES_MAX,
} from './job-layout';
import {
  COLUMNS_ROOM_BYTES,
  ENTRY_SEQUENCE,
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  ENTRY_TYPE,
  ENTRY_VALUE,
  ENTRY_VALUE_BYTES,
  KEY_BYTES_MAX,
  T_ID,
  T_OFFSETS,
} from './layout';
import { retentionKey, retentionVersion } from './retention';
import {
  STORED_MALFORMED,
  storedIsPlain,
  storedIsPossible,
  storedOpen,
  storedRawBytes,
  storedVerify,
} from './stored-block';

@unmanaged
class Source {
  /** The current entry; the key is contiguous in the source's own key buffer. */
  head: u64;
  sequence: u64;
  keyLength: u32;
  value: u32;
  valueLength: u32;
  type: u32;
  /** 0: exhausted. */
  live: u32;
  /** The current raw block; 0 when the next one has to be opened. */
  block: u32;
  entry: i32;
  count: i32;
  prefixBytes: u32;
  // blocks fed: `next` to `end` of the table at `meta`, the first of them at `chunk`
  meta: u32;
  next: u32;
  end: u32;
  chunk: u32;
  raw: u32;
  rawCapacity: u32;
  /** 1: no more blocks will come. */
  ended: u32;
  /** 1: entries below the start are still to be skipped. */
  seeking: u32;
}

const SOURCE_STATE_BYTES: u32 = 128;
const SOURCE_BYTES: u32 = SOURCE_STATE_BYTES + KEY_BYTES_MAX + 64;
const ENTRY_BYTES: u32 = 64;
const TREE_BYTES: u32 = MERGE_SOURCES_MAX * 4;
const NONE: u32 = 0xffffffff;

/** Memory that `mergeInit` needs for `sources` sources. */
export function mergeBytes(sources: u32): u32 {
  return (
    TREE_BYTES + ENTRY_BYTES + (KEY_BYTES_MAX + 64) + COLUMNS_ROOM_BYTES + sources * SOURCE_BYTES
  );
}

let tree: u32 = 0;
let decoded: u32 = 0;
let current: u32 = 0;
let currentLength: u32 = NONE;
let currentHead: u64 = 0;
let columnsRoom: u32 = 0;
let sourcesBase: u32 = 0;
let sourceCount: u32 = 0;
let common: u32 = 0;
let commonPtr: u32 = 0;
let start: u32 = 0;
let startLength: u32 = NONE;
let end: u32 = 0;
let endLength: u32 = NONE;
let endHead: u64 = 0;
/** The source whose next entry is due, or NONE. */
let due: u32 = 0;
/** Sources that have their first entry. */
let ready: u32 = 0;
let rawWanted: u32 = 0;
let bytesIn: u64 = 0;

// @ts-ignore: decorator
@inline
function source(i: u32): Source {
  return changetype<Source>(<usize>(sourcesBase + i * SOURCE_BYTES));
}

// @ts-ignore: decorator
@inline
function keyOf(s: Source): u32 {
  return changetype<u32>(s) + SOURCE_STATE_BYTES;
}

/**
 * Starts a merge of `count` sources (1 to MERGE_SOURCES_MAX), newest first, in `memory`
 * (`mergeBytes(count)`, 16-byte aligned). All keys of all blocks begin with the `prefixBytes` bytes
 * at `prefix`. Keys below the start are skipped and the end and keys above it as well; a length of
 * -1 means no bound. Prefix and bounds stay where they are until the merge ends.
 */
export function mergeInit(
  memory: u32,
  count: u32,
  prefix: u32,
  prefixBytes: u32,
  startPtr: u32,
  startBytes: u32,
  endPtr: u32,
  endBytes: u32,
): void {
  tree = memory;
  decoded = memory + TREE_BYTES;
  current = decoded + ENTRY_BYTES;
  columnsRoom = current + KEY_BYTES_MAX + 64;
  sourcesBase = columnsRoom + COLUMNS_ROOM_BYTES;
  sourceCount = count;
  commonPtr = prefix;
  common = prefixBytes;
  start = startPtr;
  startLength = startBytes;
  placeEnd(endPtr, endBytes);
  currentLength = NONE;
  ready = 0;
  due = 0;
  bytesIn = 0;
  for (let i: u32 = 0; i < count; i++) {
    const s = source(i);
    clear(s);
    s.seeking = startLength != NONE ? 1 : 0;
  }
  retentionKey();
}

/** An end that does not begin as all keys do is below or above all of them. */
function placeEnd(ptr: u32, length: u32): void {
  end = ptr;
  endLength = length;
  endHead = 0;
  if (length == NONE) return;
  const shared = min(length, common);
  const order = compareBytes(ptr, shared, commonPtr, shared);
  if (order > 0) endLength = NONE;
  else if (order < 0 || length < common) endLength = 0;
  else endHead = headOf(ptr + common, length - common);
}

function clear(s: Source): void {
  memory.fill(changetype<usize>(s), 0, SOURCE_STATE_BYTES);
}

/** Gives a source its buffer for decompressed blocks; what was in the old one is not needed. */
export function mergeRaw(i: u32, raw: u32, capacity: u32): void {
  const s = source(i);
  s.raw = raw;
  s.rawCapacity = capacity;
}

/**
 * Gives a source its next blocks: `count` blocks from number `block` on of the table at `meta`, as
 * they stand in the file, at `chunk`. The meta's offsets and the chunk stay until the source asks
 * for more.
 */
export function mergeFeed(i: u32, meta: u32, block: u32, count: u32, chunk: u32): void {
  const s = source(i);
  s.meta = meta;
  s.next = block;
  s.end = block + count;
  s.chunk = chunk;
}

/** Tells that a source has no more blocks. */
export function mergeEnd(i: u32): void {
  source(i).ended = 1;
}

/** The source that JOB_INPUT, JOB_RAW, JOB_CORRUPT or JOB_DISORDER is about. */
export function mergeSource(): u32 {
  return due;
}

/** The block that JOB_CORRUPT or JOB_DISORDER is about. */
export function mergeBlock(): u32 {
  const s = source(due);
  return s.block ? s.next - 1 : s.next;
}

/** The capacity that JOB_RAW asks for. */
export function mergeRawBytes(): u32 {
  return rawWanted;
}

/** Bytes of the blocks read since mergeInit, as they stand in the files. */
export function mergeBytesIn(): f64 {
  return <f64>bytesIn;
}

/** Opens the next block that was fed. JOB_DONE, JOB_INPUT, JOB_RAW, JOB_CORRUPT. */
function openBlock(s: Source): i32 {
  if (s.next == s.end) return JOB_INPUT;
  const offsets = load<u32>(s.meta, T_OFFSETS);
  const from = load<u32>(offsets + (s.next << 2));
  const length = load<u32>(offsets + (s.next << 2), 4) - from;
  if (!storedVerify(s.chunk, length, load<u32>(s.meta, T_ID), <f64>from)) return JOB_CORRUPT;
  if (!storedIsPossible(s.chunk, length)) return JOB_CORRUPT;
  const rawBytes = storedRawBytes(s.chunk, length);
  if (rawBytes > s.rawCapacity && !storedIsPlain(s.chunk, length)) {
    rawWanted = rawBytes;
    return JOB_RAW;
  }
  const block = storedOpen(s.chunk, length, s.raw, columnsRoom);
  if (block <= STORED_MALFORMED) return JOB_CORRUPT;
  s.block = block;
  s.count = blockCount(block);
  s.entry = 0;
  s.prefixBytes = blockPrefixLen(block);
  const prefix = blockPrefixPtr(block);
  if (s.prefixBytes < common || compareBytes(prefix, common, commonPtr, common) != 0) {
    s.block = 0;
    return JOB_CORRUPT;
  }
  copyBytes(keyOf(s), prefix, s.prefixBytes);
  s.chunk += length;
  s.next++;
  bytesIn += length;
  return JOB_DONE;
}

/** Moves a source to its next entry, or marks it exhausted. As `openBlock`. */
function advance(s: Source): i32 {
  if (s.block) s.entry++;
  while (true) {
    if (!s.block || s.entry >= s.count) {
      s.block = 0;
      if (s.next == s.end && s.ended) {
        s.live = 0;
        return JOB_DONE;
      }
      const status = openBlock(s);
      if (status != JOB_DONE) return status;
    }
    if (!s.seeking) break;
    s.entry = blockSeek(s.block, start, startLength);
    if (s.entry < s.count) s.seeking = 0;
  }
  blockEntry(s.block, s.entry, decoded);
  const suffixBytes = load<u32>(decoded, ENTRY_SUFFIX_BYTES);
  const key = keyOf(s);
  const keyLength = s.prefixBytes + suffixBytes;
  copyBytes(key + s.prefixBytes, load<u32>(decoded, ENTRY_SUFFIX), suffixBytes);
  const head = keyLength > common ? headOf(key + common, keyLength - common) : 0;
  s.keyLength = keyLength;
  s.head = head;
  s.value = load<u32>(decoded, ENTRY_VALUE);
  s.valueLength = load<u32>(decoded, ENTRY_VALUE_BYTES);
  s.type = load<u32>(decoded, ENTRY_TYPE);
  s.sequence = load<u64>(decoded, ENTRY_SEQUENCE);
  s.live = 1;
  if (endLength != NONE && head >= endHead) {
    if (head > endHead || compareBytes(key, keyLength, end, endLength) >= 0) s.live = 0;
  }
  return JOB_DONE;
}

/** Whether source `a` comes before source `b`. */
function precedes(a: u32, b: u32): bool {
  const x = source(a);
  const y = source(b);
  if (!x.live) return false;
  if (!y.live) return true;
  if (x.head != y.head) return x.head < y.head;
  const order = compareBytes(keyOf(x), x.keyLength, keyOf(y), y.keyLength);
  if (order) return order < 0;
  if (x.sequence != y.sequence) return x.sequence > y.sequence;
  return a < b;
}

/** Plays source `i` up the tree: losers stay at the nodes, the winner ends at node 0. */
function replay(i: u32): void {
  let winner = i;
  for (let node = (sourceCount + i) >> 1; node > 0; node >>= 1) {
    const loser = load<u32>(tree + (node << 2));
    if (precedes(loser, winner)) {
      store<u32>(tree + (node << 2), winner);
      winner = loser;
    }
  }
  store<u32>(tree, winner);
}

/** Plays all matches: node n has players 2n and 2n + 1, of which k and above are sources. */
function buildTree(): void {
  store<u32>(tree, playNode(1));
}

function playNode(node: u32): u32 {
  if (node >= sourceCount) return node - sourceCount;
  const a = playNode(node << 1);
  const b = playNode((node << 1) + 1);
  const first = precedes(a, b);
  store<u32>(tree + (node << 2), first ? b : a);
  return first ? a : b;
}

/** Tells the retention when the winner's key is not the one before. False: it is smaller. */
// @ts-ignore: decorator
@inline
function noteKey(s: Source): bool {
  const key = keyOf(s);
  if (currentLength != NONE) {
    if (s.head < currentHead) return false;
    if (s.head == currentHead) {
      const order = compareBytes(key, s.keyLength, current, currentLength);
      if (order <= 0) return order == 0;
    }
  }
  copyBytes(current, key, s.keyLength);
  currentLength = s.keyLength;
  currentHead = s.head;
  retentionKey();
  return true;
}

/** Goes on to the end. JOB_DONE, or what the host has to do before it calls again. */
export function mergeRun(): i32 {
  while (ready < sourceCount) {
    due = ready;
    const status = advance(source(ready));
    if (status != JOB_DONE) return status;
    if (++ready == sourceCount) {
      buildTree();
      due = NONE;
    }
  }
  while (true) {
    if (due != NONE) {
      const status = advance(source(due));
      if (status != JOB_DONE) return status;
      replay(due);
      due = NONE;
    }
    const winner = load<u32>(tree);
    const s = source(winner);
    if (!s.live) return JOB_DONE;
    if (!noteKey(s)) {
      due = winner;
      return JOB_DISORDER;
    }
    const status = retentionVersion(
      keyOf(s),
      s.keyLength,
      s.type,
      s.sequence,
      s.value,
      s.valueLength,
    );
    if (status != JOB_DONE) return status;
    due = winner;
  }
}
