/** The demonstration's last page: rates as bars, sizes, places. */

import { formatBytes, formatCount, formatRate } from '../number-format.js';
import { bar, type Paint, visibleLength } from '../terminal.js';
import type { Measured } from './measurements.js';

export interface RateRow {
  readonly label: string;
  readonly one: Measured;
  /** Both clients together; undefined where it is not measured. */
  readonly two?: Measured | undefined;
}

const BAR_WIDTH = 14;
const RATE_WIDTH = 9;

/** One line per measurement; all bars have one scale. */
export function rateTable(rows: readonly RateRow[], paint: Paint): string[] {
  const labelWidth = Math.max(...rows.map((row) => row.label.length));
  const fastest = Math.max(...rows.flatMap(({ one, two }) => [rateOf(one), rateOf(two)]));
  const cell = (measured: Measured | undefined): string => {
    if (measured === undefined) return '';
    const rate = rateOf(measured);
    const drawn = paint('cyan', bar(rate / fastest, BAR_WIDTH, '·'));
    return `${drawn} ${formatRate(rate).padStart(RATE_WIDTH)}`;
  };
  const column = BAR_WIDTH + 1 + RATE_WIDTH;
  const header = `${' '.repeat(labelWidth)}  ${'one client'.padEnd(column)}  two clients`;
  return [
    paint('dim', header),
    ...rows.map(({ label, one, two }) =>
      `${label.padEnd(labelWidth)}  ${cell(one)}  ${cell(two)}`.trimEnd(),
    ),
  ];
}

export interface DiskUse {
  readonly bytes: number;
  readonly files: number;
}

/** What the data is, and what it became on disk: loaded, and after the overwrites. */
export function sizeLines(
  records: number,
  rawBytes: number,
  loaded: DiskUse,
  after: DiskUse,
): string[] {
  const share = (bytes: number): string => `${(bytes / records).toFixed(1)} bytes a record`;
  return [
    `Data   ${formatBytes(rawBytes)} of keys and values, ${share(rawBytes)}`,
    `Disk   ${formatBytes(loaded.bytes)} as loaded, ${share(loaded.bytes)}; ` +
      `${formatBytes(after.bytes)} in ${formatCount(after.files)} files after the overwrites`,
  ];
}

/** Pads to a width as it is seen. */
export function padVisible(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - visibleLength(text)));
}

function rateOf(measured: Measured | undefined): number {
  return measured === undefined ? 0 : measured.operations / measured.seconds;
}
