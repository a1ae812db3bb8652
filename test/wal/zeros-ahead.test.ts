/** Zeros behind the groups of a segment: what they are to readers, and that nothing depends on them. */

import { describe, expect, it } from 'vitest';
import { CorruptionError, IoError, LightningError, NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import {
  checkGroupChecksum,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from '../../src/wal/segment-format.js';
import { SegmentReader } from '../../src/wal/segment-reader.js';
import { SegmentWriter } from '../../src/wal/segment-writer.js';
import { Wal } from '../../src/wal/wal.js';
import { sealGroup } from './group.js';

const DIRECTORY = '/shard';
const SEGMENT = 7;
const DATABASE_ID = '01234567-89ab-cdef-0123-456789abcdef';
const HEADER: SegmentHeader = {
  shard: 0,
  segment: SEGMENT,
  bootId: 0.5,
  databaseId: DATABASE_ID,
  previousSegment: 0,
  previousBytes: 0,
  isPreviousDurable: true,
};
const PATH = `${DIRECTORY}/0000000007.wal`;
/** Of a group with a body of 100. */
const GROUP_BYTES = 164;

function fileSystem(seed = 1): MemoryFileSystem {
  const fs = new MemoryFileSystem(seed);
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return fs;
}

function newWriter(fs: MemoryFileSystem, writesAhead = true): SegmentWriter {
  return SegmentWriter.create({ fs, directory: DIRECTORY, writesAhead }, HEADER);
}

function append(writer: SegmentWriter, sequence: number, bytes = 100): void {
  const body = Buffer.alloc(bytes, sequence);
  const { durableBytes } = writer;
  writer.append(sealGroup(SEGMENT, writer.bytes, { body, sequence, durableBytes }));
}

function commit(writer: SegmentWriter, sequence: number, bytes = 100): void {
  append(writer, sequence, bytes);
  writer.sync();
}

function readAll(fs: MemoryFileSystem): { sequences: number[]; end: number; isTorn: boolean } {
  const buffer = Buffer.alloc(64 * 1024);
  const reader = new SegmentReader(fs.open(PATH, 'r'), { buffer, check: checkGroupChecksum });
  const sequences: number[] = [];
  for (let group = reader.next(); group !== undefined; group = reader.next()) {
    sequences.push(group.firstSequence);
  }
  return { sequences, end: reader.offset, isTorn: reader.isTorn };
}

function overwrite(fs: MemoryFileSystem, from: number, to: number): void {
  for (let at = from; at < to; at++) fs.corrupt(PATH, at, () => 0);
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

describe('zeros ahead', () => {
  it('come with the first sync; syncs after it change no size until they are used up', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    append(writer, 1);
    expect(fs.fileSize(PATH)).toBe(writer.bytes);
    writer.sync();
    const size = fs.fileSize(PATH);
    expect(size).toBeGreaterThan(writer.bytes + 60_000);
    let sequence = 1;
    fs.trace = [];
    while (writer.bytes + GROUP_BYTES <= size) commit(writer, ++sequence);
    expect(fs.fileSize(PATH)).toBe(size);
    expect(new Set(fs.trace)).toEqual(new Set(['write', 'fdatasync']));
    expect(fs.trace.length).toBe(2 * (sequence - 1));
    commit(writer, ++sequence);
    expect(fs.fileSize(PATH)).toBeGreaterThan(size + 60_000);
    expect(writer.durableBytes).toBe(writer.bytes);
    expect(readAll(fs)).toEqual({ sequences: upTo(sequence), end: writer.bytes, isTorn: false });
    fs.crash('synced');
    expect(readAll(fs)).toEqual({ sequences: upTo(sequence), end: writer.bytes, isTorn: false });
  });

  it('are not more than the groups before them, but for the first', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    for (let sequence = 1; sequence <= 400; sequence++) {
      commit(writer, sequence, 10_000);
      const ahead = fs.fileSize(PATH) - writer.bytes;
      expect(ahead).toBeLessThanOrEqual(Math.max(writer.bytes, 64 * 1024) + 4096);
      expect(ahead).toBeLessThanOrEqual(1024 * 1024 + 4096);
    }
  });

  it('are not written where groups are large, or not synced one by one', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    for (let sequence = 1; sequence <= 5; sequence++) commit(writer, sequence, 200_000);
    expect(fs.fileSize(PATH)).toBe(writer.bytes);
    const other = fileSystem();
    const plain = newWriter(other, false);
    for (let sequence = 1; sequence <= 5; sequence++) commit(plain, sequence);
    expect(other.fileSize(PATH)).toBe(plain.bytes);
  });

  it('are cut off at the end, and stay without harm when that is lost', () => {
    for (const mode of ['all', 'synced'] as const) {
      const fs = fileSystem();
      const writer = newWriter(fs);
      commit(writer, 1);
      writer.close();
      expect(fs.fileSize(PATH)).toBe(writer.bytes);
      fs.crash(mode);
      expect(fs.fileSize(PATH) > writer.bytes).toBe(mode === 'synced');
      expect(readAll(fs)).toEqual({ sequences: [1], end: writer.bytes, isTorn: false });
    }
  });

  it('are cut off when another segment begins', () => {
    const fs = fileSystem();
    const identity = { shard: 0, databaseId: DATABASE_ID, bootId: 0.5 };
    const unlink = (path: string): void => fs.unlink(path);
    const place = { fs, directory: DIRECTORY, identity, unlink, writesAhead: true };
    const wal = Wal.create(place, SEGMENT, []);
    wal.append(sealGroup(SEGMENT, wal.bytes, { body: Buffer.alloc(100, 1), sequence: 1 }));
    wal.sync();
    // A group that need not be durable: the segment stays open.
    wal.append(sealGroup(SEGMENT, wal.bytes, { body: Buffer.alloc(100, 2), sequence: 2 }));
    const { bytes } = wal;
    wal.roll(SEGMENT + 1);
    expect(fs.fileSize(PATH)).toBe(bytes);
    expect(wal.segments[0]).toEqual({ segment: SEGMENT, bytes });
  });
});

