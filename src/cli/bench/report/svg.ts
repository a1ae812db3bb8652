/** Charts as SVG text: no library, no script. Colours come from the page's style. */

export const CHART_WIDTH = 520;
const WIDTH = CHART_WIDTH;
const MARGIN = { left: 58, right: 14, top: 10, bottom: 34 } as const;

export function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** The range over all rounds. */
  readonly min: number;
  readonly max: number;
  readonly text: string;
  /** Class that gives the colour. */
  readonly colour: string;
  readonly title?: string;
}

const BAR_ROW = 26;
const BAR_LABEL = 118;
const BAR_TEXT = 88;

/** Horizontal bars from zero, with a whisker for the range. */
export function barChart(bars: readonly Bar[], labelWidth?: number): string {
  const height = bars.length * BAR_ROW + 4;
  return svg(
    height,
    barRows(bars, 2, labelWidth),
    bars.map(({ label, text }) => `${label} ${text}`).join(', '),
  );
}

/** The rows of a bar chart, the first at `top`. */
export function barRows(bars: readonly Bar[], top: number, labelWidth = BAR_LABEL): string {
  const greatest = Math.max(...bars.map(({ max }) => max), Number.MIN_VALUE);
  const room = WIDTH - labelWidth - BAR_TEXT;
  const x = (value: number): number => labelWidth + (Math.max(0, value) / greatest) * room;
  return bars
    .map((bar, index) => {
      const y = top + index * BAR_ROW;
      const middle = y + BAR_ROW / 2;
      const end = x(bar.value);
      const whisker =
        bar.max > bar.min
          ? `<path class="whisker" d="M${round(x(bar.min))} ${middle}H${round(x(bar.max))}"/>`
          : '';
      return (
        `<g>${bar.title === undefined ? '' : `<title>${escapeText(bar.title)}</title>`}` +
        `<text class="label" x="${labelWidth - 8}" y="${middle + 4}" text-anchor="end">${escapeText(bar.label)}</text>` +
        `<rect class="${bar.colour}" x="${labelWidth}" y="${y + 4}" width="${round(Math.max(1.5, end - labelWidth))}" height="${BAR_ROW - 8}" rx="3"/>` +
        `${whisker}<text class="value" x="${round(Math.max(end, x(bar.max)) + 7)}" y="${middle + 4}">${escapeText(bar.text)}</text></g>`
      );
    })
    .join('');
}

export const BAR_ROW_HEIGHT = BAR_ROW;

export interface Segment {
  readonly value: number;
  readonly colour: string;
  readonly title: string;
}

export interface Stack {
  readonly label: string;
  readonly segments: readonly Segment[];
  readonly text: string;
}

/** Horizontal bars made of parts. */
export function stackChart(stacks: readonly Stack[]): string {
  const label = 222;
  const sums = stacks.map(({ segments }) => segments.reduce((sum, { value }) => sum + value, 0));
  const greatest = Math.max(...sums, Number.MIN_VALUE);
  const room = WIDTH - label - BAR_TEXT;
  const rows = stacks.map(({ label: name, segments, text }, index) => {
    const y = 2 + index * BAR_ROW;
    let at = label;
    const parts = segments.map(({ value, colour, title }) => {
      const width = (value / greatest) * room;
      const part = `<rect class="${colour}" x="${round(at)}" y="${y + 4}" width="${round(width)}" height="${BAR_ROW - 8}"><title>${escapeText(title)}</title></rect>`;
      at += width;
      return part;
    });
    return (
      `<text class="label" x="${label - 8}" y="${y + 17}" text-anchor="end">${escapeText(name)}</text>` +
      `${parts.join('')}<text class="value" x="${round(at + 7)}" y="${y + 17}">${escapeText(text)}</text>`
    );
  });
  return svg(stacks.length * BAR_ROW + 4, rows.join(''), stacks.map((s) => s.label).join(', '));
}

export interface Line {
  readonly label: string;
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
}

export interface Axis {
  readonly label: string;
  readonly scale: 'linear' | 'log';
  readonly format: (value: number) => string;
  /** Where lines are drawn; chosen when left out. */
  readonly ticks?: readonly number[];
}

export interface LineChartOptions {
  readonly x: Axis;
  readonly y: Axis;
  readonly height?: number;
  /** Marks each point. */
  readonly dots?: boolean;
}

