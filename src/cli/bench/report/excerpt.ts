/** The most telling bars of a run as one SVG image, for a page that shows no HTML. */

import { formatCount, formatRate } from '../../number-format.js';
import { type BenchResult, summaryOf } from '../result.js';
import { colourOf, storesOf } from './parts.js';
import { COLOURS } from './style.js';
import { BAR_ROW_HEIGHT, barRows, CHART_WIDTH, escapeText } from './svg.js';

const SHOWN: readonly (readonly [workload: string, title: string])[] = [
  ['readrandom sync', 'Random reads, synchronous'],
  ['readrandom awaited 256 in flight', 'Random reads, a promise each, 256 in flight'],
  ['multireadrandom 256 keys', 'Random reads, 256 keys a call'],
  ['readseq sync', 'Full scan'],
  ['fillrandom batch 1000', 'Random writes in batches, compaction counted'],
  ['overwrite awaited 64 in flight', 'Writes, a promise each, 64 in flight'],
  ['fillsync awaited 64 in flight', 'Durable writes (fdatasync), 64 in flight'],
  ['bulkload random order', 'Bulk load, random order'],
];

const GAP = 36;
const TITLE = 30;
const HEAD = 64;

/** Undefined when the run has nothing of what it would show. */
export function excerptImage(result: BenchResult): string | undefined {
  const stores = storesOf(result);
  const cells = SHOWN.flatMap(([workload, title]) => {
    const bars = stores.flatMap((store, index) => {
      const summary = summaryOf(store, workload);
      if (summary === undefined) return [];
      const { median, perSecondMin: min, perSecondMax: max } = summary;
      const text = formatRate(median.perSecond);
      return [
        { label: store.name, value: median.perSecond, min, max, text, colour: colourOf(index) },
      ];
    });
    return bars.length === 0 ? [] : [{ title, bars }];
  });
  if (cells.length === 0) return undefined;
  const cellHeight = TITLE + stores.length * BAR_ROW_HEIGHT + GAP;
  const width = 2 * CHART_WIDTH + GAP + 40;
  const height = HEAD + Math.ceil(cells.length / 2) * cellHeight;
  const body = cells.map(({ title, bars }, index) => {
    const x = 20 + (index % 2) * (CHART_WIDTH + GAP);
    const y = HEAD + Math.floor(index / 2) * cellHeight;
    return (
      `<g transform="translate(${x} ${y})"><text class="cell" x="0" y="16">${escapeText(title)}</text>` +
      `${barRows(bars, TITLE - 6)}</g>`
    );
  });
  const { machine, settings } = result;
  const subtitle =
    `${formatCount(settings.records)} records of ${settings.keyBytes + settings.valueBytes} bytes, operations a second, ` +
    `median of ${settings.rounds} · ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" ` +
    `aria-label="Throughput of Lightning DB and other stores"><style>${COLOURS}\n` +
    '.paper{fill:var(--paper)}text.cell{font-size:16px;font-weight:650}text.sub{fill:var(--soft)}</style>' +
    `<rect class="paper" width="${width}" height="${height}" rx="14"/>` +
    `<text class="sub" x="20" y="36">${escapeText(subtitle)}</text>${body.join('')}</svg>\n`
  );
}
