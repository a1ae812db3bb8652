/** Damaged databases after repair: they open, `check` is content, and what could be read is there. */

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { LightningDb, type RepairProgress, type RepairReport } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeFooter, FOOTER_BYTES } from '../../src/sstable/format.js';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { runCommand } from '../cli/command-line.js';

const directory = temporaryDirectory();
const template = join(directory.path, 'template');
const options = {
  shards: 2,
  memtableSize: 1 << 20,
  cacheSize: 32 << 20,
  walSyncMode: 'sync' as const,
  compressionEnabled: true,
};
/** Newest value of each key, and those it had before. */
const expected = new Map<string, string>();
const older = new Map<string, Set<string>>();
const BLOB = 'large '.repeat(300_000);
let copies = 0;

function note(key: string, value: string | undefined): void {
  const before = expected.get(key);
  if (before !== undefined) {
    const values = older.get(key) ?? new Set();
    older.set(key, values.add(before));
  }
  if (value === undefined) expected.delete(key);
  else expected.set(key, value);
}

/** Tables in two runs, deletes, a large value, and commits that are in the log alone. */
beforeAll(async () => {
  const db = await LightningDb.open(join(directory.path, 'first'), options);
  const write = async (first: number, count: number, round: string): Promise<void> => {
    const batch = db.batch();
    for (let i = first; i < first + count; i++) {
      const key = `key-${String(i).padStart(5, '0')}`;
      const value = `${round}-${i}-${'half compressible'.repeat(i % 9)}`;
      batch.put(key, value);
      note(key, value);
    }
    await batch.write();
  };
  await write(0, 3000, 'first');
  await db.put('large', BLOB);
  note('large', BLOB);
  await db.flush();
  await write(1000, 800, 'second');
  for (let i = 0; i < 40; i++) {
    const key = `key-${String(i * 7).padStart(5, '0')}`;
    await db.delete(key);
    note(key, undefined);
  }
  await db.flush();
  for (let i = 0; i < 40; i++) await write(5000 + i * 4, 4, 'log');
  // As if the process were killed now.
  cpSync(join(directory.path, 'first'), template, { recursive: true });
  await db.close();
});

afterAll(() => directory.remove());

function newCopy(): string {
  const path = join(directory.path, `copy-${copies++}`);
  cpSync(template, path, { recursive: true });
  return path;
}

/** The files of a kind, those of the first shard that has any first. */
function filesOf(path: string, ending: string): string[] {
  return readdirSync(path, { recursive: true })
    .map((name) => join(path, String(name)))
    .filter((name) => name.endsWith(ending) && !name.includes('repaired-'))
    .sort();
}

const first = (path: string, ending: string): string => filesOf(path, ending)[0] as string;

function flip(file: string, position: number): void {
  const bytes = readFileSync(file);
  const at = position < 0 ? bytes.length + position : position;
  bytes[at] = (bytes[at] as number) ^ 0x10;
  writeFileSync(file, bytes);
}

function sectionsOf(file: string) {
  const bytes = readFileSync(file);
  const id = Number(basename(file, '.table'));
  return decodeFooter(bytes.subarray(-FOOTER_BYTES), bytes.length, { path: file, id }).footer;
}

interface Found {
  readonly right: number;
  readonly stale: string[];
  readonly missing: string[];
  readonly returned: string[];
}

/** Opens the database, checks it, and compares all there is in it with what was written. */
async function inspect(path: string): Promise<Found> {
  const db = await LightningDb.open(path, { cacheSize: 32 << 20 });
  const found = {
    right: 0,
    stale: [] as string[],
    missing: [] as string[],
    returned: [] as string[],
  };
  try {
    expect((await db.check()).problems).toEqual([]);
    const present = new Map<string, string>();
    for await (const [key, value] of db.scan()) present.set(key, value);
    for (const [key, value] of expected) {
      const have = present.get(key);
      if (have === value) found.right++;
      else if (have === undefined) found.missing.push(key);
      else {
        expect(older.get(key)?.has(have), `${key} has a value it once had`).toBe(true);
        found.stale.push(key);
      }
    }
    for (const [key, value] of present) {
      if (expected.has(key)) continue;
      expect(older.get(key)?.has(value), `${key} has a value it once had`).toBe(true);
      found.returned.push(key);
    }
    await db.put('written after', 'the repair');
  } finally {
    await db.close();
  }
  return found;
}

