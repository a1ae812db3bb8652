/**
 * How much a group of writes is held up so that flushes and compactions keep pace. Delays grow
 * gradually from nothing; only when there is no room at all do writes stop, until there is.
 */

export interface WritePressure {
  readonly groupBytes: number;
  /** Memtables that may still be switched to. */
  readonly freeMemtables: number;
  /** How full the active memtable is, 0 to 1. */
  readonly activeFill: number;
  /** Bytes of memtable that flushes have lately written per millisecond; 0: not known yet. */
  readonly flushBytesPerMs: number;
  readonly runs: number;
  /** From this many runs on, writes are slowed. */
  readonly runsSlow: number;
  /** At this many runs, writes stop. */
  readonly runsStop: number;
}

/** A single delay stays short, so that a stall that ends is noticed soon. */
export const DELAY_MS_MAX = 20;
const FLUSH_BYTES_PER_MS_DEFAULT = 50_000;

/** Milliseconds to wait before the next group is taken; 0 while there is no pressure. */
export function writeDelayMs(pressure: WritePressure): number {
  const factor = Math.max(memtableFactor(pressure), runFactor(pressure));
  if (factor <= 0) return 0;
  const rate = pressure.flushBytesPerMs || FLUSH_BYTES_PER_MS_DEFAULT;
  // At factor 0.5 writes arrive as fast as flushes take them away, beyond it slower.
  return Math.min((pressure.groupBytes / rate) * 2 * factor, DELAY_MS_MAX);
}

/** Whether writes must wait for a compaction. */
export function isStopped(pressure: Pick<WritePressure, 'runs' | 'runsStop'>): boolean {
  return pressure.runs >= pressure.runsStop;
}

/** The last memtable is filling and all others wait for their flush: slow down as it fills. */
function memtableFactor({ freeMemtables, activeFill }: WritePressure): number {
  return freeMemtables > 0 ? 0 : activeFill;
}

function runFactor({ runs, runsSlow, runsStop }: WritePressure): number {
  if (runs < runsSlow) return 0;
  return (runs - runsSlow + 1) / Math.max(1, runsStop - runsSlow);
}
