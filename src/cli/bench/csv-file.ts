/** The records as a CSV file, in random order. */

import { closeSync, openSync, writeSync } from 'node:fs';
import { KEY_BYTES, type Records, VALUE_BYTES } from './records.js';

const LINE_BYTES = KEY_BYTES + VALUE_BYTES + 2;
const LINES_PER_WRITE = 5000;
const COMMA = ','.charCodeAt(0);
const NEWLINE = '\n'.charCodeAt(0);

export function writeCsv(records: Records, path: string): void {
  const file = openSync(path, 'w');
  try {
    writeAll(file, Buffer.from('key,value\n'));
    const lines = Buffer.alloc(LINE_BYTES * LINES_PER_WRITE);
    for (let i = 0; i < records.count; ) {
      let at = 0;
      for (const end = Math.min(records.count, i + LINES_PER_WRITE); i < end; i++) {
        const id = records.shuffled(i);
        lines.set(records.key(id), at);
        lines[at + KEY_BYTES] = COMMA;
        lines.set(records.value(id, 0), at + KEY_BYTES + 1);
        lines[at + LINE_BYTES - 1] = NEWLINE;
        at += LINE_BYTES;
      }
      writeAll(file, lines.subarray(0, at));
    }
  } finally {
    closeSync(file);
  }
}

function writeAll(file: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}