function expectAllThere(found: Found): void {
  expect(found).toEqual({ right: expected.size, stale: [], missing: [], returned: [] });
}

/** Every key that is not as it should be lies in a range that the report names. */
function expectInLosses(found: Found, { losses }: RepairReport): void {
  const inRange = (key: string): boolean =>
    losses.some(({ from, to, isToIncluded }) => {
      const bytes = Buffer.from(key);
      if (from !== undefined && Buffer.compare(bytes, from) < 0) return false;
      if (to === undefined) return true;
      const order = Buffer.compare(bytes, to);
      return order < 0 || (order === 0 && isToIncluded !== false);
    });
  expect(
    [...found.missing, ...found.stale, ...found.returned].filter((key) => !inRange(key)),
  ).toEqual([]);
}

function snapshotOf(path: string | undefined): Map<string, string> {
  if (path === undefined) return new Map();
  return new Map(
    readdirSync(path, { recursive: true })
      .map(String)
      .filter((name) => statSync(join(path, name)).isFile() && name !== 'LOCK')
      .map((name) => [name, readFileSync(join(path, name), 'latin1')]),
  );
}

type Damage = (path: string) => void;

/** Damage that costs nothing: all that was written can be found. */
const HARMLESS: [string, Damage][] = [
  [
    'a filter',
    (path) => flip(first(path, '.table'), sectionsOf(first(path, '.table')).filterOffset + 80),
  ],
  [
    'an index',
    (path) => flip(first(path, '.table'), sectionsOf(first(path, '.table')).indexOffset + 90),
  ],
  [
    'properties',
    (path) => flip(first(path, '.table'), sectionsOf(first(path, '.table')).propertiesOffset + 9),
  ],
  ['a footer', (path) => flip(first(path, '.table'), -30)],
  [
    'the end of a table',
    (path) => {
      const table = first(path, '.table');
      truncateSync(table, sectionsOf(table).indexOffset + 20);
    },
  ],
  ['CURRENT', (path) => flip(first(path, 'CURRENT'), 9)],
  ['CURRENT that is gone', (path) => rmSync(first(path, 'CURRENT'))],
  ['a manifest header', (path) => flip(first(path, '.manifest'), 3)],
  ['a manifest frame', (path) => flip(first(path, '.manifest'), 60)],
  ['a manifest that is gone', (path) => rmSync(first(path, '.manifest'))],
  ['DATABASE', (path) => flip(join(path, 'DATABASE'), 40)],
  ['DATABASE that is gone', (path) => rmSync(join(path, 'DATABASE'))],
  ['a log header', (path) => flip(first(path, '.wal'), 20)],
  ["the coordinator's log", (path) => flip(first(path, '.log'), 100)],
  ["the head of the coordinator's log", (path) => flip(first(path, '.log'), 30)],
  [
    'everything that can be derived',
    (path) => {
      rmSync(join(path, 'DATABASE'));
      for (const name of [...filesOf(path, 'CURRENT'), ...filesOf(path, '.manifest')]) rmSync(name);
      for (const name of filesOf(path, '.table')) flip(name, -30);
    },
  ],
];

describe('damage that leaves the data readable', () => {
  it.each(HARMLESS)('%s: nothing is lost', async (_name, damage) => {
    const path = newCopy();
    damage(path);
    const damaged = snapshotOf(path);
    const report = await LightningDb.repair(path);
    expect(report.isHealthy).toBe(false);
    expect(report.problems.length).toBeGreaterThan(0);
    expect(report.losses.filter(({ from, to }) => from !== undefined || to !== undefined)).toEqual(
      [],
    );
    expectAllThere(await inspect(path));
    // What is not there any more, or has changed, is kept.
    const now = snapshotOf(path);
    for (const [name, bytes] of snapshotOf(report.originals)) {
      expect(damaged.get(name), name).toBe(bytes);
      now.set(name, bytes);
    }
    expect((await LightningDb.repair(path)).isHealthy).toBe(true);
  });
});

