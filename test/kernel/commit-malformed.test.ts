import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import {
  ARENA_VERSIONS,
  BLOB_REFERENCE_BYTES,
  H_WAL_BYTES,
  KEY_BYTES_MAX,
  OP_DELETE,
  OP_PUT,
  OP_PUT_BLOB,
  REQUEST_WRITE,
  VERSION_LENGTH_MASK,
} from '../../src/kernel/assembly/layout.js';
import { OperationReader } from '../../src/protocol/operations.js';
import {
  arena,
  Client,
  del,
  encode,
  exports,
  find,
  kernel,
  NOBODY,
  OFFSET,
  type Operation,
  put,
  SEGMENT,
  seal,
  stage,
  staging,
  start,
  wal,
} from './commit-shard.js';

beforeEach(() => start());

/** Number of operations, or undefined when the kernel must refuse the bytes. */
function countOperations(bytes: Buffer): number | undefined {
  const reader = new OperationReader(bytes, 0, bytes.length);
  let count = 0;
  try {
    while (reader.next()) {
      if (reader.keyBytes > KEY_BYTES_MAX || reader.valueBytes > VERSION_LENGTH_MASK) {
        return undefined;
      }
      if (reader.type === OP_PUT_BLOB && reader.valueBytes !== BLOB_REFERENCE_BYTES) {
        return undefined;
      }
      count++;
    }
  } catch {
    return undefined;
  }
  return count;
}

const operation = fc.record({
  type: fc.constantFrom(OP_PUT, OP_PUT, OP_DELETE, OP_PUT_BLOB),
  key: fc.string({ unit: 'binary-ascii', maxLength: 200 }),
  value: fc.oneof(
    fc.string({ unit: 'binary-ascii', maxLength: 200 }),
    fc.constant('x'.repeat(BLOB_REFERENCE_BYTES)),
  ),
});
const mutation = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 2));

function mutate(bytes: Buffer, mutations: readonly (readonly [number, number, number])[]): Buffer {
  let result = bytes;
  for (const [where, byte, how] of mutations) {
    const at = result.length === 0 ? 0 : where % result.length;
    const insert = how === 2 ? Buffer.alloc(0) : Buffer.of(byte);
    result = Buffer.concat([
      result.subarray(0, at),
      insert,
      result.subarray(how === 0 ? at : Math.min(at + 1, result.length)),
    ]);
  }
  return result;
}

describe('malformed bytes', () => {
  it('of operations are refused exactly when they are not operations', () => {
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 6 }),
        fc.array(mutation, { maxLength: 3 }),
        (operations, mutations) => {
          const bytes = mutate(encode(operations), mutations);
          const count = countOperations(bytes);
          kernel.bytes.set(bytes, staging);
          exports.groupBegin();
          const argument = count ?? operations.length;
          const added = exports.groupAppend(staging, bytes.length, argument, 0, 0, NOBODY, 0);
          expect(added).toBe(count === undefined ? -1 : 0);
          exports.memtableInit(arena(0), 1024 * 1024);
          expect(exports.applyOps(staging, bytes.length, 5)).toBe(added);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('of lengths at the limits are judged rightly', () => {
    const raw = (...parts: (number | Buffer)[]): Buffer =>
      Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part)));
    const key = Buffer.alloc(KEY_BYTES_MAX, 'k');
    const cases: [Buffer, boolean][] = [
      [raw(OP_DELETE, 0x80, 0x80, 0x04, key), true],
      [raw(OP_DELETE, 0x81, 0x80, 0x04, key, 0), false],
      [raw(OP_PUT, 0, 0), true],
      [raw(OP_PUT, 0x80, 0x00, 0x80, 0x80, 0x80, 0x80, 0x00), true],
      [raw(OP_PUT, 0, 0xff, 0xff, 0xff, 0xff, 0x0f), false],
      [raw(OP_PUT, 0, 0xff, 0xff, 0xff, 0xff, 0x1f), false],
      [raw(OP_PUT, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0), false],
      [raw(OP_PUT, 0xff, 0xff, 0xff, 0xff, 0x0f, 0), false],
      [raw(OP_PUT, 0), false],
      [raw(OP_PUT), false],
      [raw(0, 0, 0), false],
      [raw(4, 0, 0), false],
      [raw(OP_PUT_BLOB, 0, 23, Buffer.alloc(23)), false],
      [raw(OP_PUT_BLOB, 0, 24, Buffer.alloc(24)), true],
    ];
    for (const [bytes, fine] of cases) {
      kernel.bytes.set(bytes, staging);
      const added = exports.groupAppend(staging, bytes.length, 1, 0, 0, NOBODY, 0);
      expect([bytes.subarray(0, 8).toString('hex'), added]).toEqual([
        bytes.subarray(0, 8).toString('hex'),
        fine ? 0 : -1,
      ]);
    }
  });

  it('in a request are reported with the address of the record, which stays', () => {
    const client = new Client(1);
    client.write(1, [put('a', '1')]);
    client.send(REQUEST_WRITE, 0, 2, 1, Buffer.from([OP_PUT, 5, 5, 65]));
    client.write(3, [put('b', '1')]);
    expect(exports.groupCollect(1, 1000)).toBe(-1);
    expect(exports.groupCommits()).toBe(1);
    const record = exports.ringPeek(1);
    expect(exports.groupMalformed()).toBe(record);
    expect(kernel.u32[(record + 8) >>> 2]).toBe(2);
    exports.ringPop(1);
    expect(exports.groupCollect(1, 1000)).toBe(0);
    expect(exports.groupCommits()).toBe(2);
  });
});

