/**
 * A block as it stands on disk: its bytes, perhaps compressed, and a trailer (docs/FORMAT.md,
 * "Block on disk"). The bytes may be anything until they are verified.
 */

import { blockValidate } from './block';
import { placementSeed, xxh64 } from './hash';
import { BLOCK_TRAILER_BYTES } from './layout';
import { lz4Decompress } from './lz4';

/** Whether the `length` bytes at `source` are what was written at that offset of that table. */
export function storedVerify(source: u32, length: u32, table: u32, fileOffset: f64): bool {
  if (length < BLOCK_TRAILER_BYTES) return false;
  const checked = length - BLOCK_TRAILER_BYTES + 4;
  return xxh64(source, checked, placementSeed(<f64>table, fileOffset)) == load<u64>(source + checked);
}

/** Bytes of the raw block. */
// @ts-ignore: decorator
@inline
export function storedRawBytes(source: u32, length: u32): u32 {
  return load<u32>(source + length - BLOCK_TRAILER_BYTES) >> 1;
}

/** Writes the raw block to `target`; false when that is not a well-formed block. */
export function storedUnpack(source: u32, length: u32, target: u32): bool {
  const stored = length - BLOCK_TRAILER_BYTES;
  const rawBytes = storedRawBytes(source, length);
  if (load<u32>(source + stored) & 1) {
    if (lz4Decompress(source, stored, target, rawBytes) != <i32>rawBytes) return false;
  } else {
    if (rawBytes != stored) return false;
    memory.copy(target, source, stored);
  }
  return blockValidate(target, rawBytes);
}
