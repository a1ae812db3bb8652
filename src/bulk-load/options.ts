/**
 * The public face of a bulk load: what it takes, what it reports while it runs and what it returns.
 */

import type { Readable } from 'node:stream';
import { checkObject } from '../options.js';

/** A key or value as an iterable hands it over; anything the database's encodings accept. */
export type BulkLoadEntry<K = unknown, V = unknown> =
  | readonly [key: K, value: V]
  | { readonly key: K; readonly value: V };

/**
 * Where records come from:
 * - a string or `file:` URL: a file;
 * - an iterable, async iterable or stream of entries;
 * - a stream or iterable of bytes or text: parsed like a file of the given (or guessed) format.
 */
export type BulkLoadSource<K = unknown, V = unknown> =
  | string
  | URL
  | Readable
  | ReadableStream<unknown>
  | Iterable<BulkLoadEntry<K, V>>
  | AsyncIterable<BulkLoadEntry<K, V> | Uint8Array | string>;

export type BulkLoadFormat = 'csv' | 'tsv' | 'ndjson' | 'json';

/**
 * Which part of a record becomes the key or the value: a column number (from 0), a column name, a
 * field path (`user.id`), or a template with such names in braces (`user:{id}`; `{{` and `}}` are
 * braces). `*` is the whole record as JSON.
 */
export type BulkLoadSelector = string | number;

export interface BulkLoadOptions {
  /** Format of text input. Default: guessed from the name and the content. */
  readonly format?: BulkLoadFormat;
  /** Compression of text input. Default: guessed from the name and the content. */
  readonly compression?: 'gzip' | 'none';
  /** CSV, TSV: whether the first row names the columns. Default: `auto`. */
  readonly header?: boolean | 'auto';
  /** CSV: one ASCII character. Default: a comma, or what the first row uses; TSV: a tab. */
  readonly delimiter?: string;
  /** CSV, TSV: `false` takes quotation marks as ordinary characters. Default: true. */
  readonly quotes?: boolean;
  /**
   * Default: the first column; the field `key`; the first element of a JSON `[key, value]`.
   * Records that are `[key, value]` arrays have the fields `0` and `1`.
   */
  readonly key?: BulkLoadSelector;
  /**
   * Default: the whole record as JSON. When neither `key` nor `value` is given: the second of two
   * columns; the field `value`; the second element of a JSON `[key, value]`.
   */
  readonly value?: BulkLoadSelector;
  /** What a record that cannot be read does: fail the load (default), or be counted and left out. */
  readonly onError?: 'stop' | 'skip';
  /** With `skip`: most rejected records listed in the result. Default: 100. */
  readonly rejectsMax?: number;
  /** With `skip`: called for every rejected record, in the order of the source. */
  readonly onReject?: (reject: BulkLoadReject) => void;
  /** With `skip`: a file that receives every rejected record as a line of JSON. Replaced if it exists. */
  readonly rejectsFile?: string;
  readonly onProgress?: (progress: BulkLoadProgress) => void;
  /** Shortest time between two progress reports of a phase. Default: 200. */
  readonly progressIntervalMs?: number;
  /** Ends the load; the database stays as it was. */
  readonly signal?: AbortSignal;
  /** Memory for records being sorted. Default: a quarter of what is free, 64 MiB to 1 GiB. */
  readonly memoryBytes?: number;
}

/** A record that was left out. */
export interface BulkLoadReject {
  /** The file, or `(stream)`. */
  readonly file: string;
  /** Line the record begins at, from 1; for an iterable of entries the number of the entry. */
  readonly line: number;
  readonly reason: string;
}

/** `read`: reading, parsing and sorting; `merge`: building tables; `link`: making them part of the database. */
export type BulkLoadPhase = 'open' | 'read' | 'merge' | 'link' | 'done';

export interface BulkLoadProgress {
  readonly phase: BulkLoadPhase;
  /** Records taken from the source so far. */
  readonly records: number;
  readonly rejected: number;
  /** Bytes of the source so far: of the file as stored, or of keys and values. */
  readonly bytes: number;
  /** Bytes of the source; undefined when unknown. */
  readonly bytesTotal: number | undefined;
  /** Records per shard, as far as they are sorted. */
  readonly shardRecords: readonly number[];
  /** In the phase `merge`: share of the entries that are in tables, 0 to 1. */
  readonly mergedShare: number;
  readonly seconds: number;
}

export interface BulkLoadShardResult {
  readonly shard: number;
  /** Entries in the tables. */
  readonly entries: number;
  readonly tables: number;
  readonly bytes: number;
}

export interface BulkLoadResult {
  /** Records taken from the source, duplicates included. */
  readonly records: number;
  /** Records replaced by a later record with the same key. */
  readonly duplicates: number;
  /** Records left out because they could not be read. */
  readonly rejected: number;
  /** The first of them. */
  readonly rejects: readonly BulkLoadReject[];
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly tables: number;
  /** Whether sorted parts had to be written out and merged because they did not fit in memory. */
  readonly spills: number;
  readonly format: BulkLoadFormat | undefined;
  /** CSV, TSV: whether the first row was taken as column names. */
  readonly header: boolean | undefined;
  readonly seconds: {
    readonly open: number;
    readonly read: number;
    readonly merge: number;
    readonly link: number;
    readonly total: number;
  };
  /** Records over the total time, from opening to durable and linked. */
  readonly recordsPerSecond: number;
  readonly shards: readonly BulkLoadShardResult[];
}

const OPTION_NAMES = Object.keys({
  format: true,
  compression: true,
  header: true,
  delimiter: true,
  quotes: true,
  key: true,
  value: true,
  onError: true,
  rejectsMax: true,
  onReject: true,
  rejectsFile: true,
  onProgress: true,
  progressIntervalMs: true,
  signal: true,
  memoryBytes: true,
} satisfies Record<keyof BulkLoadOptions, true>);

/** Divides options into those of the load and those of the database that is opened for it. */
export function divideBulkLoadOptions<O extends BulkLoadOptions>(
  options: O,
): { readonly load: BulkLoadOptions; readonly config: Omit<O, keyof BulkLoadOptions> } {
  checkObject(options, 'the load options');
  const load: Record<string, unknown> = {};
  const config: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    (OPTION_NAMES.includes(name) ? load : config)[name] = value;
  }
  return { load, config: config as Omit<O, keyof BulkLoadOptions> };
}
