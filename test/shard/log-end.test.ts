/** Where the log of a shard ends when something is missing in its middle: what is cut, what is corruption. */

import { describe, expect, it } from 'vitest';
import { JOB_MEMORY_BYTES } from '../../src/compaction/job-memory.js';
import { CorruptionError, NoSpaceError } from '../../src/errors.js';
import { type CrashMode, MemoryFileSystem } from '../../src/file-system/memory.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createJobMemory } from '../../src/kernel/shard-memory.js';
import { RepairFindings } from '../../src/repair/report.js';
import { surveyLog } from '../../src/repair/salvage-log.js';
import { DATABASE_ID, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';

describe('a log of several segments', () => {
  it('with a hole in one is corruption when any later one says that all before were durable', async () => {
    const fs = new MemoryFileSystem();
    fs.mkdir(DIRECTORY);
    fs.syncDirectory('/');
    const at = { fs, directory: DIRECTORY, config: testConfig({ walSync: 'async' }) };
    const before = async (): Promise<void> => {
      throw new NoSpaceError('There is no room for a table');
    };
    const end = async ({ shard }: TestShard, mode: CrashMode): Promise<void> => {
      shard.compactor.close();
      await shard.flusher.close();
      fs.crash(mode);
    };
    const first = await TestShard.open({ ...at, before });
    await first.client.put('a', '1');
    const [{ segment } = { segment: 0 }] = first.shard.state.segments;
    await expect(first.shard.flush()).rejects.toThrow(NoSpaceError);
    await first.client.put('b', '2');
    expect(first.shard.state.segments).toHaveLength(2);
    await end(first, 'all');
    // It makes durable what it finds, and says so in its own segment.
    await end(await TestShard.open({ ...at, before }), 'synced');
    const path = `${DIRECTORY}/${String(segment).padStart(10, '0')}.wal`;
    fs.corrupt(path, fs.fileSize(path) - 1, (byte) => byte ^ 1);
    const outcome = await TestShard.open(at).then(
      () => 'opened',
      (error: unknown) => error,
    );
    expect(outcome).toBeInstanceOf(CorruptionError);
    // A repair finds what the open refuses.
    const kernel = new Kernel(first.module, createJobMemory(JOB_MEMORY_BYTES));
    const findings = new RepairFindings();
    const names = fs.readdir(DIRECTORY).filter((name) => name.endsWith('.wal'));
    const log = surveyLog(
      { fs, kernel, directory: DIRECTORY, shard: 0, databaseId: DATABASE_ID, findings },
      names.map((name) => Number.parseInt(name, 10)),
      0,
    );
    expect(log.isDamaged).toBe(true);
    expect(findings.losses.map(({ file }) => file)).toEqual([path]);
  });
});
