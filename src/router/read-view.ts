/**
 * Reading, as of one moment or of now: what `LightningDb` and `Snapshot` have in common. Checks
 * arguments, chooses the encoding, and leaves the rest to `Reader` and `ScanCursor`.
 */

import {
  type EncodingInput,
  type EncodingOption,
  type EncodingType,
  resolveEncoding,
} from '../encoding/encoding.js';
import { checkOptionNames } from '../options.js';
import { SNAPSHOT_LATEST } from '../protocol/requests.js';
import { type Codec, encodeKey } from './codec.js';
import { wrongType } from './key-scratch.js';
import { Scan, SyncScan } from './scan.js';
import { type ReadMoment, type ScanContext, ScanCursor } from './scan-cursor.js';
import { type ScanOptions, type ScanQuery, scanQuery } from './scan-query.js';
import type { Session } from './session.js';

/** Options of a read. */
export interface ReadOptions<E extends EncodingOption = EncodingOption> {
  /** How to decode the value, instead of the database's `valueEncoding`. */
  readonly valueEncoding?: E | undefined;
}

/** What a scan hands out, by its options. */
export type ScanEntry<K, V, O> = O extends { readonly values: false }
  ? K
  : O extends { readonly keys: false }
    ? V
    : [K, V];

/** Reads of a database, and of a snapshot of it. */
export interface Readable<K, V> {
  /** The value of a key; undefined when there is none. */
  get(key: EncodingInput<K>): Promise<V | undefined>;
  get<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): Promise<EncodingType<E> | undefined>;
  /** As `get`, on the calling thread, which waits when the disk has to be read. */
  getSync(key: EncodingInput<K>): V | undefined;
  getSync<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): EncodingType<E> | undefined;
  /** The values of many keys, in the order asked. Each is read by itself: for one moment, use a snapshot. */
  getMany(keys: readonly EncodingInput<K>[]): Promise<(V | undefined)[]>;
  getMany<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): Promise<(EncodingType<E> | undefined)[]>;
  getManySync(keys: readonly EncodingInput<K>[]): (V | undefined)[];
  getManySync<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): (EncodingType<E> | undefined)[];
  /** Whether a key is there. */
  has(key: EncodingInput<K>): Promise<boolean>;
  hasSync(key: EncodingInput<K>): boolean;
  /** The entries of a range, in order, as of one moment. */
  scan<const O extends ScanOptions<EncodingInput<K>>>(options?: O): Scan<ScanEntry<K, V, O>>;
  /** As `scan`, on the calling thread, which waits when the disk has to be read. */
  scanSync<const O extends ScanOptions<EncodingInput<K>>>(
    options?: O,
  ): SyncScan<ScanEntry<K, V, O>>;
}

export class ReadView {
  readonly #session: Session;
  readonly #moment: ReadMoment;
  readonly #snapshot: number;
  readonly #context: ScanContext;

  constructor(session: Session, moment: ReadMoment) {
    this.#session = session;
    this.#moment = moment;
    this.#snapshot = moment.sequence ?? SNAPSHOT_LATEST;
    this.#context = { session, moment };
  }

  getSync(key: unknown, options: ReadOptions | undefined): unknown {
    this.#moment.checkOpen();
    const session = this.#session;
    const codec = options === undefined ? session.valueCodec : valueCodec(this.#session, options);
    encodeKey(session.client.key, session.keyCodec, key);
    return session.reader.getSync(codec, this.#snapshot);
  }

  getBorrowedSync(key: unknown): Buffer | undefined {
    this.#moment.checkOpen();
    const session = this.#session;
    encodeKey(session.client.key, session.keyCodec, key);
    return session.reader.getBorrowedSync(this.#snapshot);
  }

  get(key: unknown, options: ReadOptions | undefined): Promise<unknown> {
    try {
      this.#moment.checkOpen();
      const session = this.#session;
      const codec = options === undefined ? session.valueCodec : valueCodec(this.#session, options);
      encodeKey(session.client.key, session.keyCodec, key);
      return session.reader.get(codec, this.#snapshot);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  hasSync(key: unknown): boolean {
    this.#moment.checkOpen();
    encodeKey(this.#session.client.key, this.#session.keyCodec, key);
    return this.#session.reader.hasSync(this.#snapshot);
  }

  has(key: unknown): Promise<boolean> {
    try {
      this.#moment.checkOpen();
      encodeKey(this.#session.client.key, this.#session.keyCodec, key);
      return this.#session.reader.has(this.#snapshot);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  getManySync(keys: readonly unknown[], options: ReadOptions | undefined): unknown[] {
    this.#moment.checkOpen();
    checkKeys(keys);
    const { reader, keyCodec } = this.#session;
    const codec = valueCodec(this.#session, options);
    return reader.getManySync(keyCodec, codec, keys, this.#snapshot);
  }

  getMany(keys: readonly unknown[], options: ReadOptions | undefined): Promise<unknown[]> {
    try {
      this.#moment.checkOpen();
      checkKeys(keys);
      const { reader, keyCodec } = this.#session;
      const codec = valueCodec(this.#session, options);
      return reader.getMany(keyCodec, codec, keys, this.#snapshot);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  scan<T>(options: unknown): Scan<T> {
    const query = this.#query(options);
    return new Scan<T>(() => new ScanCursor(this.#context, query));
  }

  scanSync<T>(options: unknown): SyncScan<T> {
    return new SyncScan<T>(new ScanCursor(this.#context, this.#query(options)));
  }

  #query(options: unknown): ScanQuery {
    this.#moment.checkOpen();
    const { client, keyCodec, config } = this.#session;
    return scanQuery(options, keyCodec, client.key, config.prefetchBlocks);
  }
}

/** The encoding that the options of a read ask for, or the database's. */
export function valueCodec(session: Session, options: ReadOptions | undefined): Codec {
  if (options === undefined) return session.valueCodec;
  checkOptionNames(options, ['valueEncoding'], 'the read options');
  const { valueEncoding } = options;
  if (valueEncoding === undefined) return session.valueCodec;
  return resolveEncoding('valueEncoding', valueEncoding);
}

function checkKeys(keys: unknown): void {
  if (!Array.isArray(keys)) throw wrongType('keys', 'an array of keys', keys);
}
