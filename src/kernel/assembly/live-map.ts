/**
 * The live map: a bit for each unit of the cache region, set while a linked entry begins there. It lets
 * a reader know whether an address that it came by somehow (a hint) is a block, without asking whoever
 * refers to the block: the bit can be loaded beside the block, the reference only after it.
 *
 * Who writes: the shard worker alone. It sets a bit after the entry is whole, and clears it before it
 * retires the entry's memory. A reader that finds the bit set, inside an epoch, has an entry that stays
 * as it is until the reader leaves: whoever finds it cleared passes the entry by.
 */

import { CACHE_UNIT_BYTES, H_CACHE_BASE, H_LIVE_BASE } from './layout';

/** Cache bytes for which one 32-bit word of the map stands, as a shift. */
const WORD_SHIFT: u32 = 11;

// @ts-ignore: decorator
@inline
function wordOf(distance: u32): u32 {
  return load<u32>(H_LIVE_BASE) + ((distance >> WORD_SHIFT) << 2);
}

// @ts-ignore: decorator
@inline
function bitOf(distance: u32): u32 {
  return <u32>1 << ((distance / CACHE_UNIT_BYTES) & 31);
}

/** Address of the word that tells of an entry. */
// @ts-ignore: decorator
@inline
export function liveWord(entry: u32): u32 {
  return wordOf(entry - load<u32>(H_CACHE_BASE));
}

/** Whether a linked entry begins at `entry`, a place for one in the cache region. */
// @ts-ignore: decorator
@inline
export function isLive(entry: u32): bool {
  const distance = entry - load<u32>(H_CACHE_BASE);
  return (atomic.load<u32>(wordOf(distance)) & bitOf(distance)) != 0;
}

/** The entry is whole. */
export function setLive(entry: u32): void {
  const distance = entry - load<u32>(H_CACHE_BASE);
  const word = wordOf(distance);
  atomic.store<u32>(word, load<u32>(word) | bitOf(distance));
}

/** The entry is nobody's any more. */
export function clearLive(entry: u32): void {
  const distance = entry - load<u32>(H_CACHE_BASE);
  const word = wordOf(distance);
  atomic.store<u32>(word, load<u32>(word) & ~bitOf(distance));
}
