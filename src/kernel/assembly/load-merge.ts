/**
 * Merges sorted chunks of a bulk load (runs in memory, see sort.ts) straight into the table builder.
 *
 * A list of runs is pairs {address of the first record u32, records u32}, newest chunk first: of equal
 * keys the one in the earliest run of the list stays. The runs are only read; everything written
 * lies in the caller's room, so that several threads may merge different parts of the same runs.
 *
 * The merge is a loser tree over the first 8 bytes of each run's next key behind the prefix that all
 * keys share; bytes are compared only where those are equal. Who wins a game cannot be foreseen, so that
 * what follows from it takes no branch.
 */

import { commonPrefix, compareBytes, headOf } from './bytes';
import { JOB_DONE } from './job-layout';
import { OP_PUT, OP_PUT_BLOB } from './layout';
import {
  CHUNK_BLOB,
  RUNS_DROPPED,
  RUNS_EMITTED,
  RUNS_STATE_BYTES,
  RUN_KEY,
  RUN_KEY_LENGTH,
  RUN_RECORD_BYTES,
  RUN_VALUE_LENGTH,
} from './load-layout';
import { builderAppend } from './table-builder';

const LIST_ENTRY_BYTES: u32 = 8;
/** Sampled keys per part when runs are divided. */
const SAMPLES_PER_PART: u32 = 64;

/** A source of the merge: its next record and the head of that record's key. */
const SOURCE_HEAD: u32 = 0; // u64
const SOURCE_CURSOR: u32 = 8; // u32
const SOURCE_END: u32 = 12; // u32
const SOURCE_BYTES: u32 = 16;

/** The loser of a game: the head of its key, and which source it is. */
const LOSER_HEAD: u32 = 0; // u64
const LOSER_SOURCE: u32 = 8; // u32
const LOSER_SHIFT: u32 = 4;

let state: u32 = 0;
let sources: u32 = 0;
let tree: u32 = 0;
let ways: u32 = 0;
let prefixBytes: u32 = 0;
/** The record whose entry went out last, 0 before the first, and its head. */
let previous: u32 = 0;
let previousHead: u64 = 0;

// @ts-ignore: decorator
@inline
function keyOf(record: u32): u32 {
  return load<u32>(record + RUN_KEY);
}

// @ts-ignore: decorator
@inline
function keyLengthOf(record: u32): u32 {
  return load<u32>(record + RUN_KEY_LENGTH) & ~CHUNK_BLOB;
}

function compareRecords(a: u32, b: u32): i32 {
  return compareBytes(keyOf(a), keyLengthOf(a), keyOf(b), keyLengthOf(b));
}

// ---- dividing runs by key -----------------------------------------------------------

/** Bytes of room that `runsSplit` needs. */
export function runsSplitRoom(runs: u32, parts: u32): u32 {
  return (runs + (parts + 1) * SAMPLES_PER_PART) * 4;
}

/**
 * Divides runs into `parts` ranges of keys with about as many records each, and writes the list of
 * range `part` to `out`. Every call with the same runs and parts draws the same borders.
 */
export function runsSplit(
  list: u32,
  runs: u32,
  part: u32,
  parts: u32,
  room: u32,
  out: u32,
): void {
  const samples = drawSamples(list, runs, parts, room);
  const low = part == 0 ? 0 : load<u32>(room + (<u32>((<u64>part * samples) / parts) << 2));
  const high =
    part + 1 == parts ? 0 : load<u32>(room + (<u32>((<u64>(part + 1) * samples) / parts) << 2));
  for (let r: u32 = 0; r < runs; r++) {
    const entry = list + r * LIST_ENTRY_BYTES;
    const base = load<u32>(entry);
    const count = load<u32>(entry + 4);
    const from = low ? lowerBound(base, count, low) : 0;
    const to = high ? lowerBound(base, count, high) : count;
    store<u32>(out + r * LIST_ENTRY_BYTES, base + from * RUN_RECORD_BYTES);
    store<u32>(out + r * LIST_ENTRY_BYTES + 4, to > from ? to - from : 0);
  }
}

