/**
 * What the main thread and the load's threads say to each other during a bulk load: plain data.
 *
 *   bulk-scan   reads a piece of a file and counts its quotation marks
 *   bulk-chunk  parses a piece of text into a slot, or takes a slot that is filled, and sorts it; and
 *               packs it, where its place in the heap is known before
 *   bulk-pack   moves the runs of a sorted slot to the heap
 *   bulk-build  merges packed runs into tables of one shard
 *   bulk-merge  merges spilled tables of one shard
 */

import type { MergeInput } from '../compaction/merge-tables.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { TableTarget } from '../sstable/table-writer.js';
import type { CsvPlan } from './formats/csv.js';
import type { JsonRecordOptions } from './formats/json-record.js';
import type { LoadLayout } from './load-memory.js';

interface JobInMemory {
  readonly memory: WebAssembly.Memory;
  readonly layout: LoadLayout;
}

/** A piece of input in a text area, or to be read into it. Places are bytes of the (uncompressed) input. */
export interface TextPiece {
  readonly text: number;
  /** Place of the area's first byte. */
  readonly offset: number;
  /** Bytes that are in the area already. */
  readonly loaded: number;
  /** File that the text goes on in; undefined: what is loaded is all there is for now. */
  readonly path: string | undefined;
  /** Without a file: whether the last record is complete though no newline may follow it. */
  readonly final: boolean;
  /** Records that begin behind this place belong to the next piece. */
  readonly stop: number;
  /** Place of the first record; undefined: behind the first newline that ends a record. */
  readonly first: number | undefined;
  /** Whether the piece begins between quotation marks; counts while `first` is undefined. */
  readonly inQuotes: boolean;
}

export type RecordFormat =
  | { readonly kind: 'csv'; readonly plan: CsvPlan }
  | { readonly kind: 'lines'; readonly json: JsonRecordOptions }
  /** Elements of an array, a comma behind each; `last`: the last one has none. */
  | { readonly kind: 'elements'; readonly json: JsonRecordOptions; readonly last: boolean };

/** File numbers for blobs, reserved in one shard. */
export interface BlobNumbers {
  readonly directory: string;
  readonly first: number;
  readonly count: number;
}

export interface ScanJob extends JobInMemory {
  readonly kind: 'bulk-scan';
  readonly text: number;
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface ScanResult {
  readonly loaded: number;
  readonly quotes: number;
}

export interface ChunkJob extends JobInMemory {
  readonly kind: 'bulk-chunk';
  readonly slot: number;
  readonly work: number;
  readonly shards: number;
  /** Undefined: the slot is filled. */
  readonly input:
    | {
        readonly piece: TextPiece;
        readonly format: RecordFormat;
        readonly onError: 'stop' | 'skip';
        /** Bytes of each rejected record's text to report. */
        readonly rejectBytes: number;
        readonly valueBytesMax: number;
        /** Per shard. */
        readonly blobs: readonly BlobNumbers[];
      }
    | undefined;
  /** Where the runs go in the heap; undefined: they stay in the slot. */
  readonly packAt: number | undefined;
}

/**
 * Why a parse ended: at its end; slot full; out of numbers for blobs; at a record, the last of the
 * rejected ones, that ends the load.
 */
export type ChunkEnd = 'done' | 'full' | 'blobs' | 'fault';

export interface ChunkReject {
  /** Newlines between the piece's first record and this one. */
  readonly lines: number;
  readonly reason: string;
  readonly text: string | undefined;
}

export interface ChunkResult {
  readonly end: ChunkEnd;
  /** Place of the first record; undefined: none begins in the piece. */
  readonly first: number | undefined;
  /** Place where the next record begins. */
  readonly next: number;
  /** Newlines from `first` to `next`. */
  readonly lines: number;
  /** Bytes in the text area now. */
  readonly loaded: number;
  readonly records: number;
  readonly rejects: readonly ChunkReject[];
  /** Numbers taken, per shard. */
  readonly blobsUsed: readonly number[];
  /** Per shard. */
  readonly runs: readonly RunPlace[];
  /** Bytes that the runs take when they are packed. */
  readonly packedBytes: number;
  /** Entries left out for a later one with the same key. */
  readonly duplicates: number;
}

/** A sorted run in the load's memory. */
export interface RunPlace {
  readonly address: number;
  readonly records: number;
}

export interface PackJob extends JobInMemory {
  readonly kind: 'bulk-pack';
  /** Per shard. */
  readonly runs: readonly RunPlace[];
  /** Where they go. */
  readonly address: number;
}

export interface PackResult {
  readonly runs: readonly RunPlace[];
}

export interface BuildJob extends JobInMemory {
  readonly kind: 'bulk-build';
  readonly work: number;
  /** Newest first. */
  readonly runs: readonly RunPlace[];
  /** This job takes range `part` of the `parts` that the keys are divided into. */
  readonly part: number;
  readonly parts: number;
  readonly sequence: number;
  readonly target: TableTarget;
}

export interface MergeJob {
  readonly kind: 'bulk-merge';
  readonly input: MergeInput;
  readonly target: TableTarget;
  readonly sequence: number;
}

export interface TablesResult {
  readonly tables: readonly TableInfo[];
  readonly duplicates: number;
}

export type BulkJob = ScanJob | ChunkJob | PackJob | BuildJob | MergeJob;

export type BulkJobResult<J extends BulkJob> = J extends ScanJob
  ? ScanResult
  : J extends ChunkJob
    ? ChunkResult
    : J extends PackJob
      ? PackResult
      : TablesResult;
