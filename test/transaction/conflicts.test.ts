/** Who came first: conflicts through the public surface, with 1, 2 and 5 shards. */

import { ConflictError, LightningDb, type LightningErrorCode } from 'lightning-db';
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

describe.each([1, 2, 5])('conflicts over %i shards', (shards) => {
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

  describe('a commit', () => {
    it('of two that wrote one key: the second is refused, naming the key', async () => {
      const first = db.begin();
      const second = db.begin();
      first.put(key(9), 'first');
      second.put(key(8), 'second').put(key(9), 'second');
      await first.commit();
      const error = await second.commit().catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ConflictError);
      expect(error).toMatchObject({
        code: 'LIGHTNING_CONFLICT',
        details: { key: key(9), retryable: true },
      });
      expect(await db.getMany([key(8), key(9)])).toEqual(['8', 'first']);
    });

    it('a plain put, a batch or a delete that came first is a conflict, too', async () => {
      for (const other of [
        () => db.put(key(7), 'x'),
        () => db.delete(key(7)),
        () => db.batch().put(key(6), 'x').put(key(7), 'x').put(key(8), 'x').write(),
      ]) {
        const tx = db.begin();
        tx.put(key(7), 'tx').put(key(17), 'tx');
        await other();
        expect(await codeOf(() => tx.commit())).toBe('LIGHTNING_CONFLICT');
        expect(await db.get(key(17))).toBe('17');
      }
    });

    it('conflicts are found in tables as well', async () => {
      const tx = db.begin();
      tx.put(key(7), 'tx');
      await db.put(key(7), 'first');
      await db.flush();
      await db.compact();
      expect(await codeOf(() => tx.commit())).toBe('LIGHTNING_CONFLICT');
    });

    it('what getForUpdate read must be unchanged, also when it was missing', async () => {
      for (const k of [key(5), 'missing']) {
        const tx = db.begin();
        await tx.getForUpdate(k);
        tx.put('other', 'x');
        await db.put(k, 'changed');
        const error = await tx.commit().catch((e: unknown) => e);
        expect(error).toMatchObject({ code: 'LIGHTNING_CONFLICT', details: { key: k } });
      }
      expect(await db.get('other')).toBeUndefined();
    });

    it('with plain reads under snapshot isolation ignore changes of what was read', async () => {
      const tx = db.begin();
      await tx.get(key(5));
      tx.put('other', 'x');
      await db.put(key(5), 'changed');
      await tx.commit();
      expect(await db.get('other')).toBe('x');
    });
  });

  describe('serializable', () => {
    const conflictsAfter = async (
      read: (tx: ReturnType<LightningDb['begin']>) => unknown,
      change: () => Promise<unknown>,
    ): Promise<boolean> => {
      const tx = db.begin({ isolation: 'serializable' });
      await read(tx);
      tx.put('mine', 'x');
      await change();
      return (await codeOf(() => tx.commit())) === 'LIGHTNING_CONFLICT';
    };
    const put = (k: string) => () => db.put(k, 'changed');

    it('every read key must be unchanged', async () => {
      expect(await conflictsAfter((tx) => tx.get(key(1)), put(key(1)))).toBe(true);
      expect(await conflictsAfter((tx) => tx.getSync(key(1)), put(key(1)))).toBe(true);
      expect(await conflictsAfter((tx) => tx.has('absent'), put('absent'))).toBe(true);
      expect(
        await conflictsAfter(
          (tx) => tx.hasSync(key(1)),
          () => db.delete(key(1)),
        ),
      ).toBe(true);
      expect(await conflictsAfter((tx) => tx.getMany([key(1), key(2)]), put(key(2)))).toBe(true);
      expect(await conflictsAfter((tx) => tx.getManySync([key(3)]), put(key(3)))).toBe(true);
      expect(await conflictsAfter((tx) => tx.get(key(1)), put(key(2)))).toBe(false);
    });

    it('a scanned range must be unchanged: entries, new keys, deletes', async () => {
      const all = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ gte: key(10), lt: key(20) }).toArray();
      expect(await conflictsAfter(all, put(key(10)))).toBe(true);
      expect(await conflictsAfter(all, put(`${key(13)}+`))).toBe(true);
      expect(await conflictsAfter(all, () => db.delete(key(15)))).toBe(true);
      expect(await conflictsAfter(all, put(key(20)))).toBe(false);
      expect(await conflictsAfter(all, put(key(9)))).toBe(false);
      const none = (tx: ReturnType<LightningDb['begin']>): unknown => [
        ...tx.scanSync({ prefix: 'nothing' }),
      ];
      expect(await conflictsAfter(none, put('nothing here'))).toBe(true);
      expect(await conflictsAfter(none, put('nothinh'))).toBe(false);
    });

    it('of a scan that was left early, only what was handed out counts', async () => {
      const three = async (tx: ReturnType<LightningDb['begin']>): Promise<void> => {
        let n = 0;
        for await (const _ of tx.scan({ gte: key(10) })) if (++n === 3) break;
      };
      expect(await conflictsAfter(three, put(key(12)))).toBe(true);
      expect(await conflictsAfter(three, put(`${key(11)}+`))).toBe(true);
      expect(await conflictsAfter(three, put(`${key(12)}+`))).toBe(false);
      const backward = (tx: ReturnType<LightningDb['begin']>): void => {
        const scan = tx.scanSync({ lt: key(100), reverse: true });
        for (let n = 0; n < 3; n++) scan.next();
      };
      expect(await conflictsAfter(backward, put(key(97)))).toBe(true);
      expect(await conflictsAfter(backward, put(`${key(99)}+`))).toBe(true);
      expect(await conflictsAfter(backward, put(key(96)))).toBe(false);
      const limited = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ gte: key(20), limit: 3 }).toArray();
      expect(await conflictsAfter(limited, put(key(22)))).toBe(true);
      expect(await conflictsAfter(limited, put(key(23)))).toBe(false);
      const many = (tx: ReturnType<LightningDb['begin']>): void => {
        const scan = tx.scanSync({ gte: key(30) });
        for (let n = 0; n < 60; n++) scan.next();
      };
      expect(await conflictsAfter(many, put(key(89)))).toBe(true);
      expect(await conflictsAfter(many, put(key(90)))).toBe(false);
      const unread = (tx: ReturnType<LightningDb['begin']>): unknown => tx.scanSync();
      expect(await conflictsAfter(unread, put(key(0)))).toBe(false);
    });

    it('of a range that was changed, the key is named, in memory and in tables', async () => {
      for (const isFlushed of [false, true]) {
        const tx = db.begin({ isolation: 'serializable' });
        await tx.scan({ gte: key(10), lt: key(20) }).toArray();
        tx.put('mine', 'x');
        await db.put(`${key(13)}+`, `${isFlushed}`);
        if (isFlushed) await db.flush();
        const error = await tx.commit().catch((e: unknown) => e);
        expect(error).toMatchObject({
          code: 'LIGHTNING_CONFLICT',
          details: { key: `${key(13)}+`, reason: 'range' },
        });
      }
    });

    it('what was written beside a range is no conflict when it is in a table by then, either', async () => {
      const some = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ gt: key(10), lte: key(20), reverse: true }).toArray();
      const change =
        (...keys: string[]) =>
        async () => {
          for (const k of keys) await db.put(k, 'changed'.repeat(100));
          await db.flush();
        };
      const around = Array.from({ length: COUNT }, (_, i) => key(i));
      const beside = around.filter((k) => k <= key(10) || k > key(20));
      expect(await conflictsAfter(some, change(...beside, key(0), key(999)))).toBe(false);
      expect(await conflictsAfter(some, change(...beside, key(11)))).toBe(true);
      expect(await conflictsAfter(some, change(...beside, key(20)))).toBe(true);
      const gone = async (): Promise<void> => {
        await db.delete(key(15));
        await change(...beside)();
      };
      const reader = db.snapshot();
      expect(await conflictsAfter(some, gone)).toBe(true);
      reader.close();
      const open = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ lt: key(10) }).toArray();
      expect(await conflictsAfter(open, change(key(10), key(50), key(150)))).toBe(false);
      const none = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ prefix: `${key(100)}+` }).toArray();
      expect(await conflictsAfter(none, change(key(100), key(101), key(3)))).toBe(false);
      expect(await conflictsAfter(none, change(key(100), `${key(100)}+new`, key(3)))).toBe(true);
    });

    it('a range of very many blocks that were written anew is not looked through', async () => {
      const all = db.batch();
      for (let i = 0; i < 2000 * shards; i++) all.put(`many ${i}`, `${i * 7919} `.repeat(40));
      await all.write();
      const merge = async (): Promise<void> => {
        await db.put('zero', 'changed');
        await db.compact();
      };
      const some = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ prefix: 'many 1', limit: 10 }).toArray();
      expect(await conflictsAfter(some, merge)).toBe(false);
      const many = (tx: ReturnType<LightningDb['begin']>): unknown =>
        tx.scan({ prefix: 'many ' }).toArray();
      expect(await conflictsAfter(many, merge)).toBe(true);
    });

    it('what the transaction wrote itself before it read it does not count as read', async () => {
      const own = (tx: ReturnType<LightningDb['begin']>): void => {
        tx.put('mine', 'y');
        expect(tx.getSync('mine')).toBe('y');
      };
      expect(await conflictsAfter(own, put('elsewhere'))).toBe(false);
    });

    it('transactions that only read always commit', async () => {
      const tx = db.begin({ isolation: 'serializable' });
      await tx.get(key(1));
      await db.put(key(1), 'changed');
      expect(await tx.get(key(1))).toBe('1');
      await tx.commit();
    });
  });

  describe('db.transaction', () => {
    it('runs the function again after a conflict, on a new snapshot', async () => {
      let runs = 0;
      const result = await db.transaction(async (tx) => {
        const v = Number(await tx.get(key(1)));
        if (runs++ < 3) await db.put(key(1), `${v + 100}`);
        tx.put(key(1), `${v + 1}`);
        return v;
      });
      expect({ runs, result }).toEqual({ runs: 4, result: 301 });
      expect(await db.get(key(1))).toBe('302');
      expect((await db.stats()).transactions.retries).toBeGreaterThanOrEqual(3);
    });

    it('gives up after maxRetries with the conflict', async () => {
      let runs = 0;
      const hopeless = db.transaction(
        async (tx) => {
          runs++;
          tx.put(key(1), 'x');
          await db.put(key(1), 'y');
        },
        { maxRetries: 2 },
      );
      await expect(hopeless).rejects.toMatchObject({ code: 'LIGHTNING_CONFLICT' });
      expect(runs).toBe(3);
    });

    it('loses no increment of many at once', async () => {
      await db.put('counter', '0');
      await Promise.all(
        Array.from({ length: 100 }, () =>
          db.transaction(async (tx) => {
            tx.put('counter', `${Number(await tx.get('counter')) + 1}`);
          }),
        ),
      );
      expect(await db.get('counter')).toBe('100');
    });
  });

  describe('putIf and update', () => {
    it('let exactly one of many win', async () => {
      const won = await Promise.all(
        Array.from({ length: 30 }, (_, i) => db.putIf('race', `${i}`, { absent: true })),
      );
      expect(won.filter(Boolean).length).toBe(1);
      expect(await db.get('race')).toBe(`${won.indexOf(true)}`);
    });

    it('updates of one key all count', async () => {
      const all = Array.from({ length: 50 }, () => db.update('n', (v) => `${Number(v ?? 0) + 1}`));
      await Promise.all(all);
      expect(await db.get('n')).toBe('50');
    });
  });
});
