/** What a bulk load needs of the database that it loads into. The caller holds it exclusively. */

import type { ResolvedConfig } from '../config.js';
import type { ResolvedEncoding } from '../encoding/encoding.js';
import type { LinkIntent } from '../version/link-intent.js';
import type { BulkJob, BulkJobResult } from './load-jobs.js';

export interface BulkLoadTarget {
  /** How long it took to open the database, as far as the load had to wait: part of its time. */
  readonly openMs: number;
  /** Directory of the database. */
  readonly path: string;
  readonly config: Pick<
    ResolvedConfig,
    'shards' | 'blockBytes' | 'tableBytesMax' | 'compression' | 'filterBitsPerKey' | 'arenaBytes'
  >;
  readonly keyEncoding: ResolvedEncoding<unknown>;
  readonly valueEncoding: ResolvedEncoding<unknown>;
  /** The compiled kernel. */
  readonly module: WebAssembly.Module;
  /** How many jobs can run side by side. */
  readonly jobThreads: number;
  /** Runs a job on another thread; jobs start in the order of the calls. */
  runJob<J extends BulkJob>(job: J): Promise<BulkJobResult<J>>;
  /**
   * There will soon be so many jobs at a time: their threads may start. One more than `jobThreads` is of use
   * where jobs wait for the medium.
   */
  expectJobs(count: number): void;
  /** Reserves consecutive file numbers in a shard; returns the first. They need not survive a crash. */
  reserveFiles(shard: number, count: number): Promise<number>;
  /**
   * The sequence number and timestamp of the load: above those of every commit so far. Rejects when the
   * database cannot be opened.
   */
  nextCommit(): Promise<{ readonly sequence: number; readonly timestampUs: number }>;
  /** Every shard writes its memtables to tables: what they hold is older than the load. */
  flush(): Promise<void>;
  /**
   * Every shard adds its tables to its manifest (`linkEdit`), durably. The intent is on disk and
   * commits the load: when this fails, the next open completes it.
   */
  link(intent: LinkIntent): Promise<void>;
}
