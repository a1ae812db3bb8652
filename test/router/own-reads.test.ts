/** Blocks that are not cached, read on the caller's own thread. */

import { closeSync, openSync, readdirSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { CorruptionError, LightningDb, type LightningDbConfig } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TableFiles } from '../../src/router/table-files.js';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  vi.useRealTimers();
  directory.remove();
});

const config = { shards: 2, cacheSize: 8 << 20 } as const;
const keyOf = (i: number): string => `key-${String(i).padStart(6, '0')}`;
const valueAt = (i: number): string => `${i}:`.padEnd(200, String.fromCharCode(97 + (i % 26)));

async function create(entries: number, options: LightningDbConfig = config): Promise<void> {
  const db = await LightningDb.open(directory.path, options);
  const batch = db.batch();
  for (let i = 0; i < entries; i++) batch.put(keyOf(i), valueAt(i));
  await batch.write();
  await db.compact();
  await db.close();
}

describe('a synchronous read of what is not cached', () => {
  it('reads the file itself, and the shard caches what it is given', async () => {
    await create(5000);
    const db = await LightningDb.open(directory.path, config);
    // Then all tables are loaded.
    await db.stats();
    for (let i = 0; i < 5000; i += 7) expect(db.getSync(keyOf(i))).toBe(valueAt(i));
    expect(db.getManySync([keyOf(1), 'no', keyOf(2)])).toEqual([valueAt(1), undefined, valueAt(2)]);
    expect(db.hasSync(keyOf(3))).toBe(true);
    // An answered write comes after all that was handed over before it.
    await Promise.all([0, 1, 2, 3].map((i) => db.put(`after-${i}`, '')));
    const { shards, thread } = await db.stats();
    expect(thread.openTables).toBeGreaterThan(0);
    expect(thread.openTables).toBeLessThanOrEqual(2 * thread.openTablesMax);
    for (const { reads, cache } of shards) {
      expect(reads.blocksRead).toBe(0);
      expect(cache.inserts).toBeGreaterThan(20);
    }
    for (let i = 0; i < 5000; i++) expect(db.getSync(keyOf(i))).toBe(valueAt(i));
    await db.close();
  });

  it('has the record cached where the block would be a waste, as long as it is the newest', async () => {
    const count = 60_000;
    const small = { shards: 1, cacheSize: 4 << 20 };
    await create(count, small);
    const db = await LightningDb.open(directory.path, small);
    const misses = async (): Promise<number> => {
      const { shards } = await db.stats();
      return shards.reduce((sum, { reads }) => sum + reads.cacheMisses, 0);
    };
    // One key of a block or so: as blocks, three times the cache.
    const hot = Array.from({ length: count / 20 }, (_, i) => i * 20 + 7);
    const suffix = new Map<number, string>();
    const readHot = async (): Promise<number> => {
      const before = await misses();
      for (const i of hot) expect(db.getSync(keyOf(i))).toBe(suffix.get(i) ?? valueAt(i));
      // The shards take what was handed to them.
      await Promise.all([0, 1, 2, 3].map((i) => db.put(`after-${i}`, '')));
      return (await misses()) - before;
    };
    let missed = 0;
    for (let round = 0; round < 6; round++) missed = await readHot();
    expect(missed).toBeLessThan(hot.length / 2);
    const snapshot = db.snapshot();
    for (const i of hot.filter((_, index) => index % 3 === 0)) {
      suffix.set(i, `new ${i}`);
      await db.put(keyOf(i), `new ${i}`);
    }
    await readHot();
    await db.flush();
    await readHot();
    await db.compact();
    await readHot();
    for (const i of hot) expect(snapshot.getSync(keyOf(i))).toBe(valueAt(i));
    await readHot();
    snapshot.close();
    await db.close();
  });

  it('hands over, once the cache is full, one in four of what is read for the first time', async () => {
    const count = 60_000;
    const small = { shards: 1, cacheSize: 4 << 20 };
    await create(count, small);
    const db = await LightningDb.open(directory.path, small);
    const inserts = async (): Promise<number> => {
      // The shard takes what was handed to it.
      for (let i = 0; i < 4; i++) await db.put(`after-${i}`, '');
      const { shards } = await db.stats();
      return shards.reduce((sum, { cache }) => sum + cache.inserts, 0);
    };
    const readFrom = (first: number, reads: number): void => {
      // Not the same block again soon.
      for (let i = 0; i < reads; i++) {
        const id = (first + i * 20) % count;
        expect(db.getSync(keyOf(id))).toBe(valueAt(id));
      }
    };
    readFrom(0, 2900);
    const before = await inserts();
    readFrom(1, 2500);
    const share = ((await inserts()) - before) / 2500;
    expect(share).toBeGreaterThan(0.15);
    expect(share).toBeLessThan(0.35);
    await db.close();
  });

  it('has no old version cached as the newest, whatever was read before it', async () => {
    const count = 40_000;
    const small = { shards: 1, cacheSize: 4 << 20 };
    await create(count, small);
    const db = await LightningDb.open(directory.path, small);
    const snapshot = db.snapshot();
    const batch = db.batch();
    for (let i = 0; i < count; i++) batch.put(keyOf(i), `new ${i} ${valueAt(i)}`);
    await batch.write();
    await db.compact();
    const readNew = (i: number): void =>
      expect(db.getSync(keyOf(i))).toBe(`new ${i} ${valueAt(i)}`);
    // From now on the cache is full: single records are handed to it.
    for (let i = 0; i < count / 2; i++) readNew(i);
    for (let i = 0; i < count - 400; i += 400) {
      readNew(i);
      // In the block that was just read.
      readNew(i + 1);
      expect(snapshot.getSync(keyOf(i + 200))).toBe(valueAt(i + 200));
    }
    // The shard takes what was handed to it.
    await Promise.all([0, 1, 2, 3].map((i) => db.put(`after-${i}`, '')));
    for (let i = 0; i < count - 400; i += 400) readNew(i + 200);
    snapshot.close();
    await db.close();
  });

  it('is as of its snapshot while tables are replaced under it', async () => {
    await create(2000);
    const db = await LightningDb.open(directory.path, config);
    const snapshot = db.snapshot();
    for (let round = 1; round <= 3; round++) {
      const batch = db.batch();
      for (let i = 0; i < 2000; i++) batch.put(keyOf(i), `${round}-${i}`);
      await batch.write();
      const compacting = db.compact();
      for (let i = 0; i < 2000; i += 13) {
        expect(db.getSync(keyOf(i))).toBe(`${round}-${i}`);
        expect(snapshot.getSync(keyOf(i))).toBe(valueAt(i));
      }
      await compacting;
    }
    snapshot.close();
    await db.close();
  });

  it('gives no wrong value when the block is damaged', async () => {
    await create(2000);
    const db = await LightningDb.open(directory.path, config);
    for (const shard of ['shard-000', 'shard-001']) {
      const folder = `${directory.path}/${shard}`;
      for (const name of readdirSync(folder).filter((n) => n.endsWith('.table'))) {
        const fd = openSync(`${folder}/${name}`, 'r+');
        writeSync(fd, Buffer.alloc(64, 0xee), 0, 64, 32);
        closeSync(fd);
      }
    }
    let damaged = 0;
    for (let i = 0; i < 2000; i++) {
      try {
        expect(db.getSync(keyOf(i))).toBe(valueAt(i));
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptionError);
        damaged++;
      }
    }
    expect(damaged).toBeGreaterThan(10);
    expect(damaged).toBeLessThan(200);
    await db.close();
  });
});

