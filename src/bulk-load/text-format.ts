/** Decides how a text is to be read, from the options and from how it begins. */

import {
  CSV_BAD,
  CSV_CURSOR,
  CSV_DONE,
  CSV_FIELD_BYTES,
  CSV_FIELD_ESCAPED,
  CSV_FIELD_FLAGS,
  CSV_FIELD_LENGTH,
  CSV_FIELD_START,
  CSV_FIELDS,
  CSV_FINAL,
  CSV_RESULT_FIELDS,
  CSV_STOP,
  CSV_TEXT_END,
} from '../kernel/assembly/load-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { CSV_COLUMNS_MAX, csvPlanBytes, placeCsvPlan, planCsv } from './formats/csv.js';
import {
  detectDelimiter,
  detectFormat,
  detectHeader,
  hasLinesOfCarriageReturns,
  isUtf16,
  markBytes,
} from './formats/detect.js';
import type { JsonSelector } from './formats/json-record.js';
import { parseSelector, selectorFields } from './formats/template.js';
import type { RecordFormat } from './load-jobs.js';
import type { BulkLoadFormat, BulkLoadOptions } from './options.js';
import type { RejectLog } from './reject-log.js';
import type { WorkArea } from './work-area.js';

/** Bytes that decide: a first row has to fit. */
export const HEAD_BYTES = 1024 * 1024;
const SAMPLE_ROWS = 50;
const HEAD_TEXT_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

export interface TextFormat {
  readonly format: BulkLoadFormat;
  readonly header: boolean | undefined;
  /** Of JSON arrays: without `last`. */
  readonly records: RecordFormat;
  /** Bytes in front of the first record: byte order mark and header. */
  readonly dataOffset: number;
  /** Number of the line that the first record begins at. */
  readonly dataLine: number;
}

export interface TextHead {
  readonly kernel: Kernel;
  /** The text's first bytes. */
  readonly address: number;
  readonly bytes: number;
  /** Whether that is all of it. */
  readonly isWhole: boolean;
  /** Name of the file, for its extension. */
  readonly name: string | undefined;
  /** Room for a trial parse. */
  readonly work: WorkArea;
  /** Whether the database's encodings are JSON. */
  readonly keyAsJson: boolean;
  readonly valueAsJson: boolean;
}

export function decideTextFormat(
  head: TextHead,
  options: BulkLoadOptions,
  rejects: RejectLog,
): TextFormat {
  const { kernel, address, bytes } = head;
  const view = kernel.bytes.subarray(address, address + bytes);
  if (isUtf16(view)) throw rejects.errorAt(1, 'the text is UTF-16: convert it to UTF-8');
  const mark = markBytes(view);
  const text = view.toString('utf8', mark, mark + HEAD_TEXT_BYTES);
  const format = options.format ?? detectFormat(head.name, text);
  if (format === 'csv' || format === 'tsv') {
    return decideCsv(head, options, rejects, { format, mark, text });
  }
  const { key, value } = jsonSelectors(options);
  const { keyAsJson, valueAsJson } = head;
  const json = { key, value, keyAsJson, valueAsJson };
  return {
    format,
    header: undefined,
    records: format === 'json' ? { kind: 'elements', json, last: false } : { kind: 'lines', json },
    dataOffset: mark,
    dataLine: 1,
  };
}

function jsonSelectors({ key, value }: BulkLoadOptions): {
  readonly key: JsonSelector;
  readonly value: JsonSelector;
} {
  const whole = { kind: key === undefined ? 'pair' : 'record' } as const;
  return {
    key: key === undefined ? { kind: 'pair' } : parseSelector('key', key),
    value: value === undefined ? whole : parseSelector('value', value),
  };
}

