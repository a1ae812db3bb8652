/**
 * Committed operations enter the memtable: a group's from the WAL buffer, a large commit's from the
 * staging area. Both go on where they stopped when an arena was full.
 *
 * Only the shard worker calls these, or a thread that it lent the shard to; what is under way is in the
 * caller's instance's globals.
 */

import {
  COMMIT_HEADER_BYTES,
  COMMIT_KIND,
  COMMIT_OPERATION_BYTES,
  isApplied,
} from './group-format';
import {
  COUNTER_BYTES_APPLIED,
  COUNTER_OPS_APPLIED,
  H_COUNTERS,
  H_SCRATCH_BASE,
  SCRATCH_CURSORS,
} from './layout';
import { memtablePut } from './memtable';
import { TOUCH_BYTES, memtableTouch } from './memtable-touch';
import {
  nextOperation,
  operationKey,
  operationKeyLength,
  operationType,
  operationValue,
  operationValueLength,
} from './operations';

const MALFORMED: i32 = -1;

/** Operations whose puts are prepared together. */
const AHEAD_MAX: u32 = 8;

/** groupApply: the next commit and its sequence number; the operations under way. */
let applyCommit: u32 = 0;
let applyLimit: u32 = 0;
let applySequence: u64 = 0;
let applyAt: u32 = 0;
let applyEnd: u32 = 0;
/** Touching runs ahead: the next operation to touch, the end of its commit, and of all commits. */
let aheadAt: u32 = 0;
let aheadEnd: u32 = 0;
let aheadLimit: u32 = 0;
/** Operations touched and not yet applied. */
let aheadCount: u32 = 0;
/** applyOps: what it stopped in, to go on there. */
let stagedFrom: u32 = 0;
let stagedAt: u32 = 0;
let stagedSequence: u64 = 0;

let activeMemtable: u32 = 0;

/** The arena that `groupApply` and `applyOps` write to. */
export function setActiveMemtable(arena: u32): void {
  activeMemtable = arena;
}

/** Makes `groupApply` start with the commits [from, end), the first of which has number `first`. */
export function startApply(from: u32, end: u32, first: u64): void {
  applyCommit = from;
  applyLimit = end;
  applySequence = first;
  applyAt = 0;
  applyEnd = 0;
  startAhead(applyCommit, applyCommit, applyLimit);
}

function startAhead(at: u32, end: u32, limit: u32): void {
  aheadAt = at;
  aheadEnd = end;
  aheadLimit = limit;
  aheadCount = 0;
}

/** Touches the next AHEAD_MAX operations. Anything malformed ends it: applying will tell. */
function touchAhead(): void {
  // The shard worker's own scratch: no scan of its is under way, also while the shard is lent.
  const list = load<u32>(H_SCRATCH_BASE) + SCRATCH_CURSORS;
  let count: u32 = 0;
  while (count < AHEAD_MAX) {
    if (aheadAt >= aheadEnd) {
      if (aheadLimit - aheadEnd < COMMIT_HEADER_BYTES) break;
      const commit = aheadEnd;
      const bytes = load<u32>(commit, COMMIT_OPERATION_BYTES);
      aheadAt = commit + COMMIT_HEADER_BYTES;
      if (bytes > aheadLimit - aheadAt) break;
      aheadEnd = aheadAt + bytes;
      if (!isApplied(<u32>load<u8>(commit, COMMIT_KIND))) aheadAt = aheadEnd;
      continue;
    }
    aheadAt = nextOperation(aheadAt, aheadEnd);
    if (!aheadAt) break;
    store<u32>(list + count * TOUCH_BYTES, operationKey);
    store<u32>(list + count * TOUCH_BYTES, operationKeyLength, 4);
    count++;
  }
  // Alone, a key gains nothing. After the end, never again.
  if (count > 1) memtableTouch(activeMemtable, list, count, false);
  if (count < AHEAD_MAX) {
    aheadEnd = aheadLimit;
    aheadAt = aheadLimit;
    count = u32.MAX_VALUE;
  }
  aheadCount = count;
}

/** Applies operations. Returns the first that did not fit, or `end`; 0 when malformed. */
function applyRange(at: u32, end: u32, sequence: u64): u32 {
  let applied: u64 = 0;
  let bytes: u64 = 0;
  while (at < end) {
    if (!aheadCount) touchAhead();
    aheadCount--;
    const next = nextOperation(at, end);
    if (!next) {
      at = 0;
      break;
    }
    const full = memtablePut(
      activeMemtable,
      operationKey,
      operationKeyLength,
      operationType,
      operationValue,
      operationValueLength,
      sequence,
    );
    if (full) break;
    applied++;
    bytes += <u64>(operationKeyLength + operationValueLength);
    at = next;
  }
  countApplied(COUNTER_OPS_APPLIED, applied);
  countApplied(COUNTER_BYTES_APPLIED, bytes);
  return at;
}

// @ts-ignore: decorator
@inline
function countApplied(counter: u32, more: u64): void {
  const at = H_COUNTERS + (counter << 3);
  atomic.store<u64>(at, load<u64>(at) + more);
}

/**
 * Applies the sealed (or opened) group to the active memtable. Operations of prepares and aborts
 * are passed over. Returns 0 done; 1 the arena is full: switch, `setActiveMemtable`, call again, it
 * goes on where it stopped; -1 malformed.
 */
export function groupApply(): i32 {
  while (true) {
    if (applyAt < applyEnd) {
      const at = applyRange(applyAt, applyEnd, applySequence - 1);
      if (!at) return MALFORMED;
      applyAt = at;
      if (at < applyEnd) return 1;
    }
    if (applyCommit >= applyLimit) return 0;
    if (applyLimit - applyCommit < COMMIT_HEADER_BYTES) return MALFORMED;
    const kind = <u32>load<u8>(applyCommit, COMMIT_KIND);
    const bytes = load<u32>(applyCommit, COMMIT_OPERATION_BYTES);
    applyAt = applyCommit + COMMIT_HEADER_BYTES;
    if (bytes > applyLimit - applyAt) return MALFORMED;
    applyEnd = applyAt + bytes;
    applyCommit = applyEnd;
    applySequence++;
    if (!isApplied(kind)) applyAt = applyEnd;
  }
}

/**
 * Applies staged operations, all with one sequence number. Returns 0 done; 1 the arena is full:
 * switch, `setActiveMemtable` and call again with the same arguments, it goes on where it stopped;
 * -1 malformed (then operations before the malformed one were applied).
 */
export function applyOps(opsPtr: u32, opsBytes: u32, sequence: f64): i32 {
  const goesOn = stagedFrom == opsPtr && stagedSequence == <u64>sequence && stagedFrom != 0;
  const end = opsPtr + opsBytes;
  const from = goesOn ? stagedAt : opsPtr;
  // A group may wait, sealed, to be applied after this.
  const groupAt = aheadAt;
  const groupEnd = aheadEnd;
  const groupLimit = aheadLimit;
  const groupCount = aheadCount;
  startAhead(from, end, end);
  const at = applyRange(from, end, <u64>sequence);
  startAhead(groupAt, groupEnd, groupLimit);
  aheadCount = groupCount;
  stagedFrom = 0;
  if (!at) return MALFORMED;
  if (at == end) return 0;
  stagedFrom = opsPtr;
  stagedSequence = <u64>sequence;
  stagedAt = at;
  return 1;
}
