/**
 * The public surface, checked with 1, 2 and 5 shards on data that stands in the memtable, in a
 * reopened database, in flushed tables and in compacted ones: the answers must not differ.
 */

import { type CheckProgress, LightningDb, LightningError } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from './temporary-directory.js';

const COUNT = 3000;
const key = (i: number): string => `k${String(i).padStart(6, '0')}`;
const value = (i: number): string => `value-${i}-${'x'.repeat(i % 50)}`;
const LARGE = 'ü'.repeat(400_000);

type Settle = (db: LightningDb, reopen: () => Promise<LightningDb>) => Promise<LightningDb>;

const phases: [name: string, settle: Settle][] = [
  ['in the memtable', async (db) => db],
  [
    'after reopening',
    async (db, reopen) => {
      await db.close();
      return reopen();
    },
  ],
  [
    'after a flush',
    async (db) => {
      await db.flush();
      return db;
    },
  ],
  [
    'after a compaction and reopening',
    async (db, reopen) => {
      await db.flush();
      await db.compact();
      await db.close();
      return reopen();
    },
  ],
];

async function fill(db: LightningDb): Promise<void> {
  const batch = db.batch();
  for (let i = 0; i < COUNT; i++) batch.put(key(i), `old-${i}`);
  await batch.write();
  await db.flush();
  for (let i = 0; i < COUNT; i++) await (i % 100 === 0 ? db.put(key(i), value(i)) : undefined);
  const second = db.batch();
  for (let i = 0; i < COUNT; i++) if (i % 100 !== 0) second.put(key(i), value(i));
  for (let i = 7; i < COUNT; i += 10) second.delete(key(i));
  await db.writeBatch(second);
  await db.put('', 'the empty key');
  await db.put('empty value', '');
  await db.put('ключ 🗝', 'значение ⚡');
  await db.put('x'.repeat(65536), 'the longest key');
  await db.put('large', LARGE);
  await db.put('gone', 'soon');
  await db.delete('gone');
  await db.delete('never there');
  await db.put('back', '1');
  await db.delete('back');
  await db.put('back', '2');
}

const alive = (i: number): boolean => i % 10 !== 7;

