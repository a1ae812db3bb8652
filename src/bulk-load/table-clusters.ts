/** Which spilled tables have to be merged with which, and how a merge is divided among jobs. */

import type { TableInfo } from '../sstable/table-info.js';

/** Tables that overlap, directly or through others; or one that overlaps none and stays as it is. */
export type TableCluster =
  | { readonly kept: TableInfo; readonly runs?: undefined }
  | { readonly kept?: undefined; readonly runs: readonly (readonly TableInfo[])[] };

/**
 * Divides runs (each of tables that do not overlap) into clusters in key order. Neighbouring clusters
 * that have to be rewritten are one. `final`: ids of tables that may stay.
 */
export function clusterTables(
  runs: readonly (readonly TableInfo[])[],
  final: ReadonlySet<number>,
): TableCluster[] {
  const tables = runs
    .flatMap((run, age) => run.map((info) => ({ info, age })))
    .sort((left, right) => Buffer.compare(left.info.smallest, right.info.smallest));
  const groups: (typeof tables)[] = [];
  let largest: Uint8Array | undefined;
  for (const table of tables) {
    const overlaps = largest !== undefined && Buffer.compare(table.info.smallest, largest) <= 0;
    const group = groups.at(-1);
    const mayJoin =
      group !== undefined && (overlaps || (!stays(group, final) && !final.has(table.info.id)));
    if (mayJoin) group.push(table);
    else groups.push([table]);
    if (largest === undefined || Buffer.compare(table.info.largest, largest) > 0) {
      largest = table.info.largest;
    }
  }
  return groups.map((group) => {
    const [only] = group;
    if (only !== undefined && stays(group, final)) return { kept: only.info };
    return {
      runs: runs
        .map((_, age) => group.filter((table) => table.age === age).map(({ info }) => info))
        .filter((run) => run.length > 0),
    };
  });
}

function stays(
  group: readonly { readonly info: TableInfo }[],
  final: ReadonlySet<number>,
): boolean {
  const [only] = group;
  return group.length === 1 && only !== undefined && final.has(only.info.id);
}

export interface KeySpan {
  readonly start: Uint8Array | undefined;
  readonly end: Uint8Array | undefined;
}

/** Ranges with about as many bytes of the tables each; borders are first keys of tables. */
export function divideByKey(tables: readonly TableInfo[], parts: number): KeySpan[] {
  const sorted = [...tables].sort((left, right) => Buffer.compare(left.smallest, right.smallest));
  const total = sorted.reduce((sum, { rawBytes }) => sum + rawBytes, 0);
  const borders: Uint8Array[] = [];
  let bytes = 0;
  for (const { smallest, rawBytes } of sorted) {
    const last = borders.at(-1) ?? sorted[0]?.smallest;
    const isDue = bytes >= ((borders.length + 1) * total) / parts;
    if (isDue && last !== undefined && Buffer.compare(smallest, last) > 0) borders.push(smallest);
    bytes += rawBytes;
  }
  return [undefined, ...borders].map((start, index) => ({ start, end: borders[index] }));
}
