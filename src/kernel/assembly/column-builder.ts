/** Lays out the stage of a block (block-builder.ts) as columns: see columns.ts. */

import { Staged, stageBase, stageNext, stagePrefix, stagedValue } from './block-builder';
import { copyBytes, putVarint, varintBytes } from './bytes';
import {
  BLOCK_HEAD_BYTES,
  COLUMNS_BASE,
  COLUMNS_COUNT,
  COLUMNS_HEAD_BYTES,
  COLUMNS_PREFIX_BYTES,
  COLUMNS_SEQUENCE_WIDTH,
  COLUMNS_SUFFIX_MIN,
  COLUMNS_SUFFIX_WIDTH,
  COLUMNS_VALUE_MIN,
  COLUMNS_VALUE_WIDTH,
  COLUMN_VARINTS,
  OP_DELETE,
} from './layout';

const TYPES: u32 = 0;
const SEQUENCES: u32 = 1;
const SUFFIXES: u32 = 2;
const VALUES: u32 = 3;

let rawBytes: u32 = 0;

/** Bytes of the raw block that the columns laid out last are of. */
export function columnsRawBytes(): u32 {
  return rawBytes;
}

// @ts-ignore: decorator
@inline
function numberOf(staged: Staged, column: u32, least: u64): u64 {
  if (column == SEQUENCES) return staged.sequence - least;
  if (column == SUFFIXES) return <u64>staged.keyLength - least;
  if (column == TYPES) return <u64>staged.type - least;
  // Deletes have no value; what stands here for it is ignored.
  return staged.type == OP_DELETE ? 0 : <u64>staged.valueLength - least;
}

// @ts-ignore: decorator
@inline
function widthOf(most: u64): u32 {
  return 64 - <u32>clz(most);
}

/** A column's width: its numbers need `width` bits, and `varints` bytes as varints. */
// @ts-ignore: decorator
@inline
function chooseWidth(width: u32, count: u32, varints: u32): u32 {
  return varints < (count * width + 7) >> 3 ? COLUMN_VARINTS : width;
}

/** Writes the column at `p`. Returns the address behind it; up to 8 more bytes are written. */
function putColumn(p: u32, count: u32, column: u32, width: u32, least: u64): u32 {
  if (width == 0) return p;
  let staged = changetype<Staged>(stageBase);
  if (width == COLUMN_VARINTS) {
    for (let i: u32 = 0; i < count; i++) {
      p = putVarint(p, numberOf(staged, column, least));
      staged = stageNext(staged);
    }
    return p;
  }
  let bits: u64 = 0;
  let filled: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    bits |= numberOf(staged, column, least) << filled;
    filled += width;
    store<u64>(p, bits);
    p += <u32>filled >> 3;
    bits >>= filled & ~7;
    filled &= 7;
    staged = stageNext(staged);
  }
  return filled ? p + 1 : p;
}

/**
 * Lays out the first `count` staged entries at `target`, which has room for twice `stageEstimate()`
 * bytes. Returns the length. The raw block has at most COLUMNS_RAW_BYTES_MAX bytes.
 */
export function columnsLayOut(count: u32, target: u32): u32 {
  const first = changetype<Staged>(stageBase);
  const prefixBytes = stagePrefix(count);
  const fingerprints = target + COLUMNS_HEAD_BYTES;
  let base = u64.MAX_VALUE;
  let sequenceMax: u64 = 0;
  let typeMin: u32 = u32.MAX_VALUE;
  let typeMax: u32 = 0;
  let keyMin: u32 = u32.MAX_VALUE;
  let keyMax: u32 = 0;
  let valueMin: u32 = u32.MAX_VALUE;
  let valueMax: u32 = 0;
  let staged = first;
  for (let i: u32 = 0; i < count; i++) {
    base = min(base, staged.sequence);
    sequenceMax = max(sequenceMax, staged.sequence);
    typeMin = min(typeMin, <u32>staged.type);
    typeMax = max(typeMax, <u32>staged.type);
    keyMin = min(keyMin, staged.keyLength);
    keyMax = max(keyMax, staged.keyLength);
    if (staged.type != OP_DELETE) {
      valueMin = min(valueMin, staged.valueLength);
      valueMax = max(valueMax, staged.valueLength);
    }
    store<u8>(fingerprints + i, staged.fingerprint);
    staged = stageNext(staged);
  }
  if (valueMin > valueMax) valueMin = 0;
  const suffixMin = keyMin - prefixBytes;

  // What the entries' numbers take in the raw block, and would take here as varints.
  let numberBytes: u32 = 0;
  let sequenceBytes: u32 = 0;
  let suffixBytes: u32 = 0;
  let valueBytes: u32 = 0;
  staged = first;
  for (let i: u32 = 0; i < count; i++) {
    const ofSequence = varintBytes(staged.sequence - base);
    sequenceBytes += ofSequence;
    suffixBytes += varintBytes(staged.keyLength - keyMin);
    valueBytes += varintBytes(numberOf(staged, VALUES, valueMin));
    numberBytes +=
      1 +
      ofSequence +
      varintBytes(staged.keyLength - prefixBytes) +
      varintBytes(staged.valueLength);
    staged = stageNext(staged);
  }
  const typeWidth = widthOf(typeMax - typeMin);
  const sequenceWidth = chooseWidth(widthOf(sequenceMax - base), count, sequenceBytes);
  const suffixWidth = chooseWidth(widthOf(keyMax - keyMin), count, suffixBytes);
  const valueWidth = chooseWidth(widthOf(max(valueMax, valueMin) - valueMin), count, valueBytes);

  store<u16>(target, <u16>count, COLUMNS_COUNT);
  store<u16>(target, <u16>prefixBytes, COLUMNS_PREFIX_BYTES);
  store<u16>(target, <u16>suffixMin, COLUMNS_SUFFIX_MIN);
  store<u16>(target, <u16>valueMin, COLUMNS_VALUE_MIN);
  store<u64>(target, base | (<u64>typeMin << 56) | (<u64>typeWidth << 60), COLUMNS_BASE);
  store<u8>(target, <u8>sequenceWidth, COLUMNS_SEQUENCE_WIDTH);
  store<u8>(target, <u8>suffixWidth, COLUMNS_SUFFIX_WIDTH);
  store<u8>(target, <u8>valueWidth, COLUMNS_VALUE_WIDTH);

  let out = fingerprints + count;
  copyBytes(out, first.key, prefixBytes);
  out += prefixBytes;
  out = putColumn(out, count, TYPES, typeWidth, typeMin);
  out = putColumn(out, count, SEQUENCES, sequenceWidth, base);
  out = putColumn(out, count, SUFFIXES, suffixWidth, keyMin);
  out = putColumn(out, count, VALUES, valueWidth, valueMin);
  const bodies = out;
  staged = first;
  for (let i: u32 = 0; i < count; i++) {
    const suffix = staged.keyLength - prefixBytes;
    copyBytes(out, staged.key + prefixBytes, suffix);
    out += suffix;
    staged = stageNext(staged);
  }
  staged = first;
  for (let i: u32 = 0; i < count; i++) {
    const length = staged.valueLength;
    const value = stagedValue(staged);
    copyBytes(out, value, length);
    out += length;
    staged = changetype<Staged>(value + length);
  }
  rawBytes =
    ((BLOCK_HEAD_BYTES + count + 3) & ~3) + (count << 1) + prefixBytes + numberBytes + (out - bodies);
  return out - target;
}
