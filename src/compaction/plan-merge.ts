/**
 * How runs become one: which tables stay as they are, and which are merged with which.
 *
 * Tables that overlap, directly or through others, form a cluster. Clusters do not share keys, so
 * each is a merge of its own; a table alone in its cluster is moved, not rewritten. Large clusters
 * are cut by key, so that threads share the work and a job's memory and failure stay small.
 */

import type { TableInfo } from '../sstable/table-info.js';

export interface PlanOptions {
  /** Whether the result is the bottom run: then tables whose tombstones can go are rewritten. */
  readonly bottom: boolean;
  /** The lower of the horizon and the oldest live snapshot. */
  readonly floor: number;
  /** Bytes that a table is to have. */
  readonly tableBytesMax: number;
  /** Jobs that may run at once. */
  readonly parallelism: number;
  /** Most input of one job, as far as table boundaries allow. Default: 256 MiB. */
  readonly jobBytesMax?: number | undefined;
}

/** Input of one merge job. */
export interface MergePlan {
  /** Newest first, in key order; tables that reach beyond the range are read in part. */
  readonly runs: readonly (readonly TableInfo[])[];
  /** Inclusive. */
  readonly start?: Uint8Array | undefined;
  /** Exclusive. */
  readonly end?: Uint8Array | undefined;
  /** Bytes that the job reads, about. */
  readonly bytes: number;
  /** File numbers that are enough for its tables. */
  readonly tableIds: number;
}

export interface Plan {
  /** Tables that belong to the new run as they are, whichever run they are in now. */
  readonly kept: readonly TableInfo[];
  /** Tables that the jobs together replace. */
  readonly replaced: readonly TableInfo[];
  /** Independent of each other; the new run is complete when all are done. */
  readonly jobs: readonly MergePlan[];
}

const JOB_BYTES_MAX = 256 * 1024 * 1024;
/** A job smaller than this is not worth dividing. */
const JOB_BYTES_MIN = 16 * 1024 * 1024;
/** So many neighbours that are small for a table are put together. */
const SMALL_TABLES_MIN = 4;
const SMALL_SHARE = 1 / 8;

interface PlacedTable {
  readonly table: TableInfo;
  /** Index of its run. */
  readonly run: number;
}

type Cluster = readonly PlacedTable[];

/** Plans the merge of `runs`, newest first, into one run. */
export function planMerge(runs: readonly (readonly TableInfo[])[], options: PlanOptions): Plan {
  const kept: TableInfo[] = [];
  const rewritten: Cluster[] = [];
  let small: PlacedTable[] = [];
  const endSmall = (): void => {
    if (small.length >= SMALL_TABLES_MIN) rewritten.push(small);
    else kept.push(...small.map(({ table }) => table));
    small = [];
  };
  for (const cluster of clustersOf(runs)) {
    const [only] = cluster as [PlacedTable];
    const { tombstones, sequenceMax } = only.table;
    const cleanable = options.bottom && tombstones > 0 && sequenceMax <= options.floor;
    const alone = cluster.length === 1 && !cleanable;
    if (alone && only.table.bytes < options.tableBytesMax * SMALL_SHARE) {
      small.push(only);
      continue;
    }
    endSmall();
    if (alone) kept.push(only.table);
    else rewritten.push(cluster);
  }
  endSmall();
  const replaced = rewritten.flat().map(({ table }) => table);
  const jobBytes = Math.min(
    Math.max(sumBytes(replaced) / Math.max(options.parallelism, 1), JOB_BYTES_MIN),
    options.jobBytesMax ?? JOB_BYTES_MAX,
  );
  const jobs = rewritten.flatMap((cluster) =>
    cutCluster(cluster, runs.length, jobBytes, options.tableBytesMax),
  );
  return { kept, replaced, jobs };
}

/**
 * File numbers to reserve for a job's tables: more than it can need, since a table also ends when
 * its index, its keys' hashes or its list of blobs has no more room.
 */
export function tableIdsFor(
  input: { readonly rawBytes: number; readonly entries: number; readonly blobs: number },
  tableBytesMax: number,
): number {
  const tableBytes = Math.min(tableBytesMax, 512 * 1024);
  return (
    Math.ceil((input.rawBytes * 1.25) / tableBytes) +
    Math.ceil(input.entries / 100_000) +
    Math.ceil(input.blobs / 2048) +
    4
  );
}

/** Clusters in key order, tables in a cluster by their smallest key. */
function clustersOf(runs: readonly (readonly TableInfo[])[]): Cluster[] {
  const placed = runs.flatMap((tables, run) => tables.map((table) => ({ table, run })));
  placed.sort((left, right) => Buffer.compare(left.table.smallest, right.table.smallest));
  const clusters: PlacedTable[][] = [];
  let largest: Uint8Array | undefined;
  for (const next of placed) {
    const { table } = next;
    if (largest === undefined || Buffer.compare(table.smallest, largest) > 0) clusters.push([]);
    clusters[clusters.length - 1]?.push(next);
    if (largest === undefined || Buffer.compare(table.largest, largest) > 0) {
      largest = table.largest;
    }
  }
  return clusters;
}

/** One job, or several that divide the cluster's keys at first keys of its tables. */
function cutCluster(
  cluster: Cluster,
  runCount: number,
  jobBytes: number,
  tableBytesMax: number,
): MergePlan[] {
  const cuts: Uint8Array[] = [];
  let bytes = 0;
  for (const { table } of cluster) {
    const first = cuts[cuts.length - 1] ?? (cluster[0] as PlacedTable).table.smallest;
    if (bytes + table.bytes > jobBytes && Buffer.compare(table.smallest, first) > 0) {
      cuts.push(table.smallest);
      bytes = 0;
    }
    bytes += table.bytes;
  }
  const bounds = [undefined, ...cuts, undefined];
  return bounds.slice(1).map((end, i) => {
    const start = bounds[i];
    const inside = cluster.filter(
      ({ table }) =>
        (start === undefined || Buffer.compare(table.largest, start) >= 0) &&
        (end === undefined || Buffer.compare(table.smallest, end) < 0),
    );
    const runs = Array.from({ length: runCount }, (_, run) =>
      inside.filter((placed) => placed.run === run).map(({ table }) => table),
    ).filter((tables) => tables.length > 0);
    const tables = runs.flat();
    const tableIds = tableIdsFor(
      {
        rawBytes: tables.reduce((total, table) => total + table.rawBytes, 0),
        entries: tables.reduce((total, table) => total + table.entries, 0),
        blobs: tables.reduce((total, table) => total + table.blobs.length, 0),
      },
      tableBytesMax,
    );
    return {
      runs,
      ...(start === undefined ? {} : { start }),
      ...(end === undefined ? {} : { end }),
      bytes: sumBytes(tables),
      tableIds,
    };
  });
}

function sumBytes(tables: readonly TableInfo[]): number {
  return tables.reduce((total, table) => total + table.bytes, 0);
}
