/** The coordinator's log: what comes back after closing, crashing, rotating, rotting. */

import { describe, expect, it } from 'vitest';
import { DecisionLog, type DecisionLogOptions } from '../../src/coordinator/decision-log.js';
import {
  type Decision,
  LOG_HEADER_BYTES,
  MARK_EVERYTHING,
} from '../../src/coordinator/log-format.js';
import {
  listLogSegments,
  logSegmentName,
  readDecisionLog,
} from '../../src/coordinator/log-reader.js';
import { LightningError, NoSpaceError, ReadOnlyError } from '../../src/errors.js';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import { identityOf } from '../../src/file-system/system-identity.js';

const DIRECTORY = '/coordinator';
const DATABASE_ID = '01234567-89ab-cdef-0123-456789abcdef';

function fileSystem(seed = 1): MemoryFileSystem {
  const fs = new MemoryFileSystem(seed);
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return fs;
}

let bootIds = 0;

function open(fs: MemoryFileSystem, changes: Partial<DecisionLogOptions> = {}): DecisionLog {
  bootIds++;
  return DecisionLog.open({
    fs,
    directory: DIRECTORY,
    databaseId: DATABASE_ID,
    bootId: bootIds,
    systemIdentity: identityOf('monday'),
    isSyncRun: false,
    syncShards: () => {},
    ...changes,
  });
}

const decision = (sequence: number): Decision => ({
  id: 2 ** 32 + sequence,
  sequence,
  timestampUs: 1e15 + sequence,
  participants: 0b101n,
});

const sequences = (log: { readonly decisions: ReadonlyMap<number, Decision> }): number[] =>
  [...log.decisions.values()].map(({ sequence }) => sequence);

const newestPath = (fs: MemoryFileSystem): string =>
  `${DIRECTORY}/${logSegmentName(listLogSegments(fs, DIRECTORY).at(-1) ?? 0)}`;

/** A copy of what is on disk, to be damaged. */
function copyOf(fs: MemoryFileSystem): MemoryFileSystem {
  const copy = fileSystem();
  for (const name of fs.readdir(DIRECTORY)) {
    const file = copy.open(`${DIRECTORY}/${name}`, 'create');
    file.write(fs.readFile(`${DIRECTORY}/${name}`), 0);
    file.close();
  }
  return copy;
}

