/**
 * How runs become one: which tables stay as they are, and which are merged with which.
 *
 * Tables that overlap, directly or through others, form a cluster. Clusters do not share keys, so
 * each is merged and installed on its own; a table alone in its cluster is moved, not rewritten.
 * Large clusters are cut by key, so that threads share the work and a job's memory and failure stay
 * small.
 */

import type { TableInfo } from '../sstable/table-info.js';
import { type Cluster, clustersOf, type PlacedTable } from './clusters.js';

export interface PlanOptions {
  /** Whether the result is the bottom run: then tables whose tombstones can go are rewritten. */
  readonly bottom: boolean;
  /** Whether no snapshot keeps a rewrite of the table from dropping versions or tombstones. */
  readonly isCollectable: (table: TableInfo) => boolean;
  /** Bytes that a table is to have. */
  readonly tableBytesMax: number;
  /** Jobs that may run at once. */
  readonly parallelism: number;
  /** Most input of one job, as far as table boundaries allow. Default: 64 MiB. */
  readonly jobBytesMax?: number | undefined;
  /** Ascending keys at each of which a table of the result ends. */
  readonly cuts?: readonly Uint8Array[] | undefined;
  /** Only clusters with one of these tables are planned for. */
  readonly only?: ReadonlySet<number> | undefined;
  /** Whether old versions are dropped wherever there are any, however few. */
  readonly thorough?: boolean | undefined;
}

/** Input of one merge job. */
export interface MergePlan {
  /** Newest first, in key order; tables that reach beyond the range are read in part. */
  readonly runs: readonly (readonly TableInfo[])[];
  /** Inclusive. */
  readonly start?: Uint8Array | undefined;
  /** Exclusive. */
  readonly end?: Uint8Array | undefined;
  /** Keys at each of which a table ends. */
  readonly cuts: readonly Uint8Array[];
  /** Bytes that the job reads, about. */
  readonly bytes: number;
  /** File numbers that are enough for its tables. */
  readonly tableIds: number;
}

/** What is installed at once. */
export interface PlanPart {
  /** Tables that the jobs together replace. */
  readonly replaced: readonly TableInfo[];
  readonly jobs: readonly MergePlan[];
  /** Bytes of the replaced tables. */
  readonly bytes: number;
}

export interface Plan {
  /** Tables that belong to the new run as they are, whichever run they are in now. */
  readonly kept: readonly TableInfo[];
  /** Independent of each other, in key order. */
  readonly parts: readonly PlanPart[];
}

/** A job holds its thread to the end, and younger merges, which are more urgent, wait that long. */
const JOB_BYTES_MAX = 64 * 1024 * 1024;
/** A job smaller than this is not worth dividing. */
const JOB_BYTES_MIN = 16 * 1024 * 1024;
/** So many neighbours that are small for a table are put together. */
const SMALL_TABLES_MIN = 4;
const SMALL_SHARE = 1 / 8;

/** Plans the merge of `runs`, newest first, into one run. */
export function planMerge(runs: readonly (readonly TableInfo[])[], options: PlanOptions): Plan {
  const { only } = options;
  const kept: TableInfo[] = [];
  const rewritten: Cluster[] = [];
  let small: PlacedTable[] = [];
  const endSmall = (): void => {
    if (small.length >= SMALL_TABLES_MIN) rewritten.push(small);
    else if (only === undefined) kept.push(...small.map(({ table }) => table));
    small = [];
  };
  for (const cluster of clustersOf(runs)) {
    if (only !== undefined) {
      if (cluster.some(({ table }) => only.has(table.id))) rewritten.push(cluster);
      continue;
    }
    const [{ table }] = cluster as [PlacedTable];
    const alone = cluster.length === 1 && !isCleanable(table, options);
    if (alone && table.bytes < options.tableBytesMax * SMALL_SHARE) {
      small.push(...cluster);
      continue;
    }
    endSmall();
    if (alone) kept.push(table);
    else rewritten.push(cluster);
  }
  endSmall();
  const bytes = rewritten.reduce((total, cluster) => total + sumBytes(tablesOf(cluster)), 0);
  const jobBytes = Math.min(
    Math.max(bytes / Math.max(options.parallelism, 1), JOB_BYTES_MIN),
    options.jobBytesMax ?? JOB_BYTES_MAX,
  );
  const parts = rewritten.map((cluster) => ({
    replaced: tablesOf(cluster),
    jobs: cutCluster(cluster, runs.length, jobBytes, options),
    bytes: sumBytes(tablesOf(cluster)),
  }));
  return { kept, parts };
}

/** Whether a rewrite of the table alone is worth it. */
function isCleanable(table: TableInfo, { bottom, thorough, isCollectable }: PlanOptions): boolean {
  const garbage = (bottom ? table.tombstones : 0) + (thorough ? table.entries - table.keys : 0);
  return garbage > 0 && isCollectable(table);
}

const tablesOf = (cluster: Cluster): TableInfo[] => cluster.map(({ table }) => table);

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

/** One job, or several that divide the cluster's keys, at first keys of its tables or at cuts. */
function cutCluster(
  cluster: Cluster,
  runCount: number,
  jobBytes: number,
  { tableBytesMax, cuts = [] }: PlanOptions,
): MergePlan[] {
  const bounds = [undefined, ...jobStarts(cluster, jobBytes, cuts), undefined];
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
    const cutsInside = cuts.filter(
      (cut) =>
        (start === undefined || Buffer.compare(cut, start) > 0) &&
        (end === undefined || Buffer.compare(cut, end) < 0),
    );
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
      cuts: cutsInside,
      bytes: sumBytes(tables),
      tableIds: tableIds + cutsInside.length,
    };
  });
}

/** First keys of all jobs but the first. */
function jobStarts(
  cluster: Cluster,
  jobBytes: number,
  cuts: readonly Uint8Array[],
): readonly Uint8Array[] {
  const first = (cluster[0] as PlacedTable).table.smallest;
  const largest = tablesOf(cluster).reduce(
    (max, table) => (Buffer.compare(table.largest, max) > 0 ? table.largest : max),
    first,
  );
  const inside = cuts.filter(
    (cut) => Buffer.compare(cut, first) > 0 && Buffer.compare(cut, largest) <= 0,
  );
  const jobs = Math.ceil(sumBytes(tablesOf(cluster)) / jobBytes);
  if (jobs > 1 && inside.length >= jobs - 1) {
    // Cuts divide the run below evenly, and so, about, what comes to it.
    return Array.from(
      { length: jobs - 1 },
      (_, i) => inside[Math.floor(((i + 1) * inside.length) / jobs)] as Uint8Array,
    );
  }
  const starts: Uint8Array[] = [];
  let bytes = 0;
  for (const { table } of cluster) {
    const last = starts[starts.length - 1] ?? first;
    if (bytes + table.bytes > jobBytes && Buffer.compare(table.smallest, last) > 0) {
      starts.push(table.smallest);
      bytes = 0;
    }
    bytes += table.bytes;
  }
  return starts;
}

function sumBytes(tables: readonly TableInfo[]): number {
  return tables.reduce((total, table) => total + table.bytes, 0);
}
