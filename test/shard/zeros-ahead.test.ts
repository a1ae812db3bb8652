/** A shard whose log ends in zeros: they are the end of it for recovery and check, and nothing else is. */

import { describe, expect, it } from 'vitest';
import { JOB_MEMORY_BYTES } from '../../src/compaction/job-memory.js';
import { CorruptionError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { RECORD_FLAG_SYNC } from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createJobMemory } from '../../src/kernel/shard-memory.js';
import { RepairFindings } from '../../src/repair/report.js';
import { surveyLog } from '../../src/repair/salvage-log.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { checkShard } from '../../src/shard/check-shard.js';
import { logEnd } from '../file-system/log-end.js';
import { DATABASE_ID, put, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';
const COUNT = 40;
const key = (i: number): string => `key-${i}`;

function place(walSync: 'sync' | 'async' = 'sync') {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return { fs, directory: DIRECTORY, config: testConfig({ walSync }) };
}

const reopen = (at: ReturnType<typeof place>, readOnly = false): Promise<TestShard> =>
  TestShard.open({ ...at, config: { ...at.config, readOnly }, control: ControlBlock.create(1) });

/** Why it is not opened; a shard is too large to be shown. */
const refusalOf = (at: ReturnType<typeof place>): Promise<unknown> =>
  reopen(at).then(
    () => 'nothing: it was opened',
    (error: unknown) => error,
  );

const segments = (fs: MemoryFileSystem): string[] =>
  fs
    .readdir(DIRECTORY)
    .filter((name) => name.endsWith('.wal'))
    .map((name) => `${DIRECTORY}/${name}`);

const zerosOf = (fs: MemoryFileSystem, path: string): number =>
  fs.fileSize(path) - logEnd(fs, path);

function overwrite(fs: MemoryFileSystem, path: string, from: number, to: number): void {
  for (let at = from; at < to; at++) fs.corrupt(path, at, () => 0);
}

/** Puts, one group each; returns where the last of them begins in its segment. */
async function fill(shard: TestShard, from: number, to: number): Promise<number> {
  let last = 0;
  for (let i = from; i < to; i++) {
    last = shard.shard.state.commit.wal?.bytes ?? 0;
    await shard.client.put(key(i), `value ${i}`);
  }
  return last;
}

async function expectAll(shard: TestShard, count = COUNT): Promise<void> {
  for (let i = 0; i < count; i++) expect(await shard.client.get(key(i))).toBe(`value ${i}`);
  expect((await checkShard(shard.shard.state)).problems).toEqual([]);
}

/** Two segments, none of it in tables: flushes do not come to their end. */
async function twoSegments(at: ReturnType<typeof place>) {
  const shard = await TestShard.open({ ...at, before: () => new Promise(() => {}) });
  const lastOfFirst = await fill(shard, 0, COUNT / 2);
  expect(shard.shard.state.switchMemtable()).toBe(true);
  await fill(shard, COUNT / 2, COUNT);
  return { shard, lastOfFirst };
}

describe('a log that ends in zeros', () => {
  it('is replayed to their beginning, and cut there', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    await fill(shard, 0, COUNT);
    await expectAll(shard);
    const [path] = segments(at.fs) as [string];
    const end = logEnd(at.fs, path);
    expect(shard.shard.state.segments.at(-1)?.bytes).toBe(end);
    at.fs.crash('synced');
    expect(zerosOf(at.fs, path)).toBeGreaterThan(60_000);
    await expectAll(await reopen(at, true));
    expect(zerosOf(at.fs, path)).toBeGreaterThan(60_000);
    const again = await reopen(at);
    expect(at.fs.fileSize(path)).toBe(end);
    await expectAll(again);
    await again.shard.close();
    for (const name of segments(at.fs)) expect(zerosOf(at.fs, name), name).toBe(0);
  });

  it('in a segment with another behind it is whole: that the zeros were cut off may be lost', async () => {
    const at = place();
    await twoSegments(at);
    const [first] = segments(at.fs) as [string];
    expect(zerosOf(at.fs, first)).toBe(0);
    at.fs.crash('synced');
    expect(zerosOf(at.fs, first)).toBeGreaterThan(60_000);
    await expectAll(await reopen(at, true));
    const again = await reopen(at);
    expect(zerosOf(at.fs, first)).toBe(0);
    await expectAll(again);
  });

  it('where its last groups were is damaged, when a later segment says that they were durable', async () => {
    const at = place();
    const { lastOfFirst } = await twoSegments(at);
    const [first] = segments(at.fs) as [string];
    at.fs.crash('synced');
    overwrite(at.fs, first, lastOfFirst, logEnd(at.fs, first));
    const error = await refusalOf(at);
    expect(error).toBeInstanceOf(CorruptionError);
    expect(error).toMatchObject({ details: { file: first, offset: lastOfFirst } });
  });

  it('and was damaged there, in a segment with another behind it, is refused and can be repaired', async () => {
    const at = place();
    const { shard } = await twoSegments(at);
    const [first, second] = segments(at.fs) as [string, string];
    const numbers = [first, second].map((path) => Number(path.slice(-14, -4)));
    at.fs.crash('synced');
    const survey = (): RepairFindings => {
      const findings = new RepairFindings();
      const kernel = new Kernel(shard.module, createJobMemory(JOB_MEMORY_BYTES));
      const log = { fs: at.fs, kernel, directory: DIRECTORY, shard: 0, databaseId: DATABASE_ID };
      const found = surveyLog({ ...log, findings }, numbers, numbers[0] as number);
      expect(found.groups.length).toBe(COUNT);
      return findings;
    };
    expect(survey().problems).toEqual([]);
    const end = logEnd(at.fs, first);
    at.fs.corrupt(first, end + 1000, () => 1);
    expect(survey()).toMatchObject({ problems: [{ file: first, offset: end }], losses: [] });
    expect(await refusalOf(at)).toBeInstanceOf(CorruptionError);
  });

  it('is found by check when zeros have taken the place of a group', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    const last = await fill(shard, 0, COUNT);
    const [path] = segments(at.fs) as [string];
    overwrite(at.fs, path, last, logEnd(at.fs, path));
    const { problems } = await checkShard(shard.shard.state);
    expect(problems).toMatchObject([{ code: 'LIGHTNING_CORRUPTION', file: path, offset: last }]);
  });

  it('is not made without sync of each group', async () => {
    const at = place('async');
    const shard = await TestShard.open(at);
    await fill(shard, 0, COUNT);
    await shard.client.commit([put('synced', 'by itself')], RECORD_FLAG_SYNC);
    await shard.shard.syncLog();
    for (const path of segments(at.fs)) expect(zerosOf(at.fs, path)).toBe(0);
  });
});

describe('zeros for which there is no room', () => {
  it('cost no write, and nothing that is acknowledged', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    // Opening has taken what it needs; the rest is for less than one stretch of zeros.
    at.fs.limitRoom(20_000);
    await fill(shard, 0, COUNT);
    const [path] = segments(at.fs) as [string];
    expect(zerosOf(at.fs, path)).toBe(0);
    at.fs.crash('synced');
    at.fs.limitRoom(1e9);
    await expectAll(await reopen(at));
  });
});
