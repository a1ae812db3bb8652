/**
 * Gathers a table's index while its blocks are written: where each block begins, and the fences
 * between them (docs/FORMAT.md, "Index"). The memory it is given:
 *
 *   offsets u32[] | fence offsets u32[] | fences
 *
 * The arrays have room for as many blocks as there may be.
 */

import { commonPrefix, copyBytes, putVarint } from './bytes';
import { placementSeed, xxh64 } from './hash';
import { KEY_BYTES_MAX } from './layout';

const CHECKSUM_BYTES: u32 = 8;
const SLACK_BYTES: u32 = 64;
/** Expected bytes of a fence, to divide the room into arrays and fences. */
const FENCE_BYTES_EXPECTED: u32 = 32;
const ARRAY_BYTES_PER_BLOCK: u32 = 8;

let blocksMax: u32 = 0;
let offsets: u32 = 0;
let fenceOffsets: u32 = 0;
let fences: u32 = 0;
let fencesEnd: u32 = 0;
let fenceTop: u32 = 0;
let blocks: u32 = 0;

/** Gives the index its memory, 64-byte aligned. */
export function indexInit(address: u32, bytes: u32): void {
  blocksMax = (bytes - SLACK_BYTES) / (ARRAY_BYTES_PER_BLOCK + FENCE_BYTES_EXPECTED);
  offsets = address;
  fenceOffsets = offsets + ((blocksMax + 1) << 2);
  fences = fenceOffsets + ((blocksMax + 1) << 2);
  fencesEnd = address + bytes;
}

/** Starts the index of a table. */
export function indexClear(): void {
  blocks = 0;
  fenceTop = fences;
  store<u32>(fenceOffsets, 0);
}

/** Blocks that were added. */
export function indexBlocks(): u32 {
  return blocks;
}

/** Adds the block that begins at `fileOffset`. */
export function indexAddBlock(fileOffset: u32): void {
  store<u32>(offsets + (blocks << 2), fileOffset);
  blocks++;
}

/** The fence between the last block added, which ends with key a, and the next, from key b on. */
export function indexAddFence(a: u32, aLength: u32, b: u32, bLength: u32): void {
  const length = commonPrefix(a, aLength, b, bLength) + 1;
  copyBytes(fenceTop, b, length);
  store<u32>(fenceOffsets + (blocks << 2), fenceTop - fences);
  fenceTop += length;
}

/** Whether there might be no room for two more blocks. */
export function indexIsFull(): bool {
  return blocks + 2 >= blocksMax || fenceTop + 2 * (KEY_BYTES_MAX + 16) > fencesEnd;
}

/** Bytes of all fences. */
export function indexFenceBytes(): u32 {
  return fenceTop - fences;
}

/**
 * Lays out the section at `target`, checksum included, to stand at `sectionOffset` of the table; the
 * blocks end at `blocksEnd`. Returns its bytes, which are not many more than the index was given.
 */
export function indexLayOut(tableId: f64, blocksEnd: u32, sectionOffset: f64, target: u32): u32 {
  store<u32>(offsets + (blocks << 2), blocksEnd);
  store<u32>(fenceOffsets + (blocks << 2), indexFenceBytes());
  let out = target;
  let before: u32 = 0;
  let beforeBytes: u32 = 0;
  for (let i: u32 = 0; i < blocks; i++) {
    out = putVarint(out, load<u32>(offsets + (i << 2), 4) - load<u32>(offsets + (i << 2)));
    if (i == 0) continue;
    const from = load<u32>(fenceOffsets + (i << 2));
    const fence = fences + from;
    const fenceBytes = load<u32>(fenceOffsets + (i << 2), 4) - from;
    const shared = commonPrefix(before, beforeBytes, fence, fenceBytes);
    out = putVarint(out, shared);
    out = putVarint(out, fenceBytes - shared);
    copyBytes(out, fence + shared, fenceBytes - shared);
    out += fenceBytes - shared;
    before = fence;
    beforeBytes = fenceBytes;
  }
  const length = out - target;
  store<u64>(out, xxh64(target, length, placementSeed(tableId, sectionOffset)));
  return length + CHECKSUM_BYTES;
}
