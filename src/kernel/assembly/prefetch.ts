/**
 * Many keys at once: before the first is looked up, the cache lines that all of them will want are
 * asked for, so that their misses overlap. Only speed depends on it.
 */

import { xxh64 } from './hash';
import { hintPrefetch, hintTouch } from './hint';
import { PREFETCH_KEYS_MAX, PREFETCH_KEY_BYTES, SCRATCH_KEY2 } from './layout';
import { scratch } from './reader';

/**
 * Prefetches for at most PREFETCH_KEYS_MAX keys that stand at SCRATCH_KEY2, each as: length u32, routing hash u32, bytes, padding to 4.
 * Two rounds: the hints of all, then what the hints name.
 */
export function prefetchKeys(count: u32): void {
  count = min(count, PREFETCH_KEYS_MAX);
  // The hashes stand behind the keys' room: a scan, the other user, is not under way.
  const hashes = scratch + SCRATCH_KEY2 + PREFETCH_KEY_BYTES;
  let at = scratch + SCRATCH_KEY2;
  for (let i: u32 = 0; i < count; i++) {
    const length = load<u32>(at);
    hintTouch(load<u32>(at, 4));
    store<u64>(hashes + (i << 3), xxh64(at + 8, length, 0));
    at += 8 + ((length + 3) & ~3);
  }
  at = scratch + SCRATCH_KEY2;
  for (let i: u32 = 0; i < count; i++) {
    hintPrefetch(load<u64>(hashes + (i << 3)), load<u32>(at, 4));
    at += 8 + ((load<u32>(at) + 3) & ~3);
  }
}
