/** Results as text for a terminal. */

import { formatCount } from '../number-format.js';
import { table } from '../terminal.js';
import { type StoreResult, summariesOf } from './result.js';

/** A row per workload: rate, its range, time, cores, latencies. */
export function resultTable(store: StoreResult): string[] {
  const header = ['per second', 'least', 'greatest', 'ns', 'cores', 'p50', 'p99', 'p99.9', ''];
  const rows = summariesOf(store).map(({ name, median, perSecondMin, perSecondMax }) => [
    formatCount(median.perSecond),
    formatCount(perSecondMin),
    formatCount(perSecondMax),
    formatCount(1e9 / median.perSecond),
    (median.cpuSeconds / median.seconds).toFixed(2),
    ...[median.latency?.p50, median.latency?.p99, median.latency?.p999].map(formatMicros),
    median.note === undefined ? name : `${name} (${median.note})`,
  ]);
  return table([header, ...rows]);
}

/** 870 ns, 12.3 µs, 4.56 ms */
export function formatMicros(micros: number | undefined): string {
  if (micros === undefined) return '';
  if (micros < 1) return `${Math.round(micros * 1000)} ns`;
  if (micros < 1000) return `${micros < 10 ? micros.toFixed(1) : Math.round(micros)} µs`;
  const millis = micros / 1000;
  return millis < 1000
    ? `${millis < 10 ? millis.toFixed(1) : Math.round(millis)} ms`
    : `${(millis / 1000).toFixed(1)} s`;
}
