/**
 * Block cache of a shard: decompressed blocks in shared memory, found through their table's own
 * `T_CACHE_REFS` word, so a hit is one load and no hash table.
 *
 * Two FIFO queues, each a circular log of entries (S3-FIFO: Yang et al., "FIFO queues are all you
 * need for cache eviction", SOSP 2023): a block enters the small queue; if it was touched by the
 * time the head of the log comes round to it, it moves to the main queue, otherwise it leaves a
 * ghost mark in its reference word, and a block that returns while the mark is there enters the
 * main queue at once. The main queue gives touched blocks another round. A scan only flows through
 * the small queue. Entries have any size, nothing is fragmented, and the region is a hard bound.
 *
 * Thread safety: the shard worker alone inserts and evicts. Readers load the reference word
 * (acquire) inside an epoch, and may set CACHE_TOUCHED. Space is overwritten only after the epoch
 * at which its entries were unlinked has passed: each queue keeps its log in three parts,
 *
 *      limit - bytes      pending          tail                  head
 *      |  overwritable    |  unlinked      |  live entries       |  ... next round
 *
 * positions below `pending` belong to a retirement whose epoch readers may not have left yet;
 * `limit` follows once they have, and the head never passes it. An insert never waits for a
 * reader: when there is no room yet, the block is simply not cached.
 *
 * Queue state lives in instance globals of the shard worker (the only caller).
 */

import { retire, epochReached } from './epoch';
import {
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  blockCount,
  blockEntry,
  blockPrefixLen,
  blockPrefixPtr,
} from './block';
import { compareBytes, copyBytes } from './bytes';
import { hintNoteAll } from './hint';
import { tableFindBlock } from './table-index';
import { storedRawBytes, storedUnpack, storedVerify } from './stored-block';
import {
  CACHE_BLOCK,
  CACHE_ENTRY_BYTES,
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  CACHE_META,
  CACHE_TOUCHED,
  COUNTER_CACHE_CARRIED,
  COUNTER_CACHE_EVICTIONS,
  COUNTER_CACHE_INSERTS,
  COUNTER_CACHE_PROMOTIONS,
  H_CACHE_BASE,
  H_CACHE_BYTES,
  H_CACHE_SMALL_BYTES,
  H_COUNTERS,
  H_SCRATCH_BASE,
  SCRATCH_CURSORS,
  T_BLOCKS,
  T_CACHE_REFS,
  T_ID,
  T_LARGEST,
  T_LARGEST_BYTES,
} from './layout';

/** CACHE_TOUCHED: a point read used the block. */
const TOUCHED: u32 = 1;
/** CACHE_TOUCHED: a scan brought it; it leaves without a ghost mark. */
const FROM_SCAN: u32 = 2;

const SMALL: i32 = 0;
const MAIN: i32 = 1;

/** A queue: a circular log over [base, base + bytes). Positions are virtual: they only grow. */
@unmanaged
class Queue {
  base: u32;
  bytes: u32;
  /** Where the next entry goes. */
  head: u64;
  /** Oldest entry that is still linked. */
  tail: u64;
  /** The head may write below this position: what was there is unlinked and out of every reader's sight. */
  limit: u64;
  /** Unlinked up to here (tail at the time of the retirement), waiting for `epoch`. */
  pending: u64;
  epoch: f64;
}

// Two queues in the 512 bytes of the header page that belong to the shard worker.
const QUEUES: u32 = 0x1c00;

// @ts-ignore: decorator
@inline
function queue(which: i32): Queue {
  return changetype<Queue>(QUEUES + <u32>which * 64);
}

// @ts-ignore: decorator
@inline
function tally(counter: u32): void {
  const at = H_COUNTERS + counter * 8;
  store<u64>(at, load<u64>(at) + 1);
}

/** Room for one key: the shard worker's own scratch, no scan of its is under way. */
// @ts-ignore: decorator
@inline
function keyRoom(): u32 {
  return load<u32>(H_SCRATCH_BASE) + SCRATCH_CURSORS;
}