/** Takes every n-th record of all runs, in the order of their keys; returns how many (at least 1). */
function drawSamples(list: u32, runs: u32, parts: u32, room: u32): u32 {
  let total: u64 = 0;
  for (let r: u32 = 0; r < runs; r++) total += load<u32>(list + r * LIST_ENTRY_BYTES + 4);
  const stride = total / (parts * SAMPLES_PER_PART) + 1;
  let samples: u32 = 0;
  let next: u64 = stride >> 1;
  for (let r: u32 = 0; r < runs; r++) {
    const entry = list + r * LIST_ENTRY_BYTES;
    const count = load<u32>(entry + 4);
    for (; next < count; next += stride) {
      store<u32>(room + (samples << 2), load<u32>(entry) + <u32>next * RUN_RECORD_BYTES);
      samples++;
    }
    next -= count;
  }
  sortRecords(room, samples);
  return samples;
}

/** Shell sort of record addresses: a few thousand at most. */
function sortRecords(array: u32, count: u32): void {
  let gap = count;
  while (gap > 1) {
    gap = max<u32>((gap * 5) / 11, 1);
    for (let i = gap; i < count; i++) {
      const record = load<u32>(array + (i << 2));
      let j = i;
      while (j >= gap && compareRecords(load<u32>(array + ((j - gap) << 2)), record) > 0) {
        store<u32>(array + (j << 2), load<u32>(array + ((j - gap) << 2)));
        j -= gap;
      }
      store<u32>(array + (j << 2), record);
    }
  }
}

