/**
 * Gathers the entries of one block and lays them out as a raw block (docs/FORMAT.md).
 *
 * Entries wait in the stage because the common prefix and the smallest sequence number are known
 * only when the block is cut. A staged entry: sequence u64, key address u32, key length u32, value
 * length u32, type u8, fingerprint u8, u16 zero; the key if this is its first version; the value.
 */

import { commonPrefix, copyBytes, putVarint, varintBytes } from './bytes';
import {
  BLOCK_BASE_SEQUENCE,
  BLOCK_COUNT,
  BLOCK_FLAGS,
  BLOCK_FLAG_DIFFERENCES,
  BLOCK_FLAG_WIDE,
  BLOCK_HEAD_BYTES,
  BLOCK_PREFIX_BYTES,
} from './layout';

@unmanaged
export class Staged {
  sequence: u64;
  key: u32;
  keyLength: u32;
  valueLength: u32;
  type: u8;
  fingerprint: u8;
  zero: u16;
}

export const STAGED_BYTES: u32 = 24;
/** What an entry takes in a block beside key and value: fingerprint, offset, type, varints. */
export const ENTRY_OVERHEAD_BYTES: u32 = 22;
const COPY_SLACK_BYTES: u32 = 16;

export let stageBase: u32 = 0;
let stageEnd: u32 = 0;
let stageTop: u32 = 0;
/** Entries in the stage and an upper bound of the raw block they make. */
let entries: u32 = 0;
let rawEstimate: u32 = 0;
/** Bytes of the entries' keys, each version's counted, and of their values. */
let keysBytes: u32 = 0;
let valuesBytes: u32 = 0;
let sequenceMin: u64 = 0;
let sequenceMax: u64 = 0;
/** The newest key: where its entries start, how many are before it, and the key before it. */
let keyStart: u32 = 0;
let keyEntries: u32 = 0;
let key: u32 = 0;
let keyLength: u32 = 0;
let previousKey: u32 = 0;
let previousKeyLength: u32 = 0;

/** Gives the stage its memory. */
export function stageInit(address: u32, bytes: u32): void {
  stageBase = address;
  stageEnd = address + bytes - COPY_SLACK_BYTES;
  stageClear();
  key = address;
  keyLength = 0;
}

/** Forgets all entries. The newest key stays readable until the next entry is staged. */
export function stageClear(): void {
  stageTop = stageBase;
  entries = 0;
  rawEstimate = BLOCK_HEAD_BYTES + 4;
  keysBytes = 0;
  valuesBytes = 0;
  sequenceMin = u64.MAX_VALUE;
  sequenceMax = 0;
  keyEntries = 0;
  keyStart = stageBase;
}

export function stageEntries(): u32 {
  return entries;
}

/** Entries before those of the newest key. */
export function stageEntriesBeforeKey(): u32 {
  return keyEntries;
}

/** Upper bound of the raw block that the staged entries make. */
export function stageEstimate(): u32 {
  return rawEstimate;
}

/** Whether the raw block would have more than `limit` bytes, or about so, were a new key added. */
export function stageOutgrows(limit: u32, keyPtr: u32, keyBytes: u32, valueBytes: u32): bool {
  const bound = rawEstimate + suffixesShown() + ENTRY_OVERHEAD_BYTES + keyBytes + valueBytes;
  if (bound <= limit) return false;
  const count = entries + 1;
  const first = changetype<Staged>(stageBase);
  const prefixBytes = commonPrefix(first.key, first.keyLength, keyPtr, keyBytes);
  // Fingerprint, offset, type, sequence, two lengths.
  const overhead = 1 + (bound > 0xffff ? 4 : 2) + 1 + varintBytes(sequenceMax - sequenceMin) + 1 + 2;
  const suffixes = keysBytes + keyBytes - count * prefixBytes;
  const size = BLOCK_HEAD_BYTES + 4 + prefixBytes + suffixes + valuesBytes + valueBytes;
  return size + count * overhead > limit;
}

/** A key alone in its block is the prefix; with a second key there, each version has a suffix. */
function suffixesShown(): u32 {
  return entries > 1 && keyEntries == 0 ? (entries - 1) * keyLength : 0;
}

/** Whether an entry of this size fits behind those that are there. */
export function stageHasRoom(keyBytes: u32, valueBytes: u32): bool {
  return <u64>stageTop + STAGED_BYTES + keyBytes + valueBytes <= stageEnd;
}

export function stageKey(): u32 {
  return key;
}

export function stageKeyLength(): u32 {
  return keyLength;
}

/** The key before the newest one, if `stageEntriesBeforeKey` is not 0. */
export function stagePreviousKey(): u32 {
  return previousKey;
}

export function stagePreviousKeyLength(): u32 {
  return previousKeyLength;
}