/** Prepares empty queues. Called once by the shard worker, before any reader exists. */
export function cacheInit(): void {
  const base = load<u32>(H_CACHE_BASE);
  const bytes = load<u32>(H_CACHE_BYTES) & ~15;
  const small = load<u32>(H_CACHE_SMALL_BYTES) & ~15;
  for (let which: i32 = 0; which < 2; which++) {
    const q = queue(which);
    q.base = which == SMALL ? base : base + small;
    q.bytes = which == SMALL ? small : bytes - small;
    q.head = 0;
    q.tail = 0;
    q.limit = q.bytes;
    q.pending = 0;
    q.epoch = 0;
  }
}

// @ts-ignore: decorator
@inline
function addressOf(q: Queue, position: u64): u32 {
  return q.base + <u32>(position % q.bytes);
}

/** Moves `limit` up to what has been retired, if its readers are out. */
function settle(q: Queue): void {
  if (q.pending + q.bytes > q.limit && q.epoch != 0 && epochReached(q.epoch)) {
    q.limit = q.pending + q.bytes;
    q.epoch = 0;
  }
}

/**
 * Unlinks entries at the tail until `bytes` more can be retired, then asks for an epoch.
 * Touched entries survive: from the small queue into the main one, in the main one by another round.
 */
function evict(which: i32, bytes: u32): void {
  const q = queue(which);
  const goal = q.tail + bytes;
  let rounds: i32 = 0;
  while (q.tail < goal && q.tail < q.head && rounds < 100000) {
    rounds++;
    const entry = addressOf(q, q.tail);
    const size = load<u32>(entry, CACHE_ENTRY_BYTES);
    const meta = load<u32>(entry, CACHE_META);
    q.tail += size;
    if (!meta) continue;
    const block = load<u32>(entry, CACHE_BLOCK);
    const ref = load<u32>(meta, T_CACHE_REFS) + (block << 2);
    const mark = atomic.load<u32>(entry, CACHE_TOUCHED);
    const touched = mark == TOUCHED;
    let moved: u32 = 0;
    const main = queue(MAIN);
    // While the main queue has never been full, nothing is thrown away.
    const keep = touched || (which == SMALL && main.head + size <= main.bytes);
    if (keep) {
      if (which == SMALL) makeRoom(MAIN, size);
      moved = append(MAIN, meta, block, size);
      if (moved) {
        memory.copy(moved + CACHE_HEAD_BYTES, entry + CACHE_HEAD_BYTES, size - CACHE_HEAD_BYTES);
        if (which == SMALL) tally(COUNTER_CACHE_PROMOTIONS);
        hintNoteAll(moved + CACHE_HEAD_BYTES, keyRoom());
      }
    }
    if (moved) {
      atomic.store<u32>(ref, moved);
    } else {
      atomic.store<u32>(ref, which == SMALL && mark != FROM_SCAN ? CACHE_GHOST : 0);
      tally(COUNTER_CACHE_EVICTIONS);
    }
  }
}

/** Retires what the tail has passed, when no retirement is under way. */
function retireTail(q: Queue): void {
  settle(q);
  if (q.epoch == 0 && q.tail + q.bytes > q.limit) {
    q.pending = q.tail;
    q.epoch = retire();
    settle(q);
  }
}

/** Reserves `size` bytes at the head (never across the end of the log). 0: no room at present. */
function append(which: i32, meta: u32, block: u32, size: u32): u32 {
  const q = queue(which);
  const offset = <u32>(q.head % q.bytes);
  const pad = q.bytes - offset < size ? q.bytes - offset : 0;
  if (q.head + pad + size > q.limit) return 0;
  if (pad) {
    // A dead entry fills the end of the log.
    const filler = q.base + offset;
    store<u32>(filler, 0, CACHE_META);
    store<u32>(filler, pad, CACHE_ENTRY_BYTES);
    q.head += pad;
  }
  const entry = addressOf(q, q.head);
  store<u32>(entry, meta, CACHE_META);
  store<u32>(entry, block, CACHE_BLOCK);
  store<u32>(entry, size, CACHE_ENTRY_BYTES);
  store<u32>(entry, 0, CACHE_TOUCHED);
  q.head += size;
  return entry;
}