function decideCsv(
  head: TextHead,
  options: BulkLoadOptions,
  rejects: RejectLog,
  found: { readonly format: 'csv' | 'tsv'; readonly mark: number; readonly text: string },
): TextFormat {
  const { format, mark, text } = found;
  const quotes = options.quotes ?? true;
  const firstRow = /^(?:[\r\n]*)((?:"(?:[^"]|"")*"?|[^"\n])*)/.exec(text)?.[1] ?? '';
  const delimiter = delimiterOf(options, format, quotes ? firstRow : firstRow.replaceAll('"', ''));
  if (hasLinesOfCarriageReturns(quotes ? text : text.replaceAll('"', ''))) {
    throw rejects.errorAt(1, 'lines end in a carriage return alone: convert them to newlines');
  }
  const rows = sampleRows(head, { mark, delimiter, quotes });
  const [first] = rows;
  const selectors = [options.key, options.value].flatMap((selector) =>
    selector === undefined ? [] : [parseSelector('value', selector)],
  );
  const header =
    typeof options.header === 'boolean'
      ? options.header
      : first?.isFirst === true &&
        detectHeader(
          rows.map(({ fields }) => fields),
          selectors.flatMap(selectorFields),
        );
  const columns = first?.fields.length ?? 1;
  if (first === undefined && head.bytes > mark && !head.isWhole) {
    throw rejects.errorAt(1, `the first row is longer than ${HEAD_BYTES} bytes`);
  }
  if (columns > CSV_COLUMNS_MAX) {
    throw rejects.errorAt(1, `${columns} columns: ${CSV_COLUMNS_MAX} are possible`);
  }
  // Without a row there is nothing to select from, and nothing that is missing.
  const isEmpty = first === undefined;
  const bothDefault = options.key === undefined && options.value === undefined;
  const plan = planCsv({
    delimiter,
    quotes,
    columns,
    names: header ? first?.fields : undefined,
    firstRow: first?.fields ?? [],
    key: parseSelector('key', isEmpty ? 0 : (options.key ?? 0)),
    value: parseSelector(
      'value',
      isEmpty ? '*' : (options.value ?? (bothDefault && columns === 2 ? 1 : '*')),
    ),
    keyAsJson: head.keyAsJson,
    valueAsJson: head.valueAsJson,
  });
  const dataOffset = header ? (first?.end ?? mark) : mark;
  const lines = head.kernel.exports.textCount(head.address, dataOffset, NEWLINE);
  return { format, header, records: { kind: 'csv', plan }, dataOffset, dataLine: lines + 1 };
}

function delimiterOf(options: BulkLoadOptions, format: 'csv' | 'tsv', firstRow: string): number {
  const delimiter = options.delimiter ?? (format === 'tsv' ? '\t' : detectDelimiter(firstRow));
  return delimiter.charCodeAt(0);
}

interface SampleRow {
  readonly fields: readonly string[];
  /** Offset behind the row. */
  readonly end: number;
  /** Whether no row that cannot be read stands before it. */
  readonly isFirst: boolean;
}

/** Those of the first rows that can be read. */
function sampleRows(
  { kernel, address, bytes, isWhole, work }: TextHead,
  dialect: { readonly mark: number; readonly delimiter: number; readonly quotes: boolean },
): SampleRow[] {
  const { delimiter, quotes, mark } = dialect;
  const { exports, u32 } = kernel;
  const plan = { delimiter, quotes, columns: CSV_COLUMNS_MAX, key: [], value: [] };
  const state = work.allocate(csvPlanBytes(plan));
  placeCsvPlan(kernel, plan, state);
  const set = (field: number, value: number): void => {
    u32[(state + field) >>> 2] = value;
  };
  const get = (field: number): number => u32[(state + field) >>> 2] as number;
  set(CSV_CURSOR, address + mark);
  set(CSV_TEXT_END, address + bytes);
  set(CSV_STOP, address + bytes);
  set(CSV_FINAL, isWhole ? 1 : 0);
  const rows: SampleRow[] = [];
  for (let attempt = 0; attempt < SAMPLE_ROWS; attempt++) {
    set(CSV_RESULT_FIELDS, 0);
    const status = exports.csvSplit(state);
    if (status >= CSV_BAD) continue;
    const count = get(CSV_RESULT_FIELDS);
    if (status !== CSV_DONE || count === 0) break;
    rows.push({
      fields: readFields(kernel, get(CSV_FIELDS), count),
      end: get(CSV_CURSOR) - address,
      isFirst: attempt === 0,
    });
  }
  return rows;
}

function readFields(kernel: Kernel, table: number, count: number): string[] {
  return Array.from({ length: Math.min(count, CSV_COLUMNS_MAX + 1) }, (_, column) => {
    if (column >= CSV_COLUMNS_MAX) return '';
    const word = (table + column * CSV_FIELD_BYTES) >>> 2;
    const start = kernel.u32[word + CSV_FIELD_START / 4] as number;
    const length = kernel.u32[word + CSV_FIELD_LENGTH / 4] as number;
    const flags = kernel.u32[word + CSV_FIELD_FLAGS / 4] as number;
    const field = kernel.bytes.toString('utf8', start, start + length);
    return (flags & CSV_FIELD_ESCAPED) !== 0 ? field.replaceAll('""', '"') : field;
  });
}
