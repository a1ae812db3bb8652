/**
 * Batches on the threads of clients under load, with everything else that may happen beside them:
 * direct-load.mjs says what is checked meanwhile. LIGHTNING_DB_LOAD_SECONDS makes it longer.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const LOAD = fileURLToPath(new URL('./direct-load.mjs', import.meta.url));
const SECONDS = Number(process.env['LIGHTNING_DB_LOAD_SECONDS'] ?? 4);

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

/** The lines of what it says, until it is killed. */
function run(shards: number, writers: number, seed: number): Promise<string[]> {
  const path = join(directory.path, 'db');
  const child = spawn(process.execPath, [LOAD, path, SECONDS, shards, writers, seed].map(String), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return new Promise((resolve, reject) => {
    child.on('close', (_code, signal) => {
      if (signal === 'SIGKILL') resolve(text.split('\n').filter((line) => line !== ''));
      else reject(new Error(`It has ended by itself: ${text}`));
    });
  });
}

const versionOf = (value: string | undefined): number => Number(value?.split(':')[1] ?? 0);

/** What was acknowledged is there, and all of each batch. */
async function checkOnDisk(acknowledged: readonly number[]): Promise<void> {
  const db = await LightningDb.open(join(directory.path, 'db'), { cacheSize: 16 << 20 });
  for (const [group, version] of acknowledged.entries()) {
    const values = (await db.scan({ prefix: `g${group}-` }).toArray()).map(([, value]) => value);
    expect([...new Set(values)].length, `group ${group}`).toBeLessThanOrEqual(1);
    expect(versionOf(values[0]), `group ${group}`).toBeGreaterThanOrEqual(version);
    if (version === 0) continue;
    const tail = await db.get(`tail-${group}`);
    expect(versionOf(tail)).toBeGreaterThanOrEqual(versionOf(values[0]));
  }
  expect((await db.check()).problems).toEqual([]);
  await db.close();
}

describe('batches on the threads of clients, beside puts, transactions, flushes and reads', () => {
  it.each([
    [1, 2, 2],
    [2, 1, 4],
    [2, 2, 1],
    [3, 2, 2],
    [4, 3, 3],
  ])(
    'are whole, in order, and there after a kill: %i shards, %i writers, seed %i',
    async (shards, writers, seed) => {
      const lines = await run(shards, writers, seed);
      const [counts, acknowledged] = lines.slice(-2) as [string, string];
      // With an even seed all that was under way has come to its end.
      expect(lines.slice(0, -2)).toEqual(seed % 2 === 0 ? ['left 0 0'] : []);
      const { direct } = JSON.parse(counts.slice('counts '.length)) as { direct: number[] };
      expect(Math.min(...direct)).toBeGreaterThan(0);
      await checkOnDisk(acknowledged.split(' ').slice(1).map(Number));
    },
    (SECONDS + 60) * 1000,
  );
});
