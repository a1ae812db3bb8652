/**
 * A run, or several of growing size, as one HTML page that needs nothing else: charts are inline SVG,
 * there is no script, and nothing is loaded.
 */

import { formatBytes, formatCount, formatRate } from '../../number-format.js';
import type { Measurement, Summary } from '../measurement.js';
import { NULL_STORE } from '../null-store.js';
import { type BenchResult, type StoreResult, summariesOf, summaryOf } from '../result.js';
import { formatMicros } from '../result-table.js';
import { colourOf, htmlTable, isDuration, shortRate, storesOf, workloadNames } from './parts.js';
import { scalingSection } from './scaling.js';
import { sizeSection } from './sizes.js';
import { STYLE } from './style.js';
import { type Bar, barChart, escapeText, type Line, legend, lineChart, stackChart } from './svg.js';

/** One row of a comparison with what was set out for. */
export interface ComparisonRow {
  readonly title: string;
  readonly own: number;
  readonly best: { readonly store: string; readonly value: number } | undefined;
  readonly ratio: number | undefined;
  readonly target: string;
  readonly met: boolean | undefined;
}

/** The first of `results` is shown in full. `sections` are HTML of the caller's. */
export function reportPage(
  results: readonly BenchResult[],
  comparison: readonly ComparisonRow[] = [],
  sections: readonly string[] = [],
): string {
  const [main] = results;
  if (main === undefined) throw new Error('A report needs a result');
  const body = [
    header(main),
    tiles(main),
    comparisonSection(comparison),
    throughputSection(main),
    latencySection(main),
    timeSection(main),
    costSection(main),
    sizeSection(results),
    ...sections,
    scalingSection(main),
    harnessSection(main),
    allFigures(main),
    aboutSection(main),
  ];
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">' +
    '<meta name="viewport" content="width=device-width,initial-scale=1">' +
    '<meta name="color-scheme" content="light dark">' +
    `<title>Lightning DB: measurements</title><style>${STYLE}</style></head>` +
    `<body><main>${body.filter((part) => part !== '').join('\n')}</main></body></html>\n`
  );
}

function header({ machine, settings, startedAt, stores }: BenchResult): string {
  const { records, keyBytes, valueBytes, rounds, shards } = settings;
  const peers = stores.length > 2 ? ', beside other stores' : '';
  return (
    `<h1>Lightning DB, measured${peers}</h1>` +
    `<p class="soft">${formatCount(records)} records of ${keyBytes}-byte keys and ${valueBytes}-byte ` +
    `half-compressible values · ${shards} shards · median of ${rounds} · every read verified</p>` +
    `<p class="soft small">${escapeText(machine.cpu)}, ${machine.cores} cores, ` +
    `${formatBytes(machine.memoryBytes)} · ${escapeText(machine.system)} · Node ${machine.node}, ` +
    `V8 ${machine.v8} · ${escapeText(startedAt.slice(0, 16).replace('T', ' '))} UTC</p>`
  );
}

const TILES: readonly (readonly [workload: string, text: string])[] = [
  ['readrandom sync', 'random reads a second, one thread'],
  ['readrandom sync 2 threads', 'the same on two threads'],
  ['multireadrandom 256 keys', 'random reads, 256 keys a call'],
  ['fillrandom batch 1000', 'random writes, compaction counted'],
  ['overwrite awaited 64 in flight', 'writes with a promise each'],
  ['readseq sync', 'records scanned'],
  ['bulkload random order', 'records loaded in bulk'],
];

function tiles(result: BenchResult): string {
  const [own] = storesOf(result);
  if (own === undefined) return '';
  const items = TILES.flatMap(([workload, text]) => {
    const summary = summaryOf(own, workload);
    return summary === undefined
      ? []
      : [
          `<div class="tile"><b>${formatRate(summary.median.perSecond)}</b><span>${text}</span></div>`,
        ];
  });
  return items.length === 0 ? '' : `<div class="tiles">${items.join('')}</div>`;
}

function comparisonSection(rows: readonly ComparisonRow[]): string {
  if (rows.length === 0) return '';
  const body = rows.map(({ title, own, best, ratio, target, met }) => [
    escapeText(title),
    formatCount(own),
    best === undefined
      ? ''
      : `${formatCount(best.value)} <span class="soft">${escapeText(best.store)}</span>`,
    ratio === undefined ? '' : `<b>${ratio.toFixed(2)} ×</b>`,
    escapeText(target),
    met === undefined
      ? ''
      : `<span class="${met ? 'met' : 'short'}">${met ? 'met' : 'short'}</span>`,
  ]);
  return (
    '<h2>Beside the best peer</h2><p>Same run, same keys and values, taking turns round by round, each in a process of its own. ' +
    'Operations a second (the last row: bytes), medians.</p>' +
    htmlTable(['', 'Lightning DB', 'best peer', 'ratio', 'target', ''], body)
  );
}

