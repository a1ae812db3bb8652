/** A transaction as an application sees it. */

import {
  type EncodingInput,
  type EncodingOption,
  type EncodingType,
  resolveEncoding,
} from '../encoding/encoding.js';
import { InvalidArgumentError } from '../errors.js';
import { booleanOption, checkOptionNames } from '../options.js';
import type { WriteOptions } from '../router/batch.js';
import { type Codec, encodeKey, encodeValue } from '../router/codec.js';
import { wrongType } from '../router/key-scratch.js';
import {
  type Readable,
  type ReadOptions,
  type ScanEntry,
  valueCodec,
} from '../router/read-view.js';
import { Scan, SyncScan } from '../router/scan.js';
import { type ScanContext, ScanCursor } from '../router/scan-cursor.js';
import { type ScanOptions, type ScanQuery, scanQuery } from '../router/scan-query.js';
import type { Session } from '../router/session.js';
import { Savepoint, type TransactionCore } from './transaction-core.js';
import type { Transactions } from './transactions.js';

/** Options of a put in a transaction. */
export interface TransactionPutOptions<E extends EncodingOption = EncodingOption> {
  /** How to encode the value, instead of the database's `valueEncoding`. */
  readonly valueEncoding?: E | undefined;
}

/**
 * Reads and writes that take effect together or not at all. Reads are as of one moment, the
 * beginning, and see the transaction's own writes; nobody else sees those before the commit. Nothing
 * is locked and nobody waits: when another commit came first, `commit` throws `ConflictError`.
 *
 * Made by `db.begin()`, or handed to the function of `db.transaction()`; not shared between threads.
 * Calls that were not awaited take effect in the order they were made.
 */
export class Transaction<K = string, V = string> implements Readable<K, V> {
  readonly #core: TransactionCore;
  readonly #owner: Transactions;
  readonly #session: Session;
  readonly #scans: ScanContext;

  /** @internal */
  constructor(owner: Transactions, core: TransactionCore) {
    this.#core = core;
    this.#owner = owner;
    this.#session = owner.session;
    this.#scans = { session: owner.session, moment: core, extension: core };
  }

  /** True until `commit` or `rollback` is called, or the time is up. */
  get isActive(): boolean {
    return this.#core.state === 'active' && this.#session.isOpen;
  }

  // ---- reads ------------------------------------------------------------------------

