/** From one JSON value, a line of NDJSON or an element of an array, to a key and a value. */

import { jsonFieldText } from './json-field.js';
import type { Selector } from './template.js';

/** `pair`: the one or the other half of a `[key, value]` or `{ key, value }`. */
export type JsonSelector = Selector | { readonly kind: 'pair' };

export interface JsonRecordOptions {
  readonly key: JsonSelector;
  readonly value: JsonSelector;
  /** A single field becomes JSON text, as the database's encoding wants it, instead of plain text. */
  readonly keyAsJson: boolean;
  readonly valueAsJson: boolean;
}

/** `value` is undefined when the record's own text is the value. */
export interface JsonEntry {
  readonly key: string;
  readonly value: string | undefined;
}

/** Why a record cannot be loaded. */
export class RecordFault extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'RecordFault';
  }
}

type JsonField = { readonly value: unknown; readonly path: readonly string[] };

export class JsonRecordReader {
  readonly #options: JsonRecordOptions;

  constructor(options: JsonRecordOptions) {
    this.#options = options;
  }

  /** Key and value of one record. Throws `RecordFault`. */
  read(text: string): JsonEntry {
    let record: unknown;
    try {
      record = JSON.parse(text);
    } catch (error) {
      throw new RecordFault(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
    const { key, value, keyAsJson, valueAsJson } = this.#options;
    const entry = {
      key:
        key.kind === 'record'
          ? text.trim()
          : this.#select({ name: 'key', selector: key, asJson: keyAsJson, record, text }),
      value:
        value.kind === 'record'
          ? undefined
          : this.#select({ name: 'value', selector: value, asJson: valueAsJson, record, text }),
    };
    // Only an escape can bring half a surrogate pair in; UTF-8 has no bytes for it.
    if (text.includes('\\u') && (isTorn(entry.key) || isTorn(entry.value ?? ''))) {
      throw new RecordFault('half of a surrogate pair cannot be stored');
    }
    return entry;
  }

  #select(request: {
    readonly name: 'key' | 'value';
    readonly selector: Exclude<JsonSelector, { kind: 'record' }>;
    readonly asJson: boolean;
    readonly record: unknown;
    readonly text: string;
  }): string {
    const { name, selector, asJson, record, text } = request;
    if (selector.kind !== 'template') {
      const fieldName = selector.kind === 'pair' ? halfOf(record, name) : selector.name;
      const field = findField(record, fieldName);
      checkField(field, name, fieldName);
      if (asJson && typeof field.value === 'string') return JSON.stringify(field.value);
      return fieldText(field, text);
    }
    let out = '';
    for (const piece of selector.pieces) {
      if (piece.kind === 'literal') {
        out += piece.text;
        continue;
      }
      const field = findField(record, piece.name);
      checkField(field, name, piece.name);
      out += fieldText(field, text);
    }
    return out;
  }
}

function halfOf(record: unknown, name: 'key' | 'value'): string {
  if (Array.isArray(record)) return name === 'key' ? '0' : '1';
  return name;
}

/** A member of exactly this name goes before a path through several. */
function findField(record: unknown, name: string): JsonField | undefined {
  const direct = member(record, name);
  if (direct !== undefined) return { value: direct, path: [name] };
  if (!name.includes('.')) return undefined;
  const path = name.split('.');
  let value: unknown = record;
  for (const step of path) {
    value = member(value, step);
    if (value === undefined) return undefined;
  }
  return { value, path };
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) && !/^(0|[1-9]\d*)$/.test(name)) return undefined;
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function checkField(
  field: JsonField | undefined,
  name: 'key' | 'value',
  fieldName: string,
): asserts field is JsonField {
  if (field === undefined) throw new RecordFault(`the ${name} field "${fieldName}" is missing`);
  if (name === 'value') return;
  if (field.value === null) throw new RecordFault(`the key field "${fieldName}" is null`);
  if (typeof field.value === 'object') {
    throw new RecordFault(`the key field "${fieldName}" is an object or a list`);
  }
}

/** Strings as they are; everything else as JSON, with the digits of the source. */
function fieldText(field: JsonField, text: string): string {
  const { value, path } = field;
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) return String(value);
      return jsonFieldText(text, path) ?? String(value);
    case 'object':
      return value === null ? 'null' : (jsonFieldText(text, path) ?? JSON.stringify(value));
    default:
      return String(value);
  }
}

function isTorn(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}