export function lineChart(lines: readonly Line[], options: LineChartOptions): string {
  const { height = 260, dots = false } = options;
  const drawn = lines.filter(({ points }) => points.length > 0);
  const xs = drawn.flatMap(({ points }) => points.map(([x]) => x));
  const ys = drawn.flatMap(({ points }) => points.map(([, y]) => y));
  if (xs.length === 0) return '';
  const xScale = newScale(options.x, xs, MARGIN.left, WIDTH - MARGIN.right);
  const yScale = newScale(options.y, ys, height - MARGIN.bottom, MARGIN.top);
  const grid = [
    ...yScale.ticks.map(
      (tick) =>
        `<path class="grid" d="M${MARGIN.left} ${round(yScale.at(tick))}H${WIDTH - MARGIN.right}"/>` +
        `<text class="tick" x="${MARGIN.left - 6}" y="${round(yScale.at(tick) + 4)}" text-anchor="end">${escapeText(options.y.format(tick))}</text>`,
    ),
    ...xScale.ticks.map((tick) => {
      const x = round(xScale.at(tick));
      // The last may stand at the edge.
      const anchor = x > WIDTH - 24 ? 'end' : 'middle';
      const at = anchor === 'end' ? WIDTH - 2 : x;
      return `<text class="tick" x="${at}" y="${height - MARGIN.bottom + 16}" text-anchor="${anchor}">${escapeText(options.x.format(tick))}</text>`;
    }),
    `<text class="tick" x="${(MARGIN.left + WIDTH) / 2}" y="${height - 2}" text-anchor="middle">${escapeText(options.x.label)}</text>`,
  ];
  const paths = drawn.map(({ points, colour, label, dashed }) => {
    const place = points.map(([x, y]) => [round(xScale.at(x)), round(yScale.at(y))] as const);
    const path = place.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${x} ${y}`).join('');
    const marks = dots
      ? place.map(([x, y]) => `<circle class="${colour}" cx="${x}" cy="${y}" r="3.5"/>`).join('')
      : '';
    return `<g><title>${escapeText(label)}</title><path class="line ${colour}${dashed ? ' dashed' : ''}" d="${path}"/>${marks}</g>`;
  });
  return svg(
    height,
    grid.join('') + paths.join(''),
    `${options.y.label}: ${drawn.map((l) => l.label).join(', ')}`,
  );
}

/** Names and colours of what a chart shows. */
export function legend(
  entries: readonly { readonly label: string; readonly colour: string }[],
): string {
  const items = entries.map(
    ({ label, colour }) =>
      `<span><svg viewBox="0 0 12 12" aria-hidden="true"><rect class="${colour}" width="12" height="12" rx="3"/></svg>${escapeText(label)}</span>`,
  );
  return `<p class="legend">${items.join('')}</p>`;
}

export function svg(height: number, content: string, description: string): string {
  return `<svg class="chart" viewBox="0 0 ${WIDTH} ${round(height)}" role="img" aria-label="${escapeText(description)}">${content}</svg>`;
}

interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

function newScale(axis: Axis, values: readonly number[], from: number, to: number): Scale {
  const positive = values.filter((value) => axis.scale === 'linear' || value > 0);
  const least = axis.scale === 'linear' ? 0 : Math.min(...positive);
  const greatest = Math.max(...positive, least);
  const ticks = axis.ticks ?? (axis.scale === 'log' ? decades(least, greatest) : steps(greatest));
  const low = Math.min(least, ...ticks);
  const high = Math.max(greatest, ...ticks);
  const place = axis.scale === 'log' ? Math.log10 : (value: number): number => value;
  const span = place(high) - place(low) || 1;
  return {
    ticks,
    at: (value) => from + ((place(Math.max(value, low)) - place(low)) / span) * (to - from),
  };
}

/** Powers of ten around a range. */
function decades(least: number, greatest: number): number[] {
  const first = Math.floor(Math.log10(least));
  const last = Math.max(first + 1, Math.ceil(Math.log10(greatest)));
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

/** Four or five round numbers from zero. */
function steps(greatest: number): number[] {
  const raw = (greatest || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step =
    [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw) ?? raw;
  return Array.from({ length: Math.ceil(greatest / step) + 1 }, (_, index) => index * step);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
