/**
 * Payload of a PREPARE request: a head, the keys and ranges to validate, the operations.
 *
 *    0  u32  slot of the transaction table; PREPARE_ALONE: the transaction touches this shard only
 *    4  i32  the slot's word when it was PREPARING
 *    8  f64  transaction id
 *   16  f64  snapshot: what was validated must not be newer
 *   24  u32  PREPARE_* flags
 *   28  u32  keys to validate
 *   32  u32  bytes of them
 *   36  u32  ranges to validate
 *   40  u32  bytes of them
 *   44  u32  zero
 *   48       keys: u32 length, bytes; ranges: see router/commit-request.ts; operations
 *
 * The record's argument is the number of operations.
 */

import type { Kernel } from '../kernel/kernel.js';
import { KEY_BYTES_MAX } from '../limits.js';

export const PREPARE_HEAD_BYTES = 48;
export const PREPARE_ALONE = 0xffffffff;
/** The keys of the operations are validated, too. */
export const PREPARE_VALIDATE_WRITES = 1;

/** Fields of the head. One object is used over and over: see `decodePrepare`. */
export interface PrepareHead {
  slot: number;
  word: number;
  id: number;
  snapshot: number;
  flags: number;
  keys: number;
  keyBytes: number;
  ranges: number;
  rangeBytes: number;
  /** Offsets into the payload. */
  keysAt: number;
  rangesAt: number;
  operationsAt: number;
}

export function newPrepareHead(): PrepareHead {
  return {
    slot: 0,
    word: 0,
    id: 0,
    snapshot: 0,
    flags: 0,
    keys: 0,
    keyBytes: 0,
    ranges: 0,
    rangeBytes: 0,
    keysAt: 0,
    rangesAt: 0,
    operationsAt: 0,
  };
}

export function encodePrepareHead(head: PrepareHead, view: DataView, at: number): void {
  view.setUint32(at, head.slot, true);
  view.setInt32(at + 4, head.word, true);
  view.setFloat64(at + 8, head.id, true);
  view.setFloat64(at + 16, head.snapshot, true);
  view.setUint32(at + 24, head.flags, true);
  view.setUint32(at + 28, head.keys, true);
  view.setUint32(at + 32, head.keyBytes, true);
  view.setUint32(at + 36, head.ranges, true);
  view.setUint32(at + 40, head.rangeBytes, true);
  view.setUint32(at + 44, 0, true);
}

/** Throws `RangeError` when the lengths do not add up. */
export function decodePrepare(bytes: Buffer, at: number, length: number, head: PrepareHead): void {
  if (length < PREPARE_HEAD_BYTES) throw malformed();
  head.slot = bytes.readUInt32LE(at);
  head.word = bytes.readInt32LE(at + 4);
  head.id = bytes.readDoubleLE(at + 8);
  head.snapshot = bytes.readDoubleLE(at + 16);
  head.flags = bytes.readUInt32LE(at + 24);
  head.keys = bytes.readUInt32LE(at + 28);
  head.keyBytes = bytes.readUInt32LE(at + 32);
  head.ranges = bytes.readUInt32LE(at + 36);
  head.rangeBytes = bytes.readUInt32LE(at + 40);
  place(head, at, length);
}

/** As `decodePrepare`, of a record in a ring, which stands at a multiple of 8. */
export function decodePrepareRecord(
  { u32, i32, f64 }: Pick<Kernel, 'u32' | 'i32' | 'f64'>,
  at: number,
  length: number,
  head: PrepareHead,
): void {
  if (length < PREPARE_HEAD_BYTES) throw malformed();
  const word = at >>> 2;
  head.slot = u32[word] as number;
  head.word = i32[word + 1] as number;
  head.id = f64[(at >>> 3) + 1] as number;
  head.snapshot = f64[(at >>> 3) + 2] as number;
  head.flags = u32[word + 6] as number;
  head.keys = u32[word + 7] as number;
  head.keyBytes = u32[word + 8] as number;
  head.ranges = u32[word + 9] as number;
  head.rangeBytes = u32[word + 10] as number;
  place(head, at, length);
}

function place(head: PrepareHead, at: number, length: number): void {
  head.keysAt = at + PREPARE_HEAD_BYTES;
  head.rangesAt = head.keysAt + head.keyBytes;
  head.operationsAt = head.rangesAt + head.rangeBytes;
  if (head.operationsAt > at + length) throw malformed();
}

/** Throws `RangeError` unless keys and ranges are what the head says, each within its list. */
export function checkLists(bytes: Buffer, head: PrepareHead): void {
  const { keysAt, rangesAt, operationsAt } = head;
  let at = keysAt;
  for (let i = 0; i < head.keys; i++) at = skipKey(bytes, at, rangesAt);
  if (at !== rangesAt) throw malformed();
  for (let i = 0; i < head.ranges; i++) {
    at = skipKey(bytes, at + 1, operationsAt);
    at = skipKey(bytes, at, operationsAt);
  }
  if (at !== operationsAt || !Number.isFinite(head.snapshot)) throw malformed();
}

/** Where the list goes on after a length and a key at `at`. */
function skipKey(bytes: Buffer, at: number, end: number): number {
  if (at + 4 > end) throw malformed();
  const length = bytes.readUInt32LE(at);
  if (length > KEY_BYTES_MAX || at + 4 + length > end) throw malformed();
  return at + 4 + length;
}

function malformed(): RangeError {
  return new RangeError('Cannot read a prepare: the request is malformed');
}