/** Stages an entry; the caller has checked the room. `newKey`: not a version of the newest key. */
export function stageAdd(
  keyPtr: u32,
  keyBytes: u32,
  newKey: bool,
  fingerprint: u32,
  type: u32,
  sequence: u64,
  valuePtr: u32,
  valueBytes: u32,
): void {
  const staged = changetype<Staged>(stageTop);
  let top = stageTop + STAGED_BYTES;
  if (newKey) {
    rawEstimate += suffixesShown();
    previousKey = key;
    previousKeyLength = keyLength;
    keyStart = stageTop;
    keyEntries = entries;
    key = top;
    keyLength = keyBytes;
    copyBytes(top, keyPtr, keyBytes);
    top += keyBytes;
  }
  staged.sequence = sequence;
  staged.key = key;
  staged.keyLength = keyBytes;
  staged.valueLength = valueBytes;
  staged.type = <u8>type;
  staged.fingerprint = <u8>fingerprint;
  staged.zero = 0;
  copyBytes(top, valuePtr, valueBytes);
  stageTop = top + valueBytes;
  entries++;
  keysBytes += keyBytes;
  valuesBytes += valueBytes;
  sequenceMin = min(sequenceMin, sequence);
  sequenceMax = max(sequenceMax, sequence);
  // A key that is alone in its block is the prefix, once, and suffixes are empty.
  rawEstimate += ENTRY_OVERHEAD_BYTES + valueBytes;
  if (newKey || keyEntries > 0) rawEstimate += keyBytes;
}

/** Drops the entries before the newest key's, which have gone into a block of their own. */
export function stageKeepKey(): void {
  const shift = keyStart - stageBase;
  const kept = entries - keyEntries;
  memory.copy(stageBase, keyStart, stageTop - keyStart);
  stageTop -= shift;
  key -= shift;
  let p = stageBase;
  rawEstimate = BLOCK_HEAD_BYTES + 4 + keyLength;
  keysBytes = kept * keyLength;
  valuesBytes = 0;
  for (let i: u32 = 0; i < kept; i++) {
    const staged = changetype<Staged>(p);
    staged.key = key;
    valuesBytes += staged.valueLength;
    rawEstimate += ENTRY_OVERHEAD_BYTES + staged.valueLength;
    p += STAGED_BYTES + staged.valueLength;
    if (i == 0) p += keyLength;
  }
  entries = kept;
  keyEntries = 0;
  keyStart = stageBase;
}

/**
 * Bytes that the keys of the first `count` staged entries have in common: those are all entries, or all
 * but the newest key's.
 */
export function stagePrefix(count: u32): u32 {
  const first = changetype<Staged>(stageBase);
  if (count == entries) return commonPrefix(first.key, first.keyLength, key, keyLength);
  return commonPrefix(first.key, first.keyLength, previousKey, previousKeyLength);
}

/** The entry staged behind this one. */
// @ts-ignore: decorator
@inline
export function stageNext(staged: Staged): Staged {
  return changetype<Staged>(stagedValue(staged) + staged.valueLength);
}

/** Address of its value: behind its key, where it is the first version of that. */
// @ts-ignore: decorator
@inline
export function stagedValue(staged: Staged): u32 {
  const behind = changetype<u32>(staged) + STAGED_BYTES;
  return staged.key == behind ? behind + staged.keyLength : behind;
}

/**
 * Lays out the first `count` staged entries as a raw block at `target`, which has room for
 * `stageEstimate()` bytes. Returns the length. `differences`: offsets become differences, which
 * compress to next to nothing when entries are alike.
 */
export function stageLayOut(count: u32, target: u32, differences: bool): u32 {
  const first = changetype<Staged>(stageBase);
  const prefixBytes = stagePrefix(count);
  const wide = rawEstimate > 0xffff;
  const offsetShift: u32 = wide ? 2 : 1;
  const fingerprints = target + BLOCK_HEAD_BYTES;
  const offsets = target + ((BLOCK_HEAD_BYTES + count + 3) & ~3);

  let base: u64 = u64.MAX_VALUE;
  let p = stageBase;
  for (let i: u32 = 0; i < count; i++) {
    const staged = changetype<Staged>(p);
    base = min(base, staged.sequence);
    store<u8>(fingerprints + i, staged.fingerprint);
    p += STAGED_BYTES + staged.valueLength;
    if (staged.key == changetype<u32>(staged) + STAGED_BYTES) p += staged.keyLength;
  }
  for (let gap = fingerprints + count; gap < offsets; gap++) store<u8>(gap, 0);
  store<u16>(target, count, BLOCK_COUNT);
  const flags = (wide ? BLOCK_FLAG_WIDE : 0) | (differences ? BLOCK_FLAG_DIFFERENCES : 0);
  store<u16>(target, flags, BLOCK_FLAGS);
  store<u32>(target, prefixBytes, BLOCK_PREFIX_BYTES);
  store<u64>(target, base, BLOCK_BASE_SEQUENCE);

  let out = offsets + (count << offsetShift);
  copyBytes(out, first.key, prefixBytes);
  out += prefixBytes;
  p = stageBase;
  let before = target;
  for (let i: u32 = 0; i < count; i++) {
    const staged = changetype<Staged>(p);
    p += STAGED_BYTES;
    if (staged.key == p) p += staged.keyLength;
    const offset = out - before;
    if (differences) before = out;
    if (wide) store<u32>(offsets + (i << 2), offset);
    else store<u16>(offsets + (i << 1), offset);
    const suffixBytes = staged.keyLength - prefixBytes;
    const valueBytes = staged.valueLength;
    store<u8>(out, staged.type);
    out = putVarint(out + 1, staged.sequence - base);
    out = putVarint(out, suffixBytes);
    out = putVarint(out, valueBytes);
    copyBytes(out, staged.key + prefixBytes, suffixBytes);
    out += suffixBytes;
    copyBytes(out, p, valueBytes);
    out += valueBytes;
    p += valueBytes;
  }
  return out - target;
}
