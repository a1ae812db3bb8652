/**
 * What the reads of one thread have in common: the client slot that this instance is bound to, its
 * line and its scratch.
 *
 * Nothing here, in get.ts or in scan.ts takes a lock, performs I/O or writes shared state other than
 * the reader's own line (counters, epoch), CACHE_TOUCHED marks and hints (hint.ts).
 *
 * Invariants of every read:
 * 1. A call enters an epoch before it loads H_VERSION and leaves after copying out; addresses from
 *    shared memory are never kept across calls (status FOUND_HELD excepted: the host copies, then
 *    leaves).
 * 2. "Latest" reads load H_VERSION first and H_VISIBLE second. What the Version holds was compacted
 *    under a horizon not above any H_VISIBLE read later, so the newest version at or below that
 *    sequence is always still there.
 * 3. A scan is stateless between batches: it seeks anew from the last key. Its snapshot is
 *    registered, so compaction keeps what it must see.
 */

import {
  H_SCRATCH_BASE,
  H_VISIBLE,
  READERS,
  READER_BYTES,
  SCRATCH_BYTES,
  SCRATCH_RESULT,
} from './layout';

export let slot: u32 = 0;
export let line: u32 = 0;
export let scratch: u32 = 0;

/** Scratch for a decoded block entry, behind the result words. */
export const ENTRY: u32 = SCRATCH_RESULT + 512;

/** Binds this instance, and so this thread, to a client slot. */
export function attach(which: u32): void {
  slot = which;
  line = READERS + which * READER_BYTES;
  scratch = load<u32>(H_SCRATCH_BASE) + which * SCRATCH_BYTES;
}

/** Address of the attached slot's scratch. */
export function scratchBase(): u32 {
  return scratch;
}

// @ts-ignore: decorator
@inline
export function tally(counter: u32): void {
  store<u64>(line + counter, load<u64>(line + counter) + 1);
}

// @ts-ignore: decorator
@inline
export function snapshotOf(snapshot: f64): u64 {
  return snapshot < 0 ? atomic.load<u64>(H_VISIBLE) : <u64>snapshot;
}

/** Bits of CACHE_TOUCHED that stand for entries, from the second on: larger blocks share them. */
const TOUCHED_BITS: u32 = 30;

/** The bit of CACHE_TOUCHED for an entry of the block. */
// @ts-ignore: decorator
@inline
export function touchedBit(index: u32): u32 {
  return <u32>2 << (index % TOUCHED_BITS);
}
