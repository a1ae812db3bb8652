/** The database as an application sees it. */

import { checkBulkLoadOptions } from './bulk-load/check-options.js';
import { loadIntoDatabase } from './bulk-load/database-target.js';
import {
  type BulkLoadOptions,
  type BulkLoadResult,
  type BulkLoadSource,
  divideBulkLoadOptions,
} from './bulk-load/options.js';
import { awaitReader, checkSourceExists } from './bulk-load/source.js';
import { type LightningDbConfig, resolveConfig } from './config.js';
import type { CheckReport } from './coordinator/control-plane.js';
import {
  type EncodingInput,
  type EncodingOption,
  type EncodingType,
  resolveEncoding,
} from './encoding/encoding.js';
import { ClosedError, InvalidArgumentError, ReadOnlyError } from './errors.js';
import { RECORD_FLAG_SYNC } from './kernel/assembly/layout.js';
import { booleanOption, checkOptionNames } from './options.js';
import { repairDatabase } from './repair/repair.js';
import type { RepairOptions, RepairReport } from './repair/report.js';
import { attachDatabase, checkHandle, type LightningDbHandle } from './router/attach.js';
import type { Backend } from './router/backend.js';
import { Batch, type BatchOwner, type WriteOptions } from './router/batch.js';
import { commitBatch } from './router/batch-commit.js';
import type { BatchPart } from './router/batch-part.js';
import { encodeKey, encodeValue } from './router/codec.js';
import { wrongType } from './router/key-scratch.js';
import { openDatabase } from './router/open-database.js';
import { newPromise, rejectPart, resolvePart } from './router/promise-parts.js';
import { type Readable, type ReadOptions, ReadView, type ScanEntry } from './router/read-view.js';
import type { DatabaseStats } from './router/reports.js';
import { WriteSink } from './router/response-sink.js';
import { type CheckOptions, runCheck } from './router/run-check.js';
import type { Scan, SyncScan } from './router/scan.js';
import type { ScanOptions } from './router/scan-query.js';
import { Snapshot, type SnapshotHandle } from './router/snapshot.js';
import {
  getVersioned,
  type PutCondition,
  putIf,
  update,
  type Versioned,
} from './transaction/conditional-write.js';
import { Transaction } from './transaction/transaction.js';
import {
  type BeginOptions,
  checkBeginOptions,
  checkTransactionOptions,
  type TransactionOptions,
} from './transaction/transaction-options.js';
import { runTransaction, type TransactionWork } from './transaction/transaction-run.js';
import { Transactions } from './transaction/transactions.js';

/** Filled in by the build. */
declare const __VERSION__: string;

/** The release of this library. */
export const VERSION: string = typeof __VERSION__ === 'string' ? __VERSION__ : 'development';

/** Options of a put. */
export interface PutOptions<E extends EncodingOption = EncodingOption> extends WriteOptions {
  /** How to encode the value, instead of the database's `valueEncoding`. */
  readonly valueEncoding?: E | undefined;
}

/** Encodings of a thread that attaches. Default: those the database was opened with. */
export interface AttachOptions<
  K extends EncodingOption = EncodingOption,
  V extends EncodingOption = EncodingOption,
> {
  readonly keyEncoding?: K | undefined;
  readonly valueEncoding?: V | undefined;
}

/**
 * An open database. `open` it once per process, on one thread; other threads `attach` with what
 * `share` returns. Every method may be called at any time; operations of one thread on one key take
 * effect in the order they were called. Errors are `LightningError`s with a stable `code`.
 */
export class LightningDb<K = string, V = string> implements Readable<K, V> {
  readonly #backend: Backend;
  readonly #view: ReadView;
  readonly #batches: BatchOwner;
  readonly #transactions: Transactions;
  #closing: Promise<void> | undefined;

