/**
 * Separated values: how key and value are put together from the columns, as data for the kernel's
 * parser (csv.ts there).
 */

import { InvalidArgumentError } from '../../errors.js';
import {
  CSV_BAD_AFTER_QUOTE,
  CSV_BAD_FIELD_COUNT,
  CSV_BAD_KEY_LONG,
  CSV_BAD_KEY_MISSING,
  CSV_BAD_QUOTE_IN_FIELD,
  CSV_BAD_UNTERMINATED,
  CSV_BAD_UTF8,
  CSV_BAD_VALUE_LONG,
  CSV_COLUMNS,
  CSV_DELIMITER,
  CSV_FIELD_BYTES,
  CSV_FIELDS,
  CSV_KEY,
  CSV_KEY_PIECES,
  CSV_PIECE_BYTES,
  CSV_PIECE_FIELD,
  CSV_PIECE_JSON,
  CSV_PIECE_LITERAL,
  CSV_QUOTES,
  CSV_STATE_BYTES,
  CSV_VALUE,
  CSV_VALUE_PIECES,
} from '../../kernel/assembly/load-layout.js';
import type { Kernel } from '../../kernel/kernel.js';
import { KEY_BYTES_MAX } from '../../limits.js';
import { describe } from '../../options.js';
import type { Selector } from './template.js';

/** Columns of one record. */
export const CSV_COLUMNS_MAX = 16_384;

/** More would not help to find the one that was meant. */
const NAMES_SHOWN_MAX = 20;

export type CsvPiece =
  | { readonly kind: 'literal'; readonly text: string }
  /** `json`: as a JSON string. */
  | { readonly kind: 'field' | 'json'; readonly column: number };

/** What a parse needs to know; plain data. */
export interface CsvPlan {
  readonly delimiter: number;
  readonly quotes: boolean;
  readonly columns: number;
  readonly key: readonly CsvPiece[];
  readonly value: readonly CsvPiece[];
}

export interface CsvPlanOptions {
  readonly delimiter: number;
  readonly quotes: boolean;
  readonly columns: number;
  /** Column names, when the first row gives them. */
  readonly names: readonly string[] | undefined;
  /** As it stands there, for messages. */
  readonly firstRow: readonly string[];
  readonly key: Selector;
  readonly value: Selector;
  /** A single column becomes JSON text, as the database's encoding wants it, instead of plain text. */
  readonly keyAsJson: boolean;
  readonly valueAsJson: boolean;
}

/** Throws `InvalidArgumentError` for columns that do not exist. */
export function planCsv(options: CsvPlanOptions): CsvPlan {
  const { delimiter, quotes, columns, keyAsJson, valueAsJson } = options;
  return {
    delimiter,
    quotes,
    columns,
    key: piecesOf(options.key, options, keyAsJson),
    value: piecesOf(options.value, options, valueAsJson),
  };
}

function piecesOf(selector: Selector, options: CsvPlanOptions, asJson: boolean): CsvPiece[] {
  switch (selector.kind) {
    case 'record':
      return recordPieces(options);
    case 'field':
      return [{ kind: asJson ? 'json' : 'field', column: columnOf(selector.name, options) }];
    case 'template':
      return selector.pieces.map((piece) =>
        piece.kind === 'literal'
          ? piece
          : { kind: 'field' as const, column: columnOf(piece.name, options) },
      );
  }
}

/** An object with the columns' names, or without names a list. */
function recordPieces({ names, columns }: CsvPlanOptions): CsvPiece[] {
  const pieces: CsvPiece[] = [];
  for (let column = 0; column < columns; column++) {
    let text = column === 0 ? (names === undefined ? '[' : '{') : ',';
    if (names !== undefined) {
      checkUnique(names, column, 'a record is no JSON object; say what the value is');
      text += `${JSON.stringify(names[column])}:`;
    }
    pieces.push({ kind: 'literal', text }, { kind: 'json', column });
  }
  pieces.push({ kind: 'literal', text: names === undefined ? ']' : '}' });
  return pieces;
}

