/**
 * Many keys of one moment in one call, so that their cache misses overlap: first the hints' lines of all keys
 * are asked for, then what the hints name, then the keys are looked up one after the other, as `get`
 * does it. All of that in one epoch: an evicted block's memory waits for the last of them.
 */

import { copyText } from './bytes';
import { readerEnter, readerLeave } from './epoch';
import {
  GET_ABSENT,
  GET_FOUND,
  GET_FOUND_HELD,
  GET_UNSETTLED,
  expectsAbsent,
  find,
  foundBytes,
  foundType,
  foundValue,
  isUnsettled,
  open,
  version,
} from './get';
import { xxh64 } from './hash';
import { hintPlace, hintTouch, hintedEntry, touchEntry } from './hint';
import {
  ARENA_KEYS,
  GET_MANY_KEYS_MAX,
  GET_MANY_KEY_BYTES,
  MANY_ASCII,
  MANY_RESULT_BYTES,
  MANY_STATUS,
  MANY_VALUE,
  MANY_VALUE_BYTES,
  OP_DELETE,
  OP_PUT_BLOB,
  READER_GETS,
  SCRATCH_DESCRIPTORS,
  SCRATCH_KEY2,
  SCRATCH_OUT,
  SCRATCH_OUT_BYTES,
  V_MEMTABLES,
  V_MEMTABLE_COUNT,
} from './layout';
import { TOUCH_BYTES, memtableTouch } from './memtable-touch';
import { ownBlockNote } from './own-block';
import { line, scratch, slot } from './reader';

// @ts-ignore: decorator
@inline
function keyAfter(key: u32): u32 {
  return key + 8 + ((load<u32>(key) + 3) & ~3);
}

/** Keys of a memtable that is too large for the processor's own caches. */
const TOUCHED_KEYS_MIN: u32 = 2048;

/** Starts bringing what the keys have in memtables; `list` is room for TOUCH_BYTES a key. */
function touchMemtables(keys: u32, count: u32, list: u32): void {
  const memtables = load<u32>(version, V_MEMTABLE_COUNT);
  for (let i: u32 = 0; i < memtables; i++) {
    const arena = load<u32>(version + V_MEMTABLES + (i << 2));
    if (load<u32>(arena, ARENA_KEYS) < TOUCHED_KEYS_MIN) continue;
    let key = keys;
    for (let entry = list, end = list + count * TOUCH_BYTES; entry < end; entry += TOUCH_BYTES) {
      store<u32>(entry, key + 8);
      store<u32>(entry, load<u32>(key), 4);
      key = keyAfter(key);
    }
    memtableTouch(arena, list, count, true);
  }
}

/**
 * Looks up at most GET_MANY_KEYS_MAX keys that stand at SCRATCH_KEY2, each as: length u32, murmur3 u32, bytes, padding to 4; as of
 * `snapshot` (-1: latest). At SCRATCH_DESCRIPTORS, for each key: a GET_*, and for GET_FOUND where in SCRATCH_OUT the
 * value stands, its length, and whether it is ASCII. Values follow one another there, each from a
 * multiple of 8 on. Keys with any other status but GET_ABSENT are left to `get`.
 * Returns how many bytes of SCRATCH_OUT are in use.
 */
export function getMany(count: u32, snapshot: f64): u32 {
  const keys = scratch + SCRATCH_KEY2;
  const hashes = keys + GET_MANY_KEY_BYTES;
  const places = hashes + (GET_MANY_KEYS_MAX << 3);
  count = min(count, GET_MANY_KEYS_MAX);
  ownBlockNote(0);
  let key = keys;
  if (!expectsAbsent()) {
    for (let i: u32 = 0; i < count; i++) {
      hintTouch(load<u32>(key, 4));
      key = keyAfter(key);
    }
  }
  key = keys;
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(hashes + (i << 3), xxh64(key + 8, load<u32>(key), 0));
    key = keyAfter(key);
  }
  readerEnter(slot);
  const isPrefetched = open(snapshot) > 0 && !expectsAbsent();
  if (isPrefetched) {
    key = keys;
    for (let i: u32 = 0; i < count; i++) {
      const raw = hintPlace(load<u64>(hashes + (i << 3)), load<u32>(key, 4));
      store<u32>(places + (i << 3), raw);
      store<u32>(places + (i << 3), raw ? hintedEntry : 0, 4);
      key = keyAfter(key);
    }
    for (let i: u32 = 0; i < count; i++) {
      const raw = load<u32>(places + (i << 3));
      if (raw) touchEntry(raw, load<u32>(places + (i << 3), 4));
    }
  }
  touchMemtables(keys, count, places + (GET_MANY_KEYS_MAX << 3));
  const out = scratch + SCRATCH_OUT;
  let used: u32 = 0;
  let answered: u32 = 0;
  let result = scratch + SCRATCH_DESCRIPTORS;
  key = keys;
  for (let i: u32 = 0; i < count; i++) {
    let status = find(
      key + 8,
      load<u32>(key),
      load<u64>(hashes + (i << 3)),
      load<u32>(key, 4),
      isPrefetched,
    );
    if (status == GET_FOUND) {
      if (isUnsettled()) {
        status = GET_UNSETTLED;
      } else if (foundType == OP_DELETE) {
        status = GET_ABSENT;
      } else if (foundType == OP_PUT_BLOB || foundBytes > SCRATCH_OUT_BYTES - used) {
        status = GET_FOUND_HELD;
      } else {
        store<u32>(result, used, MANY_VALUE);
        store<u32>(result, foundBytes, MANY_VALUE_BYTES);
        store<u32>(result, <u32>copyText(out + used, foundValue, foundBytes), MANY_ASCII);
        used = min((used + foundBytes + 7) & ~7, SCRATCH_OUT_BYTES);
      }
    }
    answered += <u32>(status == GET_FOUND || status == GET_ABSENT);
    store<i32>(result, status, MANY_STATUS);
    result += MANY_RESULT_BYTES;
    key = keyAfter(key);
  }
  readerLeave(slot);
  // The others are counted when they are looked up by themselves.
  store<u64>(line + READER_GETS, load<u64>(line + READER_GETS) + answered);
  return used;
}