describe('a group read back', () => {
  const group = (commits: readonly (readonly Operation[])[], first = 10, flags = 0): Buffer => {
    exports.groupBegin();
    for (const operations of commits) {
      const bytes = stage(operations);
      expect(exports.groupAppend(staging, bytes, operations.length, 0, 0, NOBODY, 0)).toBe(0);
    }
    const bytes = seal(first, flags);
    return Buffer.from(kernel.bytes.subarray(wal, wal + bytes));
  };
  const open = (bytes: Buffer, segment = SEGMENT, offset = OFFSET): number => {
    kernel.bytes.set(bytes, wal);
    return exports.groupOpen(bytes.length, segment, offset);
  };
  /** Makes the checksum fit whatever the bytes are. */
  const reseal = (bytes: Buffer): Buffer => {
    const sum = xxh64(bytes.subarray(16), placementSeed(SEGMENT, OFFSET));
    bytes.writeBigUInt64LE(sum, 8);
    return bytes;
  };

  it('is applied with the sequence numbers it was sealed with', () => {
    const bytes = group([[put('a', '1')], [put('a', '2'), put('b', '2')], [del('a')]]);
    start();
    expect(open(bytes)).toBe(0);
    expect([exports.groupCommits(), exports.groupOps()]).toEqual([3, 4]);
    expect(exports.groupApply()).toBe(0);
    expect([find('a', 10), find('a', 11), find('a', 12)]).toEqual(['1', '2', 'deleted']);
    expect(find('b', 10)).toBeUndefined();
    expect(open(Buffer.concat([bytes, Buffer.from('next group')]))).toBe(0);
    expect(exports.groupApply()).toBe(0);
    expect(kernel.u32[(arena(0) + ARENA_VERSIONS) >>> 2]).toBe(4);
  });

  it('asks for more bytes, and takes no other place, segment or bit', () => {
    const bytes = group([[put('key', 'value')], [del('other')]]);
    for (let length = 0; length < bytes.length; length++) {
      expect(open(bytes.subarray(0, length))).toBe(1);
      if (length >= 64) expect(exports.groupBytesWanted()).toBe(bytes.length);
    }
    expect(open(bytes)).toBe(0);
    expect(open(bytes, SEGMENT + 1)).toBe(-1);
    expect(open(bytes, SEGMENT, OFFSET + 1)).toBe(-1);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(open(flipped)).not.toBe(0);
    }
  });

  it('that continues has one commit', () => {
    const one = group([[put('a', '1')]], 10, 1);
    expect(open(one)).toBe(0);
    expect(open(group([[put('a', '1')], [put('b', '1')]], 10, 1))).toBe(-1);
    expect(open(group([[put('a', '1')]], 10, 2))).toBe(-1);
  });

  it('with a valid checksum over malformed bytes is refused, never followed', () => {
    const commits = fc.array(fc.array(operation, { maxLength: 3 }), { maxLength: 4 });
    fc.assert(
      fc.property(
        commits,
        fc.array(mutation, { minLength: 1, maxLength: 3 }),
        (lists, mutations) => {
          const encoded = lists.map((list) =>
            list.filter((o) => o.type !== OP_PUT_BLOB || o.value.length === BLOB_REFERENCE_BYTES),
          );
          const whole = group(encoded);
          const tail = mutate(whole.subarray(16), mutations);
          const bytes = Buffer.concat([whole.subarray(0, 16), tail]);
          if (bytes.length < 64) return;
          bytes.writeUInt32LE(bytes.length - 64, 4);
          exports.memtableInit(arena(0), 1024 * 1024);
          const opened = open(reseal(bytes));
          expect([0, -1]).toContain(opened);
          if (opened === 0) expect(exports.groupApply()).toBe(0);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('of a size beyond the buffer is refused', () => {
    const bytes = group([[put('a', '1')]]);
    bytes.writeUInt32LE((kernel.u32[H_WAL_BYTES >>> 2] as number) - 63, 4);
    expect(open(bytes)).toBe(-1);
    bytes.writeUInt32LE(0xffffffff, 4);
    expect(open(bytes)).toBe(-1);
  });
});
