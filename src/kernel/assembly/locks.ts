/**
 * Validation of transactions, and the keys that prepared ones hold until they are decided.
 *
 *   table   LOCK_BYTES each, open addressing: hash of a key u64, holder u32 (0: empty), mode u32
 *   set     hashes (u64) of the keys that plain commits of the gathered group write
 *
 * Both lie in memory that the host gives and takes back; a hash that two keys share costs a conflict
 * too many, never one too few. One key may have several entries, one per holder and mode.
 *
 * Only the shard worker calls these.
 */

import { compareBytes } from './bytes';
import { groupBody, groupEnd } from './commit';
import { COMMIT_HEADER_BYTES, COMMIT_KIND, COMMIT_OPERATION_BYTES, KIND_PLAIN } from './group-format';
import { xxh64 } from './hash';
import {
  ARENA_SEQUENCE_MAX,
  H_SCRATCH_BASE,
  H_VERSION,
  LEAF_HEAD,
  LEAF_KEY,
  LEAF_KEY_LENGTH,
  RANGE_END_INCLUSIVE,
  RANGE_HAS_END,
  RANGE_HAS_START,
  RANGE_START_EXCLUSIVE,
  SCRATCH_CURSORS,
  VERSION_SEQUENCE,
  V_MEMTABLES,
  V_MEMTABLE_COUNT,
} from './layout';
import { memtableFind, memtableFirst, memtableNext, memtableSeek } from './memtable';
import { heldKeys, setHeldKeys } from './held';
import { nextOperation, operationKey, operationKeyLength } from './operations';

const LOCK_BYTES: u32 = 16;
const MODE_READ: u32 = 1;
const MODE_WRITE: u32 = 2;

const VALID: i32 = 0;
const NEWER: i32 = 1;
const LOCKED: i32 = 2;
/** No memtable has the key: the host looks into the tables. */
const UNKNOWN: i32 = 3;


let table: u32 = 0;
let tableMask: u32 = 0;
let set: u32 = 0;
let setMask: u32 = 0;
let setCount: u32 = 0;
/** Up to here, the commits of the gathered group are in the set. */
let setUpTo: u32 = 0;
/** The key that a validation stopped at. */
let stopKey: u32 = 0;
let stopKeyLength: u32 = 0;
/** Where the next validation of the same list goes on. */
let resume: u32 = 0;

/** Memory for the tables: `lockSlots` and `setSlots` are powers of two; entries start at `address`. */
export function locksInit(address: u32, lockSlots: u32, setSlots: u32): void {
  table = address;
  tableMask = lockSlots - 1;
  set = address + lockSlots * LOCK_BYTES;
  setMask = setSlots - 1;
  memory.fill(address, 0, lockSlots * LOCK_BYTES + (setSlots << 3));
  setCount = 0;
  setUpTo = 0;
  setHeldKeys(0);
}

/** Entries of the lock table. */
export function locksHeld(): u32 {
  return heldKeys;
}

// @ts-ignore: decorator
@inline
function hashOf(key: u32, keyLength: u32): u64 {
  return xxh64(key, keyLength, 0);
}

// @ts-ignore: decorator
@inline
function homeOf(hash: u64): u32 {
  return <u32>(hash >> 20) & tableMask;
}

function add(hash: u64, holder: u32, mode: u32): void {
  let i = homeOf(hash);
  while (load<u32>(table + i * LOCK_BYTES, 8)) i = (i + 1) & tableMask;
  const entry = table + i * LOCK_BYTES;
  store<u64>(entry, hash);
  store<u32>(entry, holder, 8);
  store<u32>(entry, mode, 12);
  setHeldKeys(heldKeys + 1);
}

function remove(hash: u64, holder: u32, mode: u32): void {
  let i = homeOf(hash);
  while (true) {
    const entry = table + i * LOCK_BYTES;
    const present = load<u32>(entry, 8);
    if (!present) return;
    if (present == holder && load<u32>(entry, 12) == mode && load<u64>(entry) == hash) break;
    i = (i + 1) & tableMask;
  }
  setHeldKeys(heldKeys - 1);
  // Entries that follow move up, so that none becomes unreachable.
  let hole = i;
  while (true) {
    i = (i + 1) & tableMask;
    const entry = table + i * LOCK_BYTES;
    if (!load<u32>(entry, 8)) break;
    const home = homeOf(load<u64>(entry));
    if (((i - home) & tableMask) < ((i - hole) & tableMask)) continue;
    memory.copy(table + hole * LOCK_BYTES, entry, LOCK_BYTES);
    hole = i;
  }
  store<u32>(table + hole * LOCK_BYTES, 0, 8);
}

