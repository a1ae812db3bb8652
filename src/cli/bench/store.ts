/** What the workloads ask of a store. Every store gets the same keys, values and order of calls. */

import type { Records } from './records.js';

/** Takes the operations of one batch. Keys and values stay as they are until the batch is written. */
export interface BatchSink {
  put(key: Buffer, value: Buffer): unknown;
  delete(key: Buffer): unknown;
}

/** Sees one entry of a scan; the bytes are valid until it returns. */
export type Visit = (key: Uint8Array, value: Uint8Array) => void;

/** What the store itself counts, since it was opened. */
export interface StoreCounters {
  readonly cacheHits: number;
  readonly cacheMisses: number;
  /** Time that writers were held back. */
  readonly stallMs: number;
  /** Bytes that flushes and compactions read and wrote. */
  readonly backgroundRead: number;
  readonly backgroundWritten: number;
  readonly walWritten: number;
  readonly walGroups: number;
}

/**
 * How another thread gets at the same data: `handle` and `path` travel to it, and its program opens
 * a client with them.
 */
export interface ClientAccess {
  readonly store: string;
  readonly path: string;
  readonly handle: unknown;
}

export interface BenchStore {
  /** Missing where a store has no synchronous form. The bytes are valid until the next call. */
  getSync?(key: Buffer): Uint8Array | undefined;
  /** The same without a copy that stays valid, where `getSync` makes one. */
  getBorrowedSync?(key: Buffer): Uint8Array | undefined;
  get(key: Buffer): Promise<Uint8Array | undefined>;
  getMany(keys: Buffer[]): Promise<readonly (Uint8Array | undefined)[]>;
  put(key: Buffer, value: Buffer): Promise<unknown>;
  delete(key: Buffer): Promise<unknown>;
  /** Writes one batch, atomically. At most two are under way. */
  writeBatch(fill: (sink: BatchSink) => void): Promise<unknown>;
  /** Visits at most `limit` entries, in order, from `from` on or from the first. */
  scanSync?(from: Buffer | undefined, limit: number, visit: Visit): void;
  scan(from: Buffer | undefined, limit: number, visit: Visit): Promise<void>;
  /**
   * Resolves when nothing is left to do in the background. Returns the milliseconds at the end in
   * which that was only being made sure of: they are not the store's.
   */
  settle(): Promise<number>;
  /** Resolves when the data is as compact as the store can make it. */
  compact(): Promise<void>;
  counters?(): Promise<StoreCounters>;
  /** The library has no promises for reads: measuring some would measure this file's. */
  readonly readsAreSynchronous?: boolean;
  /** Missing where one handle per process is the most there can be. */
  clientAccess?(): ClientAccess;
  /** Reads from threads that belong to the store, oldest first, beginning with its writers'. */
  readonly threadRoles?: readonly string[];
  close(): Promise<void>;
}

/** When a write is acknowledged: with the operating system, or on the medium. */
export type Durability = 'async' | 'sync';

export interface StoreKind {
  readonly name: string;
  /** Version of the package, and how it is configured; for the report. */
  describe(): { readonly version: string; readonly configuration: string };
  /** There is nothing to open again. */
  readonly keepsNothing?: boolean;
  open(path: string, durability: Durability): Promise<BenchStore>;
  /** A bulk load of no more than so many records: slow stores would take minutes, and get slower. */
  readonly bulkRecordsMax?: number;
  /** Loads all records in random order, the fastest way there is, and closes. */
  bulkLoad(path: string, records: Records): Promise<void>;
  /** Loads a CSV file with the columns "key" and "value", where the store can. */
  bulkLoadCsv?(path: string, file: string): Promise<void>;
}

/** A client that another thread opened. */
export type BenchClient = Pick<BenchStore, 'getSync' | 'getBorrowedSync' | 'writeBatch' | 'close'>;
