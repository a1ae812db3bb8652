/**
 * How much a group of writes is held up so that flushes and compactions keep pace. Delays grow
 * gradually from nothing; only when there is no room at all do writes stop, until there is.
 */

export interface WritePressure {
  readonly groupBytes: number;
  /** Share of all memtables together that is filled and waits for its flush to end, 0 to 1. */
  readonly memtableFill: number;
  /** Bytes of memtable that flushes have lately written per millisecond; 0: not known yet. */
  readonly flushBytesPerMs: number;
  /** Of late: see `RunsLately`. */
  readonly runs: number;
  /** From this many runs on, writes are slowed. */
  readonly runsSlow: number;
  /** At this many runs, writes stop. */
  readonly runsStop: number;
}

/** Filled memtables, as a share of all, from which on writes are slowed: one fills, one is flushed. */
const MEMTABLE_FILL_SLOW = 0.6;
/** A single delay stays short, so that a stall that ends is noticed soon. */
export const DELAY_MS_MAX = 20;
const FLUSH_BYTES_PER_MS_DEFAULT = 50_000;
/** Steps of the factor from run to run; steeper ones where little room is left. */
const RUN_FACTOR_FIRST = 0.15;
const RUN_FACTOR_STEP = 1.25;
const RUN_FACTOR_STEP_STEEP = 1.6;
/** So many runs before the stop. */
const STEEP_RUNS = 5;

/** Milliseconds to wait before the next group is taken; 0 while there is no pressure. */
export function writeDelayMs(pressure: WritePressure): number {
  const factor = Math.max(memtableFactor(pressure), runFactor(pressure));
  if (factor <= 0) return 0;
  const rate = pressure.flushBytesPerMs || FLUSH_BYTES_PER_MS_DEFAULT;
  // At factor 0.5 writes arrive as fast as flushes take them away, beyond it slower.
  return Math.min((pressure.groupBytes / rate) * 2 * factor, DELAY_MS_MAX);
}

/** Whether writes must wait for a compaction; `runs`: there are now. */
export function isStopped({ runs, runsStop }: Pick<WritePressure, 'runs' | 'runsStop'>): boolean {
  return runs >= runsStop;
}

/** Flushes fall behind: slow down as what is left fills. */
function memtableFactor({ memtableFill }: WritePressure): number {
  return (memtableFill - MEMTABLE_FILL_SLOW) / (1 - MEMTABLE_FILL_SLOW);
}

/**
 * Merges fall behind: they, not flushes, say how fast writes may come, and how fast that is depends on how
 * large the shard has grown. So each run more slows writes by as large a part: somewhere before the stop, runs
 * are made as slowly as merges take them away.
 */
function runFactor({ runs, runsSlow, runsStop }: WritePressure): number {
  if (runs < runsSlow) return 0;
  const steep = Math.max(0, runs - Math.max(runsStop - STEEP_RUNS, runsSlow));
  const gentle = runs - runsSlow - steep;
  return RUN_FACTOR_FIRST * RUN_FACTOR_STEP ** gentle * RUN_FACTOR_STEP_STEEP ** steep;
}

/** Over so long, about, the number of runs is averaged. */
const LATELY_MS = 2000;
/** It is never taken for smaller than the present one by more than this. */
const BEHIND_MAX = 3;

/**
 * How many runs there have been lately. Each flush makes one and a merge takes six at once: what follows
 * the number itself has writes swing from second to second.
 */
export class RunsLately {
  #mean = 0;
  #atMs = 0;

  runs(now: number, nowMs: number): number {
    const share = 1 - Math.exp(-Math.max(nowMs - this.#atMs, 0) / LATELY_MS);
    this.#mean += (now - this.#mean) * share;
    this.#atMs = nowMs;
    this.#mean = Math.max(this.#mean, now - BEHIND_MAX);
    return this.#mean;
  }
}
