/**
 * The cases of Hermitage (Martin Kleppmann, 2014: concurrency tests for isolation levels, after
 * Adya's thesis), step by step, and the anomaly of a read-only transaction (Fekete, O'Neil, O'Neil,
 * SIGMOD Record 2004). Two rows at the beginning: 10 and 20. docs/TRANSACTIONS.md has the table.
 */

import { ConflictError, type Isolation, LightningDb, type Transaction } from 'lightning-db';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { placedKeys } from './placed-keys.js';

const SHARDS = 4;

const levels: Isolation[] = ['snapshot', 'serializable'];
const placements: ('one shard' | 'several shards')[] = ['one shard', 'several shards'];

const directory = temporaryDirectory();
let db: LightningDb;
beforeAll(async () => {
  db = await LightningDb.open(directory.path, { shards: SHARDS, cacheSize: SHARDS * (8 << 20) });
});
afterAll(async () => {
  await db.close();
  directory.remove();
});

const cases = levels.flatMap((isolation) =>
  placements.map((placement) => ({ isolation, placement })),
);

describe.each(cases)('isolation $isolation, rows on $placement', ({ isolation, placement }) => {
  const [k1, k2, k3, k4] = placedKeys('row', 4, SHARDS, placement) as [
    string,
    string,
    string,
    string,
  ];
  const open: Transaction[] = [];
  const begin = (): Transaction => {
    const tx = db.begin({ isolation });
    open.push(tx);
    return tx;
  };
  beforeEach(async () => {
    const rows = db.batch();
    for await (const key of db.scan({ prefix: 'row:', values: false })) rows.delete(key);
    await rows.put(k1, '10').put(k2, '20').write();
  });
  afterEach(() => {
    for (const tx of open.splice(0)) tx.rollback();
  });

  /** select … where value satisfies the predicate. */
  const where = async (tx: Transaction, holds: (value: number) => boolean): Promise<string[]> => {
    const keys: string[] = [];
    for await (const [k, v] of tx.scan({ prefix: 'row:' })) if (holds(Number(v))) keys.push(k);
    return keys;
  };
  const rows = (): Promise<(string | undefined)[]> => db.getMany([k1, k2]);
  const refused = async (tx: Transaction): Promise<void> => {
    await expect(tx.commit()).rejects.toBeInstanceOf(ConflictError);
  };
  /** What snapshot isolation lets pass and serializable does not. */
  const refusedIfSerializable = async (tx: Transaction): Promise<void> => {
    if (isolation === 'serializable') await refused(tx);
    else await tx.commit();
  };

  it('G0: no dirty writes', async () => {
    const t1 = begin();
    const t2 = begin();
    t1.put(k1, '11');
    t2.put(k1, '12');
    t1.put(k2, '21');
    await t1.commit();
    expect(await rows()).toEqual(['11', '21']);
    t2.put(k2, '22');
    await refused(t2);
    expect(await rows()).toEqual(['11', '21']);
  });

  it('G1a: no aborted reads', async () => {
    const t1 = begin();
    const t2 = begin();
    t1.put(k1, '101');
    expect(await t2.get(k1)).toBe('10');
    expect(await where(t2, (v) => v === 101)).toEqual([]);
    t1.rollback();
    expect(await t2.get(k1)).toBe('10');
    await t2.commit();
  });

  it('G1b: no intermediate reads', async () => {
    const t1 = begin();
    const t2 = begin();
    t1.put(k1, '101');
    expect(await t2.get(k1)).toBe('10');
    t1.put(k1, '11');
    await t1.commit();
    expect(await t2.get(k1)).toBe('10');
    await t2.commit();
    expect(await db.get(k1)).toBe('11');
  });

  it('G1c: no circular flow of information', async () => {
    const t1 = begin();
    const t2 = begin();
    t1.put(k1, '11');
    t2.put(k2, '22');
    // Neither sees the other's write, so nothing flows; that both read what the other writes is G2.
    expect(await t1.get(k2)).toBe('20');
    expect(await t2.get(k1)).toBe('10');
    await t1.commit();
    await refusedIfSerializable(t2);
  });

  it('OTV: a transaction that was observed does not vanish', async () => {
    const t1 = begin();
    const t2 = begin();
    t1.put(k1, '11').put(k2, '19');
    t2.put(k1, '12');
    await t1.commit();
    const t3 = begin();
    expect(await t3.get(k1)).toBe('11');
    t2.put(k2, '18');
    expect(await t3.get(k2)).toBe('19');
    await refused(t2);
    expect(await t3.get(k2)).toBe('19');
    expect(await t3.get(k1)).toBe('11');
    await t3.commit();
  });

  it('PMP: a predicate that is read twice has the same preceders', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await where(t1, (v) => v === 30)).toEqual([]);
    t2.put(k3, '30');
    await t2.commit();
    expect(await where(t1, (v) => v % 3 === 0)).toEqual([]);
    await t1.commit();
  });

  it('PMP for writes: what a predicate selects to be written is still so', async () => {
    const t1 = begin();
    const t2 = begin();
    for await (const [k, v] of t1.scan({ prefix: 'row:' })) t1.put(k, `${Number(v) + 10}`);
    for (const k of await where(t2, (v) => v === 20)) t2.delete(k);
    await t1.commit();
    await refused(t2);
    expect(await rows()).toEqual(['20', '30']);
  });

  it('P4: no lost update', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await t1.get(k1)).toBe('10');
    expect(await t2.get(k1)).toBe('10');
    t1.put(k1, '11');
    t2.put(k1, '11');
    await t1.commit();
    await refused(t2);
  });

  it('G-single: no read skew', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await t1.get(k1)).toBe('10');
    expect(await t2.getMany([k1, k2])).toEqual(['10', '20']);
    t2.put(k1, '12').put(k2, '18');
    await t2.commit();
    expect(await t1.get(k2)).toBe('20');
    await t1.commit();
  });

  it('G-single with predicates: no read skew', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await where(t1, (v) => v % 5 === 0)).toEqual([k1, k2]);
    for (const k of await where(t2, (v) => v === 10)) t2.put(k, '12');
    await t2.commit();
    expect(await where(t1, (v) => v % 3 === 0)).toEqual([]);
    await t1.commit();
  });

  it('G-single with a write: nobody writes on what has changed', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await t1.get(k1)).toBe('10');
    expect(await t2.getMany([k1, k2])).toEqual(['10', '20']);
    t2.put(k1, '12').put(k2, '18');
    await t2.commit();
    for (const k of await where(t1, (v) => v === 20)) t1.delete(k);
    await refused(t1);
    expect(await rows()).toEqual(['12', '18']);
  });

  it('G2-item: write skew on rows, which serializable excludes', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await t1.getMany([k1, k2])).toEqual(['10', '20']);
    expect(await t2.getMany([k1, k2])).toEqual(['10', '20']);
    t1.put(k1, '11');
    t2.put(k2, '21');
    await t1.commit();
    await refusedIfSerializable(t2);
    expect(await rows()).toEqual(['11', isolation === 'serializable' ? '20' : '21']);
  });

  it('G2-item: getForUpdate excludes write skew under either isolation', async () => {
    const t1 = begin();
    const t2 = begin();
    for (const tx of [t1, t2]) {
      expect(await tx.getForUpdate(k1)).toBe('10');
      expect(await tx.getForUpdate(k2)).toBe('20');
    }
    t1.put(k1, '11');
    t2.put(k2, '21');
    await t1.commit();
    await refused(t2);
  });

  it('G2: write skew on predicates, which serializable excludes', async () => {
    const t1 = begin();
    const t2 = begin();
    expect(await where(t1, (v) => v % 3 === 0)).toEqual([]);
    expect(await where(t2, (v) => v % 3 === 0)).toEqual([]);
    t1.put(k3, '30');
    t2.put(k4, '42');
    await t1.commit();
    await refusedIfSerializable(t2);
  });

  it('a read-only transaction sees no order that others contradict, if serializable', async () => {
    // Two accounts, both empty. A withdrawal that overdraws their sum costs 1.
    await db.batch().put(k1, '0').put(k2, '0').write();
    const withdrawal = begin();
    expect(await withdrawal.getMany([k1, k2])).toEqual(['0', '0']);
    const deposit = begin();
    expect(await deposit.get(k2)).toBe('0');
    await deposit.put(k2, '20').commit();
    const report = begin();
    expect(await report.getMany([k1, k2])).toEqual(['0', '20']);
    await report.commit();
    // The report says: the deposit came first, and nothing was overdrawn.
    withdrawal.put(k1, '-11');
    await refusedIfSerializable(withdrawal);
  });
});
