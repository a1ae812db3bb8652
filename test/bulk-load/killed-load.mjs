/**
 * A process that loads, and is killed while it does: `node killed-load.mjs DIRECTORY ENTRIES KILL`.
 * KILL says where it kills itself: a phase, `before-intent`, `after-intent`, `before-removal`,
 * `after-removal`, or `never`.
 */

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const [directory, count, kill] = process.argv.slice(2);
const die = () => {
  process.kill(process.pid, 'SIGKILL');
  // The signal may take a moment: nothing more happens until it has arrived.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};
const isIntent = (path) => /bulk-[^/]*\.json$/.test(path);

const { renameSync, unlinkSync } = fs;
fs.renameSync = (from, to) => {
  if (kill === 'before-intent' && isIntent(to)) die();
  renameSync(from, to);
  if (kill === 'after-intent' && isIntent(to)) die();
};
fs.unlinkSync = (path) => {
  if (kill === 'before-removal' && isIntent(path)) die();
  unlinkSync(path);
  if (kill === 'after-removal' && isIntent(path)) die();
};
syncBuiltinESMExports();

const { LightningDb } = await import(process.env.LIGHTNING_TEST_LIBRARY ?? '../../dist/index.js');

function* entries() {
  for (let i = 0; i < Number(count); i++) {
    const n = (i * 2654435761) % 4294967296;
    yield [`load:${n}`, `value ${n} ${'x'.repeat(n % 200)}`];
    if (i % 1000 === 0) yield [`base:${i / 1000}`, 'new'];
  }
}

await LightningDb.bulkLoad(directory, entries(), {
  memoryBytes: 16 * 1024 * 1024,
  progressIntervalMs: 0,
  onProgress: ({ phase }) => {
    if (phase === kill) die();
  },
});
process.stdout.write('loaded');
