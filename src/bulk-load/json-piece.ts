/** Parses a piece of JSON records: lines, or the elements of an array. */

import {
  JSON_CLOSED,
  JSON_CURSOR,
  JSON_DEPTH,
  JSON_ELEMENT,
  JSON_ELEMENTS,
  JSON_ELEMENTS_MAX,
  JSON_END,
  JSON_IN_STRING,
  JSON_OUT,
  JSON_STATE_BYTES,
} from '../kernel/assembly/load-layout.js';
import { KEY_BYTES_MAX } from '../limits.js';
import { asStringBuffer, type StringBuffer } from '../router/string-buffer.js';
import { ADDED, CHUNK_FULL, KEY_TOO_LONG } from './chunk-writer.js';
import { JsonRecordReader, RecordFault } from './formats/json-record.js';
import type { RecordFormat } from './load-jobs.js';
import { RECORD_BYTES_MAX } from './load-memory.js';
import { abortedError, type ParseEnd, type RecordSink } from './record-sink.js';

const NEWLINE = 0x0a;
const ELEMENTS_AT_ONCE = 16_384;
/** Records between two looks at the abort flag. */
const RECORDS_PER_LOOK = 1024;

type JsonFormat = Exclude<RecordFormat, { kind: 'csv' }>;

export function parseJsonPiece(sink: RecordSink, format: JsonFormat, start: number): ParseEnd {
  const parser = new JsonPieceParser(sink, format);
  const ended =
    format.kind === 'lines' ? parser.parseLines(start) : parser.parseElements(start, format.last);
  sink.writer.finish();
  return ended;
}

class JsonPieceParser {
  readonly #sink: RecordSink;
  readonly #reader: JsonRecordReader;
  readonly #bytes: StringBuffer;
  #records = 0;

  constructor(sink: RecordSink, format: JsonFormat) {
    this.#sink = sink;
    this.#reader = new JsonRecordReader(format.json);
    this.#bytes = asStringBuffer(sink.kernel.bytes);
  }

  parseLines(first: number): ParseEnd {
    const { kernel, window, stop } = this.#sink;
    let start = first;
    while (start <= stop) {
      let newline = kernel.exports.textFind(start, window.end, NEWLINE) >>> 0;
      while (newline >= window.end && !window.isFinal && window.grow()) {
        newline = kernel.exports.textFind(start, window.end, NEWLINE) >>> 0;
      }
      const isWhole = newline < window.end || window.isFinal;
      if (!isWhole && !this.#sink.isTooLong(start)) break;
      if (start >= window.end) break;
      const next = Math.min(newline + 1, window.end);
      if (!isWhole) {
        this.#sink.reject(start, next, `longer than ${RECORD_BYTES_MAX} bytes`);
        // What follows a line without an end is no record.
        return { end: 'fault', cursor: start };
      }
      const ended = this.#record(start, newline, next);
      if (ended !== undefined) return ended;
      start = next;
    }
    return { end: 'done', cursor: start };
  }

  parseElements(first: number, last: boolean): ParseEnd {
    const { kernel, work, window } = this.#sink;
    const { u32 } = kernel;
    const state = work.allocate(JSON_STATE_BYTES);
    const out = work.allocate(ELEMENTS_AT_ONCE * 8);
    const set = (field: number, value: number): void => {
      u32[(state + field) >>> 2] = value;
    };
    const get = (field: number): number => u32[(state + field) >>> 2] as number;
    set(JSON_CURSOR, first);
    set(JSON_END, window.end);
    set(JSON_DEPTH, 1);
    set(JSON_IN_STRING, 0);
    set(JSON_ELEMENT, first);
    set(JSON_OUT, out);
    set(JSON_ELEMENTS_MAX, ELEMENTS_AT_ONCE);
    set(JSON_CLOSED, 0);
    while (true) {
      kernel.exports.jsonScan(state);
      const count = get(JSON_ELEMENTS);
      for (let i = 0; i < count; i++) {
        const start = u32[(out >>> 2) + i * 2] as number;
        const end = start + (u32[(out >>> 2) + i * 2 + 1] as number);
        const ended = this.#element(start, end, end + 1);
        if (ended !== undefined) return ended;
      }
      if (count < ELEMENTS_AT_ONCE) break;
    }
    const rest = get(JSON_ELEMENT);
    // An empty array has no element behind its last comma either: the caller has told them apart.
    if (last) {
      const ended = this.#record(rest, window.end, window.end);
      if (ended !== undefined) return ended;
    }
    return { end: 'done', cursor: window.end };
  }

  #element(start: number, end: number, next: number): ParseEnd | undefined {
    const { begin, stop } = trim(this.#bytes, start, end);
    if (begin < stop) return this.#record(start, end, next);
    return this.#fault(start, next, 'an element is missing between commas');
  }

  /** Takes the record in [start, end); what ends the parse, if anything does. */
  #record(start: number, end: number, next: number): ParseEnd | undefined {
    if (this.#records++ % RECORDS_PER_LOOK === 0 && this.#sink.isAborted) throw abortedError();
    const { begin, stop } = trim(this.#bytes, start, end);
    if (begin === stop) return undefined;
    if (this.#sink.kernel.exports.utf8Valid(begin, stop - begin) === 0) {
      return this.#fault(begin, next, 'not UTF-8');
    }
    try {
      const text = this.#bytes.utf8Slice(begin, stop);
      const { key, value } = this.#reader.read(text);
      return this.#add(key, value, { begin, stop, next });
    } catch (error) {
      if (!(error instanceof RecordFault)) throw error;
      return this.#fault(begin, next, error.message);
    }
  }

  #add(
    key: string,
    value: string | undefined,
    at: { readonly begin: number; readonly stop: number; readonly next: number },
  ): ParseEnd | undefined {
    const { writer } = this.#sink;
    const status =
      value === undefined ? writer.addCopy(key, at.begin, at.stop) : writer.add(key, value);
    if (status === ADDED) return undefined;
    if (status === CHUNK_FULL) return { end: 'full', cursor: at.begin };
    if (status === KEY_TOO_LONG || Buffer.byteLength(key) > KEY_BYTES_MAX) {
      return this.#fault(at.begin, at.next, `the key is longer than ${KEY_BYTES_MAX} bytes`);
    }
    const bytes =
      value === undefined ? this.#bytes.subarray(at.begin, at.stop) : Buffer.from(value);
    if (!writer.hasRoomForBlob(key)) return { end: 'full', cursor: at.begin };
    const reference = this.#sink.writeBlob(Buffer.from(key), bytes);
    if (reference === undefined) return { end: 'blobs', cursor: at.begin };
    writer.addBlob(key, reference);
    return undefined;
  }

  #fault(start: number, next: number, reason: string): ParseEnd | undefined {
    if (!this.#sink.reject(start, next, reason)) return { end: 'fault', cursor: start };
    return this.#sink.isRejectsFull ? { end: 'full', cursor: next } : undefined;
  }
}

/** Bounds without JSON's blanks at both ends. */
function trim(bytes: Buffer, start: number, end: number): { begin: number; stop: number } {
  let begin = start;
  let stop = end;
  while (begin < stop && isBlank(bytes[begin] as number)) begin++;
  while (stop > begin && isBlank(bytes[stop - 1] as number)) stop--;
  return { begin, stop };
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
