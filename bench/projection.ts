/**
 * A projection to more records than were measured: each figure is fitted, by least squares of the
 * relative error, with a form that says how it should grow, and read off at the greater number. It
 * is a projection, not a measurement, and says how far the fit is off where there are measurements.
 */

import type { Measurement } from '../src/cli/bench/measurement.js';
import { RECORD_BYTES } from '../src/cli/bench/records.js';
import { htmlTable, storesOf } from '../src/cli/bench/report/parts.js';
import { type BenchResult, type Settings, summaryOf } from '../src/cli/bench/result.js';
import { formatBytes, formatCount } from '../src/cli/number-format.js';

export const PROJECTED_RECORDS = 1_000_000_000;

/** A figure as constant + slope × growth(records). */
interface Fit {
  readonly constant: number;
  readonly slope: number;
  /** The greatest relative error at the points it was fitted to. */
  readonly errorMax: number;
}

type Growth = (records: number, settings: Settings) => number;

/** Levels, and the depth of searches. */
const logarithmic: Growth = (records) => Math.log(records);
const linear: Growth = (records) => records;
/** The share of uniformly chosen records that a cache of the run's size does not hold. */
const missRate: Growth = (records, { cacheBytes }) =>
  Math.max(0, 1 - cacheBytes / (records * RECORD_BYTES));

interface Figure {
  readonly title: string;
  readonly workload: string;
  readonly growth: Growth;
  readonly form: string;
  readonly value: (measurement: Measurement) => number | undefined;
  readonly format: (value: number) => string;
}

const nanos = (value: number): string => `${formatCount(value)} ns`;
const seconds = (value: number): string => `${value.toFixed(2)} s`;
const nanosPerOperation = ({ perSecond }: Measurement): number => 1e9 / perSecond;
const BY_LEVELS = 'a + b ln n';
const BY_MISSES = 'a + b × share not in the cache';
const BY_SIZE = 'a + b n';

const FIGURES: readonly Figure[] = [
  {
    title: 'random write, compaction counted',
    workload: 'fillrandom batch 1000',
    growth: logarithmic,
    form: BY_LEVELS,
    value: nanosPerOperation,
    format: nanos,
  },
  {
    title: 'write amplification',
    workload: 'fillrandom batch 1000',
    growth: logarithmic,
    form: BY_LEVELS,
    value: ({ figures }) => figures?.['writeAmplification'],
    format: (value) => value.toFixed(2),
  },
  {
    title: 'bulk load',
    workload: 'bulkload random order',
    growth: logarithmic,
    form: BY_LEVELS,
    value: nanosPerOperation,
    format: nanos,
  },
  {
    title: 'random read, uniform',
    workload: 'readrandom sync',
    growth: missRate,
    form: BY_MISSES,
    value: nanosPerOperation,
    format: nanos,
  },
  {
    title: 'random read, zipfian',
    workload: 'readrandom sync zipfian',
    growth: logarithmic,
    form: BY_LEVELS,
    value: nanosPerOperation,
    format: nanos,
  },
  {
    title: 'read of a missing key',
    workload: 'readmissing sync',
    growth: logarithmic,
    form: BY_LEVELS,
    value: nanosPerOperation,
    format: nanos,
  },
  {
    title: 'record of a full scan',
    workload: 'readseq sync',
    growth: logarithmic,
    form: BY_LEVELS,
    value: nanosPerOperation,
    format: nanos,
  },
  {
    title: 'disk, compacted',
    workload: 'compacted',
    growth: linear,
    form: BY_SIZE,
    value: ({ figures, operations }) => {
      const bytes = figures?.['diskBytesPerRecord'];
      return bytes === undefined ? undefined : bytes * operations;
    },
    format: formatBytes,
  },
  {
    title: 'resident memory after reads',
    workload: 'readrandom sync',
    growth: linear,
    form: BY_SIZE,
    value: ({ residentBytes }) => residentBytes,
    format: formatBytes,
  },
  {
    title: 'open after a clean close',
    workload: 'open after close',
    growth: linear,
    form: BY_SIZE,
    value: (measurement) => measurement.seconds,
    format: seconds,
  },
  {
    title: 'open after kill -9',
    workload: 'open after kill -9',
    growth: linear,
    form: BY_SIZE,
    value: (measurement) => measurement.seconds,
    format: seconds,
  },
];

export interface ProjectedFigure {
  readonly title: string;
  readonly form: string;
  readonly measured: readonly string[];
  readonly projected: string;
  readonly errorMax: number;
}

/** From results of at least two sizes. */
export function project(results: readonly BenchResult[], records: number): ProjectedFigure[] {
  const bySize = [...results].sort((a, b) => a.settings.records - b.settings.records);
  return FIGURES.flatMap((figure) => {
    const { title, form, workload, growth, value, format } = figure;
    const points = bySize.flatMap((result) => {
      const [own] = storesOf(result);
      const median = own === undefined ? undefined : summaryOf(own, workload)?.median;
      const y = median === undefined ? undefined : value(median);
      return y === undefined || !(y > 0)
        ? []
        : [{ x: growth(result.settings.records, result.settings), y, result }];
    });
    const [first] = points;
    if (first === undefined || points.length < 2) return [];
    const { constant, slope, errorMax } = fitLine(points);
    const at = constant + slope * growth(records, first.result.settings);
    return [
      {
        title,
        form,
        measured: bySize.map((result) => {
          const point = points.find((candidate) => candidate.result === result);
          return point === undefined ? '' : format(point.y);
        }),
        projected: at > 0 ? format(at) : '',
        errorMax,
      },
    ];
  });
}

/**
 * Least squares of the relative error. Nothing gets cheaper with more records: where it would, or x
 * does not vary, the mean.
 */
export function fitLine(points: readonly { readonly x: number; readonly y: number }[]): Fit {
  let [w, wx, wy, wxx, wxy] = [0, 0, 0, 0, 0];
  for (const { x, y } of points) {
    const weight = 1 / (y * y);
    w += weight;
    wx += weight * x;
    wy += weight * y;
    wxx += weight * x * x;
    wxy += weight * x * y;
  }
  const spread = w * wxx - wx * wx;
  const slope = spread <= 1e-12 * w * wxx ? 0 : Math.max(0, (w * wxy - wx * wy) / spread);
  const constant = (wy - slope * wx) / w;
  const errorMax = Math.max(...points.map(({ x, y }) => Math.abs((constant + slope * x) / y - 1)));
  return { constant, slope, errorMax };
}

/** A section of the report; empty when there are fewer than two sizes. */
export function projectionSection(results: readonly BenchResult[]): string {
  const sizes = [...results].map(({ settings }) => settings.records).sort((a, b) => a - b);
  const figures = project(results, PROJECTED_RECORDS);
  if (figures.length === 0) return '';
  const head = [
    '',
    ...sizes.map((records) => `${formatCount(records / 1e6)} M`),
    `projected: ${formatCount(PROJECTED_RECORDS / 1e6)} M`,
    'form',
    'greatest error of the fit',
  ];
  const rows = figures.map(({ title, measured, projected, form, errorMax }) => [
    title,
    ...measured,
    `<i>${projected}</i>`,
    form,
    `${(errorMax * 100).toFixed(0)} %`,
  ]);
  return (
    '<h2>Projected to a billion records</h2><p><b>A projection, not a measurement</b>: forms that say how a figure should grow, ' +
    'fitted to the sizes that were measured. It assumes that files stay in the memory of the operating system; ' +
    'where they do not, a read that misses the cache takes a read of the device more.</p>' +
    htmlTable(head, rows)
  );
}
