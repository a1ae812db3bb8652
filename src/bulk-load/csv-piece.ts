/** Parses a piece of separated values: the kernel does the work, this serves what it asks for. */

import {
  CSV_BAD,
  CSV_CHUNK,
  CSV_CURSOR,
  CSV_DONE,
  CSV_FINAL,
  CSV_FULL,
  CSV_LARGE,
  CSV_LARGE_BYTES,
  CSV_MORE,
  CSV_RECORD,
  CSV_RESULT_FIELDS,
  CSV_RESULT_KEY,
  CSV_RESULT_KEY_LENGTH,
  CSV_RESULT_VALUE_LENGTH,
  CSV_STATE_BYTES,
  CSV_STOP,
  CSV_TEXT_END,
  CSV_VALUE_BYTES_MAX,
  CSV_VALUE_LARGE,
} from '../kernel/assembly/load-layout.js';
import { KEY_BYTES_MAX } from '../limits.js';
import { ADDED } from './chunk-writer.js';
import { type CsvPlan, csvFault, csvPlanBytes, placeCsvPlan } from './formats/csv.js';
import { RECORD_BYTES_MAX } from './load-memory.js';
import { abortedError, type ParseEnd, type RecordSink } from './record-sink.js';

const NEWLINE = 0x0a;
/** What a blob reference and its key take in a slot at most. */
const BLOB_ENTRY_BYTES_MAX = KEY_BYTES_MAX + 1024;

export function parseCsvPiece(sink: RecordSink, plan: CsvPlan, start: number): ParseEnd {
  const { kernel, window, work, writer } = sink;
  const { exports, u32 } = kernel;
  const state = work.allocate(csvPlanBytes(plan));
  placeCsvPlan(kernel, plan, state);
  const largeBytes = RECORD_BYTES_MAX;
  const large = work.allocate(largeBytes);
  const get = (field: number): number => u32[(state + field) >>> 2] as number;
  const set = (field: number, value: number): void => {
    u32[(state + field) >>> 2] = value;
  };
  const showText = (): void => {
    set(CSV_TEXT_END, window.end);
    set(CSV_FINAL, window.isFinal ? 1 : 0);
  };
  set(CSV_CURSOR, start);
  set(CSV_STOP, sink.stop);
  set(CSV_CHUNK, sink.chunk);
  set(CSV_VALUE_BYTES_MAX, sink.valueBytesMax);
  set(CSV_LARGE, large);
  set(CSV_LARGE_BYTES, largeBytes - CSV_STATE_BYTES);
  showText();
  writer.finish();

  const ended = (end: ParseEnd['end'], cursor: number): ParseEnd => {
    writer.resume(sink.chunk);
    return { end, cursor };
  };
  while (true) {
    if (sink.isAborted) throw abortedError();
    const status = exports.csvParse(state);
    const cursor = get(CSV_CURSOR);
    switch (status) {
      case CSV_DONE:
        return ended('done', cursor);
      case CSV_FULL:
        return ended('full', cursor);
      case CSV_MORE: {
        if (window.grow()) {
          showText();
          break;
        }
        if (!sink.isTooLong(cursor)) return ended('done', cursor);
        // An open quotation mark may have taken the records behind it in: its line alone is left out.
        const newline = exports.textFind(cursor, window.end, NEWLINE) >>> 0;
        const next = Math.min(newline + 1, window.end);
        const goesOn = sink.reject(cursor, next, `longer than ${RECORD_BYTES_MAX} bytes`);
        // What follows a line without an end is no record.
        if (!goesOn || newline >= window.end) return ended('fault', cursor);
        set(CSV_CURSOR, next);
        break;
      }
      case CSV_VALUE_LARGE: {
        const record = get(CSV_RECORD);
        if (
          !addLarge(
            sink,
            get(CSV_RESULT_KEY),
            get(CSV_RESULT_KEY_LENGTH),
            get(CSV_RESULT_VALUE_LENGTH),
          )
        ) {
          return ended('blobs', record);
        }
        break;
      }
      default: {
        if (status < CSV_BAD) throw new Error(`Unknown status ${status} of the parser`);
        const record = get(CSV_RECORD);
        const reason = csvFault(status, { fields: get(CSV_RESULT_FIELDS), columns: plan.columns });
        if (!sink.reject(record, cursor, reason)) return ended('fault', record);
        if (sink.isRejectsFull) return ended('full', cursor);
      }
    }
  }
}

/** Writes a large value to a blob; false when it has to wait for another job. */
function addLarge(
  sink: RecordSink,
  keyAddress: number,
  keyLength: number,
  valueLength: number,
): boolean {
  const { kernel, writer, chunk } = sink;
  if (kernel.exports.chunkRoom(chunk) < BLOB_ENTRY_BYTES_MAX) return false;
  const value = keyAddress + keyLength;
  // The key may stand where the entry goes: a copy.
  const key = Buffer.from(kernel.bytes.subarray(keyAddress, value));
  const reference = sink.writeBlob(key, kernel.bytes.subarray(value, value + valueLength));
  if (reference === undefined) return false;
  writer.resume(chunk);
  const status = writer.addBlob(key, reference);
  if (status !== ADDED) throw new Error('A slot lost its room for a reference to a blob');
  writer.finish();
  return true;
}