/** Of one store alone, related workloads share a chart; beside others each has its own. */
const FAMILIES: readonly (readonly [title: string, names: RegExp])[] = [
  ['Reads', /^read(random|missing)|^multiread|^seek/],
  ['Scans, fills and loads', /^readseq|^fill(seq|random)|batch|^bulkload/],
  ['Writes with a promise each', /^(overwrite|fillsync) (awaited|open)/],
  ['YCSB and mixtures', /^ycsb|^readwhile|transaction|tx/],
];

function familySection(store: StoreResult): string {
  const names = workloadNames([store]).filter((name) => !isDuration(name));
  const cards = FAMILIES.flatMap(([title, pattern]) => {
    const bars = names
      .filter((name) => FAMILIES.find(([, first]) => first.test(name))?.[1] === pattern)
      .flatMap((name) => {
        const summary = summaryOf(store, name);
        return summary === undefined ? [] : [{ ...barOf(store, summary, 's0'), label: name }];
      });
    return bars.length === 0
      ? []
      : [`<div class="card"><h3>${title}</h3>${barChart(bars, FAMILY_LABEL)}</div>`];
  });
  return (
    '<h2>Throughput</h2><p>Operations a second; whiskers span all rounds.</p>' +
    `<div class="grid-cards">${cards.join('')}</div>`
  );
}

const FAMILY_LABEL = 222;

function throughputSection(result: BenchResult): string {
  const stores = storesOf(result);
  const [only] = stores;
  if (only !== undefined && stores.length === 1) return familySection(only);
  const names = workloadNames(stores).filter((name) => !isDuration(name));
  const cards = names.map((name) => {
    const bars = stores.flatMap((store, index): Bar[] => {
      const summary = summaryOf(store, name);
      return summary === undefined ? [] : [barOf(store, summary, colourOf(index))];
    });
    const notes = stores.flatMap((store) => {
      const note = summaryOf(store, name)?.median.note;
      return note === undefined ? [] : [`${store.name}: ${note}`];
    });
    return `<div class="card"><h3>${escapeText(name)}</h3>${barChart(bars)}${notes
      .map((note) => `<p class="soft small">${escapeText(note)}</p>`)
      .join('')}</div>`;
  });
  return (
    '<h2>Throughput</h2><p>Operations a second; whiskers span all rounds.</p>' +
    `<div class="grid-cards">${cards.join('')}</div>`
  );
}

function barOf({ name }: StoreResult, summary: Summary, colour: string): Bar {
  const { median, perSecondMin, perSecondMax, rounds } = summary;
  return {
    label: name,
    value: median.perSecond,
    min: perSecondMin,
    max: perSecondMax,
    text: formatRate(median.perSecond),
    colour,
    title: `${name}: ${formatCount(median.perSecond)}/s, ${formatCount(perSecondMin)} to ${formatCount(perSecondMax)} in ${rounds} rounds, ${formatBytes(median.bytesPerSecond)}/s`,
  };
}

/** Percentiles by how many nines they have, so that the tail has room. */
const nines = (percentile: number): number => -Math.log10(1 - Math.min(percentile, 99.9999) / 100);

const PERCENTILE_TICKS = [0, 90, 99, 99.9, 99.99, 99.999].map(nines);

function latencySection(result: BenchResult): string {
  const stores = storesOf(result);
  const cards = workloadNames(stores)
    .sort(byInterest)
    .flatMap((name) => {
      const lines = stores.flatMap((store, index): Line[] => {
        const latency = summaryOf(store, name)?.median.latency;
        if (latency === undefined) return [];
        // 100 % stands where so many values end.
        const last = nines(100 - 100 / (latency.count + 1));
        const points = latency.curve.flatMap(([percentile, micros]) => {
          const x = percentile === 100 ? last : nines(percentile);
          return x <= last && micros > 0 ? [[x, micros] as const] : [];
        });
        return [{ label: store.name, colour: colourOf(index), points }];
      });
      if (lines.length === 0) return [];
      const chart = lineChart(lines, {
        x: {
          label: 'percentile',
          scale: 'linear',
          ticks: PERCENTILE_TICKS,
          format: (x) => `${Number((100 * (1 - 10 ** -x)).toFixed(3))}`,
        },
        y: { label: 'latency', scale: 'log', format: formatMicros },
      });
      return [`<div class="card"><h3>${escapeText(name)}</h3>${chart}</div>`];
    });
  if (cards.length === 0) return '';
  return (
    '<h2>Latency</h2><p>Time of one operation (of one batch or call where there are many in it). Closed loop; "open loop" ' +
    `issues ${formatCount(result.settings.openLoopPerSecond)} a second and counts from when each was due.</p>` +
    `${storeLegend(stores)}<div class="grid-cards">${cards.slice(0, LATENCY_CARDS).join('')}</div>` +
    (cards.length <= LATENCY_CARDS
      ? ''
      : `<details><summary>All ${cards.length} workloads</summary><div class="grid-cards">${cards.slice(LATENCY_CARDS).join('')}</div></details>`)
  );
}

