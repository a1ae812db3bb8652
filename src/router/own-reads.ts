/**
 * Blocks that a synchronous read misses in the cache, read on the caller's own thread: a file that
 * the system has in memory gives a block in a few microseconds, the way through the shard worker and
 * back takes ten times that. Awaited reads go through the worker: they can wait without holding up
 * anybody, and disks are slow when they are not asked by many at once.
 *
 * What was read is handed to the worker for the cache. While that is still filling: the block, as it
 * stands on disk. Later a block only when it was missed twice within a short while, since its keys are
 * then read together; otherwise the record that was looked for, and whether its key was missed before.
 * Of records that are hot one by one, scattered over blocks that are not, the cache holds a dozen times
 * as many as of their blocks.
 *
 * Of records whose keys were not missed lately, most are of no use to anybody, and each costs the worker
 * 1.6 µs and a place in the small queue. One in four is handed over: what is popular has as many chances
 * as it is read, and the queue remembers four times as long (q-LRU: Garetto, Leonardi and Martina, ACM
 * TOMPECS 2016).
 */

import {
  COUNTER_CACHE_EVICTIONS,
  H_COUNTERS,
  REQUEST_CACHE_BLOCK,
  REQUEST_CACHE_RECORD,
  SCRATCH_KEY,
  SCRATCH_OUT,
  SCRATCH_RESULT,
} from '../kernel/assembly/layout.js';
import { CACHE_RECORD_HEAD_BYTES } from '../protocol/requests.js';
import type { ResponseSink } from './response-sink.js';
import type { ShardClient } from './shard-client.js';
import { TableFiles } from './table-files.js';

/** Result words of the kernel's `get`: of what it found, and when it needs a block. */
const RESULT_VALUE_LENGTH = 1;
const RESULT_KEY_HASH = 10;
const RESULT_TABLE = 3;
const RESULT_BLOCK = 4;
const RESULT_OFFSET = 8;
const RESULT_LENGTH = 9;

/** Blocks missed lately, as a power of two; by hash: a collision only forgets one. */
const MISSES_LOG2 = 9;
/** Keys missed lately, as a power of two; by hash as well. */
const KEY_MISSES_LOG2 = 18;
/** Larger records fill so much of a block that the block may as well be cached. */
const RECORD_BYTES_MAX = 1024;
const HEAD_BYTES = 8;
/** Of records that were not missed before, so many are handed over once the cache is full. */
const ADMITTED_SHARE = 1 / 4;
/** Answers that nobody waits for are taken up when there are this many. */
const UNANSWERED_MAX = 128;
/** The worker is let at what was handed over when there is so much of it: it may have to be woken. */
const UNPUBLISHED_MAX = 64;

