/**
 * The entries of one shard that a scan is after, a batch at a time: `kernel.scan` fills the thread's
 * scratch, and what it found is copied to private memory at once, because the next call on this
 * thread uses the scratch again. Between batches nothing is held but the key the scan got to.
 *
 * When a block is not in the cache the kernel says which. It is asked for, with those that come
 * after it: one at first, then twice as many each time, up to `prefetchBlocks`. A batch that ends at
 * a missing block asks for it right away, so that it is on its way while the batch is consumed.
 *
 * Many scans at a time may need more blocks than the cache can hold, and throw out each other's before
 * any has all of its own. Those that were held up by that load one after the other from then on.
 */

import { LightningError } from '../errors.js';
import {
  RECORD_FLAG_SCAN,
  REQUEST_LOAD_BLOCKS,
  SCAN_BATCH_ENTRIES_MAX,
  SCRATCH_DESCRIPTORS,
  SCRATCH_KEY,
  SCRATCH_KEY2,
  SCRATCH_OUT,
  SOURCES_MAX,
} from '../kernel/assembly/layout.js';
import { encodeLoadBlocks, LOAD_BLOCKS_BYTES } from '../protocol/requests.js';
import { PrivateParts } from './private-bytes.js';
import { KeptSink } from './response-sink.js';
import type { Bound, ScanQuery } from './scan-query.js';
import {
  KEY_ASCII,
  LENGTH_MASK,
  SCAN_DONE,
  SCAN_END_INCLUSIVE,
  SCAN_HAS_END,
  SCAN_HAS_START,
  SCAN_NEED_BLOCK,
  SCAN_START_EXCLUSIVE,
  scanFlags,
  VALUE_ASCII,
  VALUE_ELSEWHERE,
  WORDS,
} from './scan-request.js';
import type { ShardClient } from './shard-client.js';
import { allocateStringBuffer, type StringBuffer } from './string-buffer.js';

/** Result words. */
const RESULT_ENTRIES = 0;
const RESULT_TABLE = 3;
const RESULT_BLOCK = 4;
const RESULT_CONSUMED = 5;
const NO_PROGRESS = 0xffffffff;

const BATCH_ENTRIES_FIRST = 32;
const BATCH_GROWTH = 4;
/** Loads in a row that brought a scan no further: the cache cannot hold what it needs at once. */
const FRUITLESS_LOADS_MAX = 256;
/** Loads after which a scan that was slowed down reads further ahead again. */
const LOADS_BEFORE_FASTER = 64;

/** Of each shard's scans that line up, the one whose turn it is to load, until it has come further. */
const turns = new WeakMap<ShardClient, ScanStream>();

/** A source of entries for the merge, in the order of the scan. */
export interface EntryStream {
  /** Bytes of the present batch; entries are addressed in them. */
  readonly bytes: StringBuffer;
  /** Entries of the present batch, and the one that is next. */
  readonly count: number;
  index: number;
  /** Nothing comes after the present batch. */
  readonly done: boolean;
  /** Of equal keys, this stream's comes first. */
  readonly isOverlay: boolean;
  keyStart(index: number): number;
  keyLength(index: number): number;
}

/** Where a stream keeps its present batch. */
export interface ScanBuffer {
  bytes: StringBuffer;
  descriptors: Uint32Array;
}

const BUFFER_BYTES_MIN = 4096;
const BUFFER_ENTRIES_MIN = 32;
/** Buffers kept: as many as a scan over all shards needs. */
const BUFFERS_MAX = 64;

/** Buffers of finished scans, for the next ones. */
export class ScanBuffers {
  readonly #free: ScanBuffer[] = [];

  take(): ScanBuffer {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    return {
      bytes: allocateStringBuffer(BUFFER_BYTES_MIN),
      descriptors: new Uint32Array(BUFFER_ENTRIES_MIN * WORDS),
    };
  }

  give(buffer: ScanBuffer): void {
    if (this.#free.length < BUFFERS_MAX) this.#free.push(buffer);
  }
}

export class ScanStream implements EntryStream {
  readonly shard: ShardClient;
  count = 0;
  index = 0;
  done = false;
  readonly isOverlay = false;