describe('zeros in a segment', () => {
  function written(isSynced: boolean): MemoryFileSystem {
    const fs = fileSystem();
    const writer = newWriter(fs);
    for (const sequence of upTo(5)) {
      append(writer, sequence);
      if (isSynced) writer.sync();
    }
    return fs;
  }
  const at = (group: number): number => SEGMENT_HEADER_BYTES + (group - 1) * GROUP_BYTES;

  it('in the place of a group that a later one proves durable are corruption', () => {
    for (const group of [1, 2, 3, 4]) {
      const fs = written(true);
      overwrite(fs, at(group), at(group + 1));
      expect(() => readAll(fs), `group ${group}`).toThrow(CorruptionError);
      expect(() => readAll(fs)).toThrow(`"${PATH}" at offset ${at(group)}`);
    }
  });

  it('in the place of a part of such a group are corruption', () => {
    for (let from = at(2); from < at(3); from += 7) {
      const fs = written(true);
      overwrite(fs, from, at(3));
      expect(() => readAll(fs), `from ${from - at(2)}`).toThrow(CorruptionError);
    }
  });

  it('with groups behind them that prove nothing are a torn tail', () => {
    const fs = written(false);
    overwrite(fs, at(2), at(3));
    expect(readAll(fs)).toEqual({ sequences: [1], end: at(2), isTorn: true });
  });

  it('that have rotted are a torn tail, and nothing is lost', () => {
    const fs = written(true);
    for (let position = at(6); position < fs.fileSize(PATH); position += 997) {
      fs.corrupt(PATH, position, () => 0x80);
      expect(readAll(fs)).toEqual({ sequences: upTo(5), end: at(6), isTorn: true });
      fs.corrupt(PATH, position, () => 0);
    }
  });

  it('behind half a group do not make it whole', () => {
    const fs = written(true);
    for (let from = at(5) + 1; from < at(6); from++) {
      const copy = written(true);
      overwrite(copy, from, at(6));
      expect(readAll(copy), `from ${from - at(5)}`).toEqual({
        sequences: upTo(4),
        end: at(5),
        isTorn: true,
      });
    }
    expect(readAll(fs).sequences).toEqual(upTo(5));
  });
});

