import { describe, expect, it } from 'vitest';
import { CorruptionError, IoError, NoSpaceError, ReadOnlyError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import {
  checkGroupChecksum,
  decodeSegmentHeader,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from '../../src/wal/segment-format.js';
import { SegmentReader } from '../../src/wal/segment-reader.js';
import { SegmentWriter } from '../../src/wal/segment-writer.js';
import { sealGroup } from './group.js';

const HEADER: SegmentHeader = {
  shard: 3,
  segment: 7,
  bootId: 0.625,
  databaseId: '01234567-89ab-cdef-0123-456789abcdef',
  previousSegment: 5,
  previousBytes: 4096,
  isPreviousDurable: true,
};
const PATH = '/shard/0000000007.wal';

function fileSystem(seed = 1): MemoryFileSystem {
  const fs = new MemoryFileSystem(seed);
  fs.mkdir('/shard');
  fs.syncDirectory('/');
  return fs;
}

function newWriter(fs: MemoryFileSystem, writesAhead = false): SegmentWriter {
  return SegmentWriter.create({ fs, directory: '/shard', writesAhead }, HEADER);
}

function append(writer: SegmentWriter, sequence: number, bytes = 100): void {
  const body = Buffer.alloc(bytes, sequence);
  const { durableBytes } = writer;
  writer.append(sealGroup(7, writer.bytes, { body, sequence, durableBytes }));
}

function readAll(fs: MemoryFileSystem): { sequences: number[]; end: number; isTorn: boolean } {
  const file = fs.open(PATH, 'r');
  const buffer = Buffer.alloc(64 * 1024);
  const reader = new SegmentReader(file, { buffer, check: checkGroupChecksum });
  const sequences: number[] = [];
  for (let group = reader.next(); group !== undefined; group = reader.next()) {
    sequences.push(group.firstSequence);
    expect(buffer.subarray(64, group.bytes)).toEqual(
      Buffer.alloc(group.bodyBytes, group.firstSequence),
    );
  }
  return { sequences, end: reader.offset, isTorn: reader.isTorn };
}

describe('the segment header', () => {
  it('comes back as it was written', () => {
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER), 'f')).toEqual(HEADER);
  });

  it('is refused when any byte differs', () => {
    const bytes = encodeSegmentHeader(HEADER);
    for (let i = 0; i < SEGMENT_HEADER_BYTES; i++) {
      const damaged = Buffer.from(bytes);
      damaged[i] = (damaged[i] as number) ^ 0x40;
      expect(() => decodeSegmentHeader(damaged, 'f')).toThrow(CorruptionError);
    }
    expect(() => decodeSegmentHeader(bytes.subarray(0, 63), 'f')).toThrow(CorruptionError);
  });
});

describe('a segment', () => {
  it('gives back its groups in order', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    for (let sequence = 1; sequence <= 20; sequence++) append(writer, sequence, sequence * 10);
    expect(readAll(fs)).toEqual({
      sequences: Array.from({ length: 20 }, (_, i) => i + 1),
      end: writer.bytes,
      isTorn: false,
    });
  });

  it('with every possible torn end gives the whole groups before it', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    append(writer, 1);
    append(writer, 2);
    const end = writer.bytes;
    append(writer, 3);
    for (let bytes = writer.bytes - 1; bytes > end; bytes--) {
      const file = fs.open(PATH, 'r+');
      file.truncate(bytes);
      file.close();
      expect(readAll(fs)).toEqual({ sequences: [1, 2], end, isTorn: true });
    }
  });

  it('synced survives power loss; what was not synced is a torn tail at most', () => {
    for (let seed = 0; seed < 25; seed++) {
      const fs = fileSystem(seed);
      const writer = newWriter(fs);
      append(writer, 1, 3000);
      append(writer, 2, 3000);
      writer.sync();
      for (let sequence = 3; sequence < 7; sequence++) append(writer, sequence, 3000);
      fs.crash('random');
      const { sequences } = readAll(fs);
      expect(sequences.slice(0, 2)).toEqual([1, 2]);
      expect(sequences).toEqual(sequences.map((_, i) => i + 1));
    }
  });

  it('exists durably before its first group', () => {
    const fs = fileSystem();
    newWriter(fs);
    fs.crash('synced');
    expect(readAll(fs)).toEqual({ sequences: [], end: SEGMENT_HEADER_BYTES, isTorn: false });
  });
});

describe('a damaged group', () => {
  function damaged(syncAfter: number): MemoryFileSystem {
    const fs = fileSystem();
    const writer = newWriter(fs);
    for (let sequence = 1; sequence <= 5; sequence++) {
      append(writer, sequence);
      if (sequence === syncAfter) writer.sync();
    }
    // Byte 80 of group 2.
    fs.corrupt(PATH, SEGMENT_HEADER_BYTES + 164 + 80, (byte) => byte ^ 1);
    return fs;
  }

  it('that a later group proves durable is corruption, with its place', () => {
    const fs = damaged(2);
    expect(() => readAll(fs)).toThrow(CorruptionError);
    expect(() => readAll(fs)).toThrow(`"${PATH}" at offset ${SEGMENT_HEADER_BYTES + 164}`);
  });

  it('that was never proven durable ends the segment, whole groups behind it or not', () => {
    expect(readAll(damaged(1))).toMatchObject({ sequences: [1], isTorn: true });
    expect(readAll(damaged(5))).toMatchObject({ sequences: [1], isTorn: true });
  });

  it('never makes a wrong group, whichever byte it is', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    append(writer, 1);
    append(writer, 2);
    for (let at = SEGMENT_HEADER_BYTES + 164; at < writer.bytes; at++) {
      fs.corrupt(PATH, at, (byte) => byte ^ 0x80);
      expect(readAll(fs).sequences).toEqual([1]);
      fs.corrupt(PATH, at, (byte) => byte ^ 0x80);
    }
  });
});

describe('a refused write', () => {
  it('for want of room is cut back, and writing goes on later', () => {
    for (let seed = 0; seed < 20; seed++) {
      const fs = fileSystem(seed);
      const writer = newWriter(fs);
      append(writer, 1);
      const { bytes } = writer;
      fs.failAt(1, 'ENOSPC');
      expect(() => append(writer, 2, 2000)).toThrow(NoSpaceError);
      expect(writer.bytes).toBe(bytes);
      expect(fs.fileSize(PATH)).toBe(bytes);
      append(writer, 3);
      expect(readAll(fs).sequences).toEqual([1, 3]);
    }
  });

  it('for any other reason ends writing for good', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    fs.failAt(1, 'EIO');
    expect(() => append(writer, 1)).toThrow(IoError);
    expect(writer.isPoisoned).toBe(true);
    expect(() => append(writer, 2)).toThrow(ReadOnlyError);
    expect(() => writer.sync()).toThrow(ReadOnlyError);
  });

  it('when the cut back fails too ends writing for good', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    fs.failAt(1, 'ENOSPC');
    fs.failAt(2, 'EIO');
    expect(() => append(writer, 1)).toThrow(IoError);
    expect(writer.isPoisoned).toBe(true);
  });

  it('a failed sync is never retried', () => {
    const fs = fileSystem();
    const writer = newWriter(fs);
    append(writer, 1);
    fs.failAt(1, 'EIO');
    expect(() => writer.sync()).toThrow(IoError);
    const { syncs } = fs;
    expect(() => writer.sync()).toThrow(ReadOnlyError);
    expect(fs.syncs).toBe(syncs);
    expect(writer.durableBytes).toBe(SEGMENT_HEADER_BYTES);
  });
});