  readonly #query: ScanQuery;
  readonly #snapshot: number;
  readonly #buffers: ScanBuffers;
  readonly #buffer: ScanBuffer;
  /** Views of the buffer. */
  bytes: StringBuffer;
  #descriptors: Uint32Array;
  readonly #parts: PrivateParts;
  /** Address that the descriptors count from. */
  #base = 0;
  /** Where the next batch starts: the first bound, then the key the scan got to. */
  #start: Bound | undefined;
  readonly #end: Bound | undefined;
  #entriesMax: number;
  #loading: KeptSink | undefined;
  /** Whether what is loaded is all wanted by this scan. */
  #isOwnNeed = false;
  #linesUp = false;
  #loadBlocks = 1;
  /** Most blocks of one load: fewer once reading ahead has thrown out what was needed. */
  #loadBlocksMax: number;
  #fruitlessLoads = 0;
  #fruitfulLoads = 0;

  constructor(shard: ShardClient, query: ScanQuery, snapshot: number, buffers: ScanBuffers) {
    this.shard = shard;
    this.#query = query;
    this.#snapshot = snapshot;
    this.#buffers = buffers;
    this.#buffer = buffers.take();
    this.bytes = this.#buffer.bytes;
    this.#descriptors = this.#buffer.descriptors;
    this.#parts = new PrivateParts(this.bytes);
    this.#start = query.reverse ? query.upper : query.lower;
    this.#end = query.reverse ? query.lower : query.upper;
    this.#entriesMax = BATCH_ENTRIES_FIRST;
    this.#loadBlocksMax = Math.max(1, query.prefetchBlocks);
  }

  /** Blocks that have to be loaded before the next `fill` can succeed. */
  get loading(): KeptSink | undefined {
    return this.#loading;
  }