export class OwnReads {
  readonly #shard: ShardClient;
  readonly #files: TableFiles;
  readonly #missed = new Float64Array(2 ** MISSES_LOG2);
  /** Allocated when the first record is worth a thought. */
  #missedKeys: Uint32Array | undefined;
  /** Whether the block last read was handed over. */
  #isHandedOver = false;
  #unanswered = 0;
  /** For what is handed over: it does not matter what becomes of it. */
  readonly #sink: ResponseSink = {
    respond: () => {
      this.#unanswered--;
    },
    fail: () => {
      this.#unanswered--;
    },
  };

  constructor(shard: ShardClient, directory: string) {
    this.#shard = shard;
    this.#files = new TableFiles(directory);
  }

  /** Reads the block that the last lookup wants. False: it has to come from the shard worker. */
  read(): boolean {
    const shard = this.#shard;
    const { kernel, resultWord } = shard;
    if (this.#unanswered >= UNANSWERED_MAX) shard.receive();
    const words = kernel.u32;
    const table = words[resultWord + RESULT_TABLE] as number;
    const block = words[resultWord + RESULT_BLOCK] as number;
    const offset = words[resultWord + RESULT_OFFSET] as number;
    const length = words[resultWord + RESULT_LENGTH] as number;
    if (length > kernel.exports.ownBlockBytesMax() >>> 0) return false;
    const source = kernel.exports.ownBlockSource() >>> 0;
    if (!this.#files.read(table, offset, length, shard.bytes, source)) return false;
    if (kernel.exports.ownBlockTake(table, block, length, offset) === 0) return false;
    this.#isHandedOver = this.#isWorthCaching(table, block);
    if (this.#isHandedOver) this.#handOver(table, block, source, length);
    return true;
  }

  /** After a lookup found its key, of that length: hands the record over, if it is worth it. */
  offer(keyLength: number): void {
    const { kernel, resultWord } = this.#shard;
    const table = kernel.exports.ownBlockHit() >>> 0;
    if (table === 0 || this.#isHandedOver) return;
    const valueLength = kernel.u32[resultWord + RESULT_VALUE_LENGTH] as number;
    if (keyLength + valueLength > RECORD_BYTES_MAX) return;
    const wasMissed = this.#wasMissed(kernel.u32[resultWord + RESULT_KEY_HASH] as number);
    if (!wasMissed && this.#isCacheFull && Math.random() >= ADMITTED_SHARE) return;
    this.#handOverRecord(table, keyLength, valueLength, wasMissed);
  }

  /** Whether something was evicted. */
  get #isCacheFull(): boolean {
    const evictions = (H_COUNTERS >>> 3) + COUNTER_CACHE_EVICTIONS;
    return this.#shard.kernel.u64[evictions] !== 0n;
  }

  get openFiles(): number {
    return this.#files.openCount;
  }

  close(): void {
    this.#files.close();
  }

  #isWorthCaching(table: number, block: number): boolean {
    if (!this.#isCacheFull) return true;
    const id = table * 4294967296 + block + 1;
    const hash = Math.imul(table, 0x9e3779b1) ^ Math.imul(block, 0x85ebca6b);
    const at = hash >>> (32 - MISSES_LOG2);
    if (this.#missed[at] === id) {
      this.#missed[at] = 0;
      return true;
    }
    this.#missed[at] = id;
    return false;
  }

  /** Whether the key was missed lately; if not, it is from now on. */
  #wasMissed(keyHash: number): boolean {
    this.#missedKeys ??= new Uint32Array(2 ** KEY_MISSES_LOG2);
    const at = Math.imul(keyHash, 0x9e3779b1) >>> (32 - KEY_MISSES_LOG2);
    if (this.#missedKeys[at] === keyHash) {
      this.#missedKeys[at] = 0;
      return true;
    }
    this.#missedKeys[at] = keyHash;
    return false;
  }

  #handOver(table: number, block: number, source: number, length: number): void {
    const { view, bytes } = this.#shard;
    this.#send(REQUEST_CACHE_BLOCK, 0, HEAD_BYTES + length, (at) => {
      view.setUint32(at, table, true);
      view.setUint32(at + 4, block, true);
      bytes.copyWithin(at + HEAD_BYTES, source, source + length);
    });
  }

  /** Key and value stand in the scratch. */
  #handOverRecord(table: number, keyLength: number, valueLength: number, wasMissed: boolean): void {
    const { view, bytes, scratch, kernel } = this.#shard;
    const key = scratch + SCRATCH_KEY;
    const value = scratch + SCRATCH_OUT;
    const sequence = kernel.f64[(scratch + SCRATCH_RESULT + 24) >>> 3] as number;
    const payloadBytes = CACHE_RECORD_HEAD_BYTES + keyLength + valueLength;
    this.#send(REQUEST_CACHE_RECORD, wasMissed ? 1 : 0, payloadBytes, (at) => {
      view.setUint32(at, table, true);
      view.setUint32(at + 4, keyLength, true);
      view.setFloat64(at + 8, sequence, true);
      bytes.copyWithin(at + CACHE_RECORD_HEAD_BYTES, key, key + keyLength);
      bytes.copyWithin(at + CACHE_RECORD_HEAD_BYTES + keyLength, value, value + valueLength);
    });
  }

  #send(
    kind: number,
    argument: number,
    payloadBytes: number,
    write: (address: number) => void,
  ): void {
    const shard = this.#shard;
    if (this.#unanswered >= UNANSWERED_MAX || !shard.isServing()) return;
    if (!shard.trySend(kind, argument, payloadBytes, this.#sink, write)) return;
    if (++this.#unanswered % UNPUBLISHED_MAX === 0) shard.flush();
  }
}