/** Number of records of a run whose keys are less than that of `record`. */
function lowerBound(base: u32, count: u32, record: u32): u32 {
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareRecords(base + middle * RUN_RECORD_BYTES, record) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

// ---- merging ----------------------------------------------------------------------------

/** Bytes of room that a merge of this many runs needs. */
export function runsRoom(runs: u32): u32 {
  return RUNS_STATE_BYTES + leavesFor(runs) * (SOURCE_BYTES + (1 << LOSER_SHIFT) + 8);
}

function leavesFor(runs: u32): u32 {
  let leaves: u32 = 1;
  while (leaves < runs) leaves <<= 1;
  return leaves;
}

/** Starts a merge of the runs in the list, in 16-byte aligned room. */
export function runsOpen(list: u32, runs: u32, room: u32): void {
  state = room;
  ways = leavesFor(runs);
  sources = room + RUNS_STATE_BYTES;
  tree = sources + ways * SOURCE_BYTES;
  previous = 0;
  store<f64>(state + RUNS_EMITTED, 0);
  store<f64>(state + RUNS_DROPPED, 0);
  prefixBytes = sharedPrefix(list, runs);
  for (let r: u32 = 0; r < ways; r++) {
    const source = sources + r * SOURCE_BYTES;
    const base = r < runs ? load<u32>(list + r * LIST_ENTRY_BYTES) : 0;
    const count = r < runs ? load<u32>(list + r * LIST_ENTRY_BYTES + 4) : 0;
    store<u32>(source + SOURCE_CURSOR, base);
    store<u32>(source + SOURCE_END, base + count * RUN_RECORD_BYTES);
    loadHead(source);
  }
  // Winners of all games, bottom-up, behind the tree of losers; then only the losers are kept.
  const winners = tree + (ways << LOSER_SHIFT);
  for (let i: u32 = 0; i < ways; i++) store<u32>(winners + ((ways + i) << 2), i);
  for (let node = ways - 1; node > 0; node--) {
    const a = load<u32>(winners + (node << 3));
    const b = load<u32>(winners + (node << 3) + 4);
    const aWins = beats(a, b);
    const loser = aWins ? b : a;
    store<u32>(winners + (node << 2), aWins ? a : b);
    store<u64>(tree + (node << LOSER_SHIFT), headOfSource(loser), LOSER_HEAD);
    store<u32>(tree + (node << LOSER_SHIFT), loser, LOSER_SOURCE);
  }
  store<u32>(tree, ways > 1 ? load<u32>(winners + 4) : 0, LOSER_SOURCE);
}

/** Bytes that all keys share: those that the first and last keys of all runs share. */
function sharedPrefix(list: u32, runs: u32): u32 {
  let first: u32 = 0;
  let prefix: u32 = 0;
  for (let r: u32 = 0; r < runs; r++) {
    const base = load<u32>(list + r * LIST_ENTRY_BYTES);
    const count = load<u32>(list + r * LIST_ENTRY_BYTES + 4);
    if (!count) continue;
    const last = base + (count - 1) * RUN_RECORD_BYTES;
    if (!first) {
      first = base;
      prefix = keyLengthOf(base);
    }
    prefix = commonPrefix(keyOf(first), prefix, keyOf(base), keyLengthOf(base));
    prefix = commonPrefix(keyOf(first), prefix, keyOf(last), keyLengthOf(last));
  }
  return prefix;
}

// @ts-ignore: decorator
@inline
function loadHead(source: u32): void {
  const record = load<u32>(source + SOURCE_CURSOR);
  if (record == load<u32>(source + SOURCE_END)) {
    store<u64>(source + SOURCE_HEAD, u64.MAX_VALUE);
    return;
  }
  store<u64>(
    source + SOURCE_HEAD,
    headOf(keyOf(record) + prefixBytes, keyLengthOf(record) - prefixBytes),
  );
}

// @ts-ignore: decorator
@inline
function headOfSource(source: u32): u64 {
  return load<u64>(sources + source * SOURCE_BYTES + SOURCE_HEAD);
}

function beats(a: u32, b: u32): bool {
  const headA = headOfSource(a);
  const headB = headOfSource(b);
  return headA == headB ? beatsByKey(a, b) : headA < headB;
}

/** Sources that have ended come last; of equal keys the newer run's comes first. */
function beatsByKey(a: u32, b: u32): bool {
  const sourceA = sources + a * SOURCE_BYTES;
  const sourceB = sources + b * SOURCE_BYTES;
  const recordA = load<u32>(sourceA + SOURCE_CURSOR);
  const recordB = load<u32>(sourceB + SOURCE_CURSOR);
  if (recordA == load<u32>(sourceA + SOURCE_END)) return false;
  if (recordB == load<u32>(sourceB + SOURCE_END)) return true;
  const order = compareRecords(recordA, recordB);
  return order == 0 ? a < b : order < 0;
}

/**
 * Goes on merging into the builder's table: JOB_DONE when all runs are at their end, or what the
 * builder wants (JOB_DRAIN, JOB_FULL, JOB_TOO_LARGE), after which it is called again.
 */
export function runsMerge(sequence: f64): i32 {
  const number = <u64>sequence;
  let emitted = load<f64>(state + RUNS_EMITTED);
  let dropped = load<f64>(state + RUNS_DROPPED);
  let winner = load<u32>(tree, LOSER_SOURCE);
  let status: i32 = JOB_DONE;
  for (;;) {
    const source = sources + winner * SOURCE_BYTES;
    const record = load<u32>(source + SOURCE_CURSOR);
    if (record == load<u32>(source + SOURCE_END)) break;
    const head = load<u64>(source + SOURCE_HEAD);
    if (previous && head == previousHead && compareRecords(previous, record) == 0) {
      dropped++;
    } else {
      const key = keyOf(record);
      const keyLength = keyLengthOf(record);
      status = builderAppend(
        key,
        keyLength,
        true,
        load<u32>(record + RUN_KEY_LENGTH) & CHUNK_BLOB ? OP_PUT_BLOB : OP_PUT,
        number,
        key + keyLength,
        load<u32>(record + RUN_VALUE_LENGTH),
      );
      if (status != JOB_DONE) break;
      previous = record;
      previousHead = head;
      emitted++;
    }
    store<u32>(source + SOURCE_CURSOR, record + RUN_RECORD_BYTES);
    loadHead(source);
    let best = load<u64>(source + SOURCE_HEAD);
    for (let node = (winner + ways) >> 1; node > 0; node >>= 1) {
      const game = tree + (node << LOSER_SHIFT);
      const rivalHead = load<u64>(game, LOSER_HEAD);
      const rival = load<u32>(game, LOSER_SOURCE);
      let rivalWins = <u32>(rivalHead < best);
      if (rivalHead == best) rivalWins = <u32>beatsByKey(rival, winner);
      // They change places, or not.
      const heads = (rivalHead ^ best) & (0 - <u64>rivalWins);
      const both = (rival ^ winner) & (0 - rivalWins);
      store<u64>(game, rivalHead ^ heads, LOSER_HEAD);
      store<u32>(game, rival ^ both, LOSER_SOURCE);
      best ^= heads;
      winner ^= both;
    }
  }
  store<u32>(tree, winner, LOSER_SOURCE);
  store<f64>(state + RUNS_EMITTED, emitted);
  store<f64>(state + RUNS_DROPPED, dropped);
  return status;
}
