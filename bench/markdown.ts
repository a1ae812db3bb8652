/** Tables of results as Markdown, for documents. */

import { NULL_STORE } from '../src/cli/bench/null-store.js';
import { modelled } from '../src/cli/bench/report/scaling.js';
import { type BenchResult, summariesOf } from '../src/cli/bench/result.js';
import { formatMicros } from '../src/cli/bench/result-table.js';
import { PREDICTED_CORES, predict } from '../src/cli/bench/scaling-model.js';
import { formatCount, formatRate } from '../src/cli/number-format.js';
import { PROJECTED_RECORDS, project } from './projection.js';
import { targetOutcomes, targetText } from './target-table.js';

export function markdownOf(results: readonly BenchResult[]): string {
  const [main] = results;
  if (main === undefined) return '';
  const parts = [
    comparison(main),
    ...main.stores.filter(({ name }) => name !== NULL_STORE).map(figures),
    scaling(main),
    projection(results),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function comparison(result: BenchResult): string {
  const outcomes = targetOutcomes(result);
  if (outcomes.every(({ best }) => best === undefined)) return '';
  return markdownTable(
    ['', 'Lightning DB', 'best peer', 'ratio', 'target', ''],
    outcomes.map(({ target, own, best, ratio, met }) => [
      target.title,
      formatCount(own),
      best === undefined ? '' : `${formatCount(best.value)} (${best.store})`,
      ratio === undefined ? '' : `${ratio.toFixed(2)} ×`,
      targetText(target),
      met === undefined ? '' : met ? 'met' : 'short',
    ]),
  );
}

function figures(store: BenchResult['stores'][number]): string {
  const rows = summariesOf(store).map(({ name, median, perSecondMin, perSecondMax }) => [
    name,
    formatCount(median.perSecond),
    `${formatCount(perSecondMin)}–${formatCount(perSecondMax)}`,
    `${formatCount((median.cpuSeconds / median.operations) * 1e9)} ns`,
    formatMicros(median.latency?.p50),
    formatMicros(median.latency?.p99),
    formatMicros(median.latency?.p999),
  ]);
  const head = [store.name, 'per second', 'range', 'CPU per operation', 'p50', 'p99', 'p99.9'];
  return markdownTable(head, rows);
}

function scaling(result: BenchResult): string {
  const rows = modelled(result);
  if (rows.length === 0) return '';
  const inputs = rows.map(({ name, demand }) => [
    name,
    ...[demand.client, demand.shard, demand.coordinator, demand.background, demand.runtime].map(
      formatCount,
    ),
    demand.deviceBytes > 0 ? formatCount(demand.deviceBytes) : '',
  ]);
  const predictions = rows.map(({ name, demand, contention }) => [
    name,
    ...PREDICTED_CORES.map((cores) => {
      const { perSecond, bound } = predict(demand, cores, contention);
      return bound === 'cores' ? formatRate(perSecond) : `${formatRate(perSecond)} (${bound})`;
    }),
  ]);
  const inputHead = [
    'ns of CPU',
    'client',
    'shard',
    'coordinator',
    'background',
    'runtime',
    'bytes',
  ];
  const head = ['predicted', ...PREDICTED_CORES.map((cores) => `${cores} cores`)];
  return `${markdownTable(inputHead, inputs)}\n\n${markdownTable(head, predictions)}`;
}

function projection(results: readonly BenchResult[]): string {
  const rows = project(results, PROJECTED_RECORDS);
  if (rows.length === 0) return '';
  const sizes = results.map(({ settings }) => settings.records).sort((a, b) => a - b);
  return markdownTable(
    [
      '',
      ...sizes.map((records) => formatCount(records)),
      'projected to 1 billion',
      'greatest error',
    ],
    rows.map(({ title, measured, projected, errorMax }) => [
      title,
      ...measured,
      projected,
      `${(errorMax * 100).toFixed(0)} %`,
    ]),
  );
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
