/** A scan over more runs, with larger blocks, than the cache can hold what is read ahead of. */

import { LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const RUNS = 8;
const KEYS = 640;
const VALUE = 'x'.repeat(20_000);
const key = (i: number): string => `k${String((i * 7919) % 10_007).padStart(5, '0')}`;

describe('a scan in a small cache', () => {
  it('comes to its end, forward and backward, and reads few blocks more than once', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, {
      shards: 1,
      cacheSize: 4 << 20,
      memtableSize: 8 << 20,
    });
    for (let run = 0; run < RUNS; run++) {
      const batch = db.batch();
      for (let i = run; i < KEYS; i += RUNS) batch.put(key(i), VALUE);
      await batch.write();
      await db.flush();
    }
    const expected = Array.from({ length: KEYS }, (_, i) => key(i)).sort();
    expect(await db.scan({ values: false }).toArray()).toEqual(expected);
    expect(Array.from(db.scanSync({ values: false, reverse: true }))).toEqual(expected.reverse());
    const { reads, runs } = (await db.stats()).shards[0] ?? { reads: undefined, runs: [] };
    expect(runs.length).toBeGreaterThan(RUNS / 2);
    expect(reads?.blocksRead).toBeLessThan(2 * KEYS * 10);
    await db.close();
    directory.remove();
  });

  it('comes to its end beside many others that need more blocks than there is room for', async () => {
    const directory = temporaryDirectory();
    const config = { shards: 1, cacheSize: 4 << 20, memtableSize: 1 << 20, blockBytes: 65_536 };
    const db = await LightningDb.open(directory.path, config);
    const count = 24_000;
    const name = (i: number): string => `k${String(i).padStart(6, '0')}`;
    for (let run = 0; run < 12; run++) {
      const batch = db.batch();
      for (let i = run; i < count; i += 12) batch.put(name((i * 7919) % count), 'x'.repeat(300));
      await batch.write();
      await db.flush();
    }
    const scans = Array.from({ length: 64 }, async (_, i) => {
      const from = (i * 997) % (count - 1000);
      const read = await db.scan({ gte: name(from), limit: 1000, values: false }).toArray();
      expect(read).toEqual(Array.from({ length: 1000 }, (_unused, j) => name(from + j)));
    });
    await Promise.all(scans);
    await db.close();
    directory.remove();
  });

  it('may have all of the cache when the part for scans is too small', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, { shards: 1, cacheSize: 4 << 20 });
    const count = 110;
    const name = (i: number): string => `k${String(i).padStart(3, '0')}`;
    for (let run = 0; run < 11; run++) {
      const batch = db.batch();
      for (let i = run; i < count; i += 11) batch.put(name((i * 79) % count), 'x'.repeat(150_000));
      await batch.write();
      await db.flush();
    }
    expect((await db.stats()).shards[0]?.runs.length).toBeGreaterThan(9);
    const expected = Array.from({ length: count }, (_, i) => name(i));
    expect(Array.from(db.scanSync({ values: false }))).toEqual(expected);
    expect(await db.scan({ values: false, reverse: true }).toArray()).toEqual(expected.reverse());
    await db.close();
    directory.remove();
  });
});
