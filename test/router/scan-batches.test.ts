/** Where one batch of a scan ends and the next begins: nothing is left out, nothing holds it up. */

import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const key = (i: number): string => `k${String(i).padStart(6, '0')}`;

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.remove());

describe('the batches of a scan', () => {
  it('leave no entry out that finds no room behind a deleted one', async () => {
    const db = await LightningDb.open(directory.path, { shards: 1 });
    const expected: string[] = [];
    for (let i = 0; i < 1000; i++) void db.put(key(i), 'v'.repeat(3000 + (i % 7)));
    await db.flush();
    const batch = db.batch();
    for (let i = 0; i < 1000; i++) {
      if (i % 2 === 0) batch.delete(key(i));
      else expected.push(key(i));
    }
    await batch.write();
    const keysOf = (entries: readonly (readonly [string, string])[]): string[] =>
      entries.map(([name]) => name);
    // The second time, batches end where they are full: every block is cached.
    for (let round = 0; round < 2; round++) {
      expect(keysOf(await db.scan().toArray())).toEqual(expected);
      expect(keysOf([...db.scanSync({ reverse: true })])).toEqual([...expected].reverse());
    }
    await db.close();
  });

  it('pass over any number of blocks that are newer than the snapshot, in a small cache', async () => {
    const db = await LightningDb.open(directory.path, {
      shards: 1,
      cacheSize: 4 << 20,
      memtableSize: 4 << 20,
    });
    await db.writeBatch(db.batch().put('a', '1').put(key(7500), '2').put('z', '3'));
    await db.flush();
    const snapshot = db.snapshot();
    for (let i = 0; i < 15_000; i += 1000) {
      const batch = db.batch();
      for (let j = i; j < i + 1000; j++) batch.put(key(j), `${j}`.padEnd(1000, `${j * 7919} `));
      await batch.write();
    }
    await db.flush();
    await db.compact();
    const expected = [
      ['a', '1'],
      [key(7500), '2'],
      ['z', '3'],
    ];
    expect(await snapshot.scan().toArray()).toEqual(expected);
    expect([...snapshot.scanSync()]).toEqual(expected);
    expect(await snapshot.scan({ reverse: true }).toArray()).toEqual([...expected].reverse());
    expect([...snapshot.scanSync({ reverse: true, limit: 2 })]).toEqual(
      expected.slice(1).reverse(),
    );
    expect(await snapshot.scan({ gt: key(7500), lt: 'z' }).toArray()).toEqual([]);
    snapshot.close();
    await db.close();
  });
});
