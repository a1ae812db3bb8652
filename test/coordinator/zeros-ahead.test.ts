/** Zeros behind the frames of the coordinator's log, in a run that syncs its decisions. */

import { describe, expect, it } from 'vitest';
import { DecisionLog, type DecisionLogOptions } from '../../src/coordinator/decision-log.js';
import type { Decision } from '../../src/coordinator/log-format.js';
import {
  listLogSegments,
  logSegmentName,
  readDecisionLog,
} from '../../src/coordinator/log-reader.js';
import { verifyDatabase } from '../../src/coordinator/verify-database.js';
import { CorruptionError, IoError, LightningError, NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { identityOf } from '../../src/file-system/system-identity.js';

const DIRECTORY = '/db/coordinator';
const DATABASE_ID = '01234567-89ab-cdef-0123-456789abcdef';
const FRAME_BYTES = 56;

function fileSystem(seed = 1): MemoryFileSystem {
  const fs = new MemoryFileSystem(seed);
  fs.mkdir('/db');
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  fs.syncDirectory('/db');
  return fs;
}

let bootIds = 0;

async function open(
  fs: MemoryFileSystem,
  changes: Partial<DecisionLogOptions> = {},
): Promise<DecisionLog> {
  bootIds++;
  const log = DecisionLog.open({
    fs,
    directory: DIRECTORY,
    databaseId: DATABASE_ID,
    bootId: bootIds,
    systemIdentity: identityOf('monday'),
    isSyncRun: true,
    syncShards: () => {},
    ...changes,
  });
  await log.settle(0);
  return log;
}

const decision = (sequence: number): Decision => ({
  id: 2 ** 32 + sequence,
  sequence,
  timestampUs: 1e15 + sequence,
  participants: 0b101n,
});

function decide(log: DecisionLog, from: number, to: number): void {
  for (let sequence = from; sequence <= to; sequence++) {
    log.appendDecisions([decision(sequence)], true);
  }
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

const pathOf = (log: DecisionLog): string => `${DIRECTORY}/${logSegmentName(log.segment)}`;

function sequencesIn(fs: MemoryFileSystem): number[] {
  const found = readDecisionLog(fs, DIRECTORY, DATABASE_ID);
  return [...(found?.decisions.values() ?? [])].map(({ sequence }) => sequence);
}

function overwrite(fs: MemoryFileSystem, path: string, from: number, to: number): void {
  for (let at = from; at < to; at++) fs.corrupt(path, at, () => 0);
}

describe('the decision log', () => {
  it('is kept longer than its frames where decisions are synced, so that a sync changes no size', async () => {
    const fs = fileSystem();
    const log = await open(fs);
    decide(log, 1, 1);
    const size = fs.fileSize(pathOf(log));
    expect(size).toBeGreaterThan(log.bytes + 60_000);
    fs.trace = [];
    decide(log, 2, 500);
    expect(fs.trace.length).toBe(2 * 499);
    expect(fs.fileSize(pathOf(log))).toBe(size);
    fs.crash('synced');
    const found = readDecisionLog(fs, DIRECTORY, DATABASE_ID);
    expect(found).toMatchObject({ bytes: log.bytes, isTorn: false });
    expect(sequencesIn(fs)).toEqual(upTo(500));
    const again = await open(fs);
    expect([...again.decisions.keys()]).toEqual(upTo(500).map((s) => decision(s).id));
  });

  it('is as long as its frames in other runs, and when it was closed', async () => {
    const fs = fileSystem();
    const plain = await open(fs, { isSyncRun: false });
    decide(plain, 1, 3);
    expect(fs.fileSize(pathOf(plain))).toBe(plain.bytes);
    plain.close();
    const log = await open(fs);
    decide(log, 4, 6);
    const { bytes } = log;
    log.trim();
    log.close();
    expect(fs.fileSize(pathOf(log))).toBe(bytes);
    expect(sequencesIn(fs)).toEqual(upTo(6));
  });

  it('stays below twice the size at which it is replaced', async () => {
    const fs = fileSystem();
    const log = await open(fs, { segmentBytesMax: 1000 });
    for (let sequence = 1; sequence <= 200; sequence++) {
      decide(log, sequence, sequence);
      log.forget(sequence);
      expect(fs.fileSize(pathOf(log))).toBeLessThanOrEqual(2000);
    }
    expect(listLogSegments(fs, DIRECTORY)).toEqual([log.segment]);
  });

  it('with zeros where a frame was that had been durable is damaged', async () => {
    const fs = fileSystem();
    const log = await open(fs);
    decide(log, 1, 5);
    const last = log.bytes - FRAME_BYTES;
    const path = pathOf(log);
    overwrite(fs, path, last - FRAME_BYTES, last);
    expect(() => readDecisionLog(fs, DIRECTORY, DATABASE_ID)).toThrow(CorruptionError);
    expect(() => readDecisionLog(fs, DIRECTORY, DATABASE_ID)).toThrow(
      `offset ${last - FRAME_BYTES}`,
    );
  });

  it('with zeros where its newest frame was has ended before it; a check says that it is missing', async () => {
    const fs = fileSystem();
    const log = await open(fs);
    decide(log, 1, 5);
    const place = { segment: log.segment, bytes: log.bytes };
    const job = {
      kind: 'verify-database',
      path: '/db',
      databaseId: DATABASE_ID,
      log: place,
    } as const;
    const problemsOfLog = () =>
      verifyDatabase(fs, job).filter(({ file }) => file.endsWith('.log')).length;
    expect(problemsOfLog()).toBe(0);
    overwrite(fs, pathOf(log), log.bytes - FRAME_BYTES, log.bytes);
    expect(problemsOfLog()).toBe(1);
    const found = readDecisionLog(fs, DIRECTORY, DATABASE_ID);
    expect(found).toMatchObject({ bytes: log.bytes - FRAME_BYTES, isTorn: false });
    expect(sequencesIn(fs)).toEqual(upTo(4));
  });

  it('takes as many decisions into little room as it would without zeros', async () => {
    const fitting = async (roomBytes: number, isSyncRun: boolean): Promise<number> => {
      const fs = fileSystem();
      const log = await open(fs, { isSyncRun });
      fs.limitRoom(roomBytes);
      let count = 0;
      try {
        for (; count < 5000; count++) decide(log, count + 1, count + 1);
      } catch (error) {
        if (!(error instanceof NoSpaceError)) throw error;
      }
      expect(log.poison).toBeUndefined();
      fs.limitRoom(1e9);
      decide(log, count + 1, count + 1);
      fs.crash('synced');
      expect(sequencesIn(fs)).toEqual(upTo(count + 1));
      return count;
    };
    for (const roomBytes of [FRAME_BYTES, 1000, 66_000, 100_000]) {
      const count = Math.floor(roomBytes / FRAME_BYTES);
      expect(await fitting(roomBytes, true), `${roomBytes}`).toBe(count);
      expect(await fitting(roomBytes, false), `${roomBytes}`).toBe(count);
    }
  });

  it('never takes a decision that was refused, whatever a power loss brings back', async () => {
    for (const isAhead of [false, true]) {
      for (let seed = 0; seed < 400; seed++) {
        const fs = fileSystem(seed);
        const log = await open(fs);
        if (isAhead) decide(log, 1, 1);
        fs.failAt(1, 'EFBIG');
        expect(() => decide(log, 2, 2)).toThrow(NoSpaceError);
        fs.crash('random');
        expect(sequencesIn(fs), `seed ${seed}`).toEqual(isAhead ? [1] : []);
      }
    }
  });

  it('takes nothing more when the disk refuses zeros otherwise', async () => {
    const fs = fileSystem();
    const log = await open(fs);
    fs.failAt(2, 'EIO');
    expect(() => decide(log, 1, 1)).toThrow(IoError);
    expect(() => decide(log, 2, 2)).toThrow(LightningError);
    const { calls } = fs;
    log.trim();
    log.close();
    expect(fs.calls).toBe(calls);
  });

  it('loses no synced decision to a power loss at any call', async () => {
    for (let seed = 0; seed < 60; seed++) {
      const fs = fileSystem(seed);
      const log = await open(fs, { segmentBytesMax: 2000 });
      fs.crashAt(1 + seed);
      let synced = 0;
      try {
        for (let sequence = 1; sequence <= 40; sequence++) {
          decide(log, sequence, sequence);
          synced = sequence;
        }
      } catch (error) {
        if (error instanceof LightningError || !fs.powerLost) throw error;
      }
      fs.crash('random');
      const found = sequencesIn(fs);
      expect(found).toEqual(upTo(found.length));
      expect(found.length).toBeGreaterThanOrEqual(synced);
    }
  });
});
