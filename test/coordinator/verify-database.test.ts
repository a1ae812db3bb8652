/** What belongs to no shard is checked up to where it has been written. */

import { beforeEach, expect, it } from 'vitest';
import { DecisionLog } from '../../src/coordinator/decision-log.js';
import { verifyDatabase } from '../../src/coordinator/verify-database.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { openDatabaseFile } from '../../src/version/database-file.js';

const PATH = '/db';
const DIRECTORY = '/db/coordinator';
const SEGMENT = `${DIRECTORY}/0000000001.log`;
let fs: MemoryFileSystem;
let databaseId: string;
let log: DecisionLog;

beforeEach(() => {
  fs = new MemoryFileSystem();
  const options = { shards: 2, createIfMissing: true, errorIfExists: true, readOnly: false };
  databaseId = openDatabaseFile(fs, PATH, options).id;
  log = DecisionLog.open({
    fs,
    directory: DIRECTORY,
    databaseId,
    bootId: 1,
    systemIdentity: fs.systemIdentity(),
    isSyncRun: false,
    syncShards: () => {},
  });
  decide(1);
  decide(2);
});

const decide = (id: number): void =>
  log.appendDecisions([{ id, sequence: id, timestampUs: 1, participants: 3n }], false);

const verify = (place: { segment: number; bytes: number } | undefined = log) =>
  verifyDatabase(fs, {
    kind: 'verify-database',
    path: PATH,
    databaseId,
    log: place && { segment: place.segment, bytes: place.bytes },
  });

it('nothing is wrong with what is whole, and what is written meanwhile is not looked at', () => {
  const place = { segment: log.segment, bytes: log.bytes };
  expect(verify()).toEqual([]);
  decide(3);
  fs.corrupt(SEGMENT, fs.fileSize(SEGMENT) - 1, (byte) => byte ^ 1);
  expect(verify(place)).toEqual([]);
  // Opened read-only, the end of the log may be torn.
  expect(
    verifyDatabase(fs, { kind: 'verify-database', path: PATH, databaseId, log: undefined }),
  ).toEqual([]);
});

it.each([
  ['the header of the log', SEGMENT, 20, 88],
  ['the first mark', SEGMENT, 97, 96],
  ['a decision', SEGMENT, 96 + 32 + 30, 96 + 32],
  ['the DATABASE file', '/db/DATABASE', 60, 16],
])('%s is found damaged, with its place', (_name, file, at, offset) => {
  fs.corrupt(file, at, (byte) => byte ^ 1);
  expect(verify()).toMatchObject([{ code: 'LIGHTNING_CORRUPTION', file, offset }]);
});

it('the newest decision is found damaged: it was written whole', () => {
  fs.corrupt(SEGMENT, fs.fileSize(SEGMENT) - 1, (byte) => byte ^ 1);
  expect(verify()).toMatchObject([{ file: SEGMENT, offset: log.bytes - 56 }]);
});

it('a log that is gone is found, and one that the disk does not read', () => {
  fs.failReads('.log', 'EIO');
  expect(verify()).toMatchObject([{ code: 'LIGHTNING_IO', file: SEGMENT }]);
  fs.clearFaults();
  fs.unlink(SEGMENT);
  expect(verify()).toMatchObject([{ code: 'LIGHTNING_CORRUPTION', file: SEGMENT }]);
});
