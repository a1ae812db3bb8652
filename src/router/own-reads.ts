/**
 * Blocks that a synchronous read misses in the cache, read on the caller's own thread: a file that
 * the system has in memory gives a block in a few microseconds, the way through the shard worker and
 * back takes ten times that. Awaited reads go through the worker: they can wait without holding up
 * anybody, and disks are slow when they are not asked by many at once.
 *
 * What was read is handed to the worker for the cache, as it stands on disk, while the cache is still
 * filling; later only what was missed twice, since inserting costs about as much as reading.
 */

import {
  COUNTER_CACHE_EVICTIONS,
  H_COUNTERS,
  REQUEST_CACHE_BLOCK,
} from '../kernel/assembly/layout.js';
import type { ResponseSink } from './response-sink.js';
import type { ShardClient } from './shard-client.js';
import { TableFiles } from './table-files.js';

/** Result words of the kernel's `get` when it needs a block. */
const RESULT_TABLE = 3;
const RESULT_BLOCK = 4;
const RESULT_OFFSET = 8;
const RESULT_LENGTH = 9;

/** Blocks missed lately, by hash; a collision only forgets one. */
const MISSES = 8192;
const HEAD_BYTES = 8;
/** Answers that nobody waits for are taken up when there are this many. */
const UNANSWERED_MAX = 32;

export class OwnReads {
  readonly #shard: ShardClient;
  readonly #files: TableFiles;
  readonly #missed = new Float64Array(MISSES);
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
    const words = kernel.u32;
    const table = words[resultWord + RESULT_TABLE] as number;
    const block = words[resultWord + RESULT_BLOCK] as number;
    const offset = words[resultWord + RESULT_OFFSET] as number;
    const length = words[resultWord + RESULT_LENGTH] as number;
    if (length > kernel.exports.ownBlockBytesMax() >>> 0) return false;
    const source = kernel.exports.ownBlockSource() >>> 0;
    if (!this.#files.read(table, offset, length, shard.bytes, source)) return false;
    if (kernel.exports.ownBlockTake(table, block, length, offset) === 0) return false;
    if (this.#isWorthCaching(table, block)) this.#handOver(table, block, source, length);
    return true;
  }

  close(): void {
    this.#files.close();
  }

  #isWorthCaching(table: number, block: number): boolean {
    const evictions = (H_COUNTERS >>> 3) + COUNTER_CACHE_EVICTIONS;
    if (this.#shard.kernel.u64[evictions] === 0n) return true;
    const id = table * 4294967296 + block + 1;
    const at = (Math.imul(table, 0x9e3779b1) ^ Math.imul(block, 0x85ebca6b)) >>> 19;
    if (this.#missed[at] === id) {
      this.#missed[at] = 0;
      return true;
    }
    this.#missed[at] = id;
    return false;
  }

  #handOver(table: number, block: number, source: number, length: number): void {
    const shard = this.#shard;
    if (this.#unanswered >= UNANSWERED_MAX) {
      shard.receive();
      if (this.#unanswered >= UNANSWERED_MAX) return;
    }
    if (!shard.isServing()) return;
    const sent = shard.trySend(REQUEST_CACHE_BLOCK, HEAD_BYTES + length, this.#sink, (at) => {
      shard.view.setUint32(at, table, true);
      shard.view.setUint32(at + 4, block, true);
      shard.bytes.copyWithin(at + HEAD_BYTES, source, source + length);
    });
    if (sent) this.#unanswered++;
  }
}