describe('without room for zeros', () => {
  it.each(['ENOSPC', 'EFBIG'])('(%s) groups are synced all the same', (errno) => {
    for (let seed = 0; seed < 20; seed++) {
      const fs = fileSystem(seed);
      const writer = newWriter(fs);
      append(writer, 1);
      fs.failAt(1, errno);
      writer.sync();
      expect(fs.faultsHit).toBe(1);
      expect([writer.durableBytes, fs.fileSize(PATH)]).toEqual([writer.bytes, writer.bytes]);
      // Not tried again at once.
      fs.trace = [];
      for (let sequence = 2; sequence <= 100; sequence++) commit(writer, sequence);
      expect(fs.trace.length).toBe(2 * 99);
      for (let sequence = 101; sequence <= 600; sequence++) commit(writer, sequence);
      expect(fs.fileSize(PATH)).toBeGreaterThan(writer.bytes);
      fs.crash('synced');
      expect(readAll(fs).sequences).toEqual(upTo(600));
    }
  });

  it('as many groups fit as fit without them', () => {
    const fitting = (roomBytes: number, writesAhead: boolean): number => {
      const fs = fileSystem();
      const writer = newWriter(fs, writesAhead);
      fs.limitRoom(roomBytes);
      let count = 0;
      try {
        for (; count < 5000; count++) commit(writer, count + 1);
      } catch (error) {
        if (!(error instanceof NoSpaceError)) throw error;
      }
      expect(fs.fileSize(PATH)).toBe(writer.bytes);
      expect(readAll(fs)).toMatchObject({ sequences: upTo(count), isTorn: false });
      // What had no room has some later.
      fs.limitRoom(1e9);
      commit(writer, count + 1);
      fs.crash('synced');
      expect(readAll(fs)).toMatchObject({ sequences: upTo(count + 1), isTorn: false });
      return count;
    };
    for (const roomBytes of [GROUP_BYTES, 1000, 64 * 1024, 70_000, 150_000, 400_000]) {
      const count = Math.floor(roomBytes / GROUP_BYTES);
      expect(fitting(roomBytes, true), `${roomBytes}`).toBe(count);
      expect(fitting(roomBytes, false), `${roomBytes}`).toBe(count);
    }
  });

  it('a group that is refused is cut back, and what stood behind it with it', () => {
    for (let seed = 0; seed < 20; seed++) {
      const fs = fileSystem(seed);
      const writer = newWriter(fs);
      commit(writer, 1);
      const { bytes } = writer;
      fs.failAt(1, 'ENOSPC');
      expect(() => append(writer, 2, 2000)).toThrow(NoSpaceError);
      expect([writer.bytes, fs.fileSize(PATH)]).toEqual([bytes, bytes]);
      commit(writer, 3);
      fs.crash('synced');
      expect(readAll(fs)).toEqual({ sequences: [1, 3], end: writer.bytes, isTorn: false });
    }
  });

  it('a chain that is cut back leaves nothing of it', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    commit(writer, 1);
    const { bytes } = writer;
    for (const sequence of [2, 3, 4]) append(writer, sequence, 30_000);
    writer.cutBack(bytes);
    commit(writer, 5);
    fs.crash('synced');
    expect(readAll(fs)).toMatchObject({ sequences: [1, 5], isTorn: false });
  });
});

describe('a broken disk', () => {
  it('that refuses zeros ends writing as a failed sync does', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    append(writer, 1);
    fs.failAt(1, 'EIO');
    expect(() => writer.sync()).toThrow(IoError);
    expect(writer.isPoisoned).toBe(true);
    expect(writer.durableBytes).toBe(SEGMENT_HEADER_BYTES);
  });

  it('that fails a sync over zeros ends writing; closing changes nothing any more', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    commit(writer, 1);
    append(writer, 2);
    fs.failAt(1, 'EIO');
    expect(() => writer.sync()).toThrow(IoError);
    const { calls } = fs;
    writer.close();
    expect(fs.calls).toBe(calls);
  });

  it('that refuses to cut zeros off costs nothing', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    commit(writer, 1);
    fs.failAt(1, 'EIO');
    writer.close();
    expect(readAll(fs)).toEqual({ sequences: [1], end: writer.bytes, isTorn: false });
  });
});

describe('a power loss at any call', () => {
  it('takes nothing that was synced, and leaves no corruption', () => {
    let hits = 0;
    for (let seed = 0; seed < 400; seed++) {
      const fs = fileSystem(seed);
      const writer = newWriter(fs);
      fs.trace = [];
      fs.crashAt(1 + (seed % 25));
      let synced = 0;
      try {
        // Zeros are used up every few groups.
        for (let sequence = 1; sequence <= 20; sequence++) {
          commit(writer, sequence, 20_000);
          synced = sequence;
        }
      } catch (error) {
        if (error instanceof LightningError || !fs.powerLost) throw error;
      }
      if (fs.trace.at(-1) === 'write' && fs.trace.at(-2) === 'write') hits++;
      fs.crash('random');
      const { sequences } = readAll(fs);
      expect(sequences).toEqual(upTo(sequences.length));
      expect(sequences.length).toBeGreaterThanOrEqual(synced);
      expect(sequences.length).toBeLessThanOrEqual(synced + 1);
    }
    // Some of the losses came while zeros were written.
    expect(hits).toBeGreaterThan(10);
  });
});