describe('damage that costs data', () => {
  it('a block: its keys, and the report says which', async () => {
    const path = newCopy();
    for (const table of filesOf(path, '.table')) flip(table, 3000);
    const report = await LightningDb.repair(path);
    expect(report.losses.length).toBeGreaterThan(0);
    expect(report.saved.tablesRewritten).toBe(filesOf(template, '.table').length);
    const found = await inspect(path);
    expect(found.missing.length + found.stale.length).toBeGreaterThan(0);
    expect(found.right).toBeGreaterThan(expected.size * 0.8);
    expectInLosses(found, report);
  });

  it('a block and the index: no more than the block', async () => {
    const path = newCopy();
    for (const table of filesOf(path, '.table')) {
      flip(table, sectionsOf(table).indexOffset + 90);
      flip(table, 3000);
    }
    const report = await LightningDb.repair(path);
    const found = await inspect(path);
    expect(found.missing.length + found.stale.length).toBeGreaterThan(0);
    expect(found.right).toBeGreaterThan(expected.size * 0.8);
    expectInLosses(found, report);
  });

  it('a table that is gone: its keys', async () => {
    const path = newCopy();
    rmSync(first(path, '.table'));
    const report = await LightningDb.repair(path);
    const found = await inspect(path);
    expect(found.right).toBeGreaterThan(expected.size / 3);
    expectInLosses(found, report);
  });

  it('a group of the log: its commits, and none of the others', async () => {
    const path = newCopy();
    const wal = filesOf(path, '.wal').find((name) => statSync(name).size > 3000) as string;
    flip(wal, 64 + 200);
    await expect(LightningDb.open(path)).rejects.toMatchObject({ code: 'LIGHTNING_CORRUPTION' });
    const report = await LightningDb.repair(path);
    expect(report.losses).toMatchObject([{ file: wal }]);
    expect(report.saved.logCommits).toBeGreaterThan(10);
    const found = await inspect(path);
    expect(found.stale).toEqual([]);
    expect(found.missing.length).toBeGreaterThan(0);
    expect(found.missing.length).toBeLessThanOrEqual(4);
  });

  it('a group of the log that zeros have taken the place of: as if it had rotted', async () => {
    const path = newCopy();
    const wal = filesOf(path, '.wal').find((name) => statSync(name).size > 3000) as string;
    const bytes = readFileSync(wal);
    writeFileSync(wal, bytes.fill(0, 64, 64 + 64 + bytes.readUInt32LE(64 + 4)));
    await expect(LightningDb.open(path)).rejects.toMatchObject({ code: 'LIGHTNING_CORRUPTION' });
    const report = await LightningDb.repair(path);
    expect(report.losses).toMatchObject([{ file: wal, offset: 64 }]);
    expect(report.saved.logCommits).toBeGreaterThan(10);
    const found = await inspect(path);
    expect(found.stale).toEqual([]);
    expect(found.missing.length).toBeGreaterThan(0);
    expect(found.missing.length).toBeLessThanOrEqual(4);
  });

  it('a log that is gone: what was in it alone', async () => {
    const path = newCopy();
    for (const wal of filesOf(path, '.wal')) rmSync(wal);
    const report = await LightningDb.repair(path);
    expect(report.losses.map(({ message }) => message).join()).toContain('log is gone');
    const found = await inspect(path);
    expect(found.missing.length).toBe(160);
    expect(found.missing.every((key) => key >= 'key-05000')).toBe(true);
  });

  it("the coordinator's log that is gone: what it alone knew", async () => {
    const path = newCopy();
    for (const log of filesOf(path, '.log')) rmSync(log);
    await expect(LightningDb.open(path)).rejects.toMatchObject({
      code: 'LIGHTNING_CORRUPTION',
      message: expect.stringContaining('coordinator log are missing'),
    });
    const report = await LightningDb.repair(path);
    expect(report.losses.map(({ file }) => file)).toEqual([join(path, 'coordinator')]);
    const found = await inspect(path);
    // Commits over both shards of which the shards had not noted yet what became of them.
    expect(found.stale).toEqual([]);
    expect(found.missing.length).toBeLessThan(160);
    expect((await LightningDb.repair(path)).problems).toEqual([]);
  });

  it('a directory of a shard: all of it, and the other shard goes on', async () => {
    const path = newCopy();
    rmSync(join(path, 'shard-001'), { recursive: true });
    const report = await LightningDb.repair(path);
    expect(report.losses.map(({ file }) => file)).toEqual([join(path, 'shard-001')]);
    expect((await inspect(path)).right).toBeGreaterThan(expected.size / 3);
  });

  it('the file of a large value: that value, reading which goes on to say so', async () => {
    const path = newCopy();
    flip(first(path, '.blob'), 5000);
    const report = await LightningDb.repair(path);
    expect(report.losses).toMatchObject([{ file: first(path, '.blob'), offset: 32 }]);
    const db = await LightningDb.open(path);
    await expect(db.get('large')).rejects.toMatchObject({ code: 'LIGHTNING_CORRUPTION' });
    expect(await db.get('key-00001')).toBe(expected.get('key-00001'));
    await db.close();
  });

  it('the intent of a bulk load: the load, in shards that had not linked it', async () => {
    const path = newCopy();
    const intent = join(path, 'coordinator', 'bulk-0.json');
    writeFileSync(intent, 'LDBBULK1\x01\0\0\0and nothing that makes sense');
    await expect(LightningDb.open(path)).rejects.toMatchObject({ code: 'LIGHTNING_CORRUPTION' });
    const report = await LightningDb.repair(path);
    expect(report.losses).toMatchObject([{ file: intent }]);
    expect(existsSync(join(report.originals ?? '', 'coordinator', 'bulk-0.json'))).toBe(true);
    expectAllThere(await inspect(path));
  });
});

