/** A call of `kernel.scan`: its flags, its bounds in the scratch, and what its results look like. */

import { SCRATCH_KEY, SCRATCH_KEY2 } from '../kernel/assembly/layout.js';
import type { ScanQuery } from './scan-query.js';
import type { ShardClient } from './shard-client.js';

export const SCAN_DONE = 0;
export const SCAN_NEED_BLOCK = 2;

const SCAN_REVERSE = 1;
export const SCAN_HAS_START = 2;
export const SCAN_START_EXCLUSIVE = 4;
export const SCAN_HAS_END = 8;
export const SCAN_END_INCLUSIVE = 16;
const SCAN_KEYS_ONLY = 32;
/** No more is wanted than the call's most entries. */
export const SCAN_SHORT = 64;

/** Words of an entry's descriptor, and flags in its value length. */
export const WORDS = 4;
export const VALUE_ELSEWHERE = 0x80000000;
export const VALUE_ASCII = 0x40000000;
export const KEY_ASCII = 0x20000000;
export const LENGTH_MASK = 0x1fffffff;

/** Flags of every call of a scan. */
export function scanFlags({ reverse, select }: ScanQuery): number {
  return (reverse ? SCAN_REVERSE : 0) | (select === 'keys' ? SCAN_KEYS_ONLY : 0);
}

/** Puts the bounds of a whole scan into the scratch, and returns the flags that tell of them. */
export function writeBounds(shard: ShardClient, query: ScanQuery): number {
  const start = query.reverse ? query.upper : query.lower;
  const end = query.reverse ? query.lower : query.upper;
  let flags = 0;
  if (start !== undefined) {
    flags |= SCAN_HAS_START | (start.inclusive ? 0 : SCAN_START_EXCLUSIVE);
    shard.bytes.set(start.key, shard.scratch + SCRATCH_KEY);
  }
  if (end !== undefined) {
    flags |= SCAN_HAS_END | (end.inclusive ? SCAN_END_INCLUSIVE : 0);
    shard.bytes.set(end.key, shard.scratch + SCRATCH_KEY2);
  }
  return flags;
}
