/**
 * Block cache of a shard: decompressed blocks in shared memory, found through their table's own
 * `T_CACHE_REFS` word, so a hit is one load and no hash table.
 *
 * Two FIFO queues, each a circular log of entries (S3-FIFO: Yang et al., "FIFO queues are all you
 * need for cache eviction", SOSP 2023): a block enters the small queue; if it was touched by the
 * time the head of the log comes round to it, it moves to the main queue, otherwise it leaves a
 * ghost mark in its reference word, and a block that returns while the mark is there enters the
 * main queue at once. The main queue gives touched blocks another round. A scan only flows through
 * the small queue. Entries have any size, nothing is fragmented, and the region is a hard bound.
 *
 * Thread safety: the shard worker alone inserts and evicts. Readers load the reference word
 * (acquire) inside an epoch, and may mark what they used in CACHE_TOUCHED: a bit for each entry of
 * the block, for small blocks at least. Room is used again as in cache-queue.ts. An insert never waits
 * for a reader: when there is no room yet, the block is simply not cached.
 *
 * Records. Where few of a block's keys are hot, the block is a bad use of room: for keys that are
 * popular each by itself (YCSB's zipfian), a cache of a quarter of the data answers 75 reads of 100
 * with blocks and 86 with records (simulated; the best there can be is 89). So a block that has been
 * touched in few entries is not kept by the main queue: those entries are, each as a record. And point
 * reads of a data set that does not fit bring the single record (`cacheRecord`). A record takes part in
 * the queues like a block, but is found by its hint alone (hint.ts), has no reference word and leaves
 * no ghost mark.
 */

import { blockCount, blockEntry, blockPrefixLen, blockPrefixPtr } from './block';
import { copyBytes } from './bytes';
import {
  FROM_SCAN,
  MAIN,
  SMALL,
  addressOf,
  append,
  cacheUsedBytes,
  columnsRoom,
  entryBytes,
  fillerBytes,
  keyRoom,
  queue,
  retireTail,
  settle,
  tally,
} from './cache-queue';
import { murmur32, xxh64 } from './hash';
import { hintFind, hintNote, hintNoteAll, hintsGrow } from './hint';
import {
  BLOCK_HEAD_BYTES,
  CACHE_BLOCK,
  CACHE_ENTRY_BYTES,
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  CACHE_META,
  CACHE_RECORD,
  CACHE_TOUCHED,
  COUNTER_CACHE_EVICTIONS,
  COUNTER_CACHE_INSERTS,
  COUNTER_CACHE_PROMOTIONS,
  ENTRY_SEQUENCE,
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  ENTRY_TYPE,
  ENTRY_VALUE,
  ENTRY_VALUE_BYTES,
  OP_PUT,
  T_BLOCKS,
  T_CACHE_REFS,
  T_ID,
} from './layout';
import { clearLive, setLive } from './live-map';
import { touchedBit } from './reader';
import { RECORD_HEAD_BYTES, buildRecord } from './record-block';
import { storedRawBytes, storedUnpack, storedVerify } from './stored-block';

/**
 * Unlinks entries at the tail up to the position `goal`.
 * Touched entries survive: from the small queue into the main one, in the main one by another round.
 */
function evict(which: i32, goal: u64): void {
  const q = queue(which);
  let rounds: i32 = 0;
  while (q.tail < goal && q.tail < q.head && rounds < 100000) {
    rounds++;
    const entry = addressOf(q, q.tail);
    const size = load<u32>(entry, CACHE_ENTRY_BYTES);
    const meta = load<u32>(entry, CACHE_META);
    q.tail += size;
    if (!meta) continue;
    const block = load<u32>(entry, CACHE_BLOCK);
    const isRecord = block == CACHE_RECORD;
    const ref = isRecord ? 0 : load<u32>(meta, T_CACHE_REFS) + (block << 2);
    const mark = atomic.load<u32>(entry, CACHE_TOUCHED);
    const touched = (mark & ~FROM_SCAN) != 0;
    let moved: u32 = 0;
    const main = queue(MAIN);
    // While the main queue has never been full, nothing is thrown away.
    const isFilling = which == SMALL && main.head + size <= main.usable;
    if (which == SMALL && (touched || isFilling)) makeRoom(MAIN, size);
    const isSplit = touched && !isFilling && !isRecord && splitBlock(entry, mark, size);
    if ((touched || isFilling) && !isSplit) {
      moved = append(MAIN, meta, block, size);
      if (moved) {
        memory.copy(moved + CACHE_HEAD_BYTES, entry + CACHE_HEAD_BYTES, size - CACHE_HEAD_BYTES);
        if (which == SMALL) tally(COUNTER_CACHE_PROMOTIONS);
        setLive(moved);
        hintNoteAll(moved + CACHE_HEAD_BYTES, keyRoom());
      }
    }
    if (!moved) tally(COUNTER_CACHE_EVICTIONS);
    if (!isRecord) {
      const absent = which == SMALL && mark != FROM_SCAN && !isSplit ? CACHE_GHOST : 0;
      atomic.store<u32>(ref, moved ? moved : absent);
    }
    clearLive(entry);
  }
}

