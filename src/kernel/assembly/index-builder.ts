/**
 * Gathers a table's index while its blocks are written: where each block begins, and the fences
 * between them (docs/FORMAT.md, "Index"). The memory it is given:
 *
 *   head | heads u64[] | offsets u32[] | fence offsets u32[] | fences
 *
 * The arrays are laid out for as many blocks as there may be and moved together at the end.
 */

import { commonPrefix } from './block-builder';
import { copyBytes, headOf } from './bytes';
import { placementSeed, xxh64 } from './hash';
import { KEY_BYTES_MAX } from './layout';
import {
  INDEX_COUNT,
  INDEX_FENCE_BYTES,
  INDEX_HEAD_BYTES,
  INDEX_PREFIX_BYTES,
} from './table-index';

const CHECKSUM_BYTES: u32 = 8;
const SLACK_BYTES: u32 = 64;
/** Expected bytes of a fence, to divide the room into arrays and fences. */
const FENCE_BYTES_EXPECTED: u32 = 32;
const ARRAY_BYTES_PER_BLOCK: u32 = 16;

let index: u32 = 0;
let blocksMax: u32 = 0;
let heads: u32 = 0;
let offsets: u32 = 0;
let fenceOffsets: u32 = 0;
let fences: u32 = 0;
let fencesEnd: u32 = 0;
let fenceTop: u32 = 0;
let blocks: u32 = 0;

/** Gives the index its memory, 64-byte aligned. */
export function indexInit(address: u32, bytes: u32): void {
  index = address;
  blocksMax =
    (bytes - INDEX_HEAD_BYTES - SLACK_BYTES) / (ARRAY_BYTES_PER_BLOCK + FENCE_BYTES_EXPECTED);
  heads = index + INDEX_HEAD_BYTES;
  offsets = heads + (blocksMax << 3);
  fenceOffsets = offsets + ((blocksMax + 1) << 2);
  fences = fenceOffsets + ((blocksMax + 1) << 2);
  fencesEnd = address + bytes - CHECKSUM_BYTES;
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

/**
 * Lays out the section in place, checksum included, to stand at `sectionOffset` of the table; the
 * blocks end at `blocksEnd`. Returns its bytes.
 */
export function indexLayOut(tableId: f64, blocksEnd: u32, sectionOffset: f64): u32 {
  const fenceBytes = fenceTop - fences;
  store<u32>(offsets + (blocks << 2), blocksEnd);
  store<u32>(fenceOffsets + (blocks << 2), fenceBytes);
  let prefixBytes: u32 = 0;
  if (blocks > 1) {
    const first = load<u32>(fenceOffsets, 4);
    const second = load<u32>(fenceOffsets, 8);
    const last = load<u32>(fenceOffsets + ((blocks - 1) << 2));
    prefixBytes = commonPrefix(fences + first, second - first, fences + last, fenceBytes - last);
  }
  store<u64>(heads, 0);
  for (let i: u32 = 1; i < blocks; i++) {
    const from = load<u32>(fenceOffsets + (i << 2));
    const to = load<u32>(fenceOffsets + (i << 2), 4);
    store<u64>(heads + (i << 3), headOf(fences + from + prefixBytes, to - from - prefixBytes));
  }
  memory.fill(index, 0, INDEX_HEAD_BYTES);
  store<u32>(index, blocks, INDEX_COUNT);
  store<u32>(index, prefixBytes, INDEX_PREFIX_BYTES);
  store<u32>(index, fenceBytes, INDEX_FENCE_BYTES);
  const array = (blocks + 1) << 2;
  let end = heads + (blocks << 3);
  memory.copy(end, offsets, array);
  end += array;
  memory.copy(end, fenceOffsets, array);
  end += array;
  memory.copy(end, fences, fenceBytes);
  end += fenceBytes;
  const length = end - index;
  store<u64>(end, xxh64(index, length, placementSeed(tableId, sectionOffset)));
  return length + CHECKSUM_BYTES;
}