/** Adds (`isAdded`) or removes locks on the keys of a list: u32 length, bytes. */
export function locksKeys(at: u32, bytes: u32, holder: u32, isAdded: u32): void {
  const end = at + bytes;
  while (at < end) {
    const length = load<u32>(at);
    const hash = hashOf(at + 4, length);
    if (isAdded) add(hash, holder, MODE_READ);
    else remove(hash, holder, MODE_READ);
    at += 4 + length;
  }
}

/** As `locksKeys`, for the keys that operations write. */
export function locksOps(at: u32, bytes: u32, holder: u32, isAdded: u32): void {
  const end = at + bytes;
  while (at < end) {
    at = nextOperation(at, end);
    if (!at) return;
    const hash = hashOf(operationKey, operationKeyLength);
    if (isAdded) add(hash, holder, MODE_WRITE);
    else remove(hash, holder, MODE_WRITE);
  }
}

/** A holder, other than `holder`, of a lock that excludes `mode`; 0: there is none. */
function otherHolder(hash: u64, holder: u32, mode: u32): u32 {
  let i = homeOf(hash);
  while (true) {
    const entry = table + i * LOCK_BYTES;
    const present = load<u32>(entry, 8);
    if (!present) return 0;
    if (load<u64>(entry) == hash && present != holder) {
      if (mode == MODE_WRITE || load<u32>(entry, 12) == MODE_WRITE) return present;
    }
    i = (i + 1) & tableMask;
  }
}

/**
 * Notes the holders of all locks on keys that operations write in a bitmap of 256 bits at `bitmap`
 * (holder 1 is bit 0). Returns how many keys are locked.
 */
export function locksHit(at: u32, bytes: u32, bitmap: u32): u32 {
  memory.fill(bitmap, 0, 32);
  const end = at + bytes;
  let hits: u32 = 0;
  while (at < end) {
    at = nextOperation(at, end);
    if (!at) return hits;
    const hash = hashOf(operationKey, operationKeyLength);
    let i = homeOf(hash);
    while (true) {
      const entry = table + i * LOCK_BYTES;
      const present = load<u32>(entry, 8);
      if (!present) break;
      if (load<u64>(entry) == hash) {
        const word = bitmap + (((present - 1) >> 5) << 2);
        store<u32>(word, load<u32>(word) | (1 << ((present - 1) & 31)));
        hits++;
      }
      i = (i + 1) & tableMask;
    }
  }
  return hits;
}

// ---- the gathered group ---------------------------------------------------------------

/** A group begins: nothing of it is in the set. */
export function groupKeysBegin(): void {
  if (setCount) memory.fill(set, 0, (setMask + 1) << 3);
  setCount = 0;
  setUpTo = 0;
}

/** Brings the set up to date. False: the group has more keys than it takes. */
function collectGroupKeys(): bool {
  let at = setUpTo ? setUpTo : groupBody();
  const end = groupEnd();
  while (at < end) {
    const operations = at + COMMIT_HEADER_BYTES;
    const operationsEnd = operations + load<u32>(at, COMMIT_OPERATION_BYTES);
    if (<u32>load<u8>(at, COMMIT_KIND) == KIND_PLAIN) {
      let p = operations;
      while (p < operationsEnd) {
        p = nextOperation(p, operationsEnd);
        if (!p) return false;
        if (setCount >= setMask >> 1) return false;
        addGroupKey(hashOf(operationKey, operationKeyLength));
      }
    }
    at = operationsEnd;
    setUpTo = at;
  }
  return true;
}

function addGroupKey(hash: u64): void {
  const value = hash ? hash : 1;
  let i = <u32>(value >> 20) & setMask;
  while (true) {
    const present = load<u64>(set + (i << 3));
    if (present == value) return;
    if (!present) break;
    i = (i + 1) & setMask;
  }
  store<u64>(set + (i << 3), value);
  setCount++;
}

function isInGroup(hash: u64): bool {
  const value = hash ? hash : 1;
  let i = <u32>(value >> 20) & setMask;
  while (true) {
    const present = load<u64>(set + (i << 3));
    if (present == value) return true;
    if (!present) return false;
    i = (i + 1) & setMask;
  }
}

