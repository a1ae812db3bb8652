/**
 * What a terminal can do: colour, bars in eighths of a character, lines that are redrawn in place.
 * Nothing of it reaches a pipe or a file.
 */

import type { WriteStream } from 'node:tty';

export type Colour = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

const CODES: Readonly<Record<Colour, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

/** Wraps text in a colour, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

/** Colour on a terminal only; never with NO_COLOR (no-color.org) or TERM=dumb. */
export function painterFor(stream: NodeJS.WriteStream): Paint {
  const { NO_COLOR, TERM } = process.env;
  const plain = !stream.isTTY || (NO_COLOR !== undefined && NO_COLOR !== '') || TERM === 'dumb';
  if (plain) return (_, text) => text;
  return (colour, text) => {
    const [on, off] = CODES[colour];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  };
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;

/** A bar of `width` characters, `share` (0 to 1) of it filled, padded with `rest`. */
export function bar(share: number, width: number, rest = ' '): string {
  const clamped = Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
  const eighths = Math.round(clamped * width * 8);
  const filled = '█'.repeat(eighths >> 3) + (EIGHTHS[eighths & 7] ?? '');
  return filled + rest.repeat(width - filled.length);
}

const LEVELS = '▁▂▃▄▅▆▇█';

/** One character per value, as high as its share of the greatest. */
export function sparkline(values: readonly number[]): string {
  const greatest = Math.max(...values, 1);
  return values.map((value) => LEVELS[Math.round((value / greatest) * 7)] ?? ' ').join('');
}

/** Columns aligned to the right, two spaces between them; the last is text, aligned to the left. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => (column < row.length - 1 ? cell.padStart(widths[column] ?? 0) : cell))
      .join('  ')
      .trimEnd(),
  );
}

/** Lines at the bottom of a terminal that are drawn again and again, then removed or left. */
export class LiveLines {
  readonly #stream: WriteStream;
  #drawn = 0;

  constructor(stream: WriteStream) {
    this.#stream = stream;
  }

  /** Replaces what was drawn before. Lines are cut at the terminal's width: a wrapped one could not be redrawn. */
  draw(lines: readonly string[]): void {
    const columns = this.#stream.columns || 80;
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    const text = lines.map((line) => `\r\u001b[2K${cut(line, columns - 1)}\n`).join('');
    this.#stream.write(`${up}${text}\u001b[0J`);
    this.#drawn = lines.length;
  }

  /** Removes what was drawn. */
  clear(): void {
    if (this.#drawn === 0) return;
    this.#stream.write(`\u001b[${this.#drawn}A\r\u001b[0J`);
    this.#drawn = 0;
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const ESCAPE_SEQUENCE = /\u001b\[[0-9;]*m/g;

/** Characters of a line as a terminal counts them: colours take no room. */
export function visibleLength(line: string): number {
  return line.replace(ESCAPE_SEQUENCE, '').length;
}

function cut(line: string, columns: number): string {
  if (visibleLength(line) <= columns) return line;
  return `${line.replace(ESCAPE_SEQUENCE, '').slice(0, Math.max(0, columns - 1))}…`;
}
