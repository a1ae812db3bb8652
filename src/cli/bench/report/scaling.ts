/** The prediction of where the engine stops scaling, and what it is made from. */

import { formatCount, formatRate } from '../../number-format.js';
import { type BenchResult, summaryOf } from '../result.js';
import {
  coresUntilBound,
  DEVICE_BYTES_PER_SECOND,
  type Demand,
  demandOf,
  measuredContention,
  PREDICTED_CORES,
  type Prediction,
  predict,
} from '../scaling-model.js';
import { colourOf, htmlTable, shortRate, storesOf } from './parts.js';
import { escapeText, type Line, legend, lineChart } from './svg.js';

const MODELLED: readonly string[] = [
  'readrandom sync',
  'readmissing sync',
  'fillrandom batch 1000',
  'fillseq batch 1000',
  'overwrite awaited 64 in flight',
  'ycsb a',
  'ycsb b',
];

interface Modelled {
  readonly name: string;
  readonly demand: Demand;
  readonly contention: number;
  /** Context switches and waits for a core of all threads, per operation. */
  readonly parks: number;
  readonly waitNanos: number;
  /** Operations that one group commit took together. */
  readonly groupSize: number | undefined;
}

export function modelled(result: BenchResult): Modelled[] {
  const [own] = storesOf(result);
  if (own === undefined) return [];
  const contention = measuredContention(own) ?? 0;
  return MODELLED.flatMap((name) => {
    const median = summaryOf(own, name)?.median;
    if (median === undefined || median.operations === 0) return [];
    const demand = demandOf(median);
    if (demand.client === 0) return [];
    const { operations, parks, waiting, counters } = median;
    const groups = counters?.walGroups ?? 0;
    return [
      {
        name,
        demand,
        contention,
        parks: total(parks) / operations,
        waitNanos: (total(waiting) / operations) * 1e9,
        groupSize: groups > 0 ? operations / groups : undefined,
      },
    ];
  });
}

function total(byRole: Readonly<Record<string, number>>): number {
  return Object.values(byRole).reduce((sum, value) => sum + value, 0);
}

const CORES = [1, 2, 4, 8, 16, 32, 64] as const;

export function scalingSection(result: BenchResult): string {
  const rows = modelled(result);
  const [first] = rows;
  if (first === undefined) return '';
  const lines = rows.map(({ name, demand, contention }, index): Line => {
    const points = CORES.map(
      (cores) => [cores, predict(demand, cores, contention).perSecond] as const,
    );
    return { label: name, colour: colourOf(index), points };
  });
  const chart = lineChart(lines, {
    x: { label: 'cores', scale: 'log', format: String, ticks: CORES },
    y: { label: 'operations a second', scale: 'log', format: shortRate },
    height: 300,
    dots: true,
  });
  const inputs = rows.map(({ name, demand, parks, waitNanos, groupSize }) => [
    escapeText(name),
    ...[demand.client, demand.shard, demand.coordinator, demand.background, demand.runtime].map(
      (nanos) => formatCount(nanos),
    ),
    demand.deviceBytes > 0 ? formatCount(demand.deviceBytes) : '',
    groupSize === undefined ? '' : formatCount(groupSize),
    parks.toFixed(4),
    formatCount(waitNanos),
  ]);
  const predictions = rows.map(({ name, demand, contention }) => [
    escapeText(name),
    ...PREDICTED_CORES.map((cores) => predictionText(predict(demand, cores, contention))),
    untilText(coresUntilBound(demand, contention)),
  ]);
  return (
    '<h2>Where it will stop scaling</h2><p><b>A prediction, not a measurement</b>: from the CPU time that one operation takes on ' +
    `each kind of thread on ${result.machine.cores} cores. Cores are given to client threads, shards and background threads in ` +
    'proportion; the least of these bounds counts: cores, 63 clients, 64 shards, the one coordinator, a device of ' +
    `${DEVICE_BYTES_PER_SECOND / 1e9} GB/s. ${contentionText(first.contention)} docs/SCALING.md explains the model.</p>` +
    `<div class="grid-cards"><div class="card">${chart}${legend(lines)}</div></div><p></p>` +
    htmlTable(
      ['', ...PREDICTED_CORES.map((cores) => `${cores} cores`), 'first bound besides cores'],
      predictions,
    ) +
    '<h3 style="margin-top:1.4em">What it is made from</h3><p class="small soft">CPU nanoseconds per operation by kind of thread; bytes to the ' +
    'device; operations per group commit; how often a thread parked, and how long threads that could run had no core, per operation.</p>' +
    htmlTable(
      [
        '',
        'client',
        'shard',
        'coordinator',
        'background',
        'runtime',
        'bytes',
        'group',
        'parks',
        'ns without a core',
      ],
      inputs,
    )
  );
}

function contentionText(contention: number): string {
  return contention === 0
    ? 'No growth of CPU time from one client thread to two was measured.'
    : `CPU time grows by ${(contention * 100).toFixed(1)} % for each further client, as it did from one client thread to two.`;
}

function predictionText({ perSecond, bound }: Prediction): string {
  const rate = formatRate(perSecond);
  return bound === 'cores' ? rate : `${rate} <span class="soft">${bound}</span>`;
}

function untilText(prediction: Prediction | undefined): string {
  if (prediction === undefined) return 'none up to 1024 cores';
  return `${prediction.bound}, at ${prediction.cores} cores`;
}
