/** What one client asks for takes effect in the order in which it asked, however much waits. */

import { LightningDb } from 'lightning-db';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

it('writes after more batches than can be under way at once come behind all of them', async () => {
  const directory = temporaryDirectory();
  const db = await LightningDb.open(directory.path, { shards: 2, cacheSize: 16 << 20 });
  const keys = Array.from({ length: 8 }, (_, i) => `key-${i}`);
  for (const round of [1, 2, 3]) {
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 600; i++) {
      const batch = db.batch();
      for (const key of keys) batch.put(key, `${round}: batch ${i}`);
      writes.push(batch.write());
      if (i === 550) writes.push(db.put('key-0', `${round}: between`));
    }
    for (const key of keys.slice(0, 4)) writes.push(db.put(key, `${round}: put`));
    writes.push(db.delete('key-4'));
    writes.push(db.batch().put('key-5', `${round}: alone`).write());
    writes.push(db.transaction((tx) => void tx.put('key-6', `${round}: alone`)));
    await Promise.all(writes);
    const values = await db.getMany(keys);
    const [put, last] = [`${round}: put`, `${round}: batch 599`];
    const alone = `${round}: alone`;
    expect(values).toEqual([put, put, put, put, undefined, alone, alone, last]);
  }
  await db.close();
  directory.remove();
}, 30_000);
