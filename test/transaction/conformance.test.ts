/** Transactions through the public surface, with 1, 2 and 5 shards, over tables and memtables. */

import { LightningDb, type LightningErrorCode } from 'lightning-db';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const COUNT = 200;
const key = (i: number): string => `k${String(i).padStart(4, '0')}`;

async function codeOf(work: () => unknown): Promise<LightningErrorCode | undefined> {
  try {
    await work();
  } catch (error) {
    return (error as { code?: LightningErrorCode }).code;
  }
  return undefined;
}

describe.each([1, 2, 5])('transactions over %i shards', (shards) => {
  const directory = temporaryDirectory();
  let db: LightningDb;
  beforeAll(async () => {
    db = await LightningDb.open(directory.path, { shards, cacheSize: shards * (8 << 20) });
  });
  afterAll(async () => {
    expect((await db.stats()).transactions.active).toBe(0);
    expect((await db.stats()).snapshots.open).toBe(0);
    await db.close();
    directory.remove();
  });

  /** k0000 to k0199 have their number as value; every other one lies in a table. */
  beforeEach(async () => {
    const all = db.batch();
    for await (const k of db.scan({ values: false })) all.delete(k);
    for (let i = 0; i < COUNT; i += 2) all.put(key(i), `${i}`);
    await all.write();
    await db.flush();
    const rest = db.batch();
    for (let i = 1; i < COUNT; i += 2) rest.put(key(i), `${i}`);
    await rest.write();
  });

  describe('reads', () => {
    it('see the own writes and deletes, whichever way they read, and others do not', async () => {
      const tx = db.begin();
      tx.put(key(1), 'one').put('new', 'N').delete(key(2)).put(key(2), 'two').delete(key(3));
      expect(await tx.get(key(1))).toBe('one');
      expect(tx.getSync('new')).toBe('N');
      expect(await tx.get(key(2))).toBe('two');
      expect(await tx.get(key(3))).toBeUndefined();
      expect(tx.getSync(key(3))).toBeUndefined();
      expect(tx.getSync(key(4))).toBe('4');
      expect(await tx.has('new')).toBe(true);
      expect(tx.hasSync(key(3))).toBe(false);
      expect(await tx.has(key(5))).toBe(true);
      expect(await tx.getForUpdate(key(6))).toBe('6');
      const keys = [key(1), 'none', key(3), key(4), 'new', key(2)];
      const values = ['one', undefined, undefined, '4', 'N', 'two'];
      expect(await tx.getMany(keys)).toEqual(values);
      expect(tx.getManySync(keys)).toEqual(values);
      expect(db.getSync(key(1))).toBe('1');
      expect(db.getSync('new')).toBeUndefined();
      await tx.commit();
      expect(db.getManySync(keys)).toEqual(values);
    });

    it('are as of the beginning', async () => {
      const tx = db.begin();
      await db.put(key(1), 'later');
      await db.put('later', 'x');
      await db.delete(key(2));
      expect(await tx.get(key(1))).toBe('1');
      expect(tx.getSync('later')).toBeUndefined();
      expect(await tx.getMany([key(2), key(3)])).toEqual(['2', '3']);
      expect(Array.from(tx.scanSync({ values: false })).length).toBe(COUNT);
      tx.rollback();
    });

    it('of large values work on both sides of the commit', async () => {
      const large = 'ü'.repeat(300_000);
      const tx = db.begin();
      tx.put('large', large);
      expect((await tx.get('large')) === large).toBe(true);
      expect(Array.from(tx.scanSync({ prefix: 'large' }), ([, v]) => v === large)).toEqual([true]);
      await tx.commit();
      expect(db.getSync('large') === large).toBe(true);
    });
  });

  describe('scans', () => {
    /** What a transaction with these writes must see. */
    const merged = (from: number, to: number): [string, string][] => {
      const entries: [string, string][] = [];
      for (let i = from; i < to; i++) {
        if (i % 5 === 0) continue;
        entries.push([key(i), i % 3 === 0 ? `own-${i}` : `${i}`]);
        if (i % 7 === 0) entries.push([`${key(i)}+`, `between-${i}`]);
      }
      return entries;
    };
    const write = (tx: ReturnType<LightningDb['begin']>): void => {
      for (let i = 0; i < COUNT; i++) {
        if (i % 3 === 0) tx.put(key(i), `own-${i}`);
        if (i % 5 === 0) tx.delete(key(i));
        else if (i % 7 === 0) tx.put(`${key(i)}+`, `between-${i}`);
      }
    };

    it('merge the own writes in, forward and backward, with bounds, prefix and limit', async () => {
      const tx = db.begin();
      write(tx);
      const all = merged(0, COUNT);
      expect(await tx.scan().toArray()).toEqual(all);
      expect(Array.from(tx.scanSync({ reverse: true }))).toEqual([...all].reverse());
      expect(Array.from(tx.scanSync({ gte: key(20), lt: key(40) }))).toEqual(merged(20, 40));
      expect(Array.from(tx.scanSync({ gt: key(19), lte: key(39), reverse: true }))).toEqual(
        merged(20, 40).reverse(),
      );
      expect(Array.from(tx.scanSync({ prefix: 'k001' }))).toEqual(merged(10, 20));
      for (const limit of [1, 2, 3, 10, 33, 100]) {
        expect(await tx.scan({ gte: key(5), limit }).toArray()).toEqual(
          merged(5, COUNT).slice(0, limit),
        );
        expect(Array.from(tx.scanSync({ lt: key(150), reverse: true, limit }))).toEqual(
          merged(0, 150).reverse().slice(0, limit),
        );
      }
      expect(Array.from(tx.scanSync({ values: false, gte: key(190) }))).toEqual(
        merged(190, COUNT).map(([k]) => k),
      );
      expect(Array.from(tx.scanSync({ keys: false, gte: key(190) }))).toEqual(
        merged(190, COUNT).map(([, v]) => v),
      );
      await tx.commit();
      expect(await db.scan().toArray()).toEqual(all);
    });

    it('see the own writes of the moment they begin', async () => {
      const tx = db.begin();
      tx.put(`${key(0)}+`, 'before');
      const seen: string[] = [];
      for await (const [k, v] of tx.scan({ lt: key(3) })) {
        seen.push(`${k}=${v}`);
        tx.delete(k).put(`${k}++`, 'during');
      }
      expect(seen).toEqual(['k0000=0', 'k0000+=before', 'k0001=1', 'k0002=2']);
      expect(Array.from(tx.scanSync({ lt: key(3), values: false }))).toEqual([
        'k0000++',
        'k0000+++',
        'k0001++',
        'k0002++',
      ]);
      tx.rollback();
    });

    it('that are under way at a rollback to a savepoint go on with what they began with', () => {
      const tx = db.begin();
      const savepoint = tx.savepoint();
      for (let i = 0; i < 300; i++) tx.put(`a${String(i).padStart(3, '0')}`, 'x');
      const scan = tx.scanSync({ prefix: 'a', values: false });
      expect(scan.next().value).toBe('a000');
      tx.rollbackTo(savepoint);
      for (let i = 0; i < 300; i++) tx.put(`b${String(i).padStart(3, '0')}`, 'y');
      expect(Array.from(scan).length).toBe(299);
      expect(Array.from(tx.scanSync({ prefix: 'a' }))).toEqual([]);
      tx.rollback();
    });

    it('alternate with writes in a large transaction', () => {
      const tx = db.begin();
      const model = new Set<string>();
      for (let i = 0; i < 3000; i++) {
        const k = `m${String((i * 7919) % 3000).padStart(5, '0')}`;
        tx.put(k, `${i}`);
        model.add(k);
        if (i % 50 !== 0) continue;
        const from = `m${String((i * 31) % 3000).padStart(5, '0')}`;
        const expected = [...model].filter((m) => m >= from).sort();
        expect(
          Array.from(tx.scanSync({ gte: from, prefix: 'm', limit: 5, values: false })),
        ).toEqual(expected.slice(0, 5));
      }
      tx.rollback();
    });
  });

  describe('savepoints', () => {
    it('take back what came after them, once or several times', async () => {
      const tx = db.begin();
      tx.put('s', '1');
      const first = tx.savepoint();
      tx.put('s', '2').put('t', '2').delete(key(1));
      const second = tx.savepoint();
      tx.put('s', '3').delete('t');
      expect([tx.getSync('s'), tx.getSync('t')]).toEqual(['3', undefined]);
      tx.rollbackTo(second);
      expect([tx.getSync('s'), tx.getSync('t'), tx.getSync(key(1))]).toEqual(['2', '2', undefined]);
      tx.put('u', 'x');
      tx.rollbackTo(second);
      expect(tx.getSync('u')).toBeUndefined();
      tx.rollbackTo(first);
      expect([tx.getSync('s'), tx.getSync('t'), tx.getSync(key(1))]).toEqual(['1', undefined, '1']);
      expect(await codeOf(() => tx.rollbackTo(second))).toBe('LIGHTNING_INVALID_ARGUMENT');
      expect(Array.from(tx.scanSync({ gte: 's' }))).toEqual([['s', '1']]);
      await tx.commit();
      expect(await db.getMany(['s', 't', key(1)])).toEqual(['1', undefined, '1']);
    });

    it('work in large transactions', async () => {
      const tx = db.begin();
      for (let i = 0; i < 500; i++) tx.put(`x${i}`, 'kept');
      const savepoint = tx.savepoint();
      for (let i = 0; i < 1000; i++) tx.put(`x${i}`, 'dropped');
      for (let i = 0; i < 100; i++) tx.delete(`x${i}`);
      tx.rollbackTo(savepoint);
      expect(tx.getSync('x42')).toBe('kept');
      expect(tx.getSync('x700')).toBeUndefined();
      await tx.commit();
      expect(Array.from(db.scanSync({ prefix: 'x' })).length).toBe(500);
    });

    it('of another transaction are refused', async () => {
      const tx = db.begin();
      const other = db.begin();
      const savepoint = other.savepoint();
      expect(await codeOf(() => tx.rollbackTo(savepoint))).toBe('LIGHTNING_INVALID_ARGUMENT');
      tx.rollback();
      other.rollback();
    });
  });

  describe('commits', () => {
    it('write all, and resolve with the version of the keys they wrote', async () => {
      const tx = db.begin();
      for (let i = 0; i < 20; i++) tx.put(`c${i}`, `${i}`);
      const version = await tx.commit();
      for (let i = 0; i < 20; i++) {
        expect(await db.getVersioned(`c${i}`)).toEqual({ value: `${i}`, version });
      }
      const next = await db.transaction((t) => t.put('c0', 'again'));
      expect(next.isActive).toBe(false);
      expect((await db.getVersioned('c0'))?.version).toBeGreaterThan(version);
    });

    it('without writes resolve with the moment that was read', async () => {
      await db.put('p', '1');
      const tx = db.begin();
      const moment = await tx.commit();
      expect((await db.getVersioned('p'))?.version).toBeLessThanOrEqual(moment);
    });

    it('rolled back write nothing', async () => {
      const tx = db.begin();
      tx.put('r', '1');
      tx.rollback();
      tx.rollback();
      expect(await db.get('r')).toBeUndefined();
    });

    it('of 100,000 writes with as many overwrites keep their memory bounded', async () => {
      const tx = db.begin();
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 100_000; i++) tx.put(`w${i % 50_000}`, `${round}-${i}`);
      }
      expect(tx.getSync('w7')).toBe('3-50007');
      await tx.commit();
      expect(Array.from(db.scanSync({ prefix: 'w', values: false })).length).toBe(50_000);
      expect(db.getSync('w49999')).toBe('3-99999');
    });

    it('of long values hold as much memory as they have keys', async () => {
      const tx = db.begin();
      for (let i = 0; i < 12_000; i++) tx.put(`l${i}`, 'x'.repeat(10_000));
      await tx.commit();
      expect(Array.from(db.scanSync({ prefix: 'l', values: false })).length).toBe(12_000);
    });
  });

  describe('db.transaction', () => {
    it('commits what the function wrote and resolves with what it returned', async () => {
      expect(
        await db.transaction(async (tx) => {
          const v = await tx.get(key(1));
          tx.put(key(1), `${v}!`);
          return v;
        }),
      ).toBe('1');
      expect(await db.get(key(1))).toBe('1!');
      expect(await db.transaction((tx) => tx.getSync(key(1)))).toBe('1!');
    });

    it('writes nothing when the function throws, which reaches the caller', async () => {
      const oops = new Error('oops');
      const failing = db.transaction((tx) => {
        tx.put('t', '1');
        throw oops;
      });
      await expect(failing).rejects.toBe(oops);
      await expect(db.transaction(() => Promise.reject(oops))).rejects.toBe(oops);
      expect(await db.get('t')).toBeUndefined();
    });

    it('leaves a transaction alone that the function ended', async () => {
      expect(
        await db.transaction((tx) => {
          tx.put('e', '1').rollback();
          return 'rolled back';
        }),
      ).toBe('rolled back');
      expect(await db.get('e')).toBeUndefined();
      await db.transaction(async (tx) => {
        await tx.put('e', '2').commit();
      });
      expect(await db.get('e')).toBe('2');
    });
  });

  describe('putIf and update', () => {
    it('write when the condition holds', async () => {
      expect(await db.putIf('if', '1', { absent: true })).toBe(true);
      expect(await db.putIf('if', '2', { absent: true })).toBe(false);
      expect(await db.putIf('if', '2', { equals: '1' })).toBe(true);
      expect(await db.putIf('if', '3', { equals: '1' })).toBe(false);
      expect(await db.putIf('none', '3', { equals: '1' })).toBe(false);
      const { version } = (await db.getVersioned('if')) ?? { version: 0 };
      expect(await db.putIf('if', '4', { version })).toBe(true);
      expect(await db.putIf('if', '5', { version })).toBe(false);
      expect(await db.putIf('none', '5', { version })).toBe(false);
      expect(await db.get('if')).toBe('4');
      await db.flush();
      const flushed = await db.getVersioned('if');
      expect(flushed?.value).toBe('4');
      expect(await db.putIf('if', '6', { version: flushed?.version ?? 0 })).toBe(true);
      expect(await db.getVersioned('none')).toBeUndefined();
    });

    it('a version is the same for as long as its value is there, whatever was merged', async () => {
      const version = await db.begin().put('kept', '1').commit();
      await db.compact();
      expect(await db.getVersioned('kept')).toEqual({ value: '1', version });
      expect(await db.putIf('kept', '2', { version })).toBe(true);
      await db.compact();
      expect(await db.putIf('kept', '3', { version })).toBe(false);
    });

    it('update replaces, creates and removes', async () => {
      expect(await db.update(key(1), (v) => `${v}!`)).toBe('1!');
      expect(await db.update('created', async (v) => `${v}`)).toBe('undefined');
      expect(await db.update(key(2), () => undefined)).toBeUndefined();
      expect(await db.getMany([key(1), 'created', key(2)])).toEqual(['1!', 'undefined', undefined]);
    });
  });
});