  private constructor(backend: Backend) {
    const { session } = backend;
    this.#backend = backend;
    this.#view = new ReadView(session, {
      sequence: undefined,
      checkOpen: () => session.checkOpen(),
    });
    this.#transactions = new Transactions(session);
    this.#batches = {
      client: session.client,
      keyCodec: session.keyCodec,
      valueCodec: session.valueCodec,
      commit: (parts, options) => this.#commit(parts, options),
    };
  }

  /**
   * Opens the database in a directory, and creates it if there is none and the options allow it.
   * Throws `LIGHTNING_LOCKED` when it is open already, here or in another process.
   */
  static async open<K extends EncodingOption = 'utf8', V extends EncodingOption = 'utf8'>(
    path: string,
    config: LightningDbConfig<K, V> = {},
  ): Promise<LightningDb<EncodingType<K>, EncodingType<V>>> {
    if (typeof path !== 'string' || path === '') throw wrongType('path', 'a path', path);
    const resolved = resolveConfig(config);
    return new LightningDb(await openDatabase(path, resolved, config));
  }

  /**
   * Loads many records at once, past the log and the memtables: parsed and sorted on all cores, and
   * visible all together at the end. A load that fails, or is killed, leaves the database as it was.
   * The source is a file (CSV, TSV, NDJSON, JSON; gzip too), a stream, or an iterable of entries; a
   * loaded key replaces one that was there, and of equal keys in the source the last one counts.
   *
   * The database must not be open; it is created when there is none. Throws `ParseError` with file
   * and line for a source that cannot be read, `LIGHTNING_ABORTED` after `options.signal`.
   */
  static async bulkLoad<K extends EncodingOption = 'utf8', V extends EncodingOption = 'utf8'>(
    path: string,
    source: BulkLoadSource<EncodingInput<EncodingType<K>>, EncodingInput<EncodingType<V>>>,
    options: BulkLoadOptions & LightningDbConfig<K, V> = {},
  ): Promise<BulkLoadResult> {
    if (typeof path !== 'string' || path === '') throw wrongType('path', 'a path', path);
    const { load, config } = divideBulkLoadOptions(options);
    checkBulkLoadOptions(load);
    const resolved = resolveConfig(config);
    if (resolved.readOnly) throw new ReadOnlyError('Cannot load into a database opened "readOnly"');
    checkSourceExists(source);
    const letGo = awaitReader(source);
    try {
      return await loadIntoDatabase({ path, config: resolved, encodings: config }, source, load);
    } finally {
      letGo();
    }
  }

  /**
   * Makes a damaged database one that opens, with everything in it that can still be read. What is
   * replaced is kept in a folder `repaired-…` in the database's directory; the report says what was
   * wrong, and what could not be saved. With `dryRun`, nothing is written. The database must not be
   * open: throws `LIGHTNING_LOCKED`.
   */
  static async repair(path: string, options: RepairOptions = {}): Promise<RepairReport> {
    if (typeof path !== 'string' || path === '') throw wrongType('path', 'a path', path);
    return repairDatabase(path, options);
  }

  /** Joins, from another thread of the process, a database that is open: see `share`. */
  static async attach<K extends EncodingOption = 'utf8', V extends EncodingOption = 'utf8'>(
    handle: LightningDbHandle,
    options: AttachOptions<K, V> = {},
  ): Promise<LightningDb<EncodingType<K>, EncodingType<V>>> {
    const own: AttachOptions = options;
    checkOptionNames(options, ['keyEncoding', 'valueEncoding'], 'the attach options');
    const { config } = checkHandle(handle);
    return new LightningDb(
      await attachDatabase(handle, {
        keyEncoding: inherited('keyEncoding', own.keyEncoding, config.keyEncoding),
        valueEncoding: inherited('valueEncoding', own.valueEncoding, config.valueEncoding),
      }),
    );
  }

  // ---- writes -----------------------------------------------------------------------

  /** Sets the value of a key. Resolves when the write is acknowledged; see `walSyncMode`. */
  put(key: EncodingInput<K>, value: EncodingInput<V>, options?: WriteOptions): Promise<void>;
  put<E extends EncodingOption>(
    key: EncodingInput<K>,
    value: EncodingInput<EncodingType<E>>,
    options: PutOptions<E>,
  ): Promise<void>;
  put(key: unknown, value: unknown, options?: PutOptions): Promise<void> {
    try {
      const session = this.#writable();
      const { client } = session;
      let codec = session.valueCodec;
      let flags = 0;
      if (options !== undefined) {
        checkOptionNames(options as unknown, ['sync', 'valueEncoding'], 'the put options');
        const { sync, valueEncoding } = options;
        if (booleanOption('sync', sync) === true) flags = RECORD_FLAG_SYNC;
        if (valueEncoding !== undefined) codec = resolveEncoding('valueEncoding', valueEncoding);
      }
      // The value first: its encoding may be the application's code and use the database.
      const encoded = encodeValue(codec, value);
      client.gathered.read();
      encodeKey(client.key, session.keyCodec, key);
      const promise = newPromise<void>();
      client.route().put(client.key, encoded, flags, new WriteSink(resolvePart(), rejectPart()));
      return promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Removes a key; one that is missing is no error. */
  delete(key: EncodingInput<K>, options?: WriteOptions): Promise<void> {
    try {
      const { client, keyCodec } = this.#writable();
      const flags = isSync(options) ? RECORD_FLAG_SYNC : 0;
      client.gathered.read();
      encodeKey(client.key, keyCodec, key);
      const promise = newPromise<void>();
      client.route().delete(client.key, flags, new WriteSink(resolvePart(), rejectPart()));
      return promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** An empty batch. */
  batch(): Batch<EncodingInput<K>, EncodingInput<V>> {
    this.#backend.session.checkOpen();
    return new Batch(this.#batches);
  }

  /** Writes a batch that `batch()` made. Resolves when all of it is acknowledged. */
  writeBatch(
    batch: Batch<EncodingInput<K>, EncodingInput<V>>,
    options?: WriteOptions,
  ): Promise<void> {
    if (!(batch instanceof Batch) || !batch.belongsTo(this.#batches)) {
      return Promise.reject(wrongType('batch', 'a batch that this database made', batch));
    }
    return batch.write(options);
  }

  // ---- reads ------------------------------------------------------------------------

  get(key: EncodingInput<K>): Promise<V | undefined>;
  get<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): Promise<EncodingType<E> | undefined>;
  get(key: unknown, options?: ReadOptions): Promise<unknown> {
    return this.#view.get(key, options);
  }

  getSync(key: EncodingInput<K>): V | undefined;
  getSync<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): EncodingType<E> | undefined;
  getSync(key: unknown, options?: ReadOptions): unknown {
    return this.#view.getSync(key, options);
  }

  /**
   * The value's bytes, not decoded, in memory that is used again: they are good until the next call of
   * `getBorrowedSync` on this thread, of the database or any snapshot of it, and hold another value
   * afterwards. Nothing else changes them, not even a write to the key. Copy what is to be kept
   * (`Buffer.from(bytes)`). For hot loops: it saves what making a Buffer or string costs.
   */
  getBorrowedSync(key: EncodingInput<K>): Buffer | undefined {
    return this.#view.getBorrowedSync(key);
  }

  getMany(keys: readonly EncodingInput<K>[]): Promise<(V | undefined)[]>;
  getMany<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): Promise<(EncodingType<E> | undefined)[]>;
  getMany(keys: readonly unknown[], options?: ReadOptions): Promise<unknown[]> {
    return this.#view.getMany(keys, options);
  }

  getManySync(keys: readonly EncodingInput<K>[]): (V | undefined)[];
  getManySync<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): (EncodingType<E> | undefined)[];
  getManySync(keys: readonly unknown[], options?: ReadOptions): unknown[] {
    return this.#view.getManySync(keys, options);
  }

  has(key: EncodingInput<K>): Promise<boolean> {
    return this.#view.has(key);
  }

  hasSync(key: EncodingInput<K>): boolean {
    return this.#view.hasSync(key);
  }

  scan<const O extends ScanOptions<EncodingInput<K>>>(options?: O): Scan<ScanEntry<K, V, O>> {
    return this.#view.scan(options);
  }

  scanSync<const O extends ScanOptions<EncodingInput<K>>>(
    options?: O,
  ): SyncScan<ScanEntry<K, V, O>> {
    return this.#view.scanSync(options);
  }

  /**
   * The database as it is now, to be read from later. Close it, or `using` it, when done. With a
   * handle (`snapshot.share()`, also from another thread): as it was when that snapshot was taken.
   */
  snapshot(handle?: SnapshotHandle): Snapshot<K, V> {
    const { session } = this.#backend;
    session.checkOpen();
    return new Snapshot(session, handle);
  }

  // ---- transactions -----------------------------------------------------------------

  /**
   * Runs a function in a transaction and commits what it wrote, all of it or nothing. After a conflict
   * with another commit the function is run again, on a new snapshot: what it does besides reading and
   * writing in the transaction happens again, too. Resolves with what the function returned; when that
   * throws, nothing is written.
   */
  transaction<T>(
    work: (transaction: Transaction<K, V>) => T | PromiseLike<T>,
    options?: TransactionOptions,
  ): Promise<T>;
  transaction(work: unknown, options?: TransactionOptions): Promise<unknown> {
    try {
      if (typeof work !== 'function') throw wrongType('work', 'a function', work);
      const checked = checkTransactionOptions(options);
      this.#backend.session.checkOpen();
      return runTransaction(this.#transactions, work as TransactionWork, checked);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Begins a transaction, to be ended with `commit` or `rollback`; conflicts are the caller's to
   * handle. Throws `LIGHTNING_TOO_MANY_TRANSACTIONS`.
   */
  begin(options?: BeginOptions): Transaction<K, V> {
    const { isolation, timeoutMs } = checkBeginOptions(options);
    return new Transaction(this.#transactions, this.#transactions.begin(isolation, timeoutMs));
  }

  /**
   * Sets the value of a key if a condition holds: `{ absent: true }`, `{ equals: value }` or
   * `{ version }`. Resolves with whether it did.
   */
  putIf(
    key: EncodingInput<K>,
    value: EncodingInput<V>,
    condition: PutCondition<EncodingInput<V>>,
    options?: TransactionOptions,
  ): Promise<boolean> {
    try {
      const checked = checkTransactionOptions(options);
      return putIf(this.#transactions, key, value, condition, checked);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Replaces the value of a key by what the function makes of it; undefined removes the key. After a
   * conflict the function is run again. Resolves with what was written.
   */
  update<R extends EncodingInput<V> | undefined>(
    key: EncodingInput<K>,
    change: (value: V | undefined) => R | PromiseLike<R>,
    options?: TransactionOptions,
  ): Promise<R>;
  update(key: unknown, change: unknown, options?: TransactionOptions): Promise<unknown> {
    try {
      if (typeof change !== 'function') throw wrongType('change', 'a function', change);
      const checked = checkTransactionOptions(options);
      return update(this.#transactions, key, change as (value: unknown) => unknown, checked);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `get`, with the version of the key: the sequence number of the commit that wrote it. */
  getVersioned(key: EncodingInput<K>): Promise<Versioned<V> | undefined>;
  getVersioned(key: unknown): Promise<Versioned<unknown> | undefined> {
    return getVersioned(this.#transactions, key, this.#backend.session.valueCodec);
  }

  // ---- the whole database -------------------------------------------------------------

  /** Writes everything that is in memory only to tables. Resolves when they are durable. */
  async flush(): Promise<void> {
    this.#writable();
    await this.#backend.flush();
  }

  /** Merges all tables, leaving out what was deleted or replaced and no snapshot needs. */
  async compact(): Promise<void> {
    this.#writable();
    await this.#backend.compact();
  }

  /**
   * Reads and verifies every byte on disk, in the background threads. `options.onProgress` is told
   * how far it is; `options.signal` calls it off, which rejects with `LIGHTNING_ABORTED`.
   */
  async check(options: CheckOptions = {}): Promise<CheckReport> {
    this.#backend.session.checkOpen();
    return runCheck(this.#backend, options);
  }

  /** Sizes and counts. */
  async stats(): Promise<DatabaseStats> {
    this.#backend.session.checkOpen();
    return this.#backend.stats();
  }

  /** A handle to post to other threads of this process, which `attach` with it. */
  share(): LightningDbHandle {
    this.#backend.session.checkOpen();
    return this.#backend.share();
  }

  /**
   * Takes no more calls, finishes what is under way, and closes the files. On an attached thread:
   * leaves; the database goes on. Idempotent.
   */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#closing = this.#backend.close();
      this.#transactions.close();
    }
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #commit(
    parts: readonly (BatchPart | undefined)[],
    options: WriteOptions | undefined,
  ): Promise<void> {
    try {
      return commitBatch(this.#writable().client, parts, isSync(options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #writable(): Backend['session'] {
    const { session } = this.#backend;
    if (!session.isOpen) throw new ClosedError();
    if (session.config.readOnly) {
      throw new ReadOnlyError('The database was opened with "readOnly": it takes no writes');
    }
    return session;
  }
}

function isSync(options: unknown): boolean {
  if (options === undefined) return false;
  checkOptionNames(options, ['sync'], 'the write options');
  return booleanOption('sync', options['sync']) ?? false;
}

/** The encoding of an attaching thread: its own choice, else the opener's, which must have a name. */
function inherited(
  option: string,
  own: EncodingOption | undefined,
  opened: 'utf8' | 'buffer' | 'json' | 'custom',
): EncodingOption {
  if (own !== undefined) return own;
  if (opened !== 'custom') return opened;
  throw new InvalidArgumentError(
    `Option "${option}" must be given: the database was opened with functions, which stay on their thread`,
    { details: { option } },
  );
}
