/** What stays in the block cache, whatever else goes on. */

import { describe, expect, it } from 'vitest';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import { T_BLOCKS } from '../../src/kernel/assembly/layout.js';
import { shardStats } from '../../src/shard/shard-stats.js';
import { put, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';
const MIB = 1024 * 1024;

function place(changes: Parameters<typeof testConfig>[0] = {}) {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return { fs, directory: DIRECTORY, config: testConfig(changes) };
}

const name = (i: number): string => `key-${String(i).padStart(6, '0')}`;

/** Text that does not get much smaller. */
function noise(seed: number, length: number): string {
  const random = seededRandom(seed + 1);
  return Array.from({ length }, () => Math.floor(random() * 36).toString(36)).join('');
}

async function write(opened: TestShard, keys: readonly number[], length: number): Promise<void> {
  for (let i = 0; i < keys.length; i += 500) {
    const operations = keys.slice(i, i + 500).map((key) => put(name(key), noise(key, length)));
    await opened.client.commit(operations);
  }
}

/** Reads the keys; returns how many blocks that had to load. */
async function missesOf(opened: TestShard, keys: readonly number[]): Promise<number> {
  const before = shardStats(opened.shard).reads.blocksRead;
  for (const key of keys) expect(await opened.client.get(name(key))).toBeDefined();
  return shardStats(opened.shard).reads.blocksRead - before;
}

const range = (from: number, to: number, step = 1): number[] =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

describe('the block cache', () => {
  it('has the blocks of new tables whose keys were cached before a compaction', async () => {
    const opened = await TestShard.open(place());
    await write(opened, range(0, 6000), 100);
    await opened.shard.compact();
    const warm = range(0, 2000);
    expect(await missesOf(opened, warm)).toBeGreaterThan(40);
    await missesOf(opened, warm);
    await write(opened, range(5, 6000, 60), 100);
    await opened.shard.compact();
    const { carried } = shardStats(opened.shard).cache;
    expect(carried).toBeGreaterThan(40);
    expect(await missesOf(opened, warm)).toBe(0);
    // What nobody had read was not brought in.
    expect(await missesOf(opened, range(2500, 6000))).toBeGreaterThan(carried);
    await opened.shard.close();
  });

  it('keeps what is read again and again while everything is scanned', async () => {
    const opened = await TestShard.open(place({ cacheBytesPerShard: MIB }));
    await write(opened, range(0, 8000), 400);
    await opened.shard.compact();
    const hot = range(1000, 1600);
    const tables = [...opened.shard.state.version.tables()];
    const scan = (): number => {
      let blocks = 0;
      for (const { id } of tables) {
        const meta = opened.shard.state.tables.metaOf(id);
        const count = opened.kernel.u32[(meta + T_BLOCKS) >>> 2] as number;
        for (let block = 0; block < count; block += 8) {
          opened.shard.reads.loadBlocks(id, block, 8, true);
        }
        blocks += count;
      }
      return blocks;
    };
    // A cache that has never been full keeps all it can.
    scan();
    for (let round = 0; round < 3; round++) await missesOf(opened, hot);
    expect(scan() * 4096).toBeGreaterThan(2 * MIB);
    expect(await missesOf(opened, hot)).toBeLessThan(3);
    scan();
    expect(await missesOf(opened, hot)).toBe(0);
    const { cache } = shardStats(opened.shard);
    expect(cache.bytes).toBeLessThanOrEqual(MIB);
    await opened.shard.close();
  });

  it('keeps single records where blocks with one popular key each would not fit', async () => {
    const opened = await TestShard.open(place({ cacheBytesPerShard: MIB }));
    await write(opened, range(0, 8000), 400);
    await opened.shard.compact();
    let blocks = 0;
    for (const { id } of opened.shard.state.version.tables()) {
      const meta = opened.shard.state.tables.metaOf(id);
      blocks += opened.kernel.u32[(meta + T_BLOCKS) >>> 2] as number;
    }
    // Nearly every block has one of these: together far more than the cache holds.
    const hot = range(0, 8000, 10);
    expect(Math.min(blocks, hot.length) * 4096).toBeGreaterThan(3 * MIB);
    // All else flows through once, so that the cache has been full.
    await missesOf(opened, range(0, 8000, 3));
    for (let round = 0; round < 6; round++) await missesOf(opened, [...hot, ...hot]);
    expect(await missesOf(opened, hot)).toBeLessThan(hot.length / 20);
    expect(shardStats(opened.shard).cache.bytes).toBeLessThanOrEqual(MIB);
    await opened.shard.close();
  });

  it('never takes more than its bound, whatever is read', async () => {
    const opened = await TestShard.open(place({ cacheBytesPerShard: 512 * 1024 }));
    await write(opened, range(0, 4000), 400);
    await opened.shard.compact();
    const random = seededRandom(3);
    for (let i = 0; i < 4000; i++) {
      await opened.client.get(name(Math.floor(random() * 4000)));
      if (i % 500 !== 0) continue;
      expect(shardStats(opened.shard).cache.bytes).toBeLessThanOrEqual(512 * 1024);
    }
    await opened.shard.close();
  });
});

describe('indexes and filters', () => {
  /** Takes all room for tables but so many bytes; a 16th is left for Versions. */
  const fill = ({ shard: { state } }: TestShard, free: number): number => {
    const { bytesTotal, bytesUsed } = state.allocator;
    return state.allocator.allocate(Math.floor((bytesTotal * 15) / 16) - bytesUsed - free);
  };

  it('show in the statistics with their bound', async () => {
    const opened = await TestShard.open(place());
    const before = shardStats(opened.shard).indexes;
    await write(opened, range(0, 2000), 100);
    await opened.shard.flush();
    const after = shardStats(opened.shard).indexes;
    expect(after.bytes - before.bytes).toBeGreaterThan(2000 * 1.25);
    expect(after.bytesMax).toBeLessThan(20 * MIB);
    await missesOf(opened, range(0, 2000));
    const { memtables, cache, openTables } = shardStats(opened.shard);
    expect(memtables.bytesMax).toBeLessThanOrEqual(2 * MIB);
    expect(cache.bytesMax).toBeLessThanOrEqual(4 * MIB);
    expect(cache.bytes).toBeGreaterThan(0);
    expect(cache.bytes).toBeLessThanOrEqual(cache.bytesMax);
    expect(openTables).toEqual({ count: opened.shard.state.version.tableCount, countMax: 512 });
    await opened.shard.close();
  });

  it('go without the filter when memory runs short, and reads go on', async () => {
    const opened = await TestShard.open(place());
    await write(opened, range(0, 4000), 10);
    // The index fits what is left above the reserve, the filter of 5000 bytes does not.
    fill(opened, 6000);
    await opened.shard.flush();
    expect(await opened.client.get(name(3999))).toBe(noise(3999, 10));
    expect(opened.shard.state.version.tableCount).toBe(1);
    const { reads } = shardStats(opened.shard);
    expect(await opened.client.get(`${name(3000)}x`)).toBeUndefined();
    const later = shardStats(opened.shard).reads;
    expect(later.filterNegatives).toBe(reads.filterNegatives);
    await opened.shard.close();
  });

  it('that find no room fail their flush, and nothing is lost', async () => {
    const opened = await TestShard.open(place());
    await write(opened, range(0, 4000), 10);
    const filler = fill(opened, 100);
    await expect(opened.shard.flush()).rejects.toMatchObject({
      code: 'LIGHTNING_LIMIT_EXCEEDED',
    });
    expect(await opened.client.get(name(3999))).toBe(noise(3999, 10));
    opened.shard.state.allocator.free(filler);
    await opened.shard.flush();
    expect(await opened.client.get(name(3999))).toBe(noise(3999, 10));
    expect(opened.shard.state.version.tableCount).toBe(1);
    await opened.shard.close();
  });
});

describe('a block that is larger than the cache', () => {
  it('is refused at once: it would find no room later either', async () => {
    // No time passes, so what waits for room waits for ever.
    const clock = { nowMs: () => 0, wallMs: () => Date.now() };
    const at = place({ arenaBytes: 4 * MIB, memtableBytes: 8 * MIB });
    const opened = await TestShard.open({ ...at, clock });
    const { client, control, shard } = opened;
    const value = 'v'.repeat(60_000);
    for (let version = 0; version < 64; version++) {
      await client.put('key', `${version}${value}`);
      control.acquireSnapshot(1);
    }
    await shard.flush();
    await shard.compact();
    const [table] = shard.state.version.tables();
    await expect(client.loadBlocks(table?.id ?? 0, 0, 1)).rejects.toMatchObject({
      code: 'LIGHTNING_LIMIT_EXCEEDED',
    });
    await shard.close();
  });
});

describe('a block that is larger than what indexes leave of the cache', () => {
  it('is loaded all the same, where the cache alone would take it', async () => {
    // No time passes, so what waits for room waits for ever.
    const clock = { nowMs: () => 0, wallMs: () => Date.now() };
    const opened = await TestShard.open({
      ...place({ cacheBytesPerShard: MIB, arenaBytes: 4 * MIB, memtableBytes: 8 * MIB }),
      clock,
    });
    const { client, control, shard, kernel } = opened;
    const values = Array.from({ length: 8 }, (_, version) => noise(version, 50_000));
    for (const value of values) {
      await client.put('key', value);
      control.acquireSnapshot(1);
    }
    await write(opened, range(0, 1000), 400);
    await shard.flush();
    await shard.compact();
    kernel.exports.cacheReserve(64 * MIB);
    for (let round = 0; round < 3; round++) {
      for (const { id } of shard.state.version.tables()) {
        const meta = shard.state.tables.metaOf(id);
        const blocks = kernel.u32[(meta + T_BLOCKS) >>> 2] as number;
        for (let block = 0; block < blocks; block++) {
          await client.loadBlocks(id, block, 1);
          expect(shard.reads.cachedBlock(id, block)).toBeGreaterThan(0);
        }
      }
      expect(await client.get('key')).toBe(values.at(-1));
      for (let i = 0; i < 1000; i += 7) expect(await client.get(name(i))).toBe(noise(i, 400));
    }
    await shard.close();
  });
});