describe('a repair', () => {
  it('of a database that is as it was written changes nothing', async () => {
    const path = newCopy();
    // A log that ends in zeros is no damage.
    const ends = filesOf(path, '.wal').map((name) => readFileSync(name).subarray(-1000));
    expect(ends.some((end) => end.length === 1000 && end.every((byte) => byte === 0))).toBe(true);
    const report = await LightningDb.repair(path);
    expect(report).toMatchObject({
      isHealthy: true,
      problems: [],
      losses: [],
      originals: undefined,
    });
    expect(snapshotOf(path)).toEqual(snapshotOf(template));
  });

  it('on trial says the same and writes nothing', async () => {
    const path = newCopy();
    rmSync(first(path, 'CURRENT'));
    flip(first(path, '.manifest'), 60);
    flip(first(path, '.table'), 3000);
    const before = snapshotOf(path);
    const seen: RepairProgress[] = [];
    const onProgress = (progress: RepairProgress): unknown => seen.push(progress);
    const trial = await LightningDb.repair(path, { dryRun: true, onProgress });
    for (const { bytes, bytesTotal } of seen) expect(bytes).toBeLessThanOrEqual(bytesTotal);
    expect(seen[0]?.bytes).toBeGreaterThan(0);
    expect(snapshotOf(path)).toEqual(before);
    const { dryRun, originals, saved, ...report } = await LightningDb.repair(path);
    expect({ dryRun: trial.dryRun, originals: trial.originals }).toEqual({
      dryRun: true,
      originals: undefined,
    });
    expect(dryRun).toBe(false);
    expect(existsSync(originals ?? '')).toBe(true);
    expect(trial).toMatchObject(report);
    expect(trial.saved.entries).toBe(saved.entries);
  });

  it('is refused while the database is open, and where there is none', async () => {
    const path = newCopy();
    const db = await LightningDb.open(path);
    await expect(LightningDb.repair(path)).rejects.toMatchObject({ code: 'LIGHTNING_LOCKED' });
    await db.close();
    const empty = join(directory.path, 'empty');
    mkdirSync(empty);
    await expect(LightningDb.repair(empty)).rejects.toMatchObject({ code: 'LIGHTNING_NOT_FOUND' });
    await expect(LightningDb.repair(join(empty, 'missing'))).rejects.toMatchObject({
      code: 'LIGHTNING_NOT_FOUND',
    });
    expect(readdirSync(empty)).toEqual([]);
  });
});

describe('the command repair', () => {
  it('tells what it found, and ends with 1 when something is lost', async () => {
    const path = newCopy();
    expect(await runCommand(['repair', '--path', path])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^Everything is as it was written/),
    });
    const table = first(path, '.table');
    flip(table, 3000);
    const trial = await runCommand(['repair', '--path', path, '--dry-run', '--json']);
    expect(trial.exitCode).toBe(1);
    expect(JSON.parse(trial.stdout)).toMatchObject({ dryRun: true, losses: [{ file: table }] });
    const { exitCode, stdout } = await runCommand(['repair', '--path', path]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`lost   ${table} at offset `);
    expect(stdout).toMatch(/keys from "key-\d+" to "key-\d+"/);
    expect(stdout).toContain('The originals are in');
    flip(join(path, 'DATABASE'), 40);
    expect((await runCommand(['repair', '--path', path])).exitCode).toBe(0);
    expect((await runCommand(['repair', '--path', directory.path])).exitCode).toBe(3);
  });
});