/** The most telling come first. */
const LATENCY_CARDS = 8;
const LATENCY_FIRST = [
  'readrandom sync',
  'readrandom awaited alone',
  'readrandom open loop',
  'overwrite awaited 64 in flight',
  'overwrite awaited alone',
  'overwrite open loop',
  'fillsync awaited 64 in flight',
  'ycsb a',
];

/** Before the others: those in LATENCY_FIRST. */
function byInterest(a: string, b: string): number {
  const rank = (name: string): number => LATENCY_FIRST.indexOf(name) + 1 || 100;
  return rank(a) - rank(b);
}

function storeLegend(stores: readonly StoreResult[]): string {
  if (stores.length < 2) return '';
  return legend(stores.map(({ name }, index) => ({ label: name, colour: colourOf(index) })));
}

const SAMPLES_PER_SECOND = 4;

function timeSection(result: BenchResult): string {
  const stores = storesOf(result);
  const cards = workloadNames(stores).flatMap((name) => {
    const lines = stores.flatMap((store, index): Line[] => {
      const samples = summaryOf(store, name)?.median.samples ?? [];
      if (samples.length < 3) return [];
      const points = samples
        .slice(0, samplesShown(stores, name))
        .map(
          (operations, at) =>
            [(at + 1) / SAMPLES_PER_SECOND, operations * SAMPLES_PER_SECOND] as const,
        );
      return [{ label: store.name, colour: colourOf(index), points }];
    });
    if (lines.length === 0) return [];
    const chart = lineChart(lines, {
      x: { label: 'seconds', scale: 'linear', format: (x) => `${Number(x.toFixed(1))}` },
      y: { label: 'operations a second', scale: 'linear', format: shortRate },
    });
    return [
      `<div class="card"><h3>${escapeText(name)}</h3>${chart}</div>`,
      memoryCard(stores, name),
    ];
  });
  if (cards.length === 0) return '';
  return (
    '<h2>Throughput and memory over time</h2><p>A point each quarter of a second, through flushes and compactions; cut off after ' +
    'four times what Lightning DB takes. Resident memory counts mapped files.</p>' +
    `${storeLegend(stores)}<div class="grid-cards">${cards.join('')}</div>`
  );
}

/** A store that takes many times as long would press the others into a corner: it is cut off. */
function samplesShown([own]: readonly StoreResult[], name: string): number {
  const samples = own === undefined ? undefined : summaryOf(own, name)?.median.samples;
  return samples === undefined ? Number.POSITIVE_INFINITY : Math.max(20, samples.length * 4);
}

function memoryCard(stores: readonly StoreResult[], name: string): string {
  const lines = stores.flatMap((store, index): Line[] => {
    const samples = summaryOf(store, name)?.median.residentSamples ?? [];
    const points = samples
      .slice(0, samplesShown(stores, name))
      .map((bytes, at) => [(at + 1) / SAMPLES_PER_SECOND, bytes] as const);
    return [{ label: store.name, colour: colourOf(index), points }];
  });
  const chart = lineChart(lines, {
    x: { label: 'seconds', scale: 'linear', format: (x) => `${Number(x.toFixed(1))}` },
    y: { label: 'resident memory', scale: 'linear', format: formatBytes },
  });
  return chart === ''
    ? ''
    : `<div class="card"><h3>${escapeText(name)}: resident memory</h3>${chart}</div>`;
}

const ROLES = ['client', 'shard', 'coordinator', 'background', 'runtime'] as const;

function costSection(result: BenchResult): string {
  const [own] = storesOf(result);
  if (own === undefined) return '';
  const rows = summariesOf(own).filter(({ name }) => !isDuration(name) && !/open loop/.test(name));
  const stacks = rows.map(({ name, median }) => {
    const nanos = (seconds: number): number => (seconds / median.operations) * 1e9;
    return {
      label: name,
      text: `${formatCount(nanos(median.cpuSeconds))} ns`,
      segments: ROLES.map((role, index) => ({
        value: nanos(median.threads[role] ?? 0),
        colour: colourOf(index),
        title: `${role}: ${formatCount(nanos(median.threads[role] ?? 0))} ns`,
      })),
    };
  });
  const quick = stacks.filter(({ segments }) => total(segments) < 10_000);
  const slow = stacks.filter(({ segments }) => total(segments) >= 10_000);
  return (
    '<h2>Where the processor time goes</h2><p>CPU time per operation by what the threads do: client threads; shard workers; ' +
    'coordinator; background (flushes, compactions); runtime (garbage collection, compilation).</p>' +
    `${legend(ROLES.map((role, index) => ({ label: role, colour: colourOf(index) })))}` +
    `<div class="grid-cards">${[quick, slow]
      .filter((group) => group.length > 0)
      .map((group) => `<div class="card">${stackChart(group)}</div>`)
      .join('')}</div>`
  );
}

