/**
 * A process with less of something than it would like: opens a database, writes, reads, and says how
 * that went as one line of JSON. Nothing it meets may be other than an error of the library's own.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { LightningDb } from 'lightning-db';

const {
  path,
  options,
  puts,
  valueBytes,
  large = 0,
  room = false,
  more = 0,
} = JSON.parse(readFileSync(0, 'utf8'));
/** No compression makes room for these. */
const value = (key) => `${key}:${randomBytes(valueBytes / 2).toString('hex')}`;
const refused = {};
const note = (error) => {
  if (typeof error?.code !== 'string' || !error.code.startsWith('LIGHTNING_')) throw error;
  refused[error.code] = (refused[error.code] ?? 0) + 1;
};
const say = (result) => writeSync(1, `${JSON.stringify(result)}\n`);

let db;
try {
  db = await LightningDb.open(path, options);
} catch (error) {
  note(error);
  say({ opened: false, refused, message: error.message });
  process.exit(0);
}
const written = new Set();
async function putAll(from, to) {
  for (let i = from; i < to; i++) {
    const key = `key-${i}`;
    try {
      await db.put(key, i < large ? value(key).padEnd(400_000, value(key)) : value(key));
      written.add(key);
      if (i % 50 === 49) await db.flush();
    } catch (error) {
      note(error);
    }
  }
}
await putAll(0, puts);
/** The parent changes what there is, and says so. */
async function change() {
  // The signal may come as soon as the parent knows; not heard, it would end the process.
  const changed = new Promise((resolve) => process.once('SIGUSR2', resolve));
  say({ waiting: true, refused });
  // An idle database does not keep a process running.
  const keepAlive = setInterval(() => {}, 1000);
  await changed;
  clearInterval(keepAlive);
}
if (more > 0) {
  await change();
  await putAll(puts, puts + more);
}
if (room) {
  await change();
  const startMs = performance.now();
  for (;;) {
    try {
      await db.put('after', 'there is room');
      written.add('after');
      break;
    } catch (error) {
      if (performance.now() - startMs > 20_000) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
let wrong = 0;
for (const key of written) {
  try {
    const found = await db.get(key);
    if (found === undefined || !(found.startsWith(`${key}:`) || found === 'there is room')) wrong++;
  } catch (error) {
    note(error);
  }
}
let closed = true;
await db.close().catch((error) => {
  note(error);
  closed = false;
});
say({ opened: true, written: [...written], refused, wrong, closed });
