/**
 * Which runs to merge next: a pure function of the runs there are.
 *
 * Lazy leveling (Dayan, Idreos: "Dostoevsky", SIGMOD 2018): upper runs are merged with others of
 * their size when there are enough of them, which rewrites little; the bottom run, where nearly all
 * data is, stays one run. How much may gather above it depends on what that costs. Entries that
 * replace others waste room twice, so they go down when the waste reaches a set share of the bottom
 * run; entries of new keys waste nothing, and rewriting the bottom run for them is put off until
 * they are as much again. Which of the two it is, earlier bottom merges have shown (`replacing`).
 *
 * The bottom run is rewritten range by range, so that it never needs as much room again. That takes
 * upper runs whose tables end where its ranges do (plan-merge.ts, `rangeStarts`): a run that a flush
 * made spans all ranges and is first merged with others of its kind.
 *
 * A run with a damaged table is merged with nothing. What is newer and what is older than it are
 * looked at on their own: neither may pass it by.
 */

import type { TableInfo } from '../sstable/table-info.js';
import { alignedFrom } from './clusters.js';

export interface PickRun {
  /** In key order. */
  readonly tables: readonly TableInfo[];
  /** A running job reads or replaces tables of this run. */
  readonly busy?: boolean | undefined;
  /** One of its tables cannot be read whole. */
  readonly damaged?: boolean | undefined;
}

export interface PickOptions {
  /** Upper runs of similar size that are merged into one. */
  readonly fanout: number;
  /** Waste, in parts of the bottom run, that is worth rewriting it: bounds wasted space. */
  readonly wasteShare: number;
  /** Upper runs, in parts of the bottom run, that are merged into it even if nothing is wasted. */
  readonly upperShare: number;
  /** More upper runs than this are merged whatever their sizes: bounds what a read asks. */
  readonly upperRunsMax: number;
  /** Few and small upper runs wait for more before the bottom run is rewritten for them. */
  readonly bottomMergeBytesMin: number;
  /**
   * Above a bottom run that is smaller than `smallBytesMax`, so many upper runs, of together no more
   * than that, are few: their filters are in the processor's cache, and rewriting less is worth more.
   */
  readonly smallRunsMax: number;
  readonly smallBytesMax: number;
  /** Entries that may be dropped, in parts of a table's, that make it worth rewriting alone. */
  readonly garbageShare: number;
}

export const PICK_DEFAULTS: PickOptions = {
  fanout: 6,
  wasteShare: 0.2,
  upperShare: 1,
  upperRunsMax: 14,
  bottomMergeBytesMin: 64 * 1024 * 1024,
  smallRunsMax: 12,
  smallBytesMax: 96 * 1024 * 1024,
  garbageShare: 0.1,
};

export interface PickInput {
  /** Newest first; the last is the bottom run and may have no tables. */
  readonly runs: readonly PickRun[];
  /**
   * Of the entries above the bottom run, the share that is expected to replace one in it, 0 to 1.
   * Default: 1.
   */
  readonly replacing?: number | undefined;
  /** Whether no snapshot keeps a rewrite of the table from dropping versions or tombstones. */
  readonly isCollectable: (table: TableInfo) => boolean;
  readonly options?: Partial<PickOptions> | undefined;
}

/**
 * `move`: the oldest upper run shares no keys with the bottom run and joins it as it is.
 * `similar`, `count`: upper runs become one. `bottom`: into the bottom run, for space. `align`: upper
 * runs become one whose tables end where the bottom run's ranges do, so that `bottom` can follow.
 * `deleted`: ranges of the bottom run of which much is deleted. `garbage`: single tables are
 * rewritten without what nobody needs any more.
 */
export type PickReason = 'move' | 'bottom' | 'align' | 'similar' | 'count' | 'deleted' | 'garbage';

/** Runs `from` to `to - 1` become one. When `to` is the number of runs, that is the bottom run. */
export interface Pick {
  readonly from: number;
  readonly to: number;
  readonly reason: PickReason;
  /** Only these tables, and those that overlap them, are meant; the others stay where they are. */
  readonly only?: ReadonlySet<number>;
}

interface SizedRun extends PickRun {
  readonly bytes: number;
}

