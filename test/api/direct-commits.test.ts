/** Threads that commit for shards whose workers sleep: what the application sees of it. */

import { Worker } from 'node:worker_threads';
import { LightningDb, type LightningDbConfig } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { temporaryDirectory } from './temporary-directory.js';

let directory: ReturnType<typeof temporaryDirectory>;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const small = { shards: 2, memtableSize: 256 * 1024, cacheSize: 16 << 20 } as const;

async function directGroups(db: LightningDb): Promise<number> {
  const { shards } = await db.stats();
  return shards.reduce((sum, { wal }) => sum + wal.directGroups, 0);
}

/** Awaits puts one by one until the thread has committed some of them itself. */
async function putUntilDirect(db: LightningDb): Promise<number> {
  for (let i = 0; i < 100_000; i += 200) {
    for (let n = i; n < i + 200; n++) await db.put(`key-${n}`, `value ${n}`);
    if ((await directGroups(db)) > 0) return i + 200;
  }
  throw new Error('No put was committed by this thread');
}

/** Puts its own keys, one awaited after the other, and says after each how far it has come. */
const WRITER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { LightningDb } = require('lightning-db');
  const { handle, name, count, acknowledged, slot } = workerData;
  LightningDb.attach(handle).then(async (db) => {
    for (let i = 1; i <= count; i++) {
      await (i % 2 ? db.put(name + '-last', String(i)) : db.put(name + '-' + i % 50, String(i)));
      Atomics.store(acknowledged, slot, i);
    }
    await db.close();
    parentPort.postMessage('done');
  });`;

interface WriterData {
  readonly handle: ReturnType<LightningDb['share']>;
  readonly name: string;
  readonly count: number;
  readonly acknowledged: Int32Array;
  readonly slot: number;
}

function startWriter(workerData: WriterData): Worker {
  return new Worker(WRITER, { eval: true, workerData });
}

/** What a writer has been told that it wrote is there; of what was under way, all or nothing. */
async function checkWriter(db: LightningDb, name: string, acknowledged: number): Promise<void> {
  const last = acknowledged - ((acknowledged + 1) % 2);
  const found = Number((await db.get(`${name}-last`)) ?? 0);
  expect(found, `${name}: ${acknowledged}`).toBeGreaterThanOrEqual(Math.max(last, 0));
  expect(found).toBeLessThanOrEqual(acknowledged + 1);
  for (let i = Math.max(2, acknowledged - 40); i <= acknowledged; i++) {
    if (i % 2 === 1) continue;
    const value = Number((await db.get(`${name}-${i % 50}`)) ?? 0);
    expect(value, `${name}-${i % 50}: ${acknowledged}`).toBeGreaterThanOrEqual(i);
  }
}

describe('puts that are awaited one by one', () => {
  it.each<[string, LightningDbConfig<'utf8', 'utf8'>]>([
    ['async', { walSyncMode: 'async' }],
    ['periodic', { walSyncMode: { periodic: { intervalMs: 5 } } }],
    ['of one shard', { shards: 1 }],
  ])('are committed by their own thread: %s', async (_mode, config) => {
    const db = await LightningDb.open(directory.path, { ...small, ...config });
    const count = await putUntilDirect(db);
    for (let i = 0; i < count; i++) expect(db.getSync(`key-${i}`)).toBe(`value ${i}`);
    const { shards } = await db.stats();
    expect(shards.reduce((sum, { wal }) => sum + wal.commits, 0)).toBe(count);
    expect(shards.reduce((sum, { wal }) => sum + wal.operations, 0)).toBe(count);
    // A write that is to be durable waits for a barrier over shards that are lent.
    await db.put('durable', 'yes', { sync: true });
    await db.put('last', 'yes');
    await db.close();
    const again = await LightningDb.open(directory.path, { ...small, ...config });
    for (let i = 0; i < count; i += 7) expect(await again.get(`key-${i}`)).toBe(`value ${i}`);
    expect(await again.get('last')).toBe('yes');
    await again.close();
  });

  it.each<[string, LightningDbConfig<'utf8', 'utf8'>]>([
    ['when that is not wanted', { directCommits: false }],
    ['in mode sync', { walSyncMode: 'sync' }],
  ])('are not, %s', async (_why, config) => {
    const db = await LightningDb.open(directory.path, { ...small, ...config });
    for (let i = 0; i < 300; i++) await db.put(`key-${i}`, 'v');
    expect(await directGroups(db)).toBe(0);
    await db.close();
  });

  it('leave the event loop its turns', async () => {
    const db = await LightningDb.open(directory.path, small);
    let isOver = false;
    let turns = 0;
    const timer = setInterval(() => {
      if (++turns === 20) isOver = true;
    }, 1);
    let puts = 0;
    while (!isOver) await db.put(`key-${puts++ % 1000}`, 'v');
    clearInterval(timer);
    expect(turns).toBe(20);
    await db.close();
  });

  it('leave the event loop its turns, as batches over several shards', async () => {
    const db = await LightningDb.open(directory.path, { ...small, memtableSize: 32 << 20 });
    let batches = 0;
    const write = async (): Promise<void> => {
      const batch = db.batch();
      for (let i = 0; i < 8; i++) batch.put(`key-${i}`, String(batches));
      await batch.write();
      batches++;
    };
    while (batches < 2000) await write();
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    // Not how long it takes, but how many of them there are to a turn.
    while (turns < 40 && batches < 22_000) await write();
    clearInterval(timer);
    expect(turns).toBeGreaterThanOrEqual(40);
    await db.close();
  });

  it('are seen by scans and snapshots of their moment only', async () => {
    const db = await LightningDb.open(directory.path, small);
    const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
    for (let round = 0; round < 400; round++) {
      // In their order: a scan never sees a later key with a newer value than an earlier one.
      for (const key of keys) await db.put(key, String(round).padStart(4, '0'));
      const writes = keys.map((key) => db.put(key, String(round).padStart(4, '0')));
      const snapshot = db.snapshot();
      const seen = [...snapshot.scanSync()].map(([, value]) => value);
      expect(seen).toEqual(Array(6).fill(String(round).padStart(4, '0')));
      snapshot.close();
      await Promise.all(writes);
    }
    await db.close();
  });

  it('and are under way at a close are answered', async () => {
    const db = await LightningDb.open(directory.path, small);
    const count = await putUntilDirect(db);
    const writes = Array.from({ length: 500 }, (_, i) => db.put(`late-${i}`, 'v'));
    await Promise.all([db.close(), ...writes]);
    const again = await LightningDb.open(directory.path, small);
    for (let i = 0; i < 500; i++) expect(again.getSync(`late-${i}`)).toBe('v');
    expect(again.getSync(`key-${count - 1}`)).toBe(`value ${count - 1}`);
    await again.close();
  });
});

describe('several threads', () => {
  it('that write to the same shards hold each other up only as long as it takes', async () => {
    const db = await LightningDb.open(directory.path, small);
    const acknowledged = new Int32Array(new SharedArrayBuffer(16));
    const names = ['one', 'two', 'three'];
    const writers = names.map((name, slot) =>
      startWriter({ handle: db.share(), name, count: 3000, acknowledged, slot }),
    );
    const done = writers.map((worker) => new Promise((resolve) => worker.once('message', resolve)));
    let own = 0;
    const isDone = Promise.all(done).then(() => true);
    while (!(await Promise.race([isDone, Promise.resolve(false)]))) {
      await db.put('main', String(++own));
      const batch = db.batch();
      await batch.put('main-1', String(own)).put('main-2', String(own)).put('main-3', 'x').write();
    }
    for (const [slot, name] of names.entries()) {
      expect(acknowledged[slot]).toBe(3000);
      await checkWriter(db, name, 3000);
    }
    expect(await directGroups(db)).toBeGreaterThan(0);
    await db.close();
    const again = await LightningDb.open(directory.path, small);
    for (const name of names) await checkWriter(again, name, 3000);
    expect(await again.get('main')).toBe(String(own));
    await again.close();
  }, 60_000);

  it('that are ended while they commit leave the shard whole, and its worker alive', async () => {
    const db = await LightningDb.open(directory.path, small);
    const rounds = 12;
    const acknowledged = new Int32Array(new SharedArrayBuffer(4 * rounds * 2));
    const ended: { name: string; slot: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const pair = [0, 1].map((n) => ({ name: `w${round}-${n}`, slot: round * 2 + n }));
      const workers = pair.map(({ name, slot }) =>
        startWriter({ handle: db.share(), name, count: 1e9, acknowledged, slot }),
      );
      // Somewhere in the middle: how far each gets by then is chance.
      while (pair.some(({ slot }) => Atomics.load(acknowledged, slot) < 50 + round * 7)) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      await Promise.all(workers.map((worker) => worker.terminate()));
      for (const { name, slot } of pair) {
        ended.push({ name, slot });
        await checkWriter(db, name, Atomics.load(acknowledged, slot));
      }
      await db.put(`alive-${round}`, 'yes');
      expect(db.getSync(`alive-${round}`)).toBe('yes');
    }
    // A worker that was replaced would have begun to count anew.
    const { shards } = await db.stats();
    const commits = shards.reduce((sum, { wal }) => sum + wal.commits, 0);
    const told = acknowledged.reduce((sum, count) => sum + count, rounds);
    expect(commits).toBeGreaterThanOrEqual(told);
    expect((await db.check()).problems).toEqual([]);
    await db.close();
    const again = await LightningDb.open(directory.path, small);
    for (const { name, slot } of ended) {
      await checkWriter(again, name, Atomics.load(acknowledged, slot));
    }
    await again.close();
  }, 120_000);
});
