/** What compactions leave behind, how much room they need, and when they start by themselves. */

import { describe, expect, it } from 'vitest';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import { del, put, TestShard } from './harness.js';

const DIRECTORY = '/shard-000';

function place() {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return { fs, directory: DIRECTORY };
}

const name = (i: number): string => `key-${String(i).padStart(6, '0')}`;
const tablesOf = ({ shard }: TestShard): TableInfo[] => [...shard.state.version.tables()];
const total = (tables: readonly TableInfo[], field: 'entries' | 'keys' | 'tombstones'): number =>
  tables.reduce((sum, table) => sum + table[field], 0);

async function write(
  opened: TestShard,
  from: number,
  to: number,
  value: string | ((i: number) => string),
): Promise<void> {
  const operations = [];
  for (let i = from; i < to; i++) {
    operations.push(put(name(i), typeof value === 'string' ? value : value(i)));
  }
  await opened.client.commit(operations);
}

async function remove(opened: TestShard, from: number, to: number): Promise<void> {
  const operations = [];
  for (let i = from; i < to; i++) operations.push(del(name(i)));
  await opened.client.commit(operations);
}

/** Text that does not get much smaller. */
function noise(seed: number): string {
  const random = seededRandom(seed + 1);
  return Array.from({ length: 100 }, () => Math.floor(random() * 36).toString(36)).join('');
}

/** Takes a snapshot; the function returned closes it. */
function snapshot({ control }: TestShard): () => void {
  const taken = control.acquireSnapshot(1);
  if (taken === undefined) throw new Error('There is no snapshot to be had');
  return () => control.releaseSnapshot(taken.slot);
}

describe('compact', () => {
  it('drops old versions that stand in a table which overlaps no other', async () => {
    const opened = await TestShard.open(place());
    await write(opened, 0, 500, 'old');
    const release = snapshot(opened);
    await write(opened, 0, 500, 'new');
    await opened.shard.compact();
    expect(total(tablesOf(opened), 'entries')).toBe(1000);
    expect(total(tablesOf(opened), 'keys')).toBe(500);
    release();
    await opened.shard.compact();
    expect(total(tablesOf(opened), 'entries')).toBe(500);
    await opened.shard.close();
  });

  it('rewrites nothing when there is nothing to drop', async () => {
    const opened = await TestShard.open(place());
    await write(opened, 0, 500, 'value');
    await opened.shard.compact();
    const before = tablesOf(opened).map(({ id }) => id);
    await opened.shard.compact();
    expect(tablesOf(opened).map(({ id }) => id)).toEqual(before);
    await opened.shard.close();
  });

  it('deletes what a part of it replaced before the last part is done', async () => {
    const at = place();
    const files: number[] = [];
    let merges = 0;
    let opened: TestShard | undefined;
    opened = await TestShard.open({
      ...at,
      // Jobs run one after the other, as on a thread of a pool.
      before: async ({ kind }) => {
        if (kind !== 'merge') return;
        const turns = 20 * merges++;
        for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
        files.push(at.fs.readdir(DIRECTORY).filter((file) => file.endsWith('.table')).length);
      },
      // What the driver does when it is woken.
      wake: () => void setImmediate(() => opened?.shard.turn()),
    });
    const ranges = [0, 1000, 2000, 3000];
    for (const from of ranges) {
      await write(opened, from, from + 1000, noise);
      await opened.shard.flush();
    }
    for (const from of ranges) {
      await write(opened, from, from + 10, 'new');
      await opened.shard.flush();
    }
    await opened.settle();
    await opened.shard.compact();
    // Two tables of each range become one.
    expect(files).toEqual([8, 7, 6, 5]);
    await opened.shard.close();
  });

  it('keeps every key when a part of it fails, and the parts that were done', async () => {
    let merges = 0;
    const opened = await TestShard.open({
      ...place(),
      before: async ({ kind }) => {
        if (kind === 'merge' && ++merges === 2) throw new Error('No');
      },
    });
    const ranges = [0, 1000, 2000, 3000];
    for (const from of ranges) {
      await write(opened, from, from + 1000, noise);
      await opened.shard.flush();
    }
    for (const from of ranges) {
      await write(opened, from, from + 10, 'new');
      await opened.shard.flush();
    }
    await opened.settle();
    const shape = () => opened.shard.state.version.runs.map(({ tables }) => tables.length);
    expect(shape()).toEqual([1, 1, 1, 1, 4]);
    await expect(opened.shard.compact()).rejects.toThrow('No');
    expect(shape()).toEqual([1, 4]);
    const check = async (): Promise<void> => {
      for (const from of ranges) expect(await opened.client.get(name(from + 9))).toBe('new');
      expect(await opened.client.get(name(3999))).toBe(noise(3999));
    };
    await check();
    await opened.shard.compact();
    await check();
    expect(total(tablesOf(opened), 'entries')).toBe(4000);
    await opened.shard.close();
  });
});

describe('by itself', () => {
  it('drops old versions soon after the snapshot that kept them is closed', async () => {
    let nowMs = 0;
    const clock = { nowMs: () => nowMs, wallMs: () => Date.now() };
    const opened = await TestShard.open({ ...place(), clock });
    await write(opened, 0, 500, 'old');
    const release = snapshot(opened);
    await write(opened, 0, 500, 'new');
    await opened.shard.flush();
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(1000);
    nowMs += 10_000;
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(1000);
    release();
    expect(opened.shard.wakesInMs()).toBeLessThanOrEqual(1000);
    nowMs += 10_000;
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(500);
    expect(opened.shard.wakesInMs()).toBeUndefined();
    await opened.shard.close();
  });

  it('does not rewrite what one of two snapshots still keeps twice', async () => {
    let nowMs = 0;
    const clock = { nowMs: () => nowMs, wallMs: () => Date.now() };
    const opened = await TestShard.open({ ...place(), clock });
    await write(opened, 0, 500, 'old');
    const first = snapshot(opened);
    await write(opened, 0, 500, 'middle');
    const second = snapshot(opened);
    await write(opened, 0, 500, 'new');
    await opened.shard.flush();
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(1500);
    second();
    for (let i = 0; i < 3; i++) {
      nowMs += 10_000;
      await opened.settle();
    }
    expect(total(tablesOf(opened), 'entries')).toBe(1000);
    expect(opened.shard.compactor.counters.done).toBe(1);
    first();
    nowMs += 10_000;
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(500);
    await opened.shard.close();
  });

  it('drops what was deleted together with the tombstones', async () => {
    const opened = await TestShard.open(place());
    await write(opened, 0, 2000, 'value');
    await opened.shard.compact();
    await remove(opened, 0, 1500);
    await opened.shard.flush();
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(500);
    expect(total(tablesOf(opened), 'tombstones')).toBe(0);
    await opened.shard.close();
  });

  it('drops a small range that was deleted from a large shard', async () => {
    const opened = await TestShard.open(place());
    for (let i = 0; i < 20_000; i += 1000) await write(opened, i, i + 1000, noise);
    await opened.shard.compact();
    expect(tablesOf(opened).length).toBeGreaterThan(3);
    await remove(opened, 0, 1500);
    await opened.shard.flush();
    await opened.settle();
    expect(total(tablesOf(opened), 'entries')).toBe(18_500);
    expect(await opened.client.get(name(1499))).toBeUndefined();
    expect(await opened.client.get(name(1500))).toBe(noise(1500));
    await opened.shard.close();
  });
});
