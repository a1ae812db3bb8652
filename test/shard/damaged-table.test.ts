/** A table that has rotted costs its own keys: everything else is read, written and compacted. */

import { describe, expect, it } from 'vitest';
import { CorruptionError, IoError, LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { checkShard } from '../../src/shard/check-shard.js';
import { shardStats } from '../../src/shard/shard-stats.js';
import { decodeFooter, FOOTER_BYTES, type Footer } from '../../src/sstable/format.js';
import { put, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';
const RANGES = ['a', 'b', 'c'];
const COUNT = 300;
const key = (range: string, i: number): string => `${range}-${String(i).padStart(4, '0')}`;
const value = (range: string, i: number): string => `${range}${i}:${'v'.repeat(150)}`;

/** A shard whose tables hold one range each, in runs of their own. */
async function threeRanges() {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const place = { fs, directory: DIRECTORY, config: testConfig({ walSync: 'sync' }) };
  const shard = await TestShard.open(place);
  for (const range of RANGES) {
    await shard.client.commit(
      Array.from({ length: COUNT }, (_, i) => put(key(range, i), value(range, i))),
    );
    await shard.shard.flush();
  }
  const tables = [...shard.shard.state.version.tables()];
  const paths = new Map(
    tables.map(({ id, smallest }) => [
      Buffer.from(smallest).toString('latin1', 0, 1),
      shard.shard.state.tables.path(id),
    ]),
  );
  await shard.shard.close();
  return { place, fs, pathOf: (range: string) => paths.get(range) as string };
}

function footerOf(fs: MemoryFileSystem, path: string): Footer & { readonly fileBytes: number } {
  const bytes = fs.readFile(path);
  const id = Number(/(\d+)\.table$/.exec(path)?.[1]);
  const { footer } = decodeFooter(bytes.subarray(-FOOTER_BYTES), bytes.length, { path, id });
  return { ...footer, fileBytes: bytes.length };
}

/** Reads every key of a range; the errors, and how many values came. */
async function readRange(shard: TestShard, range: string) {
  const errors: CorruptionError[] = [];
  let read = 0;
  for (let i = 0; i < COUNT; i++) {
    try {
      expect(await shard.client.get(key(range, i))).toBe(value(range, i));
      read++;
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      errors.push(error);
    }
  }
  return { errors, read };
}

type Damage = (fs: MemoryFileSystem, path: string) => void;

const flip =
  (at: (footer: ReturnType<typeof footerOf>) => number): Damage =>
  (fs, path) =>
    fs.corrupt(path, at(footerOf(fs, path)), (byte) => byte ^ 4);

const UNREADABLE: [string, Damage][] = [
  ['index', flip(({ indexOffset }) => indexOffset + 70)],
  ['properties', flip(({ propertiesOffset }) => propertiesOffset + 9)],
  ['footer', flip(({ fileBytes }) => fileBytes - 20)],
  [
    'length',
    (fs, path) => {
      const file = fs.open(path, 'r+');
      file.truncate(1000);
      file.sync();
      file.close();
    },
  ],
  ['file', (fs, path) => fs.unlink(path)],
];

describe('a table that cannot be opened', () => {
  it.each(UNREADABLE)(
    'for its %s keeps its own keys back, and no others',
    async (_name, damage) => {
      const { place, fs, pathOf } = await threeRanges();
      damage(fs, pathOf('b'));
      const shard = await TestShard.open(place);
      expect((await readRange(shard, 'a')).read).toBe(COUNT);
      expect((await readRange(shard, 'c')).read).toBe(COUNT);
      const { errors, read } = await readRange(shard, 'b');
      expect(read).toBe(0);
      for (const error of errors) {
        expect(error.details['file']).toBe(pathOf('b'));
        expect(error.details['offset']).toBeTypeOf('number');
      }
      await expect(shard.client.getMany([key('a', 1), key('b', 1)])).rejects.toBeInstanceOf(
        CorruptionError,
      );
      // Keys outside of what it held are known to be missing; newer values shadow what is lost.
      expect(await shard.client.get('b-9999')).toBeUndefined();
      await shard.client.put(key('b', 7), 'newer');
      expect(await shard.client.get(key('b', 7))).toBe('newer');
      await shard.shard.flush();
      expect(await shard.client.get(key('b', 7))).toBe('newer');
      await shard.shard.close();
    },
  );

  it('is reported by check and by the statistics', async () => {
    const { place, fs, pathOf } = await threeRanges();
    fs.unlink(pathOf('a'));
    flip(({ indexOffset }) => indexOffset + 3)(fs, pathOf('b'));
    const shard = await TestShard.open(place);
    const report = await checkShard(shard.shard.state);
    expect(report.problems.map(({ file }) => file).sort()).toEqual([pathOf('a'), pathOf('b')]);
    const { damagedTables } = shardStats(shard.shard);
    expect(damagedTables.map(({ file, extent }) => [file, extent]).sort()).toEqual([
      [pathOf('a'), 'table'],
      [pathOf('b'), 'table'],
    ]);
    await shard.shard.close();
  });

  it('is left alone by compaction, which goes on around it', async () => {
    const { place, fs, pathOf } = await threeRanges();
    flip(({ indexOffset }) => indexOffset + 3)(fs, pathOf('b'));
    const shard = await TestShard.open(place);
    for (let round = 0; round < 24; round++) {
      await shard.client.commit(
        Array.from({ length: 20 }, (_, i) => put(key('a', i * 3 + round), `round ${round}`)),
      );
      await shard.shard.flush();
      await shard.settle();
    }
    expect(shard.shard.state.version.runs.length).toBeLessThan(14);
    expect(shard.shard.compactor.counters.failed).toBe(0);
    await expect(shard.shard.compact()).rejects.toThrow(pathOf('b'));
    const { runs } = shard.shard.state.version;
    expect(runs.length).toBeLessThanOrEqual(3);
    expect(await shard.client.get(key('a', 23))).toBe('round 23');
    expect((await readRange(shard, 'c')).read).toBe(COUNT);
    expect(fs.exists(pathOf('b'))).toBe(true);
    await shard.shard.close();
  });
});

describe('a table that the disk does not read', () => {
  /** Reads of a part of the table fail; `threeRanges` with that. */
  async function unread(part: (footer: Footer) => { from: number; to: number }) {
    const made = await threeRanges();
    const path = made.pathOf('b');
    made.fs.failReads(path, 'EIO', part(footerOf(made.fs, path)));
    return { ...made, path };
  }
  const indexOf = ({ indexOffset }: Footer) => ({ from: indexOffset, to: indexOffset + 8 });

  it('at open keeps its own keys back, and no others, until the disk reads again', async () => {
    const { place, fs, path } = await unread(indexOf);
    const shard = await TestShard.open(place);
    expect((await readRange(shard, 'a')).read).toBe(COUNT);
    expect((await readRange(shard, 'c')).read).toBe(COUNT);
    await expect(shard.client.get(key('b', 1))).rejects.toMatchObject({
      code: 'LIGHTNING_IO',
      details: { path, errno: 'EIO' },
    });
    await expect(shard.client.getMany([key('a', 1), key('b', 1)])).rejects.toThrow(IoError);
    expect(shardStats(shard.shard).damagedTables).toMatchObject([
      { code: 'LIGHTNING_IO', file: path, extent: 'table' },
    ]);
    expect(await shard.client.get('b-9999')).toBeUndefined();
    await shard.client.put(key('b', 7), 'newer');
    await expect(shard.shard.compact()).rejects.toThrow(path);
    expect(await shard.client.get(key('b', 7))).toBe('newer');
    await shard.shard.close();

    fs.clearFaults();
    const again = await TestShard.open(place);
    expect(shardStats(again.shard).damagedTables).toEqual([]);
    expect(await again.client.get(key('b', 7))).toBe('newer');
    expect(await again.client.get(key('b', 8))).toBe(value('b', 8));
    await again.shard.compact();
    await again.shard.close();
  });

  it('serves all of it when only its filter is not read', async () => {
    const { place, path } = await unread(({ filterOffset }) => ({
      from: filterOffset,
      to: filterOffset + 8,
    }));
    const shard = await TestShard.open(place);
    for (const range of RANGES) expect((await readRange(shard, range)).read).toBe(COUNT);
    expect(shardStats(shard.shard).damagedTables).toMatchObject([{ file: path, extent: 'filter' }]);
    await shard.shard.close();
  });

  it.each(['.manifest', '.wal', 'CURRENT'])(
    'is not like %s, without which nothing is opened',
    async (name) => {
      const { place, fs } = await threeRanges();
      const contents = (): string[] =>
        fs
          .readdir(DIRECTORY)
          .map((file) => `${file} ${fs.readFile(`${DIRECTORY}/${file}`).toString('base64')}`);
      const before = contents();
      fs.failReads(name, 'EIO');
      await expect(TestShard.open(place)).rejects.toMatchObject({
        code: 'LIGHTNING_IO',
        message: expect.stringContaining(name),
      });
      fs.clearFaults();
      if (name !== '.wal') expect(contents()).toEqual(before);
      const shard = await TestShard.open(place);
      for (const range of RANGES) expect((await readRange(shard, range)).read).toBe(COUNT);
      await shard.shard.close();
    },
  );
});

describe('a table with a bad filter', () => {
  it('is served without it, and healed by compaction', async () => {
    const { place, fs, pathOf } = await threeRanges();
    flip(({ filterOffset }) => filterOffset + 100)(fs, pathOf('b'));
    const shard = await TestShard.open(place);
    for (const range of RANGES) expect((await readRange(shard, range)).read).toBe(COUNT);
    expect(await shard.client.get('b-0001x')).toBeUndefined();
    expect(shardStats(shard.shard).damagedTables).toMatchObject([
      { file: pathOf('b'), extent: 'filter' },
    ]);
    expect((await checkShard(shard.shard.state)).problems).toHaveLength(1);
    await shard.client.put('b-0001x', 'overlaps');
    await shard.shard.compact();
    expect(shardStats(shard.shard).damagedTables).toEqual([]);
    expect((await checkShard(shard.shard.state)).problems).toEqual([]);
    for (const range of RANGES) expect((await readRange(shard, range)).read).toBe(COUNT);
    await shard.shard.close();
  });
});

describe('a table with a bad block', () => {
  it('keeps back the keys of the block, and stays out of merges once one has failed', async () => {
    const { place, fs, pathOf } = await threeRanges();
    fs.corrupt(pathOf('b'), 5, (byte) => byte ^ 0x40);
    const shard = await TestShard.open(place);
    const { errors, read } = await readRange(shard, 'b');
    expect(errors.length).toBeGreaterThan(0);
    expect(read).toBeGreaterThan(errors.length);
    expect(errors[0]?.details).toMatchObject({ file: pathOf('b'), offset: 0 });
    expect(shardStats(shard.shard).damagedTables).toMatchObject([
      { file: pathOf('b'), extent: 'blocks' },
    ]);
    await shard.client.put('b-0020x', 'overlaps');
    await expect(shard.shard.compact()).rejects.toBeInstanceOf(CorruptionError);
    await shard.shard.close();

    const again = await TestShard.open(place);
    await again.client.put(key('a', 2), 'newest');
    // Nobody has read the block yet: the merge finds it, and then goes around.
    await expect(again.shard.compact()).rejects.toThrow(/offset 0/);
    expect(again.shard.compactor.counters.failed).toBe(1);
    expect(again.shard.state.version.runs.length).toBeLessThanOrEqual(3);
    expect(await again.client.get(key('a', 2))).toBe('newest');
    expect((await readRange(again, 'b')).read).toBe(read);
    await again.shard.close();
  });
});

describe('a log that is damaged beside a damaged table', () => {
  it('still keeps the shard from opening: what it held is unknown', async () => {
    const { place, fs, pathOf } = await threeRanges();
    fs.unlink(pathOf('b'));
    const shard = await TestShard.open(place);
    for (let i = 0; i < 10; i++) await shard.client.put(`log-${i}`, 'x'.repeat(100));
    const wal = fs
      .readdir(DIRECTORY)
      .filter((name) => name.endsWith('.wal'))
      .at(-1);
    fs.corrupt(`${DIRECTORY}/${wal}`, 100, (byte) => byte ^ 1);
    await expect(TestShard.open(place)).rejects.toBeInstanceOf(LightningError);
  });
});
