/**
 * Writes a memtable's entries into tables. The memtable takes no more writes.
 *
 * Keys inserted in random order lie all over the arena, and each record costs a chain of cache
 * misses: leaf, version, value. Records are therefore taken in batches that are touched level by
 * level first: misses that do not depend on each other overlap.
 */

import { memtableFirst, memtableNext } from './memtable';
import { MEMTABLE_CURSOR_BYTES } from './memtable-cursor';
import { JOB_DONE } from './job-layout';
import {
  LEAF_HEAD,
  LEAF_KEY,
  LEAF_KEY_LENGTH,
  VERSION_LENGTH_MASK,
  VERSION_OLDER,
  VERSION_SEQUENCE,
  VERSION_TYPE_SHIFT,
  VERSION_VALUE,
  VERSION_VALUE_LENGTH,
} from './layout';
import { retentionKey, retentionVersion } from './retention';

const BATCH_LEAVES: u32 = 64;
const LINE_BYTES: u32 = 64;
/** Of each value, as much is touched; the processor follows a longer one by itself. */
const TOUCHED_BYTES_MAX: u32 = 256;

let cursor: u32 = 0;
/** The leaf behind the batch; 0 at the end of the memtable. */
let beyond: u32 = 0;
let batch: u32 = 0;
let filled: u32 = 0;
let at: u32 = 0;
let version: u32 = 0;
/** Keeps the compiler from dropping loads whose values nobody needs. */
let touched: u32 = 0;

/** Starts at the first key of the memtable; the cursor's memory, 4 KiB, is kept until the end. */
export function flushBegin(arena: u32, cursorMemory: u32): void {
  cursor = cursorMemory;
  batch = cursorMemory + MEMTABLE_CURSOR_BYTES;
  beyond = memtableFirst(cursor, arena);
  fillBatch();
}

function fillBatch(): void {
  filled = 0;
  at = 0;
  while (beyond && filled < BATCH_LEAVES) {
    store<u32>(batch + (filled << 2), beyond);
    filled++;
    beyond = memtableNext(cursor);
  }
  for (let i: u32 = 0; i < filled; i++) {
    touched += load<u32>(load<u32>(batch + (i << 2)), LEAF_HEAD);
  }
  for (let i: u32 = 0; i < filled; i++) {
    touched += load<u32>(load<u32>(load<u32>(batch + (i << 2)), LEAF_HEAD), VERSION_VALUE_LENGTH);
  }
  for (let i: u32 = 0; i < filled; i++) {
    const newest = load<u32>(load<u32>(batch + (i << 2)), LEAF_HEAD);
    const length = load<u32>(newest, VERSION_VALUE_LENGTH) & VERSION_LENGTH_MASK;
    const end = newest + VERSION_VALUE + min(length, TOUCHED_BYTES_MAX);
    for (let p = newest + LINE_BYTES; p < end; p += LINE_BYTES) touched += load<u32>(p);
  }
  openLeaf();
}

/** Begins with the newest version of the batch's current leaf. */
function openLeaf(): void {
  version = at < filled ? atomic.load<u32>(load<u32>(batch + (at << 2)) + LEAF_HEAD) : 0;
  retentionKey();
}

/** Goes on to the end. JOB_DONE, or what the host has to do before it calls again. */
export function flushRun(): i32 {
  while (at < filled) {
    const leaf = load<u32>(batch + (at << 2));
    const key = leaf + LEAF_KEY;
    const keyLength = load<u32>(leaf, LEAF_KEY_LENGTH);
    while (version) {
      const word = load<u32>(version, VERSION_VALUE_LENGTH);
      const status = retentionVersion(
        key,
        keyLength,
        word >> VERSION_TYPE_SHIFT,
        load<u64>(version, VERSION_SEQUENCE),
        version + VERSION_VALUE,
        word & VERSION_LENGTH_MASK,
      );
      if (status != JOB_DONE) return status;
      version = load<u32>(version, VERSION_OLDER);
    }
    if (++at == filled) fillBatch();
    else openLeaf();
  }
  return JOB_DONE;
}