describe('files of tables', () => {
  it('are closed when nobody reads them any more', () => {
    vi.useFakeTimers();
    const path = `${directory.path}/0000000007.table`;
    writeFileSync(path, 'some bytes');
    const files = new TableFiles(directory.path);
    const open = (): number =>
      readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === path).length;
    const target = new Uint8Array(20);
    expect(files.read(7, 5, 5, target, 1)).toBe(true);
    expect(Buffer.from(target.subarray(1, 6)).toString()).toBe('bytes');
    expect(files.read(7, 8, 5, target, 0)).toBe(false);
    expect(files.read(8, 0, 1, target, 0)).toBe(false);
    expect(open()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(open()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(open()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    expect(files.read(7, 0, 4, target, 0)).toBe(true);
    files.close();
    expect(open()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are never more than a few', () => {
    const files = new TableFiles(directory.path);
    const target = new Uint8Array(1);
    const before = readdirSync('/proc/self/fd').length;
    for (let table = 1; table <= 600; table++) {
      writeFileSync(`${directory.path}/${String(table).padStart(10, '0')}.table`, 'x');
      expect(files.read(table, 0, 1, target, 0)).toBe(true);
    }
    expect(readdirSync('/proc/self/fd').length - before).toBeLessThanOrEqual(514);
    files.close();
  });
});

function linkOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

describe('what a thread holds', () => {
  it('is in the statistics: requests without an answer, and their bytes that wait for room', async () => {
    const ringBytes = { request: 4096, response: 4096 };
    const db = await LightningDb.open(directory.path, { ...config, ringBytes, shards: 1 });
    const writes: Promise<void>[] = [];
    let most = { pendingRequests: 0, queuedBytes: 0 };
    let bound = 0;
    // Statistics come back while the worker is still busy with what was asked for before and after.
    while (most.queuedBytes === 0) {
      const stats = db.stats();
      for (let i = 0; i < 5000; i++) writes.push(db.put(`key-${i}`, 'x'.repeat(300)));
      const { thread } = await stats;
      if (thread.queuedBytes > 0) most = thread;
      bound = thread.queuedBytesMax;
    }
    expect(most.queuedBytes).toBeLessThanOrEqual(bound);
    expect(most.pendingRequests).toBeGreaterThan(0);
    await Promise.all(writes);
    expect((await db.stats()).thread).toMatchObject({ pendingRequests: 0, queuedBytes: 0 });
    await db.close();
  });
});
