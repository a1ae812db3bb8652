/** Commits over several shards whose parts have to wait for room in a ring. */

import { LightningDb } from 'lightning-db';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

it('keeps the head of every part that waits for room', async () => {
  const directory = temporaryDirectory();
  const db = await LightningDb.open(directory.path, {
    shards: 2,
    ringBytes: { request: 4096, response: 4096 },
  });
  const value = (i: number, n: number): string => `${i}/${n}`.padEnd(700, '.');
  const commits = Array.from({ length: 200 }, (_, i) => {
    const batch = db.batch();
    for (let n = 0; n < 6; n++) batch.put(`${i}-${n}`, value(i, n));
    return batch.write();
  });
  await Promise.all(commits);
  for (let i = 0; i < 200; i++) {
    for (let n = 0; n < 6; n++) expect(db.getSync(`${i}-${n}`)).toBe(value(i, n));
  }
  const { committed } = (await db.stats()).transactions.acrossShards;
  expect(committed).toBeGreaterThan(150);
  await db.close();
  directory.remove();
});
