/** Timing of one workload: operations per second, processor time, resident memory. */

import { readFileSync } from 'node:fs';

export interface Measurement {
  readonly name: string;
  readonly operations: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly operationsPerSecond: number;
}

/** Runs `work` once and counts what it returns as operations. */
export async function measure(
  name: string,
  work: () => number | Promise<number>,
): Promise<Measurement> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  const operations = await work();
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  return {
    name,
    operations,
    seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    operationsPerSecond: operations / seconds,
  };
}

/** The measurement with the median rate. */
export function median(measurements: readonly Measurement[]): Measurement {
  const sorted = [...measurements].sort((a, b) => a.operationsPerSecond - b.operationsPerSecond);
  const middle = sorted[sorted.length >> 1];
  if (middle === undefined) throw new Error('Cannot take the median of no measurements');
  return middle;
}

/** Resident set of this process, in bytes: now, or at its highest. */
export function residentBytes(which: 'now' | 'peak' = 'now'): number {
  const field = which === 'now' ? 'VmRSS' : 'VmHWM';
  const match = new RegExp(`${field}:\\s+(\\d+) kB`).exec(
    readFileSync('/proc/self/status', 'utf8'),
  );
  return match ? Number(match[1]) * 1024 : process.memoryUsage().rss;
}
