/** A shard serves before it has loaded the tables that it is opened with. */

import { describe, expect, it } from 'vitest';
import { CorruptionError, LightningError } from '../../src/errors.js';
import { type FileHandle, fileError, type OpenMode } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { H_VERSION } from '../../src/kernel/assembly/layout.js';
import { decodeFooter, FOOTER_BYTES } from '../../src/sstable/format.js';
import { put, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';
const RANGES = ['a', 'b', 'c', 'd', 'e', 'f'];
const COUNT = 120;
const key = (range: string, i: number): string => `${range}-${String(i).padStart(4, '0')}`;
const value = (range: string, i: number): string => `${range}${i}:${'v'.repeat(150)}`;

/** Knows which tables were opened. */
class WatchedFileSystem extends MemoryFileSystem {
  readonly tables: string[] = [];

  override open(path: string, mode: OpenMode): FileHandle {
    if (path.endsWith('.table') && mode === 'r') this.tables.push(path);
    return super.open(path, mode);
  }
}

/** A closed shard with a table for each range, in runs of their own. */
async function closedShard<F extends MemoryFileSystem>(fs: F) {
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const place = { fs, directory: DIRECTORY, config: testConfig({ walSync: 'sync' }) };
  // Merges never come to an end.
  const before = ({ kind }: { readonly kind: string }): Promise<void> =>
    kind === 'merge' ? new Promise(() => {}) : Promise.resolve();
  const shard = await TestShard.open({ ...place, before });
  for (const range of RANGES) {
    await shard.client.commit(
      Array.from({ length: COUNT }, (_, i) => put(key(range, i), value(range, i))),
    );
    await shard.shard.flush();
  }
  const paths = new Map<string, string>();
  for (const { id, smallest } of shard.shard.state.version.tables()) {
    paths.set(Buffer.from(smallest).toString('latin1', 0, 1), shard.shard.state.tables.path(id));
  }
  expect(paths.size).toBe(RANGES.length);
  await shard.shard.close();
  if (fs instanceof WatchedFileSystem) fs.tables.length = 0;
  return { place, fs, pathOf: (range: string) => paths.get(range) as string };
}

function damageIndex(fs: MemoryFileSystem, path: string): void {
  const bytes = fs.readFile(path);
  const id = Number(/(\d+)\.table$/.exec(path)?.[1]);
  const { footer } = decodeFooter(bytes.subarray(-FOOTER_BYTES), bytes.length, { path, id });
  fs.corrupt(path, footer.indexOffset + 70, (byte) => byte ^ 4);
}

describe('a shard that is opened', () => {
  it('reads no table until it is asked for, and then that one', async () => {
    const { place, fs, pathOf } = await closedShard(new WatchedFileSystem());
    const shard = await TestShard.open({ ...place, mayLoadTables: () => false });
    // Of which format they are was looked at.
    fs.tables.length = 0;
    expect(await shard.client.get('g-0000')).toBeUndefined();
    expect(fs.tables).toEqual([]);

    expect(await shard.client.get(key('c', 7))).toBe(value('c', 7));
    expect(await shard.client.get('c-9999')).toBeUndefined();
    expect(new Set(fs.tables)).toEqual(new Set([pathOf('c')]));

    expect(await shard.client.getMany([key('a', 1), 'a-0001x', key('d', 2)])).toEqual([
      value('a', 1),
      undefined,
      value('d', 2),
    ]);
    expect(new Set(fs.tables)).toEqual(new Set(['a', 'c', 'd'].map(pathOf)));
    expect(shard.shard.state.tables.isLoading).toBe(true);
    await shard.shard.close();
  });

  it('knows what is in all of them', async () => {
    const { place } = await closedShard(new WatchedFileSystem());
    const shard = await TestShard.open({ ...place, mayLoadTables: () => false });
    for (const range of RANGES) {
      expect(shard.shard.state.newestSequence(Buffer.from(key(range, 3)))).toBeGreaterThan(0);
      for (let i = 0; i < COUNT; i += 11) {
        expect(await shard.client.get(key(range, i))).toBe(value(range, i));
      }
    }
    expect(shard.shard.state.tables.isLoading).toBe(false);
    await shard.shard.close();
  });

  it('loads the others in turns that come, once it may', async () => {
    const { place, fs } = await closedShard(new WatchedFileSystem());
    let mayLoad = false;
    const shard = await TestShard.open({ ...place, mayLoadTables: () => mayLoad });
    fs.tables.length = 0;
    for (let i = 0; i < 10; i++) shard.shard.turn();
    expect(fs.tables).toEqual([]);
    expect(shard.shard.wakesInMs()).toBeDefined();

    mayLoad = true;
    while (shard.shard.state.tables.isLoading) shard.shard.turn();
    expect(new Set(fs.tables).size).toBe(RANGES.length);
    await shard.shard.close();
  });

  it('shows a table that was loaded, and gives back the memory of what stood for it', async () => {
    const { place } = await closedShard(new WatchedFileSystem());
    const shard = await TestShard.open({ ...place, mayLoadTables: () => false });
    const { tables, version, allocator } = shard.shard.state;
    const shown = (): number => shard.kernel.u32[H_VERSION >>> 2] as number;
    for (const { id } of version.tables()) {
      const before = shown();
      expect(tables.loadPending(id)).toBe(true);
      expect(tables.loadPending(id)).toBe(false);
      expect(shown()).not.toBe(before);
    }
    const used = allocator.bytesUsed;
    while (shard.shard.turn());
    // A Version and a stand-in for each.
    expect(used - allocator.bytesUsed).toBeGreaterThan(RANGES.length * 512);
    await shard.shard.close();
  });

  it('finds out what is wrong with them when they are loaded, and tells whoever reads them before', async () => {
    const { place, fs, pathOf } = await closedShard(new WatchedFileSystem());
    damageIndex(fs, pathOf('b'));
    damageIndex(fs, pathOf('e'));
    const shard = await TestShard.open({ ...place, mayLoadTables: () => false });
    const { tables } = shard.shard.state;
    expect(tables.damage).toEqual([]);
    for (let again = 0; again < 2; again++) {
      const refused = await shard.client.get(key('b', 5)).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(CorruptionError);
      expect((refused as CorruptionError).details['file']).toBe(pathOf('b'));
    }
    expect(await shard.client.get(key('a', 5))).toBe(value('a', 5));

    await shard.shard.loadTables();
    const damaged = tables.damage.map(({ error, extent }) => [error.details['file'], extent]);
    expect(damaged.sort()).toEqual([
      [pathOf('b'), 'table'],
      [pathOf('e'), 'table'],
    ]);
    await expect(shard.client.get(key('e', 5))).rejects.toBeInstanceOf(CorruptionError);
    expect(await shard.client.get(key('f', 5))).toBe(value('f', 5));
    await shard.shard.close();
  });

  it('says so when there is no memory for one, and goes on with the others when there is', async () => {
    const { place } = await closedShard(new WatchedFileSystem());
    let mayLoad = false;
    const shard = await TestShard.open({ ...place, mayLoadTables: () => mayLoad });
    const { tables, allocator } = shard.shard.state;
    const hoard: number[] = [];
    for (let bytes = 1 << 23; bytes >= 64; bytes /= 2) {
      for (let at = 0; at >= 0; ) {
        at = allocator.tryAllocate(bytes);
        if (at >= 0) hoard.push(at);
      }
    }
    const refused = await shard.client.get(key('c', 7)).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'LIGHTNING_LIMIT_EXCEEDED' });
    mayLoad = true;
    while (tables.isLoading) shard.shard.turn();
    expect(tables.damage).toEqual([]);

    for (const address of hoard) allocator.free(address);
    for (const range of RANGES) {
      expect(await shard.client.get(key(range, 7))).toBe(value(range, 7));
    }
    await shard.shard.close();
  });

  it.each(['are loaded', 'were read', 'were asked about'])(
    'merges them only when they %s',
    async (how) => {
      const { place, fs, pathOf } = await closedShard(new WatchedFileSystem());
      let mayLoad = false;
      const shard = await TestShard.open({ ...place, mayLoadTables: () => mayLoad });
      const { state, compactor } = shard.shard;
      // As many runs as are never left alone.
      for (let i = 0; state.version.runs.length < 16; i++) {
        await shard.client.put(`z-${i}`, value('z', i));
        await shard.shard.flush();
      }
      await shard.settle();
      expect(state.version.runs.length).toBe(16);
      expect(compactor.counters.done).toBe(0);

      if (how === 'were asked about') await shard.shard.loadTables();
      if (how === 'were read') for (const range of RANGES) await shard.client.get(key(range, 1));
      mayLoad = how === 'are loaded';
      while (state.tables.isLoading) shard.shard.turn();
      await shard.settle();
      expect(compactor.counters.done).toBeGreaterThan(0);
      expect(await shard.client.get(key('b', 9))).toBe(value('b', 9));
      await shard.shard.close();
      expect(fs.tables).toContain(pathOf('b'));
    },
  );

  it('merges everything when it is told to, around what is damaged', async () => {
    const { place, fs, pathOf } = await closedShard(new WatchedFileSystem());
    damageIndex(fs, pathOf('d'));
    const shard = await TestShard.open({ ...place, mayLoadTables: () => false });
    const refusal = await shard.shard.compact().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(CorruptionError);
    expect((refusal as CorruptionError).details['file']).toBe(pathOf('d'));
    // No merge has tried it.
    expect(shard.shard.compactor.counters.failed).toBe(0);
    expect(await shard.client.get(key('a', 9))).toBe(value('a', 9));
    await expect(shard.client.get(key('d', 9))).rejects.toBeInstanceOf(CorruptionError);
    await shard.shard.close();
  });
});

