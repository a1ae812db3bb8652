/**
 * Gets with a promise each that are made in one turn are looked up together at its end, so that their
 * memory accesses overlap (StagedKeys): with many in flight, most of what a get costs is waiting for memory.
 *
 * A get that comes alone is looked up when it is called: now and then it is counted how many come in the
 * same turn, and only while they are many are they gathered.
 *
 * A get sees what was acknowledged when it was called, and nothing that its own thread asks for
 * later: whoever is about to write, or to use the staged keys, lets `read` come first.
 */

import { SNAPSHOT_LATEST } from '../protocol/requests.js';
import type { Client } from './client.js';
import type { Codec } from './codec.js';
import {
  decodeHeld,
  decodeResult,
  GET_ABSENT,
  GET_FOUND,
  GET_FOUND_HELD,
  requestValue,
} from './found-value.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { ValueSink } from './response-sink.js';
import type { ShardClient } from './shard-client.js';
import { STAGED_BYTES_MAX } from './staged-keys.js';

/** Every so many gets it is counted how many more come in the turn. */
const PROBE_INTERVAL = 32;
/** Gets that are worth being looked up together. */
const TOGETHER_MIN = 8;

type Resolve = (value: unknown) => void;
type Reject = (error: unknown) => void;

/** A value that is yet to be looked up, and one whose promise is taken care of. */
const UNREAD = Symbol('unread');
const SETTLED = Symbol('settled');

export class GatheredGets {
  readonly #client: Client;
  #isGathering = false;
  /** Gets since the last probe, or of this turn. */
  #gets = 0;
  /** Times that gathered gets were read in this turn. */
  #reads = 0;
  #isScheduled = false;
  #codec: Codec | undefined;
  #count = 0;
  readonly #resolves: Resolve[] = [];
  readonly #rejects: Reject[] = [];
  readonly #values: unknown[] = [];

  constructor(client: Client) {
    this.#client = client;
  }

  /** Whether the get of the key in the scratch is for `add`. Called for each get. */
  takes(codec: Codec, snapshot: number): boolean {
    if (!this.#isGathering) {
      if (++this.#gets === PROBE_INTERVAL) queueMicrotask(this.#endProbe);
      return false;
    }
    return (
      snapshot === SNAPSHOT_LATEST &&
      // These do not fail, nor run the application's code.
      (codec.kind === 'buffer' || codec.kind === 'utf8') &&
      this.#client.key.length <= STAGED_BYTES_MAX
    );
  }

  add(codec: Codec): Promise<unknown> {
    if (codec !== this.#codec) {
      // Reading may need the scratch that the key is in.
      if (this.#count > 0) this.#readKeepingKey();
      this.#codec = codec;
    }
    const promise = newPromise<unknown>();
    const index = this.#count++;
    this.#resolves[index] = resolvePart();
    this.#rejects[index] = rejectPart();
    this.#values[index] = UNREAD;
    this.#gets++;
    const shard = this.#client.route();
    shard.staged.add(this.#client.key, index);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(this.#endTurn);
    }
    if (shard.staged.isFull) this.read();
    return promise;
  }

  #readKeepingKey(): void {
    const { key } = this.#client;
    const held = key.toBuffer();
    this.read();
    key.setBytes(held);
  }

  readonly #endProbe = (): void => {
    this.#isGathering = this.#gets - PROBE_INTERVAL >= TOGETHER_MIN;
    this.#gets = 0;
  };

  readonly #endTurn = (): void => {
    this.read();
    this.#isScheduled = false;
    this.#isGathering = this.#gets >= TOGETHER_MIN * this.#reads;
    this.#gets = 0;
    this.#reads = 0;
  };

  /** Looks up all gets that were gathered. The key in the scratch may be another afterwards. */
  read(): void {
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    this.#reads++;
    const codec = this.#codec as Codec;
    let failure: unknown;
    for (const shard of this.#client.shards) {
      try {
        const left = shard.staged.read(codec, SNAPSHOT_LATEST, this.#values);
        for (let n = 0; n < left; n++) this.#readLeft(shard, codec, n);
      } catch (error) {
        failure = error;
      }
    }
    this.#settle(count, failure);
  }

  /** Looks up one that has to be looked up by itself. */
  #readLeft(shard: ShardClient, codec: Codec, index: number): void {
    const { key } = this.#client;
    const position = shard.staged.leftPosition(index);
    shard.staged.takeLeft(index, key);
    const status = shard.lookup(key, SNAPSHOT_LATEST);
    if (status === GET_FOUND) this.#values[position] = decodeResult(shard, codec);
    else if (status === GET_ABSENT) this.#values[position] = undefined;
    else if (status === GET_FOUND_HELD) this.#values[position] = decodeHeld(shard, codec);
    else {
      const reject = this.#rejects[position] as Reject;
      const sink = new ValueSink(codec, this.#resolves[position] as Resolve, reject);
      this.#values[position] = SETTLED;
      try {
        requestValue(shard, key, SNAPSHOT_LATEST, sink, false);
      } catch (error) {
        reject(error);
      }
    }
  }

  /** Tells the callers, in the order in which they called. `failure`: of those that were not read. */
  #settle(count: number, failure: unknown): void {
    const values = this.#values;
    for (let i = 0; i < count; i++) {
      const value = values[i];
      if (value === UNREAD) (this.#rejects[i] as Reject)(failure);
      else if (value !== SETTLED) (this.#resolves[i] as Resolve)(value);
      values[i] = SETTLED;
    }
  }
}
