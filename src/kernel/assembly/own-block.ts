/**
 * A block that this thread has read from disk for itself, because it was not cached: `get` uses it
 * as if it were. It stands in the thread's scratch, where scans keep their cursors otherwise, and is
 * good until the next one, or a scan, takes its place: tables do not change, and their ids are never
 * used twice.
 */

import { BLOCK_TRAILER_BYTES, SCRATCH_COLUMNS, SCRATCH_CURSORS } from './layout';
import { scratch } from './reader';
import { storedRawBytes, storedUnpack, storedVerify } from './stored-block';

/** Room for the stored bytes, and for the raw block behind them. */
const STORED_BYTES_MAX: u32 = 128 * 1024;
const RAW_BYTES_MAX: u32 = 256 * 1024;

/** Table id, block number and address; the address is 0 when there is none. */
let ownTable: u32 = 0;
let ownNumber: u32 = 0;
let ownRaw: u32 = 0;

/** Where the host puts the stored bytes: at most `ownBlockBytesMax`. */
export function ownBlockSource(): u32 {
  return scratch + SCRATCH_CURSORS;
}

export function ownBlockBytesMax(): u32 {
  return STORED_BYTES_MAX;
}

/** Takes the block that the host put there. 0: its bytes are not what was written, or it is too large. */
export function ownBlockTake(table: u32, block: u32, length: u32, fileOffset: f64): i32 {
  ownRaw = 0;
  const source = scratch + SCRATCH_CURSORS;
  if (length < BLOCK_TRAILER_BYTES || length > STORED_BYTES_MAX) return 0;
  if (!storedVerify(source, length, table, fileOffset)) return 0;
  if (storedRawBytes(source, length) > RAW_BYTES_MAX) return 0;
  const raw = source + STORED_BYTES_MAX;
  if (!storedUnpack(source, length, raw, scratch + SCRATCH_COLUMNS)) return 0;
  ownTable = table;
  ownNumber = block;
  ownRaw = raw;
  return 1;
}

/** Address of the raw block, when it is that one; else 0. */
// @ts-ignore: decorator
@inline
export function ownBlock(table: u32, block: u32): u32 {
  return ownTable == table && ownNumber == block ? ownRaw : 0;
}

/** Table in whose block of this kind the last lookup has found the newest version of its key; 0: it has not. */
let hit: u32 = 0;

// @ts-ignore: decorator
@inline
export function ownBlockNote(table: u32): void {
  hit = table;
}

/** That table. What it says is about the last lookup, and no other: each begins with `ownBlockNote(0)`. */
export function ownBlockHit(): u32 {
  return hit;
}

/** Its place is needed otherwise. */
// @ts-ignore: decorator
@inline
export function ownBlockForget(): void {
  ownRaw = 0;
}
