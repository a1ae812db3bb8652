/**
 * The work that leaves the shard worker, as plain data that travels to a pool thread. Each job is a
 * pure function of its files and its memory; one that fails has deleted what it wrote.
 */
import type { TableTarget } from '../sstable/table-writer.js';
import type { MergeInput } from './merge-tables.js';
import type { Expected } from './read-count.js';
import type { Retention } from './retention.js';
import type { VerifyTarget } from './verify-file.js';

export type { BuildResult } from './build-result.js';
export type { VerifyResult } from './verify-file.js';

/** A memtable of the shard's own memory becomes tables. One at a time per shard. */
export interface FlushJob {
  readonly kind: 'flush';
  readonly shard: number;
  /** Address of the arena. */
  readonly memtable: number;
  readonly target: TableTarget;
  readonly retention: Retention;
}

/** Tables become tables. */
export interface MergeJob {
  readonly kind: 'merge';
  readonly shard: number;
  readonly input: MergeInput;
  readonly target: TableTarget;
  readonly retention: Retention;
  /** Whether the output is the bottom run: such a merge can wait longest. */
  readonly isBottom: boolean;
  /** Bytes of all the tables that the compaction replaces, of which this may be one job of many. */
  readonly compactionBytes: number;
  /** Whether runs have gathered: then it does not stand back for flushes, which make more of them. */
  readonly isUrgent: boolean;
}

/** Every byte of a file is checked. */
export interface VerifyJob {
  readonly kind: 'verify';
  readonly shard: number;
  readonly target: VerifyTarget;
  readonly expected: Expected;
  /** Of a `CheckBoard`. */
  readonly board?: SharedArrayBuffer | undefined;
}

export type Job = FlushJob | MergeJob | VerifyJob;
