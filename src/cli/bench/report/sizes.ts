/** How figures change with the number of records: from results of several runs. */

import { formatBytes, formatCount, formatRate } from '../../number-format.js';
import type { Measurement } from '../measurement.js';
import { type BenchResult, summaryOf } from '../result.js';
import { colourOf, htmlTable, shortRate, storesOf } from './parts.js';
import { escapeText, legend, lineChart } from './svg.js';

interface Curve {
  readonly title: string;
  readonly workloads: readonly string[];
}

const CURVES: readonly Curve[] = [
  {
    title: 'Reads',
    workloads: [
      'readrandom sync',
      'readrandom sync zipfian',
      'readmissing sync',
      'multireadrandom 256 keys',
      'readrandom awaited 256 in flight',
    ],
  },
  {
    title: 'Writes and loads',
    workloads: [
      'fillseq batch 1000',
      'fillrandom batch 1000',
      'overwrite batch 1000',
      'bulkload random order',
      'overwrite awaited 64 in flight',
    ],
  },
  { title: 'Scans', workloads: ['readseq sync', 'readseq async'] },
];

const FIGURES: readonly (readonly [title: string, of: (m: Figures) => string])[] = [
  ['write amplification of the fill', ({ fill }) => fixed(fill?.figures?.['writeAmplification'])],
  [
    'bytes on disk per record',
    ({ compacted }) => fixed(compacted?.figures?.['diskBytesPerRecord']),
  ],
  [
    'time to fill, drained',
    ({ fill }) => (fill === undefined ? '' : `${fill.seconds.toFixed(1)} s`),
  ],
  [
    'writers held back',
    ({ fill }) => (fill?.counters ? `${formatCount(fill.counters.stallMs)} ms` : ''),
  ],
  [
    'resident after the reads',
    ({ read }) => (read === undefined ? '' : formatBytes(read.residentBytes)),
  ],
];

interface Figures {
  readonly fill: Measurement | undefined;
  readonly compacted: Measurement | undefined;
  readonly read: Measurement | undefined;
}

export function sizeSection(results: readonly BenchResult[]): string {
  const bySize = [...results].sort((a, b) => a.settings.records - b.settings.records);
  if (bySize.length < 2) return '';
  const cards = CURVES.flatMap(({ title, workloads }) => {
    const lines = workloads.flatMap((workload, index) => {
      const points = bySize.flatMap((result) => {
        const perSecond = medianOf(result, workload)?.perSecond;
        return perSecond === undefined ? [] : [[result.settings.records, perSecond] as const];
      });
      return points.length < 2 ? [] : [{ label: workload, colour: colourOf(index), points }];
    });
    if (lines.length === 0) return [];
    const chart = lineChart(lines, {
      x: {
        label: 'records',
        scale: 'log',
        format: shortRate,
        ticks: bySize.map(({ settings }) => settings.records),
      },
      y: { label: title, scale: 'linear', format: shortRate },
      dots: true,
    });
    return [`<div class="card"><h3>${escapeText(title)}</h3>${chart}${legend(lines)}</div>`];
  });
  const rows = FIGURES.map(([title, of]) => [
    title,
    ...bySize.map((result) =>
      of({
        fill: medianOf(result, 'fillrandom batch 1000'),
        compacted: medianOf(result, 'compacted'),
        read: medianOf(result, 'readrandom sync'),
      }),
    ),
  ]);
  const head = [
    '',
    ...bySize.map(({ settings }) => formatRate(settings.records).replace('/s', '')),
  ];
  return (
    '<h2>From a million records up</h2><p>The same workloads on more records; operations a second of Lightning DB.</p>' +
    `<div class="grid-cards">${cards.join('')}</div><p></p>${htmlTable(head, rows)}`
  );
}

function medianOf(result: BenchResult, workload: string): Measurement | undefined {
  const [own] = storesOf(result);
  return own === undefined ? undefined : summaryOf(own, workload)?.median;
}

function fixed(value: number | undefined): string {
  return value === undefined ? '' : value.toFixed(2);
}
