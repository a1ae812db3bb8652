/**
 * Point reads. The answer comes from the shard's shared memory, on the caller's thread; only a block
 * that is not cached, or a large value that has its own file, is fetched through the shard worker.
 *
 * `snapshot` is a sequence number, or SNAPSHOT_LATEST. The key of single reads is in the client's
 * scratch.
 */

import { bufferEncoding } from '../encoding/encoding.js';
import { LightningError } from '../errors.js';
import { REQUEST_GET_MANY, SCRATCH_OUT_BYTES, SCRATCH_RESULT } from '../kernel/assembly/layout.js';
import { encodeGetMany } from '../protocol/requests.js';
import type { Client } from './client.js';
import { type Codec, encodeKey } from './codec.js';
import {
  decodeHeld,
  decodeResult,
  GET_ABSENT,
  GET_FOUND,
  GET_FOUND_HELD,
  GET_NEED_BLOCK,
  requestValue,
} from './found-value.js';
import { LentBytes } from './lent-bytes.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { KeptSink, PresenceSink, ValueSink } from './response-sink.js';
import type { ShardClient } from './shard-client.js';
import { STAGED_BYTES_MAX } from './staged-keys.js';

/** Blocks that a version may lie behind, and evictions between a load and the look at it. */
const VERSION_ATTEMPTS_MAX = 64;

/** Keys asked for in one request, so that one answer stays small enough to be put together. */
const GET_MANY_KEYS_MAX = 512;

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
    requestValue(shard, this.#client.key, snapshot, sink, true);
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
    requestValue(shard, this.#client.key, snapshot, sink, true);
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
    const { gathered } = this.#client;
    if (gathered.takes(codec, snapshot)) return gathered.add(codec);
    const shard = this.#client.route();
    const status = shard.lookup(this.#client.key, snapshot);
    if (status === GET_ABSENT) return Promise.resolve(undefined);
    if (status === GET_FOUND) return Promise.resolve(decodeResult(shard, codec));
    if (status === GET_FOUND_HELD) return Promise.resolve(decodeHeld(shard, codec));
    const promise = newPromise<unknown>();
    const sink = new ValueSink(codec, resolvePart(), rejectPart());
    requestValue(shard, this.#client.key, snapshot, sink, false);
    return this.#client.reads.add(snapshot, promise);
  }

  hasSync(snapshot: number): boolean {
    const shard = this.#client.route();
    const status = shard.lookupSync(this.#client.key, snapshot);
    if (status !== GET_NEED_BLOCK) return isPresent(shard, status);
    const sink = new KeptSink();
    requestValue(shard, this.#client.key, snapshot, sink, true);
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
    requestValue(shard, this.#client.key, snapshot, sink, false);
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
    // The application's own code may use the database, and with it the staged keys: encodings, and the
    // `toJSON` of keys.
    const isStaging =
      keyCodec.kind !== 'custom' && keyCodec.kind !== 'json' && valueCodec.kind !== 'custom';
    const readStaged = (shard: ShardClient): void => {
      const { staged } = shard;
      const left = staged.read(valueCodec, snapshot, values);
      for (let n = 0; n < left; n++) {
        staged.takeLeft(n, key);
        read(staged.leftPosition(n), shard);
      }
    };
    this.#client.gathered.read();
    try {
      for (let i = 0; i < keys.length; i++) {
        encodeKey(key, keyCodec, keys[i], 'keys');
        const shard = this.#client.route();
        if (isStaging && key.length <= STAGED_BYTES_MAX) {
          shard.staged.add(key, i);
          if (shard.staged.isFull) readStaged(shard);
        } else {
          read(i, shard);
        }
      }
      if (isStaging) for (const shard of shards) readStaged(shard);
    } catch (error) {
      if (isStaging) for (const shard of shards) shard.staged.forget();
      throw error;
    }
    return fetches;
  }

  #fetch({ shard, keys }: Fetch, snapshot: number): KeptSink {
    const sink = new KeptSink();
    shard.send(REQUEST_GET_MANY, 0, keys.length, encodeGetMany(snapshot, keys), sink);
    return sink;
  }
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