describe('the decision log', () => {
  it('brings decisions back with all that was said of them', async () => {
    const fs = fileSystem();
    const log = open(fs);
    await log.settle(5);
    log.appendDecisions([decision(10), decision(11)], false);
    log.appendDecisions([decision(12)], true);
    fs.crash('all');
    const again = open(fs);
    expect([...again.decisions]).toEqual([10, 11, 12].map((s) => [decision(s).id, decision(s)]));
  });

  it('counts opens, and not the coordinators of one open', () => {
    const fs = fileSystem();
    const first = open(fs);
    expect(first.openCounter).toBe(1);
    expect(open(fs, { bootId: bootIds }).openCounter).toBe(1);
    expect(open(fs).openCounter).toBe(2);
    expect(open(fs).openCounter).toBe(3);
  });

  it('keeps synced decisions over a power loss, and a prefix of the others', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const fs = fileSystem(seed);
      const log = open(fs);
      await log.settle(0);
      for (let s = 1; s <= 9; s++) log.appendDecisions([decision(s)], s === 4);
      fs.crash('random');
      const found = sequences(open(fs));
      expect(found.length).toBeGreaterThanOrEqual(4);
      expect(found).toEqual(Array.from({ length: found.length }, (_, i) => i + 1));
    }
  });

  it('forgets what is not needed, and carries the rest over to new segments', async () => {
    const fs = fileSystem();
    const log = open(fs, { segmentBytesMax: 400 });
    await log.settle(0);
    for (let s = 1; s <= 50; s++) {
      log.appendDecisions([decision(s)], false);
      if (s % 10 === 0) await log.appendMark(s);
      if (s % 10 === 5) log.forget(s - 7);
    }
    expect(log.segment).toBeGreaterThan(5);
    expect(listLogSegments(fs, DIRECTORY)).toEqual([log.segment]);
    fs.crash('all');
    const again = open(fs);
    expect(sequences(again)).toEqual([39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50]);
  });

  it('grows by what is appended, not by what it carries over', async () => {
    const log = open(fileSystem(), { segmentBytesMax: 400 });
    await log.settle(0);
    for (let s = 1; s <= 500; s++) log.appendDecisions([decision(s)], false);
    // Nothing is forgotten: each new segment is twice as far away as the one before.
    expect(log.segment).toBeLessThan(12);
    expect(log.decisions.size).toBe(500);
  });

  it('waits, when it is full, for what may be forgotten, but not for ever', async () => {
    let asked = 0;
    const log = open(fileSystem(), { segmentBytesMax: 1000, onFull: () => asked++ });
    await log.settle(0);
    const before = log.segment;
    let s = 0;
    while (asked === 0) log.appendDecisions([decision(++s)], false);
    log.appendDecisions([decision(++s)], false);
    expect([log.segment, asked]).toEqual([before, 1]);
    log.forget(s - 1);
    expect(log.segment).toBe(before + 1);
    // What is left had to be carried over, and nothing else.
    expect(log.bytes).toBeLessThan(300);
    for (let i = 0; i < 40; i++) log.appendDecisions([decision(++s)], false);
    expect([log.segment, asked]).toEqual([before + 2, 2]);
    expect(log.decisions.size).toBe(41);
  });

  it('takes nothing that did not fit, and goes on when there is room', async () => {
    const fs = fileSystem();
    const log = open(fs);
    await log.settle(0);
    log.appendDecisions([decision(1)], false);
    fs.limitRoom(30);
    expect(() => log.appendDecisions([decision(2)], false)).toThrow(NoSpaceError);
    expect(log.decisions.has(decision(2).id)).toBe(false);
    fs.limitRoom(1_000_000);
    log.appendDecisions([decision(3)], true);
    fs.crash('synced');
    expect(sequences(open(fs))).toEqual([1, 3]);
  });

  it('takes nothing more after a failed write or sync', async () => {
    for (const [k, isSync] of [
      [1, false],
      [2, true],
    ] as const) {
      const fs = fileSystem();
      const log = open(fs);
      await log.settle(0);
      fs.failAt(k, 'EIO');
      expect(() => log.appendDecisions([decision(1)], isSync)).toThrow(LightningError);
      expect(() => log.appendDecisions([decision(2)], false)).toThrow(ReadOnlyError);
      await expect(log.appendMark(2)).rejects.toThrow(ReadOnlyError);
      expect(log.poison).toBeDefined();
    }
  });
});

describe('a power loss', () => {
  const tuesday = { systemIdentity: identityOf('tuesday') };

  it('cuts at the last mark, and at no earlier one', async () => {
    const fs = fileSystem();
    const log = open(fs);
    await log.settle(3);
    await log.appendMark(7);
    log.appendDecisions([decision(8)], false);
    await log.appendMark(9);
    log.appendDecisions([decision(10)], false);
    fs.crash('synced');
    expect(open(fs, tuesday).cutSequence).toBe(9);
  });

  it('cuts at the same place until every shard has done so', async () => {
    const fs = fileSystem();
    await open(fs).settle(3);
    for (let i = 0; i < 3; i++) {
      const calls = fs.calls;
      const interrupted = open(fs, tuesday);
      expect(interrupted.cutSequence).toBe(3);
      expect(() => interrupted.appendDecisions([decision(5)], false)).toThrow(ReadOnlyError);
      fs.crash('all');
      expect(fs.calls - calls).toBeLessThanOrEqual(1);
    }
    const log = open(fs, tuesday);
    await log.settle(3);
    fs.crash('all');
    expect(open(fs, tuesday).cutSequence).toBeUndefined();
  });

  it('is not the death of a process, nor one of a run that synced everything', async () => {
    const fs = fileSystem();
    await open(fs).settle(3);
    let synced = 0;
    const again = open(fs, { syncShards: () => synced++ });
    expect(again.cutSequence).toBeUndefined();
    expect(synced).toBe(1);
    const always = open(fs, { isSyncRun: true });
    await always.settle(4);
    expect(open(fs, tuesday).cutSequence).toBeUndefined();
  });

  it('cuts nothing of earlier runs when they were found whole', () => {
    const fs = fileSystem();
    const log = open(fs);
    expect(log.mark).toBe(MARK_EVERYTHING);
    fs.crash('synced');
    expect(open(fs, tuesday).cutSequence).toBeUndefined();
  });

  it('leaves the mark of a coordinator that died in force', async () => {
    const fs = fileSystem();
    const first = open(fs);
    await first.settle(3);
    await first.appendMark(8);
    const second = open(fs, {
      bootId: bootIds,
      syncShards: () => {
        throw new Error('The shards are running');
      },
    });
    expect(second.mark).toBe(8);
    expect(open(copyOf(fs), tuesday).cutSequence).toBe(8);
  });
});