function total(segments: readonly { readonly value: number }[]): number {
  return segments.reduce((sum, { value }) => sum + value, 0);
}

function harnessSection({ stores }: BenchResult): string {
  const harness = stores.find(({ name }) => name === NULL_STORE);
  if (harness === undefined) return '';
  const rows = summariesOf(harness).flatMap(({ name, median }) =>
    isDuration(name) || /open loop/.test(name)
      ? []
      : [[escapeText(name), `${formatCount(1e9 / median.perSecond)} ns`]],
  );
  return (
    '<h2>The harness alone</h2><p>The same workloads on a store that answers at once and keeps nothing: choosing a record, ' +
    'making key and value, calling, comparing what comes back. Every store pays it; it is in all figures above.</p>' +
    `<details><summary>Nanoseconds per operation</summary>${htmlTable(['', 'an operation'], rows)}</details>`
  );
}

function allFigures(result: BenchResult): string {
  const parts = storesOf(result).map((store) => {
    const rows = summariesOf(store).map(({ name, median, perSecondMin, perSecondMax }) => [
      escapeText(name) + failureText(store, name),
      formatCount(median.perSecond),
      `${formatCount(perSecondMin)}–${formatCount(perSecondMax)}`,
      (median.bytesPerSecond / 1e6).toFixed(1),
      (median.cpuSeconds / median.seconds).toFixed(2),
      formatMicros(median.latency?.p50),
      formatMicros(median.latency?.p99),
      formatMicros(median.latency?.p999),
      formatMicros(median.latency?.max),
      (median.residentBytes / 2 ** 20).toFixed(0),
      ...ioCells(median),
      median.durability ?? '',
    ]);
    const peak = Math.max(0, ...(store.peakBytes ?? []));
    const memory = peak > 0 ? ` · at most ${formatBytes(peak)} resident` : '';
    return (
      `<details><summary>${escapeText(store.name)}${memory}</summary>` +
      htmlTable(ALL_FIGURES_HEAD, rows) +
      '</details>'
    );
  });
  return (
    '<h2>All figures</h2><p class="small soft">W amp: bytes written to the device per byte of keys and values, background work ' +
    'drained. R: bytes read by system calls per operation. Resident memory counts mapped files too.</p>' +
    parts.join('')
  );
}

/** What any of the rounds found wrong. */
function failureText({ rounds }: StoreResult, name: string): string {
  const failed = rounds.flat().find((m) => m.name === name && m.failed !== undefined)?.failed;
  return failed === undefined ? '' : ` <span class="short">failed: ${escapeText(failed)}</span>`;
}

const ALL_FIGURES_HEAD = [
  '',
  'per second',
  'range',
  'MB/s',
  'cores',
  'p50',
  'p99',
  'p99.9',
  'max',
  'MiB resident',
  'W amp',
  'R',
  'cache hits',
  'stalled',
  'bytes/record',
  'durability',
];

function ioCells({ io, counters, figures, operations }: Measurement): string[] {
  const looked = counters === undefined ? 0 : counters.cacheHits + counters.cacheMisses;
  const amplification = figures?.['writeAmplification'];
  const disk = figures?.['diskBytesPerRecord'];
  return [
    amplification === undefined ? '' : amplification.toFixed(2),
    io === undefined ? '' : (io.callRead / operations).toFixed(1),
    looked > 0 && counters !== undefined
      ? `${((100 * counters.cacheHits) / looked).toFixed(1)} %`
      : '',
    counters === undefined ? '' : `${formatCount(counters.stallMs)} ms`,
    disk === undefined ? '' : disk.toFixed(1),
  ];
}

function aboutSection(result: BenchResult): string {
  const rows = storesOf(result).map(({ name, version, configuration }) => [
    escapeText(name),
    escapeText(version),
    `<span style="white-space:normal;display:inline-block;text-align:left">${escapeText(configuration)}</span>`,
  ]);
  return (
    '<h2>How it was measured</h2><p>Names are those of db_bench and YCSB. Workloads without an end of their own run for ' +
    `${result.settings.secondsPerWorkload} s after a warm-up, once for throughput and once, shorter, with the clock read at every ` +
    "operation. Fills count until background work is drained. CPU time comes from the scheduler, bytes from the kernel's accounting " +
    'for the process.</p>' +
    htmlTable(['store', 'version', 'configuration'], rows)
  );
}
