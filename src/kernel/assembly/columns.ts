/**
 * A block as columns, the form in which most are compressed: docs/FORMAT.md, "Columns". What the
 * entries of a block are like, types and lengths, stands together and takes no bytes where it is the
 * same for all of them; sequence numbers take as many bits as they need. In a raw block they stand in
 * front of each entry, where LZ4 finds nothing that repeats.
 *
 * `columnsExpand` takes hostile bytes. It does what `blockValidate` does along the way, since it sees
 * every length anyway: it leaves the raw block as that would, or tells that there is none.
 */

import { SEQUENCE_LIMIT, fitsType } from './block';
import { compareBytes, copyBytes, putVarint, varintBytes } from './bytes';
import {
  BLOCK_BASE_SEQUENCE,
  BLOCK_COUNT,
  BLOCK_HEAD_BYTES,
  BLOCK_PREFIX_BYTES,
  COLUMNS_BASE,
  COLUMNS_COUNT,
  COLUMNS_HEAD_BYTES,
  COLUMNS_PREFIX_BYTES,
  COLUMNS_RAW_BYTES_MAX,
  COLUMNS_SEQUENCE_WIDTH,
  COLUMNS_SUFFIX_MIN,
  COLUMNS_SUFFIX_WIDTH,
  COLUMNS_VALUE_MIN,
  COLUMNS_VALUE_WIDTH,
  COLUMN_VARINTS,
  OP_DELETE,
} from './layout';
import { lz4Decompress } from './lz4';

const SEQUENCE_BITS: u32 = 53;
const LENGTH_BITS: u32 = 16;
const TYPE_BITS: u64 = 2;
/** Numbers beyond this are no sequence numbers, and no lengths. */
const VARINT_BYTES_MAX: u32 = 8;
/** Fingerprint, offset, type and three varints. */
const ENTRY_BYTES_MIN: u32 = 7;
/** What an entry's type and varints may take, and wild copies may write behind it. */
const WILD_BYTES: u64 = 32;
/** Bit fields are loaded eight bytes at a time. */
const SLACK_BYTES: u32 = 64;

// The room: the columns, then the numbers of those that are varints, 8 bytes each.
const UNPACKED: u32 = 65536 + SLACK_BYTES;
const UNPACKED_BYTES: u32 = (COLUMNS_RAW_BYTES_MAX / ENTRY_BYTES_MIN + 1) << 3;

/** Where the last column ended; 0: not before the end. */
let cursor: u32 = 0;

// @ts-ignore: decorator
@inline
function isWidth(width: u32, most: u32): bool {
  return width <= most || width == COLUMN_VARINTS;
}

/** Bits of the numbers of a column, as `columnStart` leaves them. */
// @ts-ignore: decorator
@inline
function bitsOf(width: u32): u64 {
  return width == COLUMN_VARINTS ? u64.MAX_VALUE : ((<u64>1) << width) - 1;
}

/** Number `i` of a column. */
// @ts-ignore: decorator
@inline
function numberAt(column: u32, i: u32, width: u32, bits: u64): u64 {
  const bit = i * width;
  return (load<u64>(column + (bit >> 3)) >> (bit & 7)) & bits;
}

/** Copies `n` bytes; with `isRoomy` 16 at a time, which reads and writes up to 16 bytes more. */
// @ts-ignore: decorator
@inline
function copyBody(target: u32, from: u32, n: u32, isRoomy: bool): void {
  if (!isRoomy) {
    copyBytes(target, from, n);
    return;
  }
  const end = target + n;
  do {
    v128.store(target, v128.load(from));
    target += 16;
    from += 16;
  } while (target < end);
}

/** All numbers of a column together: what is no length counts as one that is too large. */
function sumOf(column: u32, count: u32, width: u32, bits: u64): u64 {
  let sum: u64 = 0;
  for (let i: u32 = 0; i < count; i++) sum += min<u64>(numberAt(column, i, width, bits), u32.MAX_VALUE);
  return sum;
}

/** Address of a column's numbers, of `width` bits each: varints are unpacked to `target` first. */
// @ts-ignore: decorator
@inline
function columnStart(column: u32, width: u32, count: u32, end: u32, target: u32): u32 {
  if (width != COLUMN_VARINTS) {
    const behind = column + ((count * width + 7) >> 3);
    cursor = behind > end ? 0 : behind;
    return column;
  }
  unpackVarints(column, count, end, target);
  return target;
}

function unpackVarints(from: u32, count: u32, end: u32, target: u32): void {
  cursor = 0;
  let p = from;
  for (let i: u32 = 0; i < count; i++) {
    let value: u64 = 0;
    let shift: u64 = 0;
    let byte: u64 = 0x80;
    while (byte >= 0x80) {
      if (p >= end || shift == 7 * VARINT_BYTES_MAX) return;
      byte = load<u8>(p++);
      value |= (byte & 0x7f) << shift;
      shift += 7;
    }
    store<u64>(target + (i << 3), value);
  }
  cursor = p;
}

/**
 * Decompresses `length` bytes at `source` into `room` (COLUMNS_ROOM_BYTES), and writes the raw block
 * that these columns are of to the `blockBytes` bytes at `block`. -1: this is not LZ4; 0: these are not
 * the columns of a well-formed block of that size.
 */
export function columnsUnpack(
  source: u32,
  length: u32,
  room: u32,
  block: u32,
  blockBytes: u32,
): i32 {
  const bytes = lz4Decompress(source, length, room, COLUMNS_RAW_BYTES_MAX);
  if (bytes < 0) return -1;
  return columnsExpand(room, <u32>bytes, block, blockBytes) ? 1 : 0;
}

