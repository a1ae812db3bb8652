/**
 * A record as the cache keeps it by itself: a raw block (docs/FORMAT.md, "Raw block") with one entry,
 * so that whatever reads blocks reads it.
 */

import { copyBytes } from './bytes';
import {
  BLOCK_BASE_SEQUENCE,
  BLOCK_COUNT,
  BLOCK_FLAGS,
  BLOCK_HEAD_BYTES,
  BLOCK_PREFIX_BYTES,
  OP_PUT,
} from './layout';

/** One fingerprint, padding, one offset: the entry follows. */
const OFFSETS_AT: u32 = BLOCK_HEAD_BYTES + 4;
const ENTRY_AT: u32 = OFFSETS_AT + 2;
/** Most bytes besides key and value: type, and three varints of which the first is zero. */
export const RECORD_HEAD_BYTES: u32 = ENTRY_AT + 2 + 5 + 5;

// @ts-ignore: decorator
@inline
function writeVarint(p: u32, value: u32): u32 {
  while (value >= 0x80) {
    store<u8>(p++, value | 0x80);
    value >>= 7;
  }
  store<u8>(p, value);
  return p + 1;
}

/** Writes a value that was put: RECORD_HEAD_BYTES, key and value are room enough at `raw`. */
export function buildRecord(
  raw: u32,
  key: u32,
  keyLength: u32,
  value: u32,
  valueLength: u32,
  sequence: u64,
  hash: u64,
): void {
  store<u16>(raw, 1, BLOCK_COUNT);
  store<u16>(raw, 0, BLOCK_FLAGS);
  store<u32>(raw, 0, BLOCK_PREFIX_BYTES);
  store<u64>(raw, sequence, BLOCK_BASE_SEQUENCE);
  store<u32>(raw + BLOCK_HEAD_BYTES, <u32>(hash >> 56));
  store<u16>(raw + OFFSETS_AT, ENTRY_AT);
  let p = raw + ENTRY_AT;
  store<u8>(p, OP_PUT);
  store<u8>(p + 1, 0);
  p = writeVarint(p + 2, keyLength);
  p = writeVarint(p, valueLength);
  copyBytes(p, key, keyLength);
  copyBytes(p + keyLength, value, valueLength);
}
