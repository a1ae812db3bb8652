/**
 * Tables of several runs by key: which of them overlap, directly or through others, and so can only
 * be merged together. Clusters share no keys: each may be merged, and its result installed, without
 * regard to the others.
 */

import type { TableInfo } from '../sstable/table-info.js';

export interface PlacedTable {
  readonly table: TableInfo;
  /** Index of its run. */
  readonly run: number;
}

/** By smallest key; never empty. */
export type Cluster = readonly PlacedTable[];

/** A range of the bottom run is this part of it, unless that makes it too small or too large. */
const RANGE_SHARE = 1 / 32;
const RANGE_BYTES_MIN = 64 * 1024 * 1024;
const RANGE_BYTES_MAX = 512 * 1024 * 1024;
/** Less than this is merged at once: dividing it would save no room worth speaking of. */
const UNDIVIDED_BYTES_MAX = 256 * 1024 * 1024;

/** Clusters in key order, tables in a cluster by their smallest key. */
export function clustersOf(runs: readonly (readonly TableInfo[])[]): Cluster[] {
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

/** Bytes of one of the ranges into which the bottom run is divided. */
function rangeBytes(bottom: readonly TableInfo[]): number {
  return Math.min(Math.max(sumBytes(bottom) * RANGE_SHARE, RANGE_BYTES_MIN), RANGE_BYTES_MAX);
}

/** Bytes of a cluster that are in the bottom run. */
function bottomBytes(cluster: Cluster, bottom: number): number {
  return sumBytes(cluster.filter(({ run }) => run === bottom).map(({ table }) => table));
}

/**
 * First of the runs (newest first, the last is the bottom run) from which on all of them can be
 * merged range by range: 0 when all can, or when there is too little to divide.
 */
export function alignedFrom(runs: readonly (readonly TableInfo[])[]): number {
  const bottom = runs.at(-1) ?? [];
  // A table is not divided. With it, what `rangeStarts` leads to is never too large.
  const tableBytes = bottom.reduce((max, { bytes }) => Math.max(max, bytes), 0);
  const bytesMax = Math.max(2 * rangeBytes(bottom), UNDIVIDED_BYTES_MAX, tableBytes);
  if (sumBytes(bottom) <= bytesMax) return 0;
  let from = runs.length - 1;
  // Each newer run may join clusters that were apart.
  while (from > 0) {
    const chosen = runs.slice(from - 1);
    const isTooLarge = (cluster: Cluster): boolean =>
      cluster.length > 1 && bottomBytes(cluster, chosen.length - 1) > bytesMax;
    if (clustersOf(chosen).some(isTooLarge)) break;
    from--;
  }
  return from;
}

/**
 * Keys at which tables of a newer run should end, so that it joins no more of the clusters of `runs`
 * (newest first, the last is the bottom run) than make up a range. Ascending.
 */
export function rangeStarts(runs: readonly (readonly TableInfo[])[]): Uint8Array[] {
  const bottom = runs.length - 1;
  const wanted = rangeBytes(runs[bottom] ?? []);
  const starts: Uint8Array[] = [];
  let bytes = 0;
  for (const cluster of clustersOf(runs)) {
    const more = bottomBytes(cluster, bottom);
    if (bytes > 0 && bytes + more > wanted) {
      starts.push((cluster[0] as PlacedTable).table.smallest);
      bytes = 0;
    }
    bytes += more;
  }
  return starts;
}

function sumBytes(tables: readonly TableInfo[]): number {
  return tables.reduce((total, { bytes }) => total + bytes, 0);
}