function columnOf(name: string, { names, columns, firstRow }: CsvPlanOptions): number {
  const named = names?.indexOf(name) ?? -1;
  if (named >= 0) {
    checkUnique(names ?? [], named, 'refer to columns by number');
    return named;
  }
  if (/^\d+$/.test(name) && Number(name) < columns) return Number(name);
  const known =
    names === undefined
      ? `the columns have numbers from 0 and no names, since the first row (${listed(firstRow)}) is not taken for a header`
      : `the columns are ${listed(names)}`;
  throw new InvalidArgumentError(`Cannot find column "${name}": ${known}`, {
    details: { column: name },
  });
}

/** A list of names as a message shows it. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN_MAX).map((name) => describe(name));
  return `${shown.join(', ')}${names.length > NAMES_SHOWN_MAX ? ', …' : ''}`;
}

function checkUnique(names: readonly string[], column: number, advice: string): void {
  const name = names[column];
  if (names.indexOf(name as string) === names.lastIndexOf(name as string)) return;
  throw new InvalidArgumentError(
    `Column name "${name}" stands for more than one column: ${advice}`,
    { details: { column: name } },
  );
}

/** Room that `placeCsvPlan` needs. */
export function csvPlanBytes(plan: CsvPlan): number {
  let bytes = CSV_STATE_BYTES + plan.columns * CSV_FIELD_BYTES + 64;
  for (const piece of [...plan.key, ...plan.value]) {
    bytes += CSV_PIECE_BYTES + 16;
    if (piece.kind === 'literal') bytes += Buffer.byteLength(piece.text) + 16;
  }
  return bytes;
}

/** Writes the parser's state and what it refers to at `address`; returns the address behind all of it. */
export function placeCsvPlan(kernel: Kernel, plan: CsvPlan, address: number): number {
  const { u32 } = kernel;
  let next = address + CSV_STATE_BYTES;
  const take = (bytes: number): number => {
    const at = next;
    next = Math.ceil((next + bytes) / 16) * 16;
    return at;
  };
  const placePieces = (pieces: readonly CsvPiece[]): number => {
    const at = take(pieces.length * CSV_PIECE_BYTES);
    pieces.forEach((piece, index) => {
      const word = (at + index * CSV_PIECE_BYTES) >>> 2;
      if (piece.kind === 'literal') {
        const text = Buffer.from(piece.text);
        const place = take(text.length);
        kernel.bytes.set(text, place);
        u32[word] = CSV_PIECE_LITERAL;
        u32[word + 1] = place;
        u32[word + 2] = text.length;
      } else {
        u32[word] = piece.kind === 'json' ? CSV_PIECE_JSON : CSV_PIECE_FIELD;
        u32[word + 1] = piece.column;
      }
    });
    return at;
  };
  const set = (field: number, value: number): void => {
    u32[(address + field) >>> 2] = value;
  };
  set(CSV_DELIMITER, plan.delimiter);
  set(CSV_QUOTES, plan.quotes ? 1 : 0);
  set(CSV_COLUMNS, plan.columns);
  set(CSV_FIELDS, take(plan.columns * CSV_FIELD_BYTES));
  set(CSV_KEY, placePieces(plan.key));
  set(CSV_KEY_PIECES, plan.key.length);
  set(CSV_VALUE, placePieces(plan.value));
  set(CSV_VALUE_PIECES, plan.value.length);
  return next;
}

/** What is wrong with a record, from the parser's status. */
export function csvFault(
  status: number,
  { fields, columns }: { readonly fields: number; readonly columns: number },
): string {
  switch (status) {
    case CSV_BAD_QUOTE_IN_FIELD:
      return 'a quotation mark inside a field that does not begin with one';
    case CSV_BAD_AFTER_QUOTE:
      return 'text after the closing quotation mark of a field';
    case CSV_BAD_UNTERMINATED:
      return 'a quotation mark is never closed';
    case CSV_BAD_FIELD_COUNT:
      return `${fields} ${fields === 1 ? 'field' : 'fields'} instead of ${columns}`;
    case CSV_BAD_KEY_MISSING:
      return 'the key is missing';
    case CSV_BAD_KEY_LONG:
      return `the key is longer than ${KEY_BYTES_MAX} bytes`;
    case CSV_BAD_VALUE_LONG:
      return 'the value is too long';
    case CSV_BAD_UTF8:
      return 'not UTF-8';
    default:
      return `unknown fault ${status}`;
  }
}
