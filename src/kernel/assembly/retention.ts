/**
 * Which versions of a key a new table keeps.
 *
 * Versions of a key come newest first. A version is dropped when one that is newer hides it from
 * every reader: the newer one is at or below the horizon (no commit up to there is in flight, and
 * every snapshot to come is at or above it) and no live snapshot lies between the two.
 * A second version with the same sequence number is the same write once more (a log replayed, or a
 * batch that wrote the key twice) and is dropped.
 *
 * In the bottom run nothing is older, so a tombstone at or below the horizon is dropped unless an
 * older version is kept. What is kept keeps its sequence number, for as long as it lives: it is the
 * key's version, which `putIf` compares.
 */

import {
  DROPPED_BLOBS_MAX,
  JOB_BLOBS,
  JOB_DONE,
  SNAPSHOTS_MAX,
} from './job-layout';
import { OP_DELETE, OP_PUT_BLOB } from './layout';
import { builderAppend } from './table-builder';

/** Room for snapshots (f64), waiting tombstones (u64) and dropped blobs (f64). */
export const RETENTION_BYTES: u32 = (2 * SNAPSHOTS_MAX + 1 + DROPPED_BLOBS_MAX) * 8;

let horizon: u64 = 0;
let bottom: bool = false;
let snapshots: u32 = 0;
let snapshotCount: u32 = 0;

/** Tombstones of the current key that go to the table only if an older version does. */
let waiting: u32 = 0;
let waitingCount: u32 = 0;
let waitingDone: u32 = 0;
/** Whether the table has an entry of the current key already. */
let opened: bool = false;
/** The version before this one, kept or not. */
let hasNewer: bool = false;
let newer: u64 = 0;
let newerBlob: f64 = 0;

let dropped: u32 = 0;
let droppedCount: u32 = 0;
let entriesIn: u64 = 0;
let entriesOut: u64 = 0;

/**
 * Sets the rules. The host has written `count` live snapshots, ascending f64, at `memory`, which
 * has RETENTION_BYTES. Counters start at 0.
 */
export function retentionInit(memory: u32, count: u32, at: f64, isBottom: bool): void {
  snapshots = memory;
  snapshotCount = min(count, SNAPSHOTS_MAX);
  waiting = snapshots + SNAPSHOTS_MAX * 8;
  dropped = waiting + (SNAPSHOTS_MAX + 1) * 8;
  horizon = <u64>at;
  bottom = isBottom;
  droppedCount = 0;
  entriesIn = 0;
  entriesOut = 0;
  retentionKey();
}

// @ts-ignore: decorator
@inline
function snapshot(i: u32): u64 {
  return <u64>load<f64>(snapshots + (i << 3));
}

/** Whether a live snapshot is at or above `from` and below `to`. */
function snapshotBetween(from: u64, to: u64): bool {
  let low: u32 = 0;
  let high = snapshotCount;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (snapshot(middle) < from) low = middle + 1;
    else high = middle;
  }
  return low < snapshotCount && snapshot(low) < to;
}

/** The next version is of another key. */
export function retentionKey(): void {
  waitingCount = 0;
  waitingDone = 0;
  opened = false;
  hasNewer = false;
}

/** Address of the numbers, f64 each, of blobs that dropped versions referred to. */
export function droppedBlobs(): u32 {
  return dropped;
}

export function droppedBlobCount(): u32 {
  return droppedCount;
}

/** The host has taken the list. */
export function droppedBlobsTaken(): void {
  droppedCount = 0;
}

/** Versions looked at since retentionInit. */
export function retentionEntriesIn(): f64 {
  return <f64>entriesIn;
}

/** Versions kept since retentionInit. */
export function retentionEntriesOut(): f64 {
  return <f64>entriesOut;
}

function append(
  key: u32,
  keyLength: u32,
  type: u32,
  sequence: u64,
  value: u32,
  valueLength: u32,
): i32 {
  const status = builderAppend(key, keyLength, !opened, type, sequence, value, valueLength);
  if (status == JOB_DONE) {
    opened = true;
    entriesOut++;
  }
  return status;
}

/**
 * Takes the next version of the current key. JOB_DONE, or what builderAppend asks for, or
 * JOB_BLOBS: then the version was not taken and is to be given again.
 */
export function retentionVersion(
  key: u32,
  keyLength: u32,
  type: u32,
  sequence: u64,
  value: u32,
  valueLength: u32,
): i32 {
  const blob = type == OP_PUT_BLOB ? load<f64>(value) : 0;
  const again = hasNewer && sequence == newer;
  if (again || (hasNewer && newer <= horizon && !snapshotBetween(sequence, newer))) {
    // A log replayed over a table of format 1's first days, in whose bottom run every sequence number
    // was 0, has the same write with another number: its blob lives on.
    if (type == OP_PUT_BLOB && blob != newerBlob) {
      if (droppedCount == DROPPED_BLOBS_MAX) return JOB_BLOBS;
      store<f64>(dropped + (droppedCount++ << 3), blob);
    }
    // Of writes with the same number the first counts, for what comes after as well.
    if (!again) newerBlob = blob;
  } else if (bottom && type == OP_DELETE && sequence <= horizon) {
    // There are no more of them than snapshots below the horizon, and one.
    store<u64>(waiting + (waitingCount++ << 3), sequence);
    newerBlob = 0;
  } else {
    while (waitingDone < waitingCount) {
      const tombstone = load<u64>(waiting + (waitingDone << 3));
      const status = append(key, keyLength, OP_DELETE, tombstone, 0, 0);
      if (status != JOB_DONE) return status;
      waitingDone++;
    }
    const status = append(key, keyLength, type, sequence, value, valueLength);
    if (status != JOB_DONE) return status;
    newerBlob = blob;
  }
  hasNewer = true;
  newer = sequence;
  entriesIn++;
  return JOB_DONE;
}
