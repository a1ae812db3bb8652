/**
 * The two circular logs of the block cache (cache.ts): where entries are, and when their room can be
 * used again. Space is overwritten only after the epoch at which its entries were unlinked has passed:
 * each queue keeps its log in three parts,
 *
 *      limit - bytes      pending          tail                  head
 *      |  overwritable    |  unlinked      |  live entries       |  ... next round
 *
 * positions below `pending` belong to a retirement whose epoch readers may not have left yet;
 * `limit` follows once they have, and the head never passes it.
 *
 * A part at the end of the main queue's region may be left alone (`cacheReserve`): a filler then ends
 * each round of the head before it, so that positions mean what they meant.
 *
 * Queue state lives in shared memory that the shard worker alone uses.
 */

import { epochReached, retire } from './epoch';
import {
  CACHE_BLOCK,
  CACHE_ENTRY_BYTES,
  CACHE_HEAD_BYTES,
  CACHE_META,
  CACHE_TOUCHED,
  CACHE_UNIT_BYTES,
  H_CACHE_BASE,
  H_CACHE_BYTES,
  H_CACHE_SMALL_BYTES,
  H_COUNTERS,
  H_SCRATCH_BASE,
  SCRATCH_COLUMNS,
  SCRATCH_CURSORS,
} from './layout';

/** CACHE_TOUCHED: a scan brought the block, and no point read has used it; it leaves without a ghost mark. */
export const FROM_SCAN: u32 = 1;

export const SMALL: i32 = 0;
export const MAIN: i32 = 1;

/** A queue: a circular log over [base, base + bytes). Positions are virtual: they only grow. */
@unmanaged
export class Queue {
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
  /** Bytes of the region, from its base, that entries are put into. */
  usable: u32;
}

// Two queues in the 512 bytes of the header page that belong to the shard worker.
export const QUEUES: u32 = 0x1c00;

// @ts-ignore: decorator
@inline
export function queue(which: i32): Queue {
  return changetype<Queue>(QUEUES + <u32>which * 64);
}

// @ts-ignore: decorator
@inline
export function tally(counter: u32): void {
  const at = H_COUNTERS + counter * 8;
  store<u64>(at, load<u64>(at) + 1);
}

/** Room for one key: the shard worker's own scratch, no scan of its is under way. */
// @ts-ignore: decorator
@inline
export function keyRoom(): u32 {
  return load<u32>(H_SCRATCH_BASE) + SCRATCH_CURSORS;
}

/** Room to unpack columns in, which is the shard worker's in the same way. */
// @ts-ignore: decorator
@inline
export function columnsRoom(): u32 {
  return load<u32>(H_SCRATCH_BASE) + SCRATCH_COLUMNS;
}

/** Prepares empty queues. Called once by the shard worker, before any reader exists. */
export function cacheInit(): void {
  const base = load<u32>(H_CACHE_BASE);
  const bytes = load<u32>(H_CACHE_BYTES) & ~(CACHE_UNIT_BYTES - 1);
  const small = load<u32>(H_CACHE_SMALL_BYTES) & ~(CACHE_UNIT_BYTES - 1);
  for (let which: i32 = 0; which < 2; which++) {
    const q = queue(which);
    q.base = which == SMALL ? base : base + small;
    q.bytes = which == SMALL ? small : bytes - small;
    q.head = 0;
    q.tail = 0;
    q.limit = q.bytes;
    q.pending = 0;
    q.epoch = 0;
    q.usable = q.bytes;
  }
}

/**
 * Leaves `bytes` of the cache to somebody else, but never more than three quarters of the main queue:
 * from the head's next round on nothing is put there that fits elsewhere. What is there leaves as ever.
 */
export function cacheReserve(bytes: u32): void {
  const q = queue(MAIN);
  const most = q.bytes - (q.bytes >> 2);
  q.usable = (q.bytes - min(bytes, most)) & ~(CACHE_UNIT_BYTES - 1);
}

/**
 * Bytes that a filler takes before an entry of that size, which is never put across the end. An entry that
 * is larger than what is usable has the whole queue: else it could not be read at all.
 */
// @ts-ignore: decorator
@inline
export function fillerBytes(q: Queue, size: u32): u32 {
  const offset = <u32>(q.head % q.bytes);
  const end = size > q.usable ? q.bytes : q.usable;
  return offset + size > end ? q.bytes - offset : 0;
}

// @ts-ignore: decorator
@inline
export function addressOf(q: Queue, position: u64): u32 {
  return q.base + <u32>(position % q.bytes);
}

/** Moves `limit` up to what has been retired, if its readers are out. */
export function settle(q: Queue): void {
  if (q.pending + q.bytes > q.limit && q.epoch != 0 && epochReached(q.epoch)) {
    q.limit = q.pending + q.bytes;
    q.epoch = 0;
  }
}

/** Retires what the tail has passed, when no retirement is under way. */
export function retireTail(q: Queue): void {
  settle(q);
  if (q.epoch == 0 && q.tail + q.bytes > q.limit) {
    q.pending = q.tail;
    q.epoch = retire();
    settle(q);
  }
}

/** Reserves `size` bytes at the head (never across the end of the log). 0: no room at present. */
export function append(which: i32, meta: u32, block: u32, size: u32): u32 {
  const q = queue(which);
  const pad = fillerBytes(q, size);
  if (q.head + pad + size > q.limit) return 0;
  if (pad) {
    // A dead entry fills the end of the log.
    const filler = addressOf(q, q.head);
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

/** Bytes of an entry for a raw block, whose fingerprints are loaded 16 at a time. */
// @ts-ignore: decorator
@inline
export function entryBytes(rawBytes: u32): u32 {
  return (rawBytes + CACHE_HEAD_BYTES + 15 + CACHE_UNIT_BYTES) & ~(CACHE_UNIT_BYTES - 1);
}

/** Bytes of live and dead entries in both queues, but for what is left alone. */
export function cacheUsedBytes(): f64 {
  const small = queue(SMALL);
  const main = queue(MAIN);
  let used = main.head - main.tail;
  if (main.head / main.bytes > main.tail / main.bytes) used -= min(used, main.bytes - main.usable);
  return <f64>(small.head - small.tail) + <f64>used;
}