/** 1 when the keys of the gathered group are known; 0: they are too many, write the group first. */
export function groupKeysKnown(): i32 {
  return collectGroupKeys() ? 1 : 0;
}

// ---- validation -----------------------------------------------------------------------

/** The newest version of the key in memtables against the snapshot. */
function keyStatus(key: u32, keyLength: u32, snapshot: u64, holder: u32, mode: u32): i32 {
  const hash = hashOf(key, keyLength);
  if (heldKeys && otherHolder(hash, holder, mode)) return LOCKED;
  if (setCount && isInGroup(hash)) return NEWER;
  const version = load<u32>(H_VERSION);
  const memtables = load<u32>(version, V_MEMTABLE_COUNT);
  for (let i: u32 = 0; i < memtables; i++) {
    const arena = load<u32>(version + V_MEMTABLES + (i << 2));
    const record = memtableFind(arena, key, keyLength, u64.MAX_VALUE);
    if (record) return load<u64>(record, VERSION_SEQUENCE) > snapshot ? NEWER : VALID;
  }
  return UNKNOWN;
}

/**
 * Validates a list of keys that were read. Returns 0; 1 one has been written after the snapshot; 2
 * another holds a lock on it; 3 (only with `isTableNewer`) the tables decide about the key: the host
 * calls `validateResume` with `at` moved past it. `stopKey` tells the key.
 */
export function validateKeys(
  at: u32,
  bytes: u32,
  snapshot: f64,
  holder: u32,
  isTableNewer: u32,
): i32 {
  const end = at + bytes;
  while (at < end) {
    const length = load<u32>(at);
    stopKey = at + 4;
    stopKeyLength = length;
    at += 4 + length;
    resume = at;
    const status = keyStatus(stopKey, length, <u64>snapshot, holder, MODE_READ);
    if (status == UNKNOWN ? isTableNewer : status) return status;
  }
  return VALID;
}

/** As `validateKeys`, for the keys that operations write. */
export function validateOps(
  at: u32,
  bytes: u32,
  snapshot: f64,
  holder: u32,
  isTableNewer: u32,
): i32 {
  const end = at + bytes;
  while (at < end) {
    at = nextOperation(at, end);
    if (!at) return VALID;
    stopKey = operationKey;
    stopKeyLength = operationKeyLength;
    resume = at;
    const status = keyStatus(stopKey, stopKeyLength, <u64>snapshot, holder, MODE_WRITE);
    if (status == UNKNOWN ? isTableNewer : status) return status;
  }
  return VALID;
}

export function validatedKey(): u32 {
  return stopKey;
}

export function validatedKeyBytes(): u32 {
  return stopKeyLength;
}

/** Where to go on after the key. */
export function validatedTo(): u32 {
  return resume;
}

/**
 * 1 when some memtable has a version in the range (RANGE_*) that is newer than the snapshot; the key
 * is told by `validatedKey`.
 */
export function rangeChanged(
  start: u32,
  startLength: u32,
  end: u32,
  endLength: u32,
  flags: u32,
  snapshot: f64,
): i32 {
  const at = <u64>snapshot;
  const version = load<u32>(H_VERSION);
  const memtables = load<u32>(version, V_MEMTABLE_COUNT);
  const cursor = load<u32>(H_SCRATCH_BASE) + SCRATCH_CURSORS;
  for (let i: u32 = 0; i < memtables; i++) {
    const arena = load<u32>(version + V_MEMTABLES + (i << 2));
    if (load<u64>(arena, ARENA_SEQUENCE_MAX) <= at) continue;
    let leaf =
      flags & RANGE_HAS_START
        ? memtableSeek(cursor, arena, start, startLength)
        : memtableFirst(cursor, arena);
    for (; leaf; leaf = memtableNext(cursor)) {
      const key = leaf + LEAF_KEY;
      const keyLength = load<u32>(leaf, LEAF_KEY_LENGTH);
      if (flags & RANGE_HAS_END) {
        const order = compareBytes(key, keyLength, end, endLength);
        if (order > 0 || (order == 0 && !(flags & RANGE_END_INCLUSIVE))) break;
      }
      if (flags & RANGE_START_EXCLUSIVE && flags & RANGE_HAS_START) {
        if (compareBytes(key, keyLength, start, startLength) == 0) continue;
      }
      if (load<u64>(load<u32>(leaf, LEAF_HEAD), VERSION_SEQUENCE) <= at) continue;
      stopKey = key;
      stopKeyLength = keyLength;
      return 1;
    }
  }
  return 0;
}