/** Has no file descriptor left for tables. */
class CrowdedFileSystem extends MemoryFileSystem {
  isFull = false;

  override open(path: string, mode: OpenMode): FileHandle {
    if (this.isFull && path.endsWith('.table')) {
      throw fileError({ code: 'EMFILE' }, 'open', path);
    }
    return super.open(path, mode);
  }
}

describe('a table that is loaded later', () => {
  it('is not taken for damaged when too many files are open at that moment', async () => {
    const { place, fs } = await closedShard(new CrowdedFileSystem());
    let mayLoad = false;
    const shard = await TestShard.open({ ...place, mayLoadTables: () => mayLoad });
    const { tables } = shard.shard.state;
    fs.isFull = true;
    await expect(shard.client.get(key('b', 1))).rejects.toMatchObject({
      code: 'LIGHTNING_NO_SPACE',
    });
    mayLoad = true;
    while (tables.isLoading) shard.shard.turn();
    expect(tables.damage).toEqual([]);

    fs.isFull = false;
    for (const range of RANGES) {
      expect(await shard.client.get(key(range, 7))).toBe(value(range, 7));
    }
    await shard.shard.close();
  });

  it('has its stand-in again when there is no memory for the Version that shows it', async () => {
    const { place } = await closedShard(new WatchedFileSystem());
    const shard = await TestShard.open({ ...place, mayLoadTables: () => false });
    const { tables, allocator, version } = shard.shard.state;
    const [table] = [...version.tables()];
    const used = allocator.bytesUsed;
    const { state } = shard.shard;
    const { publish } = state;
    state.publish = () => {
      allocator.allocate(allocator.bytesTotal);
    };
    const load = () => tables.loadPending(table?.id ?? 0);
    expect(load).toThrow(LightningError);
    expect(load).toThrow(LightningError);
    tables.loadNext();
    expect(allocator.bytesUsed).toBe(used);
    state.publish = publish;
    expect(load()).toBe(true);
    for (const range of RANGES) {
      expect(await shard.client.get(key(range, 7))).toBe(value(range, 7));
    }
    expect(tables.isLoading).toBe(false);
    await shard.shard.close();
  });
});