/** Bytes of the touched entries, as a part of the block, up to which they are worth more alone. */
const SPLIT_SHARE: u32 = 2;
/** Room behind the key in `keyRoom`: a decoded entry. */
const KEY_ROOM_BYTES: u32 = 66560;

/** Whether the entry is the newest version of its key, as far as fingerprints tell, and a value. */
// @ts-ignore: decorator
@inline
function isRecordOf(raw: u32, index: u32, decoded: u32): bool {
  const fingerprint = raw + BLOCK_HEAD_BYTES + index;
  if (index > 0 && load<u8>(fingerprint - 1) == load<u8>(fingerprint)) return false;
  return load<u32>(decoded, ENTRY_TYPE) == OP_PUT;
}

/**
 * Puts the touched entries of a block that is leaving into the main queue, each by itself. False, and
 * nothing is done, when they make up so much of the block that it had better stay whole.
 */
function splitBlock(entry: u32, mark: u32, size: u32): bool {
  const raw = entry + CACHE_HEAD_BYTES;
  const decoded = keyRoom() + KEY_ROOM_BYTES;
  const prefixBytes = blockPrefixLen(raw);
  const count = <u32>blockCount(raw);
  let bytes: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    if (!(mark & touchedBit(index))) continue;
    blockEntry(raw, <i32>index, decoded);
    if (!isRecordOf(raw, index, decoded)) return false;
    bytes += entryBytes(
      RECORD_HEAD_BYTES +
        prefixBytes +
        load<u32>(decoded, ENTRY_SUFFIX_BYTES) +
        load<u32>(decoded, ENTRY_VALUE_BYTES),
    );
    if (bytes > size / SPLIT_SHARE) return false;
  }
  const table = load<u32>(load<u32>(entry, CACHE_META), T_ID);
  const key = keyRoom();
  copyBytes(key, blockPrefixPtr(raw), prefixBytes);
  for (let index: u32 = 0; index < count; index++) {
    if (!(mark & touchedBit(index))) continue;
    blockEntry(raw, <i32>index, decoded);
    const suffixBytes = load<u32>(decoded, ENTRY_SUFFIX_BYTES);
    copyBytes(key + prefixBytes, load<u32>(decoded, ENTRY_SUFFIX), suffixBytes);
    addRecord(
      MAIN,
      table,
      key,
      prefixBytes + suffixBytes,
      load<u32>(decoded, ENTRY_VALUE),
      load<u32>(decoded, ENTRY_VALUE_BYTES),
      load<u64>(decoded, ENTRY_SEQUENCE),
    );
  }
  return true;
}

/** Appends a record to a queue that has room for it; without room it is not kept. */
function addRecord(
  which: i32,
  table: u32,
  key: u32,
  keyLength: u32,
  value: u32,
  valueLength: u32,
  sequence: u64,
): bool {
  const size = entryBytes(RECORD_HEAD_BYTES + keyLength + valueLength);
  const entry = append(which, table, CACHE_RECORD, size);
  if (!entry) return false;
  const hash = xxh64(key, keyLength, 0);
  const raw = entry + CACHE_HEAD_BYTES;
  buildRecord(raw, key, keyLength, value, valueLength, sequence, hash);
  setLive(entry);
  hintNote(raw, 0, hash, murmur32(key, keyLength));
  return true;
}

