/** What one client asks for takes effect in the order in which it asked, however much waits. */

import { LightningDb } from 'lightning-db';
import { expect, it } from 'vitest';
import { seededRandom } from '../../src/file-system/memory.js';
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

it.each(['async', 'sync'] as const)(
  'the last write of a key wins, whatever one client mixes without waiting, in mode %s',
  async (walSyncMode) => {
    const directory = temporaryDirectory();
    const sizes = { shards: 3, cacheSize: 16 << 20, memtableSize: 1 << 20 };
    const db = await LightningDb.open(directory.path, { ...sizes, walSyncMode });
    const random = seededRandom(walSyncMode === 'sync' ? 5 : 6);
    const below = (n: number): number => Math.floor(random() * n);
    const keys = Array.from({ length: 12 }, (_, i) => `key-${i}`);
    const any = (): string => keys[below(keys.length)] as string;
    const wanted = new Map<string, string>();
    for (let round = 0; round < 30; round++) {
      let writes: Promise<void>[] = [];
      for (let i = 50 + below(500); i > 0; i--) {
        const value = `${round}: ${i} ${below(20) === 0 ? 'x'.repeat(3000) : ''}`;
        const key = any();
        const kind = below(10);
        if (kind < 3) {
          writes.push(db.put(key, value));
          wanted.set(key, value);
        } else if (kind === 3) {
          writes.push(db.delete(key));
          wanted.delete(key);
        } else {
          const batch = db.batch();
          for (let operations = 1 + below(kind < 6 ? 2 : 9); operations > 0; operations--) {
            const one = any();
            if (below(8) === 0) {
              batch.delete(one);
              wanted.delete(one);
            } else {
              batch.put(one, value);
              wanted.set(one, value);
            }
          }
          writes.push(batch.write());
        }
        if (below(200) > 0) continue;
        await Promise.all(writes);
        writes = [];
      }
      await Promise.all(writes);
      expect(await db.getMany(keys)).toEqual(keys.map((key) => wanted.get(key)));
    }
    await db.close();
    directory.remove();
  },
  60_000,
);
