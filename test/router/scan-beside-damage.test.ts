/** A scan reads ahead: what it reads too far must not cost it anything. */

import { closeSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CorruptionError, LightningDb } from 'lightning-db';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const COUNT = 4000;
const keyOf = (i: number): string => `key-${String(i).padStart(6, '0')}`;
const VALUE = 'v'.repeat(100);
const config = { shards: 1, compressionEnabled: false, prefetch: 64 } as const;

function tableIn(directory: string): string {
  for (const shard of readdirSync(directory, { withFileTypes: true })) {
    if (!shard.isDirectory()) continue;
    const path = join(directory, shard.name);
    const table = readdirSync(path).find((name) => name.endsWith('.table'));
    if (table !== undefined) return join(path, table);
  }
  throw new Error('There is no table');
}

it('meets a damaged block only if it has keys of the range', async () => {
  const directory = temporaryDirectory();
  let db = await LightningDb.open(directory.path, config);
  const batch = db.batch();
  for (let i = 0; i < COUNT; i++) batch.put(keyOf(i), VALUE);
  await batch.write();
  await db.compact();
  await db.close();
  // In the middle of the keys.
  const path = tableIn(directory.path);
  const file = openSync(path, 'r+');
  writeSync(file, 'damage', Math.floor(statSync(path).size / 2));
  closeSync(file);

  db = await LightningDb.open(directory.path, config);
  const keys = async (range: object): Promise<number> => {
    const read = await db.scan({ ...range, values: false }).toArray();
    expect(Array.from(db.scanSync({ ...range, values: false }))).toEqual(read);
    return read.length;
  };
  const low = { lt: keyOf(COUNT * 0.45) };
  const high = { gte: keyOf(COUNT * 0.55) };
  expect(await keys(low)).toBe(COUNT * 0.45);
  expect(await keys(high)).toBe(COUNT * 0.45);
  await expect(db.scan().toArray()).rejects.toBeInstanceOf(CorruptionError);
  expect(() => Array.from(db.scanSync({ reverse: true }))).toThrow(CorruptionError);
  await db.close();

  db = await LightningDb.open(directory.path, config);
  expect(await keys({ ...high, reverse: true })).toBe(COUNT * 0.45);
  expect(await keys({ ...low, reverse: true })).toBe(COUNT * 0.45);
  await db.close();
  directory.remove();
});
