/**
 * Point reads. The answer comes from the shard's shared memory, on the caller's thread; only a block
 * that is not cached, or a large value that has its own file, is fetched through the shard worker.
 *
 * `snapshot` is a sequence number, or SNAPSHOT_LATEST. The key of single reads is in the client's
 * scratch.
 */

import { bufferEncoding } from '../encoding/encoding.js';
import { LightningError } from '../errors.js';
import {
  REQUEST_GET,
  REQUEST_GET_MANY,
  SCRATCH_OUT,
  SCRATCH_OUT_BYTES,
  SCRATCH_RESULT,
} from '../kernel/assembly/layout.js';
import { encodeGetMany, GET_HEAD_BYTES } from '../protocol/requests.js';
import type { Client } from './client.js';
import { type Codec, copyOf, decode, encodeKey } from './codec.js';
import { LentBytes } from './lent-bytes.js';
import { privateCopy } from './private-bytes.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { KeptSink, PresenceSink, ValueSink } from './response-sink.js';
import type { ShardClient } from './shard-client.js';

/** Answers of the kernel's `get`. */
const GET_ABSENT = 0;
const GET_FOUND = 1;
const GET_NEED_BLOCK = 2;
const GET_FOUND_HELD = 3;

/** Blocks that a version may lie behind, and evictions between a load and the look at it. */
const VERSION_ATTEMPTS_MAX = 64;

/** Keys asked for in one request, so that one answer stays small enough to be put together. */
const GET_MANY_KEYS_MAX = 512;

/** Keys whose memory accesses are made to overlap, and the longest of them. */
const TOGETHER = 32;
const STAGED_BYTES_MAX = 512;

const BYTES: Codec = bufferEncoding as Codec;

/** Keys of a getMany whose values have to be fetched: positions in the answer, and the keys. */
interface Fetch {
  readonly shard: ShardClient;
  /** Whether more keys may be added to the request. */
  readonly shared: boolean;
  readonly positions: number[];
  readonly keys: Buffer[];
}

export class Reader {
  readonly #client: Client;
  /** Of each staged key: the word it stands at (0: nowhere), its length, its shard. */
  readonly #staged = new Int32Array(TOGETHER * 3);
  /** Private memory for borrowed values; made for the first of them. */
  #lent: LentBytes | undefined;

  constructor(client: Client) {
    this.#client = client;
  }