/** Makes room ahead of the head: enough free space for `size`, and a lead that hides the epoch. */
function makeRoom(which: i32, size: u32): void {
  const q = queue(which);
  settle(q);
  const lead = (q.usable >> 4) + size * 2 + fillerBytes(q, size);
  if (q.head + lead <= q.limit) return;
  // What has left may only be waiting for readers. If not: in large steps, since an epoch per block
  // would cost more than the blocks.
  if (q.head + lead > q.tail + q.bytes) evict(which, q.head + lead + (q.usable >> 4) - q.bytes);
  if (q.tail == q.head) {
    // Empty: start over at the base, so that an entry as large as the queue fits.
    q.head += (q.bytes - <u32>(q.head % q.bytes)) % q.bytes;
    q.tail = q.head;
  }
  retireTail(q);
}

/**
 * Verifies and decompresses a block as it stands on disk and links it into the cache.
 * `source` holds the `length` bytes (trailer included) of block `block` of the table at `meta`;
 * `scan`: the block is wanted by a scan, once.
 * Returns the address of the raw block; 0 when there is no room right now, because readers are still
 * inside the epoch of what was evicted (they leave within microseconds: try again), or never,
 * because the block is larger than the main queue; -1 when the bytes are not what was written.
 */
export function cacheInsert(
  meta: u32,
  block: u32,
  source: u32,
  length: u32,
  fileOffset: f64,
  scan: u32,
): i32 {
  if (block >= load<u32>(meta, T_BLOCKS)) return -1;
  const ref = load<u32>(meta, T_CACHE_REFS) + (block << 2);
  const present = load<u32>(ref);
  if (present > CACHE_GHOST) return <i32>(present + CACHE_HEAD_BYTES);
  if (!storedVerify(source, length, load<u32>(meta, T_ID), fileOffset)) return -1;
  const rawBytes = storedRawBytes(source, length);
  const size = entryBytes(rawBytes);
  let which = present == CACHE_GHOST && !scan ? MAIN : SMALL;
  if (which == SMALL && size > queue(SMALL).bytes >> 2) which = MAIN;
  if (size > queue(which).bytes) return 0;
  makeRoom(which, size);
  const entry = append(which, meta, block, size);
  if (!entry) return 0;
  const target = entry + CACHE_HEAD_BYTES;
  if (!storedUnpack(source, length, target, columnsRoom())) {
    store<u32>(entry, 0, CACHE_META);
    return -1;
  }
  if (scan) store<u32>(entry, FROM_SCAN, CACHE_TOUCHED);
  setLive(entry);
  atomic.store<u32>(ref, entry);
  tally(COUNTER_CACHE_INSERTS);
  hintsGrow(cacheUsedBytes());
  hintNoteAll(target, keyRoom());
  return <i32>target;
}

/**
 * Caches the newest version of one key that the table at `meta` has, which somebody read: a raw block
 * with a single entry. `again`: it was missed not long ago, and enters the main queue, in the way of
 * a block that has left a ghost mark. Returns 1; 0 when it is there already, or has no place now.
 */
export function cacheRecord(
  meta: u32,
  key: u32,
  keyLength: u32,
  value: u32,
  valueLength: u32,
  sequence: f64,
  again: u32,
): i32 {
  const hash = xxh64(key, keyLength, 0);
  if (hintFind(meta, key, keyLength, hash, murmur32(key, keyLength), u64.MAX_VALUE) >= 0) return 0;
  const size = entryBytes(RECORD_HEAD_BYTES + keyLength + valueLength);
  if (size > queue(SMALL).bytes >> 4) return 0;
  const table = load<u32>(meta, T_ID);
  const which = again ? MAIN : SMALL;
  makeRoom(which, size);
  if (!addRecord(which, table, key, keyLength, value, valueLength, <u64>sequence)) return 0;
  tally(COUNTER_CACHE_INSERTS);
  hintsGrow(cacheUsedBytes());
  return 1;
}

/** Unlinks every cached block of a table that is going away. Its memory may be freed an epoch later. */
export function cacheDropTable(meta: u32): void {
  const refs = load<u32>(meta, T_CACHE_REFS);
  const blocks = load<u32>(meta, T_BLOCKS);
  for (let block: u32 = 0; block < blocks; block++) {
    const entry = load<u32>(refs + (block << 2));
    if (entry > CACHE_GHOST) {
      clearLive(entry);
      store<u32>(entry, 0, CACHE_META);
      atomic.store<u32>(refs + (block << 2), 0);
    }
  }
}
