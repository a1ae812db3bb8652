/**
 * A block as it stands on disk: its bytes, mostly compressed, and a trailer (docs/FORMAT.md,
 * "Block on disk"). The bytes may be anything until they are verified.
 */

import { blockValidate } from './block';
import { columnsUnpack } from './columns';
import { placementSeed, xxh64 } from './hash';
import {
  BLOCK_TRAILER_BYTES,
  COLUMNS_RAW_BYTES_MAX,
  STORED_COLUMNS,
  STORED_COMPRESSED,
} from './layout';
import { LZ4_RATIO_MAX, lz4Decompress } from './lz4';

/** Whether the `length` bytes at `source` are what was written at that offset of that table. */
export function storedVerify(source: u32, length: u32, table: u32, fileOffset: f64): bool {
  if (length < BLOCK_TRAILER_BYTES) return false;
  const checked = length - BLOCK_TRAILER_BYTES + 4;
  return xxh64(source, checked, placementSeed(<f64>table, fileOffset)) == load<u64>(source + checked);
}

// @ts-ignore: decorator
@inline
function wordOf(source: u32, length: u32): u32 {
  return load<u32>(source + length - BLOCK_TRAILER_BYTES);
}

/** Bytes of the raw block. */
export function storedRawBytes(source: u32, length: u32): u32 {
  return (wordOf(source, length) & ~STORED_COLUMNS) >> 1;
}

/** Whether the bytes are the raw block. */
export function storedIsPlain(source: u32, length: u32): bool {
  return !(wordOf(source, length) & (STORED_COMPRESSED | STORED_COLUMNS));
}

/** Whether a raw block of as many bytes may come out of this, before memory is reserved for it. */
export function storedIsPossible(source: u32, length: u32): bool {
  const stored = length - BLOCK_TRAILER_BYTES;
  const rawBytes = storedRawBytes(source, length);
  const word = wordOf(source, length);
  if (word & STORED_COLUMNS) return rawBytes <= COLUMNS_RAW_BYTES_MAX;
  return word & STORED_COMPRESSED ? rawBytes / LZ4_RATIO_MAX <= stored : rawBytes == stored;
}

/** `storedOpen`: the bytes cannot be unpacked. */
export const STORED_BAD: u32 = 0;
/** `storedOpen`: what they are unpacked to is not a well-formed block. */
export const STORED_MALFORMED: u32 = 1;

/**
 * Address of the raw block, well-formed: `raw`, which has room for `storedRawBytes`, or `source` where
 * it stands there as it is. Or STORED_*. `room` has COLUMNS_ROOM_BYTES.
 */
export function storedOpen(source: u32, length: u32, raw: u32, room: u32): u32 {
  const word = wordOf(source, length);
  const stored = length - BLOCK_TRAILER_BYTES;
  const rawBytes = storedRawBytes(source, length);
  if (word & STORED_COLUMNS) {
    if (!(word & STORED_COMPRESSED)) return STORED_BAD;
    const result = columnsUnpack(source, stored, room, raw, rawBytes);
    if (result < 0) return STORED_BAD;
    return result ? raw : STORED_MALFORMED;
  }
  if (word & STORED_COMPRESSED) {
    if (lz4Decompress(source, stored, raw, rawBytes) != <i32>rawBytes) return STORED_BAD;
    return blockValidate(raw, rawBytes) ? raw : STORED_MALFORMED;
  }
  if (rawBytes != stored) return STORED_BAD;
  return blockValidate(source, rawBytes) ? source : STORED_MALFORMED;
}

/** Writes the raw block to `raw`; false when that is not a well-formed block. As `storedOpen`. */
export function storedUnpack(source: u32, length: u32, raw: u32, room: u32): bool {
  const opened = storedOpen(source, length, raw, room);
  if (opened == source) memory.copy(raw, source, length - BLOCK_TRAILER_BYTES);
  return opened > STORED_MALFORMED;
}