describe.each([1, 2, 5])('a database of %i shards', (shards) => {
  describe.each(phases)('%s', (_phase, settle) => {
    const directory = temporaryDirectory();
    let db: LightningDb;
    const open = (): Promise<LightningDb> =>
      LightningDb.open(directory.path, { shards, cacheSize: 64 << 20, memtableSize: 4 << 20 });

    beforeAll(async () => {
      db = await open();
      await fill(db);
      db = await settle(db, open);
    });
    afterAll(async () => {
      await db.close();
      directory.remove();
    });

    it('get, getSync and has agree for every key', async () => {
      for (let i = 0; i < COUNT; i += 3) {
        const expected = alive(i) ? value(i) : undefined;
        expect(await db.get(key(i))).toBe(expected);
        expect(db.getSync(key(i))).toBe(expected);
        expect(await db.has(key(i))).toBe(alive(i));
      }
    });

    it('getMany answers in the order asked, with undefined for missing keys', async () => {
      const keys = Array.from({ length: 500 }, (_, n) => key((n * 37) % (COUNT + 200)));
      const expected = keys.map((k) => {
        const i = Number(k.slice(1));
        return i < COUNT && alive(i) ? value(i) : undefined;
      });
      expect(await db.getMany(keys)).toEqual(expected);
      expect(db.getManySync(keys)).toEqual(expected);
      expect(await db.getMany([])).toEqual([]);
    });

    it('getMany takes keys of every length among others, and the same key twice', async () => {
      const odd = [
        '',
        'x'.repeat(65536),
        'ключ 🗝',
        'n'.repeat(513),
        'n'.repeat(512),
        key(1),
        key(1),
      ];
      const keys = Array.from({ length: 40 }, (_, n) => [key(n * 10), ...odd]).flat();
      const expected = keys.map((k) => db.getSync(k));
      expect(expected[1]).toBe('the empty key');
      expect(expected[2]).toBe('the longest key');
      expect(await db.getMany(keys)).toEqual(expected);
      expect(db.getManySync(keys)).toEqual(expected);
    });

    it('keeps the empty key, empty values, other scripts, the longest key and large values', async () => {
      expect(await db.get('')).toBe('the empty key');
      expect(db.getSync('empty value')).toBe('');
      expect(db.getSync('ключ 🗝')).toBe('значение ⚡');
      expect(await db.get('x'.repeat(65536))).toBe('the longest key');
      expect((await db.get('large')) === LARGE).toBe(true);
      expect(db.getSync('large') === LARGE).toBe(true);
    });

    it('a deleted key is missing, a key put again is there', async () => {
      expect(await db.get('gone')).toBeUndefined();
      expect(await db.get('never there')).toBeUndefined();
      expect(await db.get('back')).toBe('2');
    });

    it('a full scan has every living key once, in order, forward and backward', async () => {
      const forward: string[] = [];
      for await (const [k, v] of db.scan()) {
        forward.push(k);
        if (/^k\d{6}$/.test(k)) expect(v).toBe(value(Number(k.slice(1))));
        if (k === 'large') expect(v === LARGE).toBe(true);
      }
      const expected = ['', 'back', 'empty value', 'large', 'x'.repeat(65536), 'ключ 🗝'];
      for (let i = 0; i < COUNT; i++) if (alive(i)) expected.push(key(i));
      expected.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(forward).toEqual(expected);
      const backward: string[] = [];
      for (const [k] of db.scanSync({ reverse: true })) backward.push(k);
      expect(backward).toEqual(expected.reverse());
    });

    it('bounds, prefix and limit cut a scan exactly', () => {
      const keysOf = (options: Parameters<LightningDb['scanSync']>[0]): string[] =>
        Array.from(db.scanSync(options), ([k]) => k);
      const range = (from: number, to: number): string[] => {
        const keys: string[] = [];
        for (let i = from; i < to; i++) if (i < COUNT && alive(i)) keys.push(key(i));
        return keys;
      };
      expect(keysOf({ gte: key(100), lt: key(200) })).toEqual(range(100, 200));
      expect(keysOf({ gt: key(100), lte: key(200) })).toEqual(range(101, 201));
      expect(keysOf({ gte: key(107), lte: key(107) })).toEqual([]);
      expect(keysOf({ gt: key(108), lt: key(108) })).toEqual([]);
      expect(keysOf({ gte: key(300), lt: key(100) })).toEqual([]);
      expect(keysOf({ prefix: 'k0012' })).toEqual(range(1200, 1300));
      expect(keysOf({ prefix: 'k0012', reverse: true })).toEqual(range(1200, 1300).reverse());
      expect(keysOf({ prefix: 'nothing here' })).toEqual([]);
      expect(keysOf({ gte: key(500), limit: 5 })).toEqual(range(500, 600).slice(0, 5));
      expect(keysOf({ lt: key(500), reverse: true, limit: 5 })).toEqual(
        range(400, 500).reverse().slice(0, 5),
      );
      expect(keysOf({ gt: key(100), lt: key(200), reverse: true })).toEqual(
        range(101, 200).reverse(),
      );
      expect(keysOf({ lte: key(107), reverse: true, limit: 1 })).toEqual([key(106)]);
      expect(keysOf({ gte: key(107), limit: 1 })).toEqual([key(108)]);
      expect(keysOf({ limit: 0 })).toEqual([]);
    });

    it('batches() hands out the same entries as the scan', async () => {
      const entries: [string, string][] = [];
      for await (const part of db.scan({ prefix: 'k' }).batches()) entries.push(...part);
      expect(entries).toEqual(Array.from(db.scanSync({ prefix: 'k' })));
      expect(entries.length).toBe(COUNT - COUNT / 10);
    });

    it('a scan that is left early gives its snapshot back', async () => {
      for (let i = 0; i < 50; i++) {
        for await (const entry of db.scan()) {
          expect(entry.length).toBe(2);
          break;
        }
        for (const entry of db.scanSync()) {
          expect(entry.length).toBe(2);
          break;
        }
      }
      expect((await db.stats()).snapshots.open).toBe(0);
    });

    it('check finds nothing wrong, says how far it is, and can be called off', async () => {
      let seen: CheckProgress | undefined;
      const report = await db.check({
        onProgress: (progress) => {
          seen = progress;
        },
      });
      expect(report.problems).toEqual([]);
      expect(seen?.blocks).toBe(report.blocks);
      expect(seen?.blocksTotal).toBe(report.blocks);
      expect(seen?.bytes).toBe(seen?.bytesTotal);
      const signal = AbortSignal.abort();
      await expect(db.check({ signal })).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
    });
  });

  describe('changes', () => {
    const directory = temporaryDirectory();
    let db: LightningDb;

    beforeAll(async () => {
      db = await LightningDb.open(directory.path, { shards, cacheSize: 64 << 20 });
    });
    afterAll(async () => {
      await db.close();
      directory.remove();
    });

    it('a write that was awaited is read at once, whichever way', async () => {
      for (let i = 0; i < 200; i++) {
        await db.put(`now-${i}`, `${i}`);
        expect(db.getSync(`now-${i}`)).toBe(`${i}`);
        await db.delete(`now-${i}`);
        expect(await db.get(`now-${i}`)).toBeUndefined();
      }
    });

    it('the last of several writes to a key in one batch wins', async () => {
      const batch = db.batch();
      batch.put('same', '1').put('same', '2').delete('same').put('same', '3');
      expect(batch.length).toBe(4);
      await batch.write();
      expect(await db.get('same')).toBe('3');
      const other = db.batch().put('same', '4').delete('same');
      await db.writeBatch(other, { sync: true });
      expect(await db.get('same')).toBeUndefined();
    });

    it('a cleared batch writes nothing, an empty one resolves', async () => {
      const batch = db.batch().put('cleared', 'x');
      batch.clear();
      expect(batch.length).toBe(0);
      await batch.write();
      expect(await db.get('cleared')).toBeUndefined();
    });

    it('a snapshot sees nothing that came after it', async () => {
      await db.put('snap-a', '1');
      await db.put('snap-b', '1');
      const snapshot = db.snapshot();
      await db.put('snap-a', '2');
      await db.delete('snap-b');
      await db.put('snap-c', '1');
      await db.flush();
      await db.compact();
      expect(snapshot.getSync('snap-a')).toBe('1');
      expect(await snapshot.get('snap-b')).toBe('1');
      expect(await snapshot.get('snap-c')).toBeUndefined();
      const seen: [string, string][] = [];
      for await (const entry of snapshot.scan({ prefix: 'snap-' })) seen.push(entry);
      expect(seen).toEqual([
        ['snap-a', '1'],
        ['snap-b', '1'],
      ]);
      snapshot.close();
      expect(await db.get('snap-a')).toBe('2');
      expect(() => snapshot.getSync('snap-a')).toThrow(LightningError);
      await db.compact();
      expect(await db.get('snap-b')).toBeUndefined();
    });

    it('a scan is not disturbed by writes that go on meanwhile', async () => {
      const batch = db.batch();
      for (let i = 0; i < 5000; i++) batch.put(`during-${String(i).padStart(5, '0')}`, 'before');
      await batch.write();
      let seen = 0;
      let writes: Promise<void> | undefined;
      for await (const [, v] of db.scan({ prefix: 'during-' })) {
        expect(v).toBe('before');
        if (seen++ % 500 === 0) {
          const change = db.batch();
          for (let i = 0; i < 5000; i += 7) {
            change.put(`during-${String(i).padStart(5, '0')}`, 'after');
            change.put(`during-${String(i).padStart(5, '0')}-new`, 'after');
          }
          await writes;
          writes = change.write();
        }
      }
      await writes;
      expect(seen).toBe(5000);
    });

    it('many writes in flight are all applied', async () => {
      await Promise.all(Array.from({ length: 5000 }, (_, i) => db.put(`flight-${i}`, `${i}`)));
      const values = await db.getMany(Array.from({ length: 5000 }, (_, i) => `flight-${i}`));
      expect(values).toEqual(Array.from({ length: 5000 }, (_, i) => `${i}`));
    });
  });
});
