/** Guesses what a text is from its name and its first bytes. */

import type { BulkLoadFormat } from '../options.js';

/** RFC 1952: every gzip member begins with these. */
const GZIP_MAGIC = [0x1f, 0x8b] as const;
const UTF8_MARK = [0xef, 0xbb, 0xbf] as const;
const UTF16_MARKS = [
  [0xff, 0xfe],
  [0xfe, 0xff],
] as const;

const FORMAT_OF_EXTENSION: Readonly<Record<string, BulkLoadFormat>> = {
  csv: 'csv',
  tsv: 'tsv',
  tab: 'tsv',
  ndjson: 'ndjson',
  jsonl: 'ndjson',
};

const DELIMITERS = [',', ';', '\t', '|'] as const;

export function isGzip(head: Uint8Array): boolean {
  return startsWith(head, GZIP_MAGIC);
}

/** Bytes of a byte order mark at the start. */
export function markBytes(head: Uint8Array): number {
  return startsWith(head, UTF8_MARK) ? UTF8_MARK.length : 0;
}

/** Whether lines end in a carriage return alone, as they did on some old systems. */
export function hasLinesOfCarriageReturns(head: string): boolean {
  const bare = head.replace(/"(?:[^"]|"")*"?/g, '');
  return !bare.includes('\n') && /\r(?=[^\r\n])/.test(bare);
}

export function isUtf16(head: Uint8Array): boolean {
  return UTF16_MARKS.some((mark) => startsWith(head, mark));
}

/** The format of a text, by the name's extension where that is telling, or by how it begins. */
export function detectFormat(name: string | undefined, head: string): BulkLoadFormat {
  const extension = /\.([a-z0-9]+)(?:\.gz|\.gzip)?$/i.exec(name ?? '')?.[1]?.toLowerCase() ?? '';
  const named = FORMAT_OF_EXTENSION[extension];
  if (named !== undefined) return named;
  const text = head.trimStart();
  if (text.startsWith('{')) return 'ndjson';
  if (text.startsWith('[')) return isWholeJson(firstLine(text)) && goesOn(text) ? 'ndjson' : 'json';
  // Anything else is no JSON: reading it as such says so.
  if (extension === 'json' && text !== '') return 'json';
  const line = firstLine(text);
  return line.includes('\t') && !line.includes(',') ? 'tsv' : 'csv';
}

/** What stands between the columns of a first row: what occurs most in it outside of quotes. */
export function detectDelimiter(row: string): string {
  const bare = row.replace(/"(?:[^"]|"")*"?/g, '');
  let best: string = DELIMITERS[0];
  let most = 0;
  for (const delimiter of DELIMITERS) {
    const count = bare.split(delimiter).length - 1;
    if (count > most) {
      best = delimiter;
      most = count;
    }
  }
  return best;
}

/**
 * Whether a first row names the columns: it does when an option refers to one of the names, or when
 * it looks like names above columns of numbers. In doubt it is a record: a header loaded by
 * mistake is easily seen, a record that is missing is not.
 */
export function detectHeader(
  rows: readonly (readonly string[])[],
  referredNames: readonly string[],
): boolean {
  const [first, ...below] = rows;
  if (first === undefined) return false;
  const names = new Set(first);
  if (referredNames.some((name) => names.has(name) && !/^\d+$/.test(name))) return true;
  if (names.size !== first.length || !first.every(looksLikeName)) return false;
  if (first.some((name) => TELLING_NAMES.has(name.toLowerCase()))) return true;
  return first.some((_, column) => {
    const fields = below.map((row) => row[column] ?? '').filter((field) => field !== '');
    return fields.length > 0 && fields.every(looksLikeNumber);
  });
}

const TELLING_NAMES: ReadonlySet<string> = new Set(['id', 'key', 'value', 'name', 'uuid']);

function looksLikeName(field: string): boolean {
  return field.length <= 64 && /^[\p{L}_][\p{L}\p{N}_ .\-/()]*$/u.test(field);
}

/** Numbers, dates, times. */
function looksLikeNumber(field: string): boolean {
  return /\d/.test(field) && /^[\d.,:+\-/% TZeE]+$/.test(field);
}

function startsWith(bytes: Uint8Array, start: readonly number[]): boolean {
  return start.every((byte, index) => bytes[index] === byte);
}

function firstLine(text: string): string {
  return /^[^\n]*/.exec(text)?.[0] ?? '';
}

/** Whether another record follows the first line. */
function goesOn(text: string): boolean {
  return /^\s*[[{]/.test(text.slice(firstLine(text).length));
}

function isWholeJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}
