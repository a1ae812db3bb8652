/** A check reads every file of a shard, in jobs, while the shard goes on. */

import { describe, expect, it } from 'vitest';
import { CheckBoard } from '../../src/compaction/check-board.js';
import type { VerifyJob } from '../../src/compaction/jobs.js';
import { LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { checkShard } from '../../src/shard/check-shard.js';
import { shardStats } from '../../src/shard/shard-stats.js';
import { logEnd } from '../file-system/log-end.js';
import { put, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';
const BLOB = Buffer.alloc(200_000, 'large value ');

const bulk = (round: number) =>
  Array.from({ length: 200 }, (_, i) => put(`key-${i}`, `${round}:${'v'.repeat(100)}`));

/** A shard with a table, a blob that it refers to, one in the log, and commits in the log. */
async function newShard(options: { before?: (job: unknown) => Promise<void> } = {}) {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const place = { fs, directory: DIRECTORY, config: testConfig({ walSync: 'sync' }) };
  const shard = await TestShard.open({ ...place, ...options });
  await shard.client.commit(bulk(0));
  await shard.client.putBlob('blob in a table', BLOB);
  await shard.shard.flush();
  await shard.client.putBlob('blob in the log', BLOB);
  await shard.client.commit(bulk(1));
  return { fs, place, shard, state: shard.shard.state };
}

function filesOf(fs: MemoryFileSystem, kind: string): string[] {
  const names = fs.readdir(DIRECTORY).filter((name) => name.endsWith(kind));
  return names.map((name) => `${DIRECTORY}/${name}`);
}

const flip = (fs: MemoryFileSystem, path: string, at: number): void =>
  fs.corrupt(path, at, (byte) => byte ^ 1);

function cut(fs: MemoryFileSystem, path: string, bytes: number): void {
  const file = fs.open(path, 'r+');
  file.truncate(bytes);
  file.sync();
  file.close();
}

describe('a check', () => {
  it('finds nothing wrong with what is whole, and has read all that it announced', async () => {
    const { shard, state } = await newShard();
    const board = new CheckBoard();
    const report = await checkShard(state, board);
    expect(report.problems).toEqual([]);
    expect(report).toMatchObject({ tables: 1, entries: 201 });
    const { blocks, blocksTotal, bytes, bytesTotal } = board.read();
    expect([blocks, bytes]).toEqual([blocksTotal, bytesTotal]);
    expect(blocks).toBe(report.blocks);
    expect(bytes).toBe(report.bytes);
    await shard.shard.close();
  });

  it.each<[string, (fs: MemoryFileSystem) => [file: string, offset: number]]>([
    [
      'a group of the log',
      (fs) => {
        const path = filesOf(fs, '.wal').at(-1) as string;
        flip(fs, path, 64 + 30);
        return [path, 64];
      },
    ],
    [
      'the newest group of the log',
      (fs) => {
        const path = filesOf(fs, '.wal').at(-1) as string;
        flip(fs, path, logEnd(fs, path) - 1);
        return [path, -1];
      },
    ],
    [
      'the head of a log segment',
      (fs) => {
        const path = filesOf(fs, '.wal').at(-1) as string;
        flip(fs, path, 20);
        return [path, 56];
      },
    ],
    [
      'the manifest',
      (fs) => {
        const path = filesOf(fs, '.manifest')[0] as string;
        flip(fs, path, 60);
        return [path, 32];
      },
    ],
    [
      'the newest edit of the manifest',
      (fs) => {
        const path = filesOf(fs, '.manifest')[0] as string;
        flip(fs, path, fs.fileSize(path) - 2);
        return [path, -1];
      },
    ],
    [
      'CURRENT',
      (fs) => {
        flip(fs, `${DIRECTORY}/CURRENT`, 10);
        return [`${DIRECTORY}/CURRENT`, 16];
      },
    ],
    [
      'a block of a table',
      (fs) => {
        const path = filesOf(fs, '.table')[0] as string;
        flip(fs, path, 5);
        return [path, 0];
      },
    ],
    [
      'a piece of a blob',
      (fs) => {
        const path = filesOf(fs, '.blob')[1] as string;
        flip(fs, path, 32 + 65544 + 9);
        return [path, 32 + 65544];
      },
    ],
    [
      'the version in the header of a blob',
      (fs) => {
        const path = filesOf(fs, '.blob')[0] as string;
        fs.corrupt(path, 8, () => 254);
        return [path, 0];
      },
    ],
    [
      'a blob that was cut at the end of a piece',
      (fs) => {
        const path = filesOf(fs, '.blob')[0] as string;
        cut(fs, path, 32 + 65544);
        return [path, 32 + 65544];
      },
    ],
    [
      'a blob that is gone',
      (fs) => {
        const path = filesOf(fs, '.blob')[0] as string;
        fs.unlink(path);
        return [path, 0];
      },
    ],
    [
      'a log segment that is gone',
      (fs) => {
        const path = filesOf(fs, '.wal').at(-1) as string;
        fs.unlink(path);
        return [path, 0];
      },
    ],
  ])('finds %s, and says where', async (_name, damage) => {
    const { fs, shard, state } = await newShard();
    const [file, offset] = damage(fs);
    const { problems } = await checkShard(state);
    expect(problems).toMatchObject([{ code: 'LIGHTNING_CORRUPTION', file }]);
    if (offset >= 0) expect(problems[0]?.offset).toBe(offset);
    await shard.shard.close();
  });

  it('finds a blob that was lost, or cut, before the shard was opened', async () => {
    for (const damage of [
      (fs: MemoryFileSystem, path: string) => fs.unlink(path),
      (fs: MemoryFileSystem, path: string) => cut(fs, path, 32 + 65544),
    ]) {
      const { fs, place, shard } = await newShard();
      await shard.shard.close();
      const path = filesOf(fs, '.blob')[0] as string;
      damage(fs, path);
      const again = await TestShard.open(place);
      expect((await checkShard(again.shard.state)).problems).toMatchObject([{ file: path }]);
      await again.shard.close();
    }
  });

  it('does not miss the blob of a value that has been overwritten', async () => {
    const { fs, shard, state } = await newShard();
    await shard.client.put('blob in a table', 'small');
    fs.unlink(filesOf(fs, '.blob')[0] as string);
    state.blobs.delete(state.blobs.numbers[0] as number);
    expect((await checkShard(state)).problems).toEqual([]);
    await shard.shard.close();
  });

  it('reads manifest and log of a shard that is open read-only, too', async () => {
    const { fs, place } = await newShard();
    const config = testConfig({ readOnly: true, arenaBytes: 4 * 1024 * 1024 });
    const shard = await TestShard.open({ ...place, config });
    expect((await checkShard(shard.shard.state)).problems).toEqual([]);
    const [manifest, wal] = [
      filesOf(fs, '.manifest')[0] as string,
      filesOf(fs, '.wal').at(-1) as string,
    ];
    flip(fs, manifest, 60);
    flip(fs, wal, 64 + 30);
    const { problems } = await checkShard(shard.shard.state);
    expect(problems.map(({ file }) => file).sort()).toEqual([manifest, wal].sort());
    await shard.shard.close();
  });

  it('says what the disk does not read, and goes on', async () => {
    const { fs, shard, state } = await newShard();
    const [table] = filesOf(fs, '.table') as [string];
    fs.failReads(table, 'EIO', { from: 0, to: 10 });
    const report = await checkShard(state);
    expect(report.problems).toMatchObject([{ code: 'LIGHTNING_IO', file: table, offset: 0 }]);
    expect(shardStats(shard.shard).damagedTables).toMatchObject([
      { code: 'LIGHTNING_IO', file: table, extent: 'blocks' },
    ]);
    await shard.shard.close();
  });

  it('leaves all reading to jobs', async () => {
    const kinds: string[] = [];
    const before = async (job: unknown): Promise<void> => {
      const { kind, target } = job as VerifyJob;
      if (kind === 'verify') kinds.push(target.kind);
    };
    const { fs, shard, state } = await newShard({ before });
    fs.failReads(DIRECTORY, 'EIO');
    shard.jobs.verify = async (job) => {
      await before(job);
      return { problems: [] };
    };
    expect((await checkShard(state)).problems).toEqual([]);
    fs.clearFaults();
    expect(kinds.sort()).toEqual(['blobs', 'manifest', 'segment', 'table']);
    await shard.shard.close();
  });

  it('is not confused by commits, flushes and merges that go on meanwhile', async () => {
    let round = 2;
    let isBusy = false;
    const { fs, shard, state } = await newShard({
      before: async (job) => {
        if ((job as VerifyJob).kind !== 'verify' || isBusy) return;
        isBusy = true;
        await shard.client.commit(bulk(round++));
        await shard.shard.compact();
        await shard.client.delete('blob in a table');
        isBusy = false;
      },
    });
    for (let check = 0; check < 3; check++) {
      const board = new CheckBoard();
      expect((await checkShard(state, board)).problems).toEqual([]);
      expect(board.read().bytes).toBe(board.read().bytesTotal);
    }
    // What was held while it was read is deleted after all.
    const live = [...state.version.tables()].map(({ id }) => state.tables.path(id));
    await shard.settle();
    expect(filesOf(fs, '.table').sort()).toEqual(live.sort());
    expect(filesOf(fs, '.wal').length).toBe(state.segments.length);
    await shard.shard.close();
  });

  it('ends soon when it is called off', async () => {
    const board = new CheckBoard();
    const { shard, state } = await newShard({ before: async () => board.cancel() });
    await expect(checkShard(state, board)).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
    await shard.shard.close();
  });

  it('asks again when a thread of the pool dies, a few times', async () => {
    let deaths = 1;
    const { shard, state } = await newShard({
      before: async (job) => {
        if ((job as VerifyJob).kind !== 'verify' || deaths-- <= 0) return;
        throw new LightningError('LIGHTNING_ABORTED', 'The job did not come to its end');
      },
    });
    expect((await checkShard(state)).problems).toEqual([]);
    deaths = 1000;
    await expect(checkShard(state)).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
    await shard.shard.close();
  });
});

describe('what a check has found', () => {
  it('is known to the shard afterwards, until a check finds it whole', async () => {
    const { fs, shard, state } = await newShard();
    const [table] = filesOf(fs, '.table') as [string];
    flip(fs, table, 5);
    expect(shardStats(shard.shard).damagedTables).toEqual([]);
    await checkShard(state);
    expect(shardStats(shard.shard).damagedTables).toMatchObject([
      { file: table, offset: 0, extent: 'blocks', code: 'LIGHTNING_CORRUPTION' },
    ]);
    flip(fs, table, 5);
    expect((await checkShard(state)).problems).toEqual([]);
    expect(shardStats(shard.shard).damagedTables).toEqual([]);
    await shard.shard.close();
  });

  it('keeps compaction away from a table, and reads of what is in memory going', async () => {
    const { fs, shard, state } = await newShard();
    const [table] = filesOf(fs, '.table') as [string];
    // The properties: nobody needs them before the next open.
    flip(fs, table, fs.fileSize(table) - 100);
    await checkShard(state);
    expect(shardStats(shard.shard).damagedTables).toMatchObject([{ extent: 'table' }]);
    await expect(shard.shard.compact()).rejects.toThrow(table);
    expect(shard.shard.compactor.counters.failed).toBe(0);
    expect(await shard.client.get('blob in a table')).toBe(BLOB.toString());
    await shard.shard.close();
  });
});