  get(key: EncodingInput<K>): Promise<V | undefined>;
  get<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): Promise<EncodingType<E> | undefined>;
  get(key: unknown, options?: ReadOptions): Promise<unknown> {
    try {
      return this.#core.get(this.#begin(key, options), false);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  getSync(key: EncodingInput<K>): V | undefined;
  getSync<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): EncodingType<E> | undefined;
  getSync(key: unknown, options?: ReadOptions): unknown {
    return this.#core.getSync(this.#begin(key, options));
  }

  /**
   * As `get`; what was read must still be so at the commit, as if the transaction had written the
   * key. With isolation 'serializable' that holds for every read anyway.
   */
  getForUpdate(key: EncodingInput<K>): Promise<V | undefined>;
  getForUpdate<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): Promise<EncodingType<E> | undefined>;
  getForUpdate(key: unknown, options?: ReadOptions): Promise<unknown> {
    try {
      return this.#core.get(this.#begin(key, options), true);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  getMany(keys: readonly EncodingInput<K>[]): Promise<(V | undefined)[]>;
  getMany<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): Promise<(EncodingType<E> | undefined)[]>;
  getMany(keys: readonly unknown[], options?: ReadOptions): Promise<unknown[]> {
    try {
      return this.#getMany(keys, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  getManySync(keys: readonly EncodingInput<K>[]): (V | undefined)[];
  getManySync<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): (EncodingType<E> | undefined)[];
  getManySync(keys: readonly unknown[], options?: ReadOptions): unknown[] {
    const core = this.#core;
    core.checkOpen();
    const { reader, keyCodec } = this.#session;
    const codec = valueCodec(this.#session, options);
    const { values, rest, places } = this.#findOwn(keys, codec);
    if (rest.length > 0) {
      core.settleSync();
      const read = reader.getManySync(keyCodec, codec, rest, core.sequence as number);
      return placed(values, places, read);
    }
    return values;
  }

  has(key: EncodingInput<K>): Promise<boolean> {
    try {
      this.#begin(key, undefined);
      return this.#core.has();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  hasSync(key: EncodingInput<K>): boolean {
    this.#begin(key, undefined);
    return this.#core.hasSync();
  }

  /** As of the transaction's moment, with its own writes as they are when the iteration begins. */
  scan<const O extends ScanOptions<EncodingInput<K>>>(options?: O): Scan<ScanEntry<K, V, O>> {
    const query = this.#query(options);
    return new Scan(() => new ScanCursor(this.#scans, query));
  }

  scanSync<const O extends ScanOptions<EncodingInput<K>>>(
    options?: O,
  ): SyncScan<ScanEntry<K, V, O>> {
    return new SyncScan(new ScanCursor(this.#scans, this.#query(options)));
  }

  // ---- writes -----------------------------------------------------------------------

  /** Sets the value of a key, for this transaction at once, for others with the commit. */
  put(key: EncodingInput<K>, value: EncodingInput<V>): this;
  put<E extends EncodingOption>(
    key: EncodingInput<K>,
    value: EncodingInput<EncodingType<E>>,
    options: TransactionPutOptions<E>,
  ): this;
  put(key: unknown, value: unknown, options?: TransactionPutOptions): this {
    const session = this.#session;
    this.#owner.checkWritable();
    let codec = session.valueCodec;
    if (options !== undefined) {
      checkOptionNames(options as unknown, ['valueEncoding'], 'the put options');
      const { valueEncoding } = options;
      if (valueEncoding !== undefined) codec = resolveEncoding('valueEncoding', valueEncoding);
    }
    // The value first: its encoding may be the application's code and use the database.
    const encoded = encodeValue(codec, value);
    encodeKey(session.client.key, session.keyCodec, key);
    this.#core.checkOpen();
    this.#core.put(encoded);
    return this;
  }

  /** Removes a key; one that is missing is no error. */
  delete(key: EncodingInput<K>): this {
    const session = this.#session;
    this.#owner.checkWritable();
    encodeKey(session.client.key, session.keyCodec, key);
    this.#core.checkOpen();
    this.#core.delete();
    return this;
  }

  /** Marks what was written so far, for `rollbackTo`. */
  savepoint(): Savepoint {
    this.#core.checkOpen();
    return this.#core.savepoint();
  }

  /**
   * Takes back what was written after the savepoint. Later savepoints are void then; this one may be
   * used again. What was read stays read.
   */
  rollbackTo(savepoint: Savepoint): void {
    this.#core.checkOpen();
    if (!(savepoint instanceof Savepoint)) {
      throw wrongType('savepoint', 'what savepoint() returned', savepoint);
    }
    this.#core.rollbackTo(savepoint);
  }

  // ---- the end ----------------------------------------------------------------------

  /**
   * Makes the writes visible to everybody, all at once, and durable as `walSyncMode` or `sync` say.
   * Throws `ConflictError` when another commit came first; nothing was written then. Resolves with
   * the commit's sequence number, which is the version of every key it wrote; without any writes,
   * with that of the moment it read as of.
   */
  commit(options?: WriteOptions): Promise<number> {
    try {
      let sync = false;
      if (options !== undefined) {
        checkOptionNames(options, ['sync'], 'the commit options');
        sync = booleanOption('sync', options['sync']) ?? false;
      }
      this.#core.checkOpen();
      return this.#core.commit(sync);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Drops the writes. Without effect when the transaction has come to an end already. */
  rollback(): void {
    if (this.#core.state === 'committing') {
      throw new InvalidArgumentError('Cannot roll back: the commit is under way');
    }
    this.#core.rollback('rollback');
  }

  /** Rolls back, unless the transaction has come to an end. */
  [Symbol.dispose](): void {
    this.#core.rollback('rollback');
  }

  /** @internal The sequence number of the commit that wrote the key; undefined when it is missing. */
  versionOf(key: EncodingInput<K>): Promise<number | undefined> {
    this.#begin(key, undefined);
    return this.#core.version();
  }

  /** @internal Checks, and puts the key into the client's scratch. */
  #begin(key: unknown, options: ReadOptions | undefined): Codec {
    const session = this.#session;
    const codec = options === undefined ? session.valueCodec : valueCodec(session, options);
    encodeKey(session.client.key, session.keyCodec, key);
    this.#core.checkOpen();
    return codec;
  }

  async #getMany(keys: readonly unknown[], options: ReadOptions | undefined): Promise<unknown[]> {
    const core = this.#core;
    core.checkOpen();
    const { reader, keyCodec } = this.#session;
    const codec = valueCodec(this.#session, options);
    const { values, rest, places } = this.#findOwn(keys, codec);
    if (rest.length > 0) {
      const settling = core.settle();
      if (settling !== undefined) {
        await settling;
        core.checkOpen();
      }
      const read = reader.getMany(keyCodec, codec, rest, core.sequence as number);
      return placed(values, places, await read);
    }
    return values;
  }

  /** The values that the transaction wrote itself; the other keys, and their places. */
  #findOwn(
    keys: readonly unknown[],
    codec: Codec,
  ): {
    values: unknown[];
    rest: readonly unknown[];
    /** Undefined: all of them, in order. */
    places: readonly number[] | undefined;
  } {
    if (!Array.isArray(keys)) throw wrongType('keys', 'an array of keys', keys);
    const { client, keyCodec } = this.#session;
    const values: unknown[] = new Array(keys.length);
    if (this.#core.readsPlainly) return { values, rest: keys, places: undefined };
    const rest: unknown[] = [];
    const places: number[] = [];
    for (let i = 0; i < keys.length; i++) {
      encodeKey(client.key, keyCodec, keys[i], 'keys');
      this.#core.checkOpen();
      const isOwn = this.#core.findOwn(codec, (value) => {
        values[i] = value;
      });
      if (isOwn) continue;
      rest.push(keys[i]);
      places.push(i);
    }
    return { values, rest, places };
  }

  #query(options: unknown): ScanQuery {
    const { client, keyCodec, config } = this.#session;
    const query = scanQuery(options, keyCodec, client.key, config.prefetchBlocks);
    this.#core.checkOpen();
    return query;
  }
}

function placed(
  values: unknown[],
  places: readonly number[] | undefined,
  read: unknown[],
): unknown[] {
  if (places === undefined) return read;
  for (let i = 0; i < places.length; i++) values[places[i] as number] = read[i];
  return values;
}
