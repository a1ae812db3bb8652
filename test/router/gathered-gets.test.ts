/** Reads that are looked up together: keys of a getMany, and gets of one turn; they must agree with getSync. */

import fc from 'fast-check';
import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.remove());

const COUNT = 3000;
const keyOf = (i: number): string => (i % 50 === 7 ? `${i}-`.padEnd(600, 'k') : `key-${i}`);
const isDeleted = (i: number): boolean => i % 11 === 3;

/** Small ones, of which some are not ASCII, large ones, and, of the first few, ones with a file of their own. */
function valueAt(i: number, round: number): string {
  const text = `${i}/${round} ${i % 3 === 0 ? 'ä' : 'a'}`;
  if (i < 4) return text.padEnd(700_000, 'f');
  if (i % 500 === 5) return text.padEnd(300_000, 'h');
  if (i % 100 === 6) return text.padEnd(50_000, 'l');
  return text.padEnd((i * 37) % 400, 'x');
}

async function fill(db: LightningDb, round: number, step: number): Promise<void> {
  const batch = db.batch();
  for (let i = 0; i < COUNT; i += step) {
    if (isDeleted(i)) batch.delete(keyOf(i));
    else batch.put(keyOf(i), valueAt(i, round));
  }
  await batch.write();
}

describe.each([
  [1, 64],
  [2, 8],
  [5, 40],
])('with %i shards and a cache of %i MiB', (shards, cacheMiB) => {
  const config = { shards, cacheSize: cacheMiB << 20, memtableSize: 4 << 20 };

  it('all ways of reading agree, now and as of a snapshot', async () => {
    const db = await LightningDb.open(directory.path, config);
    await fill(db, 0, 1);
    await db.compact();
    const snapshot = db.snapshot();
    await fill(db, 1, 3);
    await db.flush();
    await fill(db, 2, 7);
    const indexes = fc.array(fc.integer({ min: 0, max: COUNT + 100 }), { maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(indexes, fc.boolean(), async (chosen, isThen) => {
        const view = isThen ? snapshot : db;
        const keys = chosen.map(keyOf);
        const wanted = chosen.map((i) => {
          if (i >= COUNT || isDeleted(i)) return undefined;
          if (isThen) return valueAt(i, 0);
          return valueAt(i, i % 7 === 0 ? 2 : i % 3 === 0 ? 1 : 0);
        });
        expect(await view.getMany(keys)).toEqual(wanted);
        expect(await Promise.all(keys.map((key) => view.get(key)))).toEqual(wanted);
        expect(view.getManySync(keys)).toEqual(wanted);
        expect(keys.map((key) => view.getSync(key))).toEqual(wanted);
        const buffers = wanted.map((text) => text && Buffer.from(text));
        const asBuffers = { valueEncoding: 'buffer' } as const;
        expect(await view.getMany(keys, asBuffers)).toEqual(buffers);
        expect(view.getManySync(keys, asBuffers)).toEqual(buffers);
        expect(await Promise.all(keys.map((key) => view.get(key, asBuffers)))).toEqual(buffers);
      }),
      { numRuns: 12, endOnFailure: true },
    );
    snapshot.close();
    await db.close();
  }, 60_000);

  it('gets of a turn see what was there when they were called, whatever comes behind them', async () => {
    const db = await LightningDb.open(directory.path, config);
    const keys = Array.from({ length: 150 }, (_, i) => keyOf(i + 200));
    const readAll = (): Promise<(string | undefined)[]> =>
      Promise.all(keys.map((key) => db.get(key)));
    const all = <T>(value: T): T[] => keys.map(() => value);
    // Gets are gathered from the second round on.
    await readAll();
    for (let round = 0; round < 5; round++) {
      await Promise.all(keys.map((key) => db.put(key, 'first')));
      const beforePut = readAll();
      const puts = keys.map((key) => db.put(key, 'second'));
      expect(await beforePut).toEqual(all('first'));
      await Promise.all(puts);
      const beforeBatch = readAll();
      const batch = db.batch();
      for (const key of keys) batch.put(key, 'third');
      const written = batch.write();
      expect(await beforeBatch).toEqual(all('second'));
      await written;
      const beforeTransaction = readAll();
      const transaction = db.begin();
      for (const key of keys) transaction.put(key, 'fourth');
      const committed = transaction.commit();
      expect(await beforeTransaction).toEqual(all('third'));
      await committed;
      const beforeDelete = readAll();
      const deleted = keys.map((key) => db.delete(key));
      expect(await beforeDelete).toEqual(all('fourth'));
      await Promise.all(deleted);
      expect(await readAll()).toEqual(all(undefined));
    }
    await db.close();
  });

  it('never go back, and miss nothing that was acknowledged, while the keys are written', async () => {
    const db = await LightningDb.open(directory.path, config);
    const keys = Array.from({ length: 100 }, (_, i) => keyOf(i));
    const acknowledged = new Array<number>(keys.length).fill(-1);
    const lastSeen = new Array<number>(keys.length).fill(-1);
    let isWriting = true;
    const write = async (i: number): Promise<void> => {
      for (let version = 0; isWriting; version++) {
        await db.put(keys[i] as string, `${version}`.padEnd((i * 13) % 300));
        acknowledged[i] = version;
      }
    };
    const writes = keys.map((_, i) => write(i));
    for (let round = 0; round < 300; round++) {
      const least = acknowledged.map((version, i) => Math.max(version, lastSeen[i] as number));
      const values =
        round % 3 === 0
          ? await db.getMany(keys)
          : round % 3 === 1
            ? await Promise.all(keys.map((key) => db.get(key)))
            : db.getManySync(keys);
      for (const [i, value] of values.entries()) {
        lastSeen[i] = value === undefined ? -1 : Number(value);
        expect(lastSeen[i]).toBeGreaterThanOrEqual(least[i] as number);
      }
      if (round % 50 === 49) await db.flush();
    }
    isWriting = false;
    await Promise.all(writes);
    await db.close();
  }, 60_000);
});

describe('gets of one turn', () => {
  const config = { shards: 2, cacheSize: 16 << 20 };

  /** Gets are gathered from here on, for a turn. */
  async function gather(db: LightningDb): Promise<void> {
    await Promise.all(Array.from({ length: 100 }, (_, i) => db.get(`k${i}`)));
  }

  it('are refused one by one, and read in the encodings that they ask for', async () => {
    const db = await LightningDb.open(directory.path, config);
    for (let i = 0; i < 100; i++) await db.put(`k${i}`, `[${i}]`);
    // It is not looked up together with others.
    await db.put('large', 'x'.repeat(300_000));
    await gather(db);
    const upper = {
      encode: (text: string) => Buffer.from(text),
      decode: (bytes: Uint8Array) => `custom ${Buffer.from(bytes).toString()}`,
    };
    const gets: Promise<unknown>[] = [];
    const wanted: unknown[] = [];
    for (let i = 0; i < 100; i++) {
      gets.push(db.get('large').then((value) => value?.length));
      gets.push(db.get(`k${i}`), db.get(`k${i}`, { valueEncoding: 'buffer' }));
      gets.push(db.get(`k${i}`, { valueEncoding: 'json' }));
      gets.push(db.get(`k${i}`, { valueEncoding: upper }));
      gets.push(db.get(i as never).catch((error: Error) => error.message.slice(0, 15)));
      wanted.push(
        300_000,
        `[${i}]`,
        Buffer.from(`[${i}]`),
        [i],
        `custom [${i}]`,
        'Parameter "key"',
      );
    }
    expect(await Promise.all(gets)).toEqual(wanted);
    await db.close();
  });

  it('may be followed by any other use of the database', async () => {
    const db = await LightningDb.open(directory.path, config);
    for (let i = 0; i < 100; i++) await db.put(`k${i}`, `${i}`);
    for (const between of [
      () => expect([...db.scanSync()]).toHaveLength(100),
      () => expect([...db.scanSync({ gte: 'k5', limit: 3 })]).toHaveLength(3),
      () => expect(db.getManySync(['k1', 'none', 'k2'])).toEqual(['1', undefined, '2']),
      () => expect(() => db.getManySync(['k1', 5 as never])).toThrow('"keys"'),
      () => expect(db.getSync('k3')).toBe('3'),
      () => expect(db.hasSync('k4')).toBe(true),
      () => db.snapshot().close(),
    ]) {
      await gather(db);
      const first = Array.from({ length: 30 }, (_, i) => db.get(`k${i}`));
      between();
      const rest = Array.from({ length: 70 }, (_, i) => db.get(`k${i + 30}`));
      expect(await Promise.all([...first, ...rest])).toEqual(
        Array.from({ length: 100 }, (_, i) => `${i}`),
      );
    }
    await db.close();
  });

  it.each(['opened', 'attached'])(
    'are answered when the database, %s, is closed behind them',
    async (which) => {
      const owner = await LightningDb.open(directory.path, config);
      const db = which === 'opened' ? owner : await LightningDb.attach(owner.share());
      for (let i = 0; i < 100; i++) await db.put(`k${i}`, 'v'.repeat(i === 50 ? 600_000 : 10));
      await gather(db);
      const gets = Array.from({ length: 100 }, (_, i) => db.get(`k${i}`));
      const closed = db.close();
      await expect(db.get('k1')).rejects.toMatchObject({ code: 'LIGHTNING_CLOSED' });
      const values = await Promise.all(gets);
      expect(values.map((value) => value?.length)).toEqual(
        values.map((_, i) => (i === 50 ? 600_000 : 10)),
      );
      await closed;
      await owner.close();
    },
  );

  it('are settled in the order in which they were called', async () => {
    const db = await LightningDb.open(directory.path, config);
    for (let i = 0; i < 100; i++) await db.put(`k${i}`, `${i}`);
    await gather(db);
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => db.get(`k${i % 130}`).then(() => order.push(i))),
    );
    expect(order).toEqual(Array.from({ length: 500 }, (_, i) => i));
    await db.close();
  });
});