describe('a damaged log', () => {
  async function written(): Promise<MemoryFileSystem> {
    const fs = fileSystem();
    const first = open(fs);
    await first.settle(0);
    first.appendDecisions([decision(1), decision(2)], false);
    first.close();
    const log = open(fs);
    log.appendDecisions([decision(3)], false);
    await log.appendMark(3);
    log.appendDecisions([decision(4)], false);
    log.close();
    return fs;
  }

  it('is refused when a byte of what was durable differs, whichever it is', async () => {
    const fs = await written();
    const path = newestPath(fs);
    const size = fs.fileSize(path);
    const lastFrame = size - 56;
    for (let position = 0; position < lastFrame; position++) {
      const copy = copyOf(fs);
      copy.corrupt(path, position, (byte) => byte ^ (1 << (position % 8)));
      const label = `byte ${position}`;
      try {
        const found = readDecisionLog(copy, DIRECTORY, DATABASE_ID);
        // Between the mark and what followed it, nothing proves anything.
        expect(position, label).toBeGreaterThanOrEqual(lastFrame - 32 - 56);
        expect(sequences(found ?? { decisions: new Map() }), label).toEqual([1, 2]);
      } catch (error) {
        if (!(error instanceof LightningError)) throw error;
        expect(['LIGHTNING_CORRUPTION', 'LIGHTNING_UNSUPPORTED_FORMAT'], label).toContain(
          error.code,
        );
        expect(error.details['file'], label).toBe(path);
      }
    }
  });

  it('is cut where its tail is torn, wherever that is', async () => {
    const fs = await written();
    const path = newestPath(fs);
    const bytes = fs.readFile(path);
    let whole = 0;
    for (let end = bytes.length; end >= LOG_HEADER_BYTES + 32 + 2 * 56; end--) {
      const copy = fileSystem();
      const file = copy.open(path, 'create');
      file.write(bytes.subarray(0, end), 0);
      const found = readDecisionLog(copy, DIRECTORY, DATABASE_ID);
      expect(found?.isTorn).toBe(end !== found?.bytes);
      if (found?.isTorn === false) whole++;
      expect([2, 3, 4]).toContain(found?.decisions.size);
    }
    expect(whole).toBe(4);
  });

  it('is an error or a prefix, whatever bytes it is made of', async () => {
    const fs = await written();
    const path = newestPath(fs);
    const original = fs.readFile(path);
    const random = seededRandom(20261125);
    const below = (n: number): number => Math.floor(random() * n);
    for (let round = 0; round < 1500; round++) {
      const bytes = Buffer.from(original);
      for (let i = 0; i <= below(4); i++) {
        const from = below(bytes.length);
        const luck = random();
        if (luck < 0.4) bytes[from] = below(256);
        else if (luck < 0.7) bytes.copy(bytes, below(bytes.length), from, from + below(64));
        else
          bytes.writeUInt32LE(
            below(2) === 0 ? 0xffffffff : below(200),
            Math.min(from, bytes.length - 4),
          );
      }
      const copy = fileSystem();
      copy
        .open(path, 'create')
        .write(bytes.subarray(0, below(3) === 0 ? below(bytes.length) : bytes.length), 0);
      try {
        const found = readDecisionLog(copy, DIRECTORY, DATABASE_ID);
        const all = [1, 2, 3, 4];
        expect(sequences(found ?? { decisions: new Map() })).toEqual(
          all.slice(0, found?.decisions.size),
        );
      } catch (error) {
        expect(error, `round ${round}`).toBeInstanceOf(LightningError);
      }
    }
  });

  it('is refused when it belongs to another database or has another name', async () => {
    const fs = await written();
    expect(() => readDecisionLog(fs, DIRECTORY, DATABASE_ID.replace('0', '9'))).toThrow(
      /belongs elsewhere/,
    );
    fs.rename(newestPath(fs), `${DIRECTORY}/${logSegmentName(77)}`);
    expect(() => readDecisionLog(fs, DIRECTORY, DATABASE_ID)).toThrow(/belongs elsewhere/);
  });
});