/** The next compaction, or undefined when the runs are in good shape or busy. */
export function pickCompaction(input: PickInput): Pick | undefined {
  const options = { ...PICK_DEFAULTS, ...input.options };
  const runs = input.runs.map((run) => ({ ...run, bytes: sum(run.tables, ({ bytes }) => bytes) }));
  const stretches = stretchesBetweenDamage(runs);
  // Apart, each stretch has few runs: the count that reads suffer from is that of all.
  const isCrowded = stretches.length > 1 && runs.length > options.upperRunsMax;
  const limits = isCrowded ? { ...options, fanout: 2, upperRunsMax: 1, smallRunsMax: 2 } : options;
  for (const { from, to } of stretches) {
    const stretch = runs.slice(from, to);
    const pick =
      to === runs.length
        ? pickAboveBottom(stretch, input, limits)
        : pickUpper(beforeBusy(stretch), limits);
    if (pick !== undefined) return { ...pick, from: pick.from + from, to: pick.to + from };
  }
  return undefined;
}

function stretchesBetweenDamage(runs: readonly SizedRun[]): { from: number; to: number }[] {
  const stretches: { from: number; to: number }[] = [];
  let from = 0;
  for (let i = 0; i <= runs.length; i++) {
    if (i < runs.length && runs[i]?.damaged !== true) continue;
    if (i > from) stretches.push({ from, to: i });
    from = i + 1;
  }
  return stretches;
}

/** `runs` end with the bottom run. */
function pickAboveBottom(
  runs: readonly SizedRun[],
  input: PickInput,
  options: PickOptions,
): Pick | undefined {
  const bottom = runs[runs.length - 1];
  if (bottom === undefined) return undefined;
  const upper = beforeBusy(runs).slice(0, runs.length - 1);
  const isIdle = beforeBusy(runs).length === runs.length;
  return (
    (isIdle ? pickBottom(upper, bottom, input.replacing ?? 1, options) : undefined) ??
    (areFew(upper, bottom, options) ? undefined : pickUpper(upper, options)) ??
    (isIdle ? pickDeleted(upper, bottom, input) : undefined) ??
    pickGarbage(runs, input, options)
  );
}

/** Whether upper runs wait for more of them, as long as nothing but their number is to be bettered. */
function areFew(upper: readonly SizedRun[], bottom: SizedRun, options: PickOptions): boolean {
  const bytes = sum(upper, (run) => run.bytes);
  return bottom.bytes < options.smallBytesMax
    ? upper.length < options.smallRunsMax && bytes < options.smallBytesMax
    : upper.length < options.fanout && bytes < options.bottomMergeBytesMin;
}

function pickUpper(upper: readonly SizedRun[], options: PickOptions): Pick | undefined {
  return pickSimilar(upper, options) ?? pickCheapest(upper, options);
}

function beforeBusy(runs: readonly SizedRun[]): readonly SizedRun[] {
  const firstBusy = runs.findIndex((run) => run.busy);
  return firstBusy < 0 ? runs : runs.slice(0, firstBusy);
}

function pickBottom(
  upper: readonly SizedRun[],
  bottom: SizedRun,
  replacing: number,
  options: PickOptions,
): Pick | undefined {
  const oldest = upper[upper.length - 1];
  if (oldest === undefined) return undefined;
  const to = upper.length + 1;
  if (sum(oldest.tables, ({ tombstones }) => tombstones) === 0 && !overlap(oldest, bottom)) {
    return { from: to - 2, to, reason: 'move' };
  }
  const bytes = sum(upper, (run) => run.bytes);
  // A tombstone stands for an entry below that only waits to be dropped.
  const entries = sum(bottom.tables, (table) => table.entries);
  const deleted = sum(upper, (run) => sum(run.tables, ({ tombstones }) => tombstones));
  const deletedBytes = entries === 0 ? 0 : Math.min(deleted / entries, 1) * bottom.bytes;
  const isDirty = deletedBytes > options.wasteShare * bottom.bytes;
  if (!isDirty && areFew(upper, bottom, options)) return undefined;
  const isWasteful = bytes * replacing + deletedBytes > options.wasteShare * bottom.bytes;
  if (!isWasteful && bytes <= options.upperShare * bottom.bytes) return undefined;
  const from = alignedFrom([...upper, bottom].map(({ tables }) => tables));
  const aligned = sum(upper.slice(from), (run) => run.bytes);
  if (aligned >= bytes / 2) return { from, to, reason: 'bottom' };
  // Named, so that even a single run is rewritten.
  const spanning = upper.slice(0, from).flatMap(({ tables }) => tables.map(({ id }) => id));
  return { from: 0, to: from, reason: 'align', only: new Set(spanning) };
}