/** Makes room ahead of the head: enough free space for `size`, and a lead that hides the epoch. */
function makeRoom(which: i32, size: u32): void {
  const q = queue(which);
  settle(q);
  const lead = (q.bytes >> 4) + size * 2;
  if (q.head + lead <= q.limit) return;
  // Retire in large steps: an epoch per block would cost more than the blocks.
  evict(which, (q.bytes >> 4) + size * 2);
  if (q.tail == q.head) {
    // Empty: start over at the base, so that an entry as large as the queue fits.
    q.head += (q.bytes - <u32>(q.head % q.bytes)) % q.bytes;
    q.tail = q.head;
  }
  retireTail(q);
}

/**
 * Verifies and decompresses a block as it stands on disk and links it into the cache.
 * `source` holds the `length` bytes (trailer included) of block `block` of the table at `meta`;
 * `scan`: the block is wanted by a scan, once.
 * Returns the address of the raw block; 0 when there is no room right now, because readers are still
 * inside the epoch of what was evicted (they leave within microseconds: try again), or never,
 * because the block is larger than the main queue; -1 when the bytes are not what was written.
 */
export function cacheInsert(
  meta: u32,
  block: u32,
  source: u32,
  length: u32,
  fileOffset: f64,
  scan: u32,
): i32 {
  if (block >= load<u32>(meta, T_BLOCKS)) return -1;
  const ref = load<u32>(meta, T_CACHE_REFS) + (block << 2);
  const present = load<u32>(ref);
  if (present > CACHE_GHOST) return <i32>(present + CACHE_HEAD_BYTES);
  if (!storedVerify(source, length, load<u32>(meta, T_ID), fileOffset)) return -1;
  const rawBytes = storedRawBytes(source, length);
  const size = (rawBytes + CACHE_HEAD_BYTES + 15 + 16) & ~15;
  let which = present == CACHE_GHOST && !scan ? MAIN : SMALL;
  if (which == SMALL && size > queue(SMALL).bytes >> 2) which = MAIN;
  if (size > queue(which).bytes) return 0;
  makeRoom(which, size);
  const entry = append(which, meta, block, size);
  if (!entry) return 0;
  const target = entry + CACHE_HEAD_BYTES;
  if (!storedUnpack(source, length, target)) {
    store<u32>(entry, 0, CACHE_META);
    return -1;
  }
  if (scan) store<u32>(entry, FROM_SCAN, CACHE_TOUCHED);
  atomic.store<u32>(ref, entry);
  tally(COUNTER_CACHE_INSERTS);
  hintNoteAll(target, keyRoom());
  return <i32>target;
}

/** Unlinks every cached block of a table that is going away. Its memory may be freed an epoch later. */
export function cacheDropTable(meta: u32): void {
  const refs = load<u32>(meta, T_CACHE_REFS);
  const blocks = load<u32>(meta, T_BLOCKS);
  for (let block: u32 = 0; block < blocks; block++) {
    const entry = load<u32>(refs + (block << 2));
    if (entry > CACHE_GHOST) {
      store<u32>(entry, 0, CACHE_META);
      atomic.store<u32>(refs + (block << 2), 0);
    }
  }
}

/** Whether a cached block is worth a place when its keys move to another. */
function isHot(entry: u32): bool {
  const main = queue(MAIN);
  if (entry - main.base < main.bytes) return true;
  const mark = atomic.load<u32>(entry, CACHE_TOUCHED);
  // While the main queue has never been full, whatever a point read brought stays.
  return mark == TOUCHED || (mark != FROM_SCAN && main.head <= main.bytes);
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

/** Bytes of live and dead entries in both queues. */
export function cacheUsedBytes(): f64 {
  const small = queue(SMALL);
  const main = queue(MAIN);
  return <f64>(small.head - small.tail) + <f64>(main.head - main.tail);
}