describe('power cuts and refused calls at any call of the log', () => {
  /** What the log promised when the run ended. */
  interface Promised {
    synced: number;
    attempted: number;
    mark: number;
  }

  async function run(log: DecisionLog, promised: Promised): Promise<void> {
    await log.settle(0);
    promised.mark = 0;
    for (let s = 1; s <= 30; s++) {
      promised.attempted = s;
      log.appendDecisions([decision(s)], s % 3 === 0);
      if (s % 3 === 0) promised.synced = s;
      if (s % 7 === 0) {
        await log.appendMark(s);
        promised.mark = s;
        promised.synced = s;
      }
    }
  }

  it('keep every promise', async () => {
    for (let k = 1; k < 200; k++) {
      const fs = fileSystem(k);
      const promised: Promised = { synced: 0, attempted: 0, mark: -1 };
      fs.crashAt(k);
      try {
        await run(open(fs, { segmentBytesMax: 500 }), promised);
      } catch (error) {
        if (!fs.powerLost) throw error;
      }
      const isOver = !fs.powerLost;
      fs.crash('random');
      const label = `power cut at call ${k}`;
      const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);
      const cut = open(copyOf(fs), { systemIdentity: identityOf('tuesday') });
      const found = sequences(open(fs));
      expect(found.length, label).toBeGreaterThanOrEqual(promised.synced);
      expect(found, label).toEqual(upTo(found.length));
      if (promised.mark >= 0) {
        expect(cut.cutSequence, label).toBeGreaterThanOrEqual(promised.mark);
        expect(sequences(cut), label).toEqual(upTo(cut.cutSequence ?? 0));
      }
      if (isOver) break;
    }
  });

  it('refuse what they hit, and no acknowledged decision is lost', async () => {
    for (const errno of ['EIO', 'ENOSPC']) {
      for (let k = 1; k < 200; k++) {
        const fs = fileSystem(k);
        fs.failAt(k, errno);
        const acknowledged: number[] = [];
        const refused: number[] = [];
        let log: DecisionLog | undefined;
        try {
          log = open(fs, { segmentBytesMax: 500 });
          await log.settle(0);
        } catch (error) {
          if (!(error instanceof LightningError)) throw error;
        }
        for (let s = 1; s <= 30 && log !== undefined; s++) {
          try {
            log.appendDecisions([decision(s)], true);
            acknowledged.push(s);
          } catch (error) {
            if (!(error instanceof LightningError)) throw error;
            if (error instanceof NoSpaceError && log.poison === undefined) refused.push(s);
          }
        }
        const isOver = fs.calls < k;
        fs.crash('synced');
        const found = sequences(open(fs));
        const label = `${errno} at call ${k}`;
        expect(found, label).toEqual(expect.arrayContaining(acknowledged));
        for (const s of refused) expect(found, label).not.toContain(s);
        if (isOver) break;
      }
    }
  });
});