/** The second half of that: `columns` is the room, and its first `length` bytes are there. */
export function columnsExpand(columns: u32, length: u32, block: u32, blockBytes: u32): bool {
  if (length < COLUMNS_HEAD_BYTES || blockBytes > COLUMNS_RAW_BYTES_MAX) return false;
  const end = columns + length;
  const count = <u32>load<u16>(columns, COLUMNS_COUNT);
  const prefixBytes = <u32>load<u16>(columns, COLUMNS_PREFIX_BYTES);
  const suffixMin = <u64>load<u16>(columns, COLUMNS_SUFFIX_MIN);
  const valueMin = <u64>load<u16>(columns, COLUMNS_VALUE_MIN);
  const bases = load<u64>(columns, COLUMNS_BASE);
  const base = bases & 0x00ffffffffffffff;
  const typeMin = <u32>(bases >> 56) & 15;
  const typeWidth = <u32>(bases >> 60);
  const sequenceWidth = <u32>load<u8>(columns, COLUMNS_SEQUENCE_WIDTH);
  const suffixWidth = <u32>load<u8>(columns, COLUMNS_SUFFIX_WIDTH);
  const valueWidth = <u32>load<u8>(columns, COLUMNS_VALUE_WIDTH);
  if (count == 0 || base >= SEQUENCE_LIMIT || typeWidth > TYPE_BITS) return false;
  if (!isWidth(sequenceWidth, SEQUENCE_BITS)) return false;
  if (!isWidth(suffixWidth, LENGTH_BITS) || !isWidth(valueWidth, LENGTH_BITS)) return false;
  // With this there is room for what is unpacked, and for everything in front of the entries.
  if (BLOCK_HEAD_BYTES + count * ENTRY_BYTES_MIN + prefixBytes > blockBytes) return false;

  const fingerprints = columns + COLUMNS_HEAD_BYTES;
  const prefix = fingerprints + count;
  const types = prefix + prefixBytes;
  if (types > end) return false;
  columnStart(types, typeWidth, count, end, 0);
  if (!cursor) return false;
  let unpacked = columns + UNPACKED;
  const sequences = columnStart(cursor, sequenceWidth, count, end, unpacked);
  if (!cursor) return false;
  unpacked += UNPACKED_BYTES;
  const suffixes = columnStart(cursor, suffixWidth, count, end, unpacked);
  if (!cursor) return false;
  unpacked += UNPACKED_BYTES;
  const values = columnStart(cursor, valueWidth, count, end, unpacked);
  if (!cursor) return false;

  const offsets = block + ((BLOCK_HEAD_BYTES + count + 3) & ~3);
  const blockEnd = block + blockBytes;
  let out = offsets + (count << 1) + prefixBytes;
  if (out > blockEnd) return false;
  store<u32>(block, count, BLOCK_COUNT);
  store<u32>(block, prefixBytes, BLOCK_PREFIX_BYTES);
  store<u64>(block, base, BLOCK_BASE_SEQUENCE);
  store<u32>(offsets - 4, 0);
  copyBytes(block + BLOCK_HEAD_BYTES, fingerprints, count);
  copyBytes(out - prefixBytes, prefix, prefixBytes);

  const typeBits = bitsOf(typeWidth);
  const sequenceBits = bitsOf(sequenceWidth);
  const suffixBits = bitsOf(suffixWidth);
  const valueBits = bitsOf(valueWidth);
  let suffix = cursor;
  let suffixesBytes = suffixMin * count;
  if (suffixWidth) suffixesBytes += sumOf(suffixes, count, suffixWidth, suffixBits);
  if (suffixesBytes > <u64>(end - suffix)) return false;
  const suffixesEnd = suffix + <u32>suffixesBytes;
  let value = suffixesEnd;
  let previous: u32 = 0;
  let previousBytes: u32 = 0;
  let previousDelta: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const type = typeMin + <u32>numberAt(types, i, typeWidth, typeBits);
    const delta = numberAt(sequences, i, sequenceWidth, sequenceBits);
    const suffixBytes = suffixMin + numberAt(suffixes, i, suffixWidth, suffixBits);
    const valueShown = valueMin + numberAt(values, i, valueWidth, valueBits);
    const valueBytes = type == OP_DELETE ? 0 : valueShown;
    if (base + delta >= SEQUENCE_LIMIT) return false;
    const bodyBytes = suffixBytes + valueBytes;
    if (suffixBytes > <u64>(suffixesEnd - suffix) || valueBytes > <u64>(end - value)) return false;
    const isRoomy = bodyBytes + WILD_BYTES <= <u64>(blockEnd - out);
    if (!isRoomy) {
      const numbers = varintBytes(delta) + varintBytes(suffixBytes) + varintBytes(valueBytes);
      if (bodyBytes + numbers + 1 > <u64>(blockEnd - out)) return false;
    }
    if (!fitsType(type, valueBytes)) return false;
    if (i) {
      const order = compareBytes(previous, previousBytes, suffix, <u32>suffixBytes);
      if (order > 0 || (order == 0 && previousDelta <= delta)) return false;
    }
    previous = suffix;
    previousBytes = <u32>suffixBytes;
    previousDelta = delta;
    store<u16>(offsets + (i << 1), <u16>(out - block));
    store<u8>(out, type);
    out = putVarint(out + 1, delta);
    out = putVarint(out, suffixBytes);
    out = putVarint(out, valueBytes);
    copyBody(out, suffix, <u32>suffixBytes, isRoomy);
    copyBody(out + <u32>suffixBytes, value, <u32>valueBytes, isRoomy);
    out += <u32>bodyBytes;
    suffix += <u32>suffixBytes;
    value += <u32>valueBytes;
  }
  return out == blockEnd && value == end;
}