  getSync(codec: Codec, snapshot: number): unknown {
    const shard = this.#client.route();
    const status = shard.lookupSync(this.#client.key, snapshot);
    if (status === GET_ABSENT) return undefined;
    if (status === GET_FOUND) return decodeResult(shard, codec);
    if (status === GET_FOUND_HELD) return decodeHeld(shard, codec);
    const sink = new KeptSink();
    this.#request(shard, snapshot, sink, true);
    this.#client.waitSync(shard, sink);
    return sink.value(codec);
  }

  /** The value's bytes, in memory that the next call overwrites; large values are copies. */
  getBorrowedSync(snapshot: number): Buffer | undefined {
    const shard = this.#client.route();
    const status = shard.lookupSync(this.#client.key, snapshot);
    if (status === GET_ABSENT) return undefined;
    if (status === GET_FOUND) return this.#lend(shard);
    if (status === GET_FOUND_HELD) return decodeHeld(shard, BYTES) as Buffer;
    const sink = new KeptSink();
    this.#request(shard, snapshot, sink, true);
    this.#client.waitSync(shard, sink);
    return sink.value(BYTES) as Buffer | undefined;
  }

  /** Not a view of the scratch: that is shared, and other reads write there. */
  #lend(shard: ShardClient): Buffer {
    const length = shard.kernel.u32[shard.resultWord + 1] as number;
    this.#lent ??= new LentBytes(Buffer.allocUnsafeSlow(SCRATCH_OUT_BYTES), 0);
    const bytes = this.#lent.view(length);
    bytes.set(shard.values.view(length));
    return bytes;
  }

  get(codec: Codec, snapshot: number): Promise<unknown> {
    const shard = this.#client.route();
    const status = shard.lookup(this.#client.key, snapshot);
    if (status === GET_ABSENT) return Promise.resolve(undefined);
    if (status === GET_FOUND) return Promise.resolve(decodeResult(shard, codec));
    if (status === GET_FOUND_HELD) return Promise.resolve(decodeHeld(shard, codec));
    const promise = newPromise<unknown>();
    const sink = new ValueSink(codec, resolvePart(), rejectPart());
    this.#request(shard, snapshot, sink, false);
    return this.#client.reads.add(snapshot, promise);
  }

  hasSync(snapshot: number): boolean {
    const shard = this.#client.route();
    const status = shard.lookupSync(this.#client.key, snapshot);
    if (status !== GET_NEED_BLOCK) return isPresent(shard, status);
    const sink = new KeptSink();
    this.#request(shard, snapshot, sink, true);
    this.#client.waitSync(shard, sink);
    sink.check();
    return sink.isPresent();
  }

  has(snapshot: number): Promise<boolean> {
    const shard = this.#client.route();
    const status = shard.lookup(this.#client.key, snapshot);
    if (status !== GET_NEED_BLOCK) return Promise.resolve(isPresent(shard, status));
    const promise = newPromise<boolean>();
    const sink = new PresenceSink(resolvePart(), rejectPart());
    this.#request(shard, snapshot, sink, false);
    return this.#client.reads.add(snapshot, promise);
  }

  /** The sequence number of the commit that wrote the key; undefined when it is missing. */
  async version(snapshot: number): Promise<number | undefined> {
    const { key } = this.#client;
    const held = key.toBuffer();
    for (let attempt = 0; attempt < VERSION_ATTEMPTS_MAX; attempt++) {
      key.setBytes(held);
      const shard = this.#client.route();
      const status = shard.lookup(key, snapshot);
      if (status !== GET_NEED_BLOCK) {
        if (!isPresent(shard, status)) return undefined;
        return shard.kernel.f64[(shard.scratch + SCRATCH_RESULT + 24) >>> 3];
      }
      // Brings the block into the cache.
      await this.has(snapshot);
    }
    throw new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      'Cannot read a version: the cache cannot hold the block; raise "cacheSize"',
    );
  }

  getManySync(
    keyCodec: Codec,
    valueCodec: Codec,
    keys: readonly unknown[],
    snapshot: number,
  ): unknown[] {
    const values: unknown[] = new Array(keys.length);
    const fetches = this.#lookupMany(keyCodec, valueCodec, keys, snapshot, values, true);
    const sinks = fetches.map((fetch) => this.#fetch(fetch, snapshot));
    fetches.forEach((fetch, index) => {
      const sink = sinks[index] as KeptSink;
      this.#client.waitSync(fetch.shard, sink);
      fill(values, fetch, sink, valueCodec);
    });
    return values;
  }

  getMany(
    keyCodec: Codec,
    valueCodec: Codec,
    keys: readonly unknown[],
    snapshot: number,
  ): Promise<unknown[]> {
    const values: unknown[] = new Array(keys.length);
    const fetches = this.#lookupMany(keyCodec, valueCodec, keys, snapshot, values, false);
    if (fetches.length === 0) return Promise.resolve(values);
    return this.#client.reads.add(snapshot, this.#fetchAll(fetches, valueCodec, snapshot, values));
  }

  async #fetchAll(
    fetches: readonly Fetch[],
    codec: Codec,
    snapshot: number,
    values: unknown[],
  ): Promise<unknown[]> {
    const sinks = fetches.map((fetch) => this.#fetch(fetch, snapshot));
    for (const [index, sink] of sinks.entries()) {
      await sink.wait();
      fill(values, fetches[index] as Fetch, sink, codec);
    }
    return values;
  }

  /** Reads what is in memory into `values`; returns what has to be fetched. */
  #lookupMany(
    keyCodec: Codec,
    valueCodec: Codec,
    keys: readonly unknown[],
    snapshot: number,
    values: unknown[],
    isSync: boolean,
  ): Fetch[] {
    const { key, shards } = this.#client;
    const fetches: Fetch[] = [];
    const read = (i: number, shard: ShardClient): void => {
      const status = isSync ? shard.lookupSync(key, snapshot) : shard.lookup(key, snapshot);
      if (status === GET_FOUND) values[i] = decodeResult(shard, valueCodec);
      else if (status === GET_ABSENT) values[i] = undefined;
      else if (status === GET_FOUND_HELD) values[i] = decodeHeld(shard, valueCodec);
      else addFetch(fetches, shard, i, key.toBuffer(), status === GET_NEED_BLOCK);
    };
    // The application's own code may use the database, and with it the room for staged keys: encodings,
    // and the `toJSON` of keys.
    const isStaging =
      keyCodec.kind !== 'custom' && keyCodec.kind !== 'json' && valueCodec.kind !== 'custom';
    const staged = this.#staged;
    for (let start = 0; start < keys.length; start += TOGETHER) {
      const end = Math.min(start + TOGETHER, keys.length);
      // One that is refused may have left those before it staged.
      for (const shard of shards) shard.forgetStaged();
      for (let i = start; i < end; i++) {
        encodeKey(key, keyCodec, keys[i], 'keys');
        const shard = this.#client.route();
        const word = isStaging && key.length <= STAGED_BYTES_MAX ? shard.stage(key) : 0;
        if (word === 0) read(i, shard);
        const at = (i - start) * 3;
        staged[at] = word;
        staged[at + 1] = key.length;
        staged[at + 2] = shard.shard;
      }
      for (const shard of shards) shard.prefetch();
      for (let i = start; i < end; i++) {
        const at = (i - start) * 3;
        const word = staged[at] as number;
        if (word === 0) continue;
        const shard = shards[staged[at + 2] as number] as ShardClient;
        key.takeFromWords(shard.kernel.i32, word, staged[at + 1] as number);
        read(i, shard);
      }
    }
    return fetches;
  }

  #fetch({ shard, keys }: Fetch, snapshot: number): KeptSink {
    const sink = new KeptSink();
    shard.send(REQUEST_GET_MANY, 0, keys.length, encodeGetMany(snapshot, keys), sink);
    return sink;
  }

  /** Asks the shard worker for the value of the key in the scratch. */
  #request(
    shard: ShardClient,
    snapshot: number,
    sink: KeptSink | ValueSink | PresenceSink,
    first: boolean,
  ): void {
    const { key } = this.#client;
    const payload = Buffer.allocUnsafe(GET_HEAD_BYTES + key.length);
    payload.writeDoubleLE(snapshot, 0);
    payload.set(key.bytes.subarray(0, key.length), GET_HEAD_BYTES);
    shard.send(REQUEST_GET, 0, 0, payload, sink, first);
  }
}

/** The value that a lookup copied out. */
function decodeResult(shard: ShardClient, codec: Codec): unknown {
  const { resultWord } = shard;
  const words = shard.kernel.u32;
  const length = words[resultWord + 1] as number;
  if (codec.kind === 'buffer') return privateCopy(shard.values.view(length));
  const start = shard.scratch + SCRATCH_OUT;
  return decode(codec, shard.bytes, start, start + length, words[resultWord + 2] !== 0);
}

/** The value that a lookup holds in place. No user code runs before it is let go. */
function decodeHeld(shard: ShardClient, codec: Codec): unknown {
  const words = shard.kernel.u32;
  const start = words[shard.resultWord] as number;
  const end = start + (words[shard.resultWord + 1] as number);
  let copy: Buffer;
  try {
    if (codec.kind !== 'custom') {
      return decode(codec, shard.bytes, start, end, words[shard.resultWord + 2] !== 0);
    }
    copy = copyOf(shard.bytes, start, end);
  } finally {
    shard.leave();
  }
  return codec.decode(copy);
}

function isPresent(shard: ShardClient, status: number): boolean {
  if (status === GET_FOUND_HELD) shard.leave();
  return status !== GET_ABSENT;
}

/** A large value (`shared` false) is fetched alone, others of a shard together. */
function addFetch(
  fetches: Fetch[],
  shard: ShardClient,
  position: number,
  key: Buffer,
  shared: boolean,
): void {
  const last = shared
    ? fetches.findLast((fetch) => fetch.shard === shard && fetch.shared)
    : undefined;
  if (last !== undefined && last.keys.length < GET_MANY_KEYS_MAX) {
    last.positions.push(position);
    last.keys.push(key);
  } else {
    fetches.push({ shard, shared, positions: [position], keys: [key] });
  }
}

function fill(values: unknown[], { positions }: Fetch, sink: KeptSink, codec: Codec): void {
  sink.values(codec, positions.length).forEach((value, index) => {
    values[positions[index] as number] = value;
  });
}
