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
