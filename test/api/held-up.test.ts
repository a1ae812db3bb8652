/** Writes that are slowed because merges fall behind. */

import { LightningDb } from 'lightning-db';
import { expect, it } from 'vitest';
import { temporaryDirectory } from './temporary-directory.js';

it('holds a group up once, also when it has records of commits over several shards', async () => {
  const directory = temporaryDirectory();
  const db = await LightningDb.open(directory.path, {
    shards: 2,
    memtableSize: 1 << 20,
    compactionBytesPerSecondMax: 16 << 20,
  });
  const value = 'v'.repeat(1000);
  for (let round = 0; round < 40; round++) {
    const writes: Promise<void>[] = [];
    for (let n = 0; n < 8; n++) {
      const batch = db.batch();
      for (let i = 0; i < 100; i++) batch.put(`${(i * 7919) % 997}-${round}-${n}`, value);
      writes.push(batch.write());
    }
    await Promise.all(writes);
  }
  const { shards } = await db.stats();
  for (const { stalls, wal } of shards) {
    expect(stalls.delays).toBeGreaterThan(0);
    expect(stalls.delays).toBeLessThanOrEqual(wal.groups + 1);
  }
  await db.close();
  directory.remove();
});
