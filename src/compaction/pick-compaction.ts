/**
 * Which runs to merge next: a pure function of the runs there are.
 *
 * Lazy leveling (Dayan, Idreos: "Dostoevsky", SIGMOD 2018): upper runs are merged with others of
 * their size when there are enough of them, which rewrites little; the bottom run, where nearly all
 * data is, stays one run, so that space and long scans stay close to the least possible. It takes in
 * everything above when that makes up a set share of it.
 *
 * A run with a damaged table is merged with nothing. What is newer and what is older than it are
 * looked at on their own: neither may pass it by.
 */

import type { TableInfo } from '../sstable/table-info.js';

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
  /** Upper runs, in parts of the bottom run, that are merged into it: bounds wasted space. */
  readonly bottomShare: number;
  /** More upper runs than this are merged whatever their sizes: bounds what a read asks. */
  readonly upperRunsMax: number;
  /** Few and small upper runs wait for more before the bottom run is rewritten for them. */
  readonly bottomMergeBytesMin: number;
  /** Tombstones, in parts of a bottom table's entries, that make it worth rewriting alone. */
  readonly tombstoneShare: number;
}

export const PICK_DEFAULTS: PickOptions = {
  fanout: 4,
  bottomShare: 0.25,
  upperRunsMax: 10,
  bottomMergeBytesMin: 64 * 1024 * 1024,
  tombstoneShare: 0.1,
};

export interface PickInput {
  /** Newest first; the last is the bottom run and may have no tables. */
  readonly runs: readonly PickRun[];
  /** The lower of the horizon and the oldest live snapshot: what a bottom merge can clean up. */
  readonly floor: number;
  readonly options?: Partial<PickOptions> | undefined;
}

/**
 * `move`: the oldest upper run shares no keys with the bottom run and joins it as it is.
 * `similar`, `count`: upper runs become one. `bottom`: into the bottom run, for space.
 * `tombstones`: tables of the bottom run are rewritten without theirs.
 */
export type PickReason = 'move' | 'bottom' | 'similar' | 'count' | 'tombstones';

/** Runs `from` to `to - 1` become one. When `to` is the number of runs, that is the bottom run. */
export interface Pick {
  readonly from: number;
  readonly to: number;
  readonly reason: PickReason;
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
  const limits = isCrowded ? { ...options, fanout: 2, upperRunsMax: 1 } : options;
  for (const { from, to } of stretches) {
    const stretch = runs.slice(from, to);
    const pick =
      to === runs.length
        ? pickAboveBottom(stretch, input.floor, limits)
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
  floor: number,
  options: PickOptions,
): Pick | undefined {
  const bottom = runs[runs.length - 1];
  if (bottom === undefined) return undefined;
  const upper = beforeBusy(runs).slice(0, runs.length - 1);
  const isIdle = beforeBusy(runs).length === runs.length;
  return (
    (isIdle ? pickBottom(upper, bottom, options) : undefined) ??
    pickUpper(upper, options) ??
    (isIdle ? pickTombstones(runs, bottom, floor, options) : undefined)
  );
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
  options: PickOptions,
): Pick | undefined {
  const oldest = upper[upper.length - 1];
  if (oldest === undefined) return undefined;
  const to = upper.length + 1;
  if (sum(oldest.tables, ({ tombstones }) => tombstones) === 0 && !overlap(oldest, bottom)) {
    return { from: to - 2, to, reason: 'move' };
  }
  const bytes = sum(upper, (run) => run.bytes);
  if (upper.length < options.fanout && bytes < options.bottomMergeBytesMin) return undefined;
  // A tombstone stands for an entry below that only waits to be dropped.
  const entries = sum(bottom.tables, (table) => table.entries);
  const deleted = sum(upper, (run) => sum(run.tables, ({ tombstones }) => tombstones));
  const waste = bytes + (entries === 0 ? 0 : Math.min(deleted / entries, 1) * bottom.bytes);
  return waste > options.bottomShare * bottom.bytes ? { from: 0, to, reason: 'bottom' } : undefined;
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

function pickTombstones(
  runs: readonly SizedRun[],
  bottom: SizedRun,
  floor: number,
  { tombstoneShare }: PickOptions,
): Pick | undefined {
  // All tombstones at or below the floor go, so the rewritten table is not picked again.
  const worthIt = bottom.tables.some(
    ({ tombstones, entries, sequenceMax }) =>
      tombstones > tombstoneShare * entries && sequenceMax <= floor,
  );
  return worthIt ? { from: runs.length - 1, to: runs.length, reason: 'tombstones' } : undefined;
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
