/** Operations that are written together. */

import { BatchPart } from './batch-part.js';
import type { Client } from './client.js';
import { type Codec, encodeKey, encodeValue } from './codec.js';

export interface WriteOptions {
  /** Acknowledge only after the write is on the medium, whatever `walSyncMode` says. */
  readonly sync?: boolean | undefined;
}

/** What a batch needs of the database it belongs to. */
export interface BatchOwner {
  readonly client: Client;
  readonly keyCodec: Codec;
  readonly valueCodec: Codec;
  commit(
    parts: readonly (BatchPart | undefined)[],
    options: WriteOptions | undefined,
  ): Promise<void>;
}

/**
 * A batch of puts and deletes. They are encoded as they are added, so a batch holds no reference to
 * what was put into it; later operations on a key win over earlier ones. A batch stays as it is when
 * it is written: `clear` it to use it again.
 *
 * Made by `db.batch()`; not shared between threads.
 */
export class Batch<K = string, V = string> {
  readonly #owner: BatchOwner;
  readonly #parts: (BatchPart | undefined)[] = [];
  #length = 0;

  /** @internal */
  constructor(owner: BatchOwner) {
    this.#owner = owner;
    // A fixed shape for the hot path.
    for (let shard = 0; shard < owner.client.shards.length; shard++) this.#parts.push(undefined);
  }

  /** Operations in the batch. */
  get length(): number {
    return this.#length;
  }

  /** Adds a put. Throws `InvalidArgumentError`; the batch is then as it was before. */
  put(key: K, value: V): this {
    const { client, keyCodec, valueCodec } = this.#owner;
    // The value first: its encoding may be the application's code and use the database.
    const encoded = encodeValue(valueCodec, value);
    encodeKey(client.key, keyCodec, key);
    this.#part(client).put(client.key, encoded);
    this.#length++;
    return this;
  }

  /** Adds a delete. Throws `InvalidArgumentError`; the batch is then as it was before. */
  delete(key: K): this {
    const { client, keyCodec } = this.#owner;
    encodeKey(client.key, keyCodec, key);
    this.#part(client).delete(client.key);
    this.#length++;
    return this;
  }

  /** Empties the batch. */
  clear(): this {
    for (const part of this.#parts) part?.clear();
    this.#length = 0;
    return this;
  }

  /** Writes the batch; resolves when all of it is acknowledged. */
  write(options?: WriteOptions): Promise<void> {
    for (const part of this.#parts) if (part !== undefined) learnCapacity(part.length);
    return this.#owner.commit(this.#parts, options);
  }

  /** @internal Whether the batch was made by this database. */
  belongsTo(owner: BatchOwner): boolean {
    return this.#owner === owner;
  }

  #part(client: Client): BatchPart {
    const { shard } = client.route();
    let part = this.#parts[shard];
    if (part === undefined) {
      part = new BatchPart(capacityHint);
      this.#parts[shard] = part;
    }
    return part;
  }
}

/** What parts of recent batches came to: new ones begin with that much room, instead of growing. */
let capacityHint = 0;
const CAPACITY_HINT_MAX = 256 * 1024;

function learnCapacity(bytes: number): void {
  const target = bytes > capacityHint ? bytes + (bytes >>> 3) : (capacityHint * 7 + bytes) / 8;
  capacityHint = Math.min(Math.ceil(target), CAPACITY_HINT_MAX);
}
