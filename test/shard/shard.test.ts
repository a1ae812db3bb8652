import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { nodeFileSystem } from '../../src/file-system/node.js';
import { del, put, TestShard } from './harness.js';

const root = mkdtempSync(join(tmpdir(), 'lightning-shard-'));
afterAll(() => rmSync(root, { recursive: true }));
let made = 0;

function memoryPlace(): { fs: FileSystem; directory: string } {
  const fs = new MemoryFileSystem();
  fs.mkdir('/shard-000');
  fs.syncDirectory('/');
  return { fs, directory: '/shard-000' };
}

function nodePlace(): { fs: FileSystem; directory: string } {
  const directory = join(root, `shard-${made++}`);
  nodeFileSystem.mkdir(directory);
  return { fs: nodeFileSystem, directory };
}

const places: [name: string, place: typeof memoryPlace][] = [
  ['in memory', memoryPlace],
  ['on disk', nodePlace],
];

const value = (i: number, round = 0): string => `value-${i}-${round}-${'x'.repeat(i % 300)}`;
const key = (i: number): string => `key-${String(i).padStart(6, '0')}`;

describe.each(places)('a shard %s', (_name, place) => {
  it('answers what was put, after reopening too', async () => {
    const at = place();
    const first = await TestShard.open(at);
    await first.client.put('a', '1');
    await first.client.commit([put('b', '2'), put('c', '3'), del('a')]);
    await first.client.put('', 'empty key');
    expect(await first.client.get('a')).toBeUndefined();
    expect(await first.client.get('b')).toBe('2');
    await first.shard.close();

    const second = await TestShard.open(at);
    expect(second.shard.recovered.commits).toBe(0);
    expect(await second.client.getMany(['a', 'b', 'c', '', 'd'])).toEqual([
      undefined,
      '2',
      '3',
      'empty key',
      undefined,
    ]);
    await second.shard.close();
  });

  it('goes on where the process died, from the log', async () => {
    const at = place();
    const first = await TestShard.open(at);
    const sequences: number[] = [];
    for (let i = 0; i < 50; i++) sequences.push(await first.client.put(key(i), value(i)));
    expect(sequences).toEqual(sequences.map((_, i) => (sequences[0] as number) + i));
    // No close: the process is gone.
    const second = await TestShard.open(at);
    expect(second.shard.recovered.commits).toBe(50);
    expect(second.shard.recovered.lastSequence).toBe(sequences.at(-1));
    for (let i = 0; i < 50; i++) expect(await second.client.get(key(i))).toBe(value(i));
    expect(await second.client.put('next', '1')).toBeGreaterThan(sequences.at(-1) as number);
    await second.shard.close();
  });

  it('flushes and merges many rounds of the same keys, and keeps the newest', async () => {
    const at = place();
    const opened = await TestShard.open(at);
    const count = 3000;
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < count; i += 100) {
        const operations = Array.from({ length: 100 }, (_, n) =>
          (i + n) % 7 === round ? del(key(i + n)) : put(key(i + n), value(i + n, round)),
        );
        await opened.client.commit(operations);
      }
    }
    await opened.settle();
    expect(opened.shard.flusher.counters.done).toBeGreaterThan(3);
    const check = async (shard: TestShard): Promise<void> => {
      for (let i = 0; i < count; i += 7) {
        for (const n of [i, i + 3, i + 5]) {
          if (n >= count) continue;
          expect(await shard.client.get(key(n))).toBe(n % 7 === 5 ? undefined : value(n, 5));
        }
      }
    };
    await check(opened);
    await opened.shard.compact();
    expect(opened.shard.state.version.runs.map(({ order }) => order)).toEqual([0]);
    await check(opened);
    await opened.shard.close();
    const again = await TestShard.open(at);
    await check(again);
    await again.shard.close();
  });

  it('takes commits larger than a group, a ring and a memtable, whole', async () => {
    const at = place();
    const first = await TestShard.open(at);
    const operations = Array.from({ length: 9000 }, (_, i) => put(key(i), value(i)));
    const sequence = await first.client.commit(operations);
    expect(first.shard.state.commit.lastSequence).toBe(sequence);
    expect(await first.client.get(key(8999))).toBe(value(8999));
    await first.settle();
    const second = await TestShard.open(at);
    expect(second.shard.recovered.lastSequence).toBe(sequence);
    for (let i = 0; i < 9000; i += 111) expect(await second.client.get(key(i))).toBe(value(i));
    await second.shard.close();
  });

  it('keeps large values in files of their own, and deletes them when they are overwritten', async () => {
    const at = place();
    const first = await TestShard.open(at);
    const large = Buffer.alloc(300_000, 'large value ');
    await first.client.putBlob('blob', large);
    await first.client.commit([put('small', '1'), put('inner', large), put('end', '2')]);
    expect((await first.client.getBytes('blob'))?.equals(large)).toBe(true);
    expect(first.shard.state.blobs.count).toBe(2);

    const second = await TestShard.open(at);
    expect(second.shard.state.blobs.count).toBe(2);
    expect((await second.client.getBytes('blob'))?.equals(large)).toBe(true);
    await second.shard.compact();
    expect((await second.client.getBytes('inner'))?.equals(large)).toBe(true);
    expect(await second.client.get('end')).toBe('2');
    await second.client.put('blob', 'short now');
    await second.shard.compact();
    expect(second.shard.state.blobs.count).toBe(1);
    await second.client.delete('inner');
    await second.shard.compact();
    expect(second.shard.state.blobs.count).toBe(0);
    expect(at.fs.readdir(at.directory).filter((name) => name.endsWith('.blob'))).toEqual([]);
    await second.shard.close();
  });

  it('reads as of a snapshot, after the versions were flushed and merged', async () => {
    const at = place();
    const opened = await TestShard.open(at);
    await opened.client.put('k', 'old');
    const snapshot = opened.control.acquireSnapshot(1);
    if (snapshot === undefined) throw new Error('No snapshot');
    await opened.client.put('k', 'new');
    await opened.shard.compact();
    expect(await opened.client.get('k', snapshot.sequence)).toBe('old');
    expect(await opened.client.get('k')).toBe('new');
    opened.control.releaseSnapshot(snapshot.slot);
    await opened.shard.close();
  });

  it('opened again and again without a write keeps two segments of its log', async () => {
    const at = place();
    const segments = (): string[] =>
      at.fs.readdir(at.directory).filter((name) => name.endsWith('.wal'));
    const first = await TestShard.open(at);
    await first.client.put('a', '1');
    for (let i = 0; i < 6; i++) {
      // As if the process had died.
      const other = await TestShard.open(at);
      expect(await other.client.get('a')).toBe('1');
      expect(other.shard.recovered.commits).toBe(1);
    }
    const last = await TestShard.open(at);
    await last.shard.close();
    for (let i = 0; i < 6; i++) await (await TestShard.open(at)).shard.close();
    expect(segments().length).toBeLessThanOrEqual(2);
    const reopened = await TestShard.open(at);
    expect(await reopened.client.get('a')).toBe('1');
    await reopened.shard.close();
  });

  it('opened again and again after a death with something in the log keeps the log short', async () => {
    const at = place();
    const segments = (): string[] =>
      at.fs.readdir(at.directory).filter((name) => name.endsWith('.wal'));
    for (let i = 0; i < 30; i++) {
      const shard = await TestShard.open(at);
      await shard.client.put(`k${i}`, 'v');
      for (let k = 0; k <= i; k++) expect(await shard.client.get(`k${k}`)).toBe('v');
    }
    expect(segments().length).toBeLessThan(12);
  });

  it('opened read-only answers from the log and changes no file', async () => {
    const at = place();
    const first = await TestShard.open(at);
    await first.client.put('a', '1');
    await first.shard.flush();
    await first.client.put('b', '2');
    const before = at.fs.readdir(at.directory);
    const second = await TestShard.open({ ...at, config: { readOnly: true } });
    expect(await second.client.getMany(['a', 'b'])).toEqual(['1', '2']);
    await expect(second.client.put('c', '3')).rejects.toThrow(/read-only/);
    await second.shard.close();
    expect(at.fs.readdir(at.directory)).toEqual(before);
  });
});