/** The newest stretch of at least `fanout` runs none of which is much larger than those before. */
function pickSimilar(upper: readonly SizedRun[], { fanout }: PickOptions): Pick | undefined {
  for (let from = 0; from + fanout <= upper.length; from++) {
    let bytes = 0;
    let to = from;
    for (; to < upper.length; to++) {
      const next = (upper[to] as SizedRun).bytes;
      if (to > from && next * (to - from) > 2 * bytes) break;
      bytes += next;
    }
    if (to - from >= fanout) return { from, to, reason: 'similar' };
  }
  return undefined;
}

/** With too many runs, the `fanout` neighbours that are cheapest to merge. */
function pickCheapest(
  upper: readonly SizedRun[],
  { fanout, upperRunsMax }: PickOptions,
): Pick | undefined {
  if (upper.length <= upperRunsMax) return undefined;
  let best: Pick | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let from = 0; from + fanout <= upper.length; from++) {
    const bytes = sum(upper.slice(from, from + fanout), (run) => run.bytes);
    if (bytes >= least) continue;
    least = bytes;
    best = { from, to: from + fanout, reason: 'count' };
  }
  return best;
}

/**
 * Ranges of the bottom run of which the oldest upper run deletes much, however small they are in
 * the whole: a queue that is eaten from one end, a tenant that has left.
 */
function pickDeleted(
  upper: readonly SizedRun[],
  bottom: SizedRun,
  { isCollectable }: PickInput,
): Pick | undefined {
  const from = upper.length - 1;
  const oldest = upper[from];
  if (oldest === undefined) return undefined;
  const only = new Set<number>();
  let below = 0;
  for (const table of oldest.tables) {
    if (table.tombstones * 2 < table.entries || !isCollectable(table)) continue;
    while (isBelow(bottom.tables[below], table.smallest)) below++;
    let entries = 0;
    for (let at = below; isNotAbove(bottom.tables[at], table.largest); at++) {
      entries += (bottom.tables[at] as TableInfo).entries;
    }
    if (table.tombstones * 4 >= entries) only.add(table.id);
  }
  return only.size === 0 ? undefined : { from, to: from + 2, reason: 'deleted', only };
}

const isBelow = (table: TableInfo | undefined, key: Uint8Array): boolean =>
  table !== undefined && Buffer.compare(table.largest, key) < 0;
const isNotAbove = (table: TableInfo | undefined, key: Uint8Array): boolean =>
  table !== undefined && Buffer.compare(table.smallest, key) <= 0;

/** Single tables, of the oldest run that has any: their rewrite depends on no other run. */
function pickGarbage(
  runs: readonly SizedRun[],
  { isCollectable }: PickInput,
  { garbageShare }: PickOptions,
): Pick | undefined {
  for (let from = runs.length - 1; from >= 0; from--) {
    const { tables, busy } = runs[from] as SizedRun;
    if (busy) continue;
    const isBottom = from === runs.length - 1;
    const only = new Set<number>();
    for (const table of tables) {
      const garbage = table.entries - table.keys + (isBottom ? table.tombstones : 0);
      if (garbage > garbageShare * table.entries && isCollectable(table)) only.add(table.id);
    }
    if (only.size > 0) return { from, to: from + 1, reason: 'garbage', only };
  }
  return undefined;
}

/** Whether some key range of one run's tables meets one of the other's. */
function overlap(a: PickRun, b: PickRun): boolean {
  let i = 0;
  let j = 0;
  while (i < a.tables.length && j < b.tables.length) {
    const x = a.tables[i] as TableInfo;
    const y = b.tables[j] as TableInfo;
    if (Buffer.compare(x.largest, y.smallest) < 0) i++;
    else if (Buffer.compare(y.largest, x.smallest) < 0) j++;
    else return true;
  }
  return false;
}

function sum<Item>(items: readonly Item[], amount: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += amount(item);
  return total;
}