  /**
   * Reads the next batch, of at most `entriesMax` entries; the present one must be consumed. False:
   * a block is missing and on its way: wait for `loading` and call again.
   */
  fill(entriesMax: number): boolean {
    if (this.#loading !== undefined) {
      if (!this.#loading.settled) return false;
      if (this.#isOwnNeed) this.#loading.check();
      // What cannot be read may lie behind the range: the block that is needed is asked for alone.
      else if (this.#loading.error !== undefined) this.#loadBlocks = 1;
      this.#loading = undefined;
    }
    this.index = 0;
    this.count = 0;
    for (;;) {
      const status = this.#scan(Math.min(entriesMax, this.#entriesMax));
      if (status === SCAN_DONE) this.done = true;
      if (this.count > 0)
        this.#entriesMax = Math.min(this.#entriesMax * BATCH_GROWTH, SCAN_BATCH_ENTRIES_MAX);
      if (status === SCAN_NEED_BLOCK) {
        // With entries in hand the next block may not be wanted at all.
        if (this.count === 0 || this.#query.prefetchBlocks > 0) this.#load();
        return this.count > 0;
      }
      if (this.count > 0 || this.done) return true;
    }
  }

  /** Gives the buffer back; the stream must not be used any more. Called once. */
  close(): void {
    this.done = true;
    this.index = this.count;
    this.#endTurn();
    this.#buffers.give(this.#buffer);
  }

  privateBytes(start: number, end: number): Buffer {
    return this.#parts.take(start, end);
  }

  keyStart(index: number): number {
    return (this.#descriptors[index * WORDS] as number) - this.#base;
  }

  keyLength(index: number): number {
    return this.#descriptors[index * WORDS + 1] as number;
  }

  valueStart(index: number): number {
    return (this.#descriptors[index * WORDS + 2] as number) - this.#base;
  }

  valueLength(index: number): number {
    return (this.#descriptors[index * WORDS + 3] as number) & LENGTH_MASK;
  }

  isKeyAscii(index: number): boolean {
    return ((this.#descriptors[index * WORDS + 3] as number) & KEY_ASCII) !== 0;
  }

  isValueAscii(index: number): boolean {
    return ((this.#descriptors[index * WORDS + 3] as number) & VALUE_ASCII) !== 0;
  }

  /** The value is too large for a batch: get it by its key. */
  isValueElsewhere(index: number): boolean {
    return ((this.#descriptors[index * WORDS + 3] as number) & VALUE_ELSEWHERE) !== 0;
  }

  isDeleted(_index: number): boolean {
    return false;
  }

  #scan(entriesMax: number): number {
    const { shard } = this;
    shard.checkReadable();
    const { kernel, scratch, resultWord } = shard;
    const start = this.#start;
    const end = this.#end;
    let flags = scanFlags(this.#query);
    if (start !== undefined) {
      flags |= SCAN_HAS_START | (start.inclusive ? 0 : SCAN_START_EXCLUSIVE);
      shard.bytes.set(start.key, scratch + SCRATCH_KEY);
    }
    if (end !== undefined) {
      flags |= SCAN_HAS_END | (end.inclusive ? SCAN_END_INCLUSIVE : 0);
      shard.bytes.set(end.key, scratch + SCRATCH_KEY2);
    }
    const status = kernel.exports.scan(
      start?.key.length ?? 0,
      end?.key.length ?? 0,
      flags,
      this.#snapshot,
      entriesMax,
    );
    this.#takeEntries(kernel.u32[resultWord + RESULT_ENTRIES] as number);
    const consumed = kernel.u32[resultWord + RESULT_CONSUMED] as number;
    if (consumed !== NO_PROGRESS && status !== SCAN_DONE) {
      const at = scratch + SCRATCH_KEY;
      const key = shard.bytes.subarray(at, at + consumed);
      // To step over the key it starts after brings a scan no further.
      if (start === undefined || start.inclusive || !key.equals(start.key)) {
        this.#fruitlessLoads = 0;
        this.#endTurn();
        this.#start = { key: Buffer.from(key), inclusive: false };
      }
    }
    return status;
  }

  /** Copies the entries out of the scratch. */
  #takeEntries(count: number): void {
    this.count = count;
    if (count === 0) return;
    const { shard } = this;
    const words = shard.kernel.u32;
    const first = (shard.scratch + SCRATCH_DESCRIPTORS) >>> 2;
    if (this.#descriptors.length < count * WORDS) {
      this.#descriptors = new Uint32Array(count * WORDS * 2);
      this.#buffer.descriptors = this.#descriptors;
    }
    this.#descriptors.set(words.subarray(first, first + count * WORDS));
    this.#base = 0;
    const out = shard.scratch + SCRATCH_OUT;
    const last = count - 1;
    const keyEnd = this.keyStart(last) + this.keyLength(last);
    const used = Math.max(keyEnd, this.valueStart(last) + this.valueLength(last)) - out;
    this.#base = out;
    if (this.bytes.length < used) {
      this.bytes = allocateStringBuffer(used + (used >>> 2));
      this.#buffer.bytes = this.bytes;
    }
    this.bytes.set(shard.bytes.subarray(out, out + used));
    this.#parts.of(this.bytes, used);
  }

  /** Asks for the block that is missing, and for those that the scan comes to next. */
  #load(): void {
    const { kernel, resultWord } = this.shard;
    const table = kernel.u32[resultWord + RESULT_TABLE] as number;
    const block = kernel.u32[resultWord + RESULT_BLOCK] as number;
    if (this.#linesUp && this.#awaitTurn()) return;
    if (++this.#fruitlessLoads > FRUITLESS_LOADS_MAX) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        'Cannot scan: the cache cannot hold the blocks that are needed at one time; raise "cacheSize"',
      );
    }
    const count = this.#blocksToLoad();
    const firstBlock = this.#query.reverse ? Math.max(0, block - count + 1) : block;
    const blocks = this.#query.reverse ? block - firstBlock + 1 : count;
    const payload = Buffer.allocUnsafe(LOAD_BLOCKS_BYTES);
    encodeLoadBlocks(payload, 0, { table, firstBlock, count: blocks });
    const sink = new KeptSink();
    // Blocks of scans have a part of the cache only: what came back in vain may have all of it.
    const flags = this.#linesUp ? 0 : RECORD_FLAG_SCAN;
    this.shard.send(REQUEST_LOAD_BLOCKS, flags, 0, payload, sink);
    this.#loading = sink;
    this.#isOwnNeed = blocks === 1;
  }

  /** True: another scan loads now, and this one waits for that load. */
  #awaitTurn(): boolean {
    const first = turns.get(this.shard);
    const loading = first?.loading;
    if (first === this || loading === undefined || loading.settled) {
      turns.set(this.shard, this);
      return false;
    }
    this.#loading = loading;
    this.#isOwnNeed = false;
    return true;
  }

  #endTurn(): void {
    if (turns.get(this.shard) === this) turns.delete(this.shard);
  }

  /**
   * Twice as many each time. Reading ahead into a cache that is too small for it throws out what is
   * needed now: then half as many at most, until that has gone well for a while.
   */
  #blocksToLoad(): number {
    if (this.#fruitlessLoads > SOURCES_MAX) {
      this.#linesUp = true;
      this.#loadBlocksMax = Math.max(1, this.#loadBlocksMax >>> 1);
      this.#fruitfulLoads = 0;
    } else if (++this.#fruitfulLoads % LOADS_BEFORE_FASTER === 0) {
      this.#loadBlocksMax = Math.min(
        this.#loadBlocksMax * 2,
        Math.max(1, this.#query.prefetchBlocks),
      );
    }
    const count = Math.min(this.#loadBlocks, this.#loadBlocksMax);
    this.#loadBlocks = Math.min(this.#loadBlocks * 2, 1024);
    return count;
  }
}
