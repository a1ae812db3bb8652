import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import {
  ARENA_VERSIONS,
  BLOB_REFERENCE_BYTES,
  COUNTER_BYTES_APPLIED,
  COUNTER_OPS_APPLIED,
  H_ARENA_BASE,
  H_ARENA_BYTES,
  H_COUNTERS,
  H_STAGING_BASE,
  H_TOUCHED,
  H_VISIBLE,
  H_WAL_BASE,
  H_WAL_BYTES,
  KEY_BYTES_MAX,
  OP_DELETE,
  OP_PUT,
  OP_PUT_BLOB,
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  RECORD_HEADER_BYTES,
  REQUEST_GET,
  REQUEST_WRITE,
  RESPONSE_OK,
  RING_CONTROL_BYTES,
  RING_REQUEST_HEAD,
  RING_REQUEST_TAIL,
  RING_RESPONSE_BLOCKED,
  RINGS,
  VERSION_LENGTH_MASK,
  VERSION_VALUE,
  VERSION_VALUE_LENGTH,
} from '../../src/kernel/assembly/layout.js';
import { OperationReader, writeVarint } from '../../src/protocol/operations.js';
import { requestRing, responseRing } from '../../src/ring/ring-location.js';
import { RingReader } from '../../src/ring/ring-reader.js';
import { FULL, RingWriter } from '../../src/ring/ring-writer.js';
import { decodeGroupHeader } from '../../src/wal/segment-format.js';
import { shardKernel, type TestedKernel } from './instantiate.js';

interface Operation {
  readonly type: number;
  readonly key: string;
  readonly value?: string;
}

const put = (key: string, value: string): Operation => ({ type: OP_PUT, key, value });
const del = (key: string): Operation => ({ type: OP_DELETE, key });

function encode(operations: readonly Operation[]): Buffer {
  const chunks = operations.map(({ type, key, value = '' }) => {
    const head = Buffer.alloc(11);
    let at = writeVarint(head, 1, key.length);
    head[0] = type;
    if (type === OP_DELETE)
      return Buffer.concat([head.subarray(0, at), Buffer.from(key, 'latin1')]);
    at = writeVarint(head, at, value.length);
    return Buffer.concat([head.subarray(0, at), Buffer.from(key + value, 'latin1')]);
  });
  return Buffer.concat(chunks);
}

const NOBODY = 0xffffffff;
const SEGMENT = 7;
const OFFSET = 4096;

let kernel: TestedKernel;
let exports: TestedKernel['exports'];
let wal: number;
let staging: number;

function start(options: Parameters<typeof shardKernel>[0] = {}): void {
  kernel = shardKernel(options);
  exports = kernel.exports;
  wal = kernel.u32[H_WAL_BASE >>> 2] as number;
  staging = kernel.u32[H_STAGING_BASE >>> 2] as number;
  exports.memtableInit(arena(0), kernel.u32[H_ARENA_BYTES >>> 2] as number);
  exports.setActiveMemtable(arena(0));
  exports.groupBegin();
}

const arena = (i: number): number =>
  (kernel.u32[H_ARENA_BASE >>> 2] as number) + i * (kernel.u32[H_ARENA_BYTES >>> 2] as number);

/** A client that writes requests and reads answers. */
class Client {
  readonly requests: RingWriter;
  readonly responses: RingReader;
  readonly slot: number;

  constructor(slot: number) {
    this.slot = slot;
    this.requests = new RingWriter(kernel, requestRing(kernel, slot));
    this.responses = new RingReader(kernel, responseRing(kernel, slot));
  }

  /** False: the ring is full. */
  send(kind: number, flags: number, requestId: number, argument: number, bytes: Buffer): boolean {
    const address = this.requests.reserve(bytes.length);
    if (address === FULL) return false;
    kernel.bytes.set(bytes, address);
    this.requests.commit(kind, flags, requestId, argument, bytes.length);
    this.requests.publish();
    return true;
  }

  write(requestId: number, operations: readonly Operation[], flags = 0): boolean {
    return this.send(REQUEST_WRITE, flags, requestId, operations.length, encode(operations));
  }

  /** [request id, sequence] of every answer. */
  answers(): [number, number][] {
    const all: [number, number][] = [];
    while (this.responses.next()) {
      expect(this.responses.kind).toBe(RESPONSE_OK);
      expect(this.responses.payloadBytes).toBe(8);
      const sequence = kernel.view.getFloat64(this.responses.payload, true);
      all.push([this.responses.requestId, sequence]);
    }
    this.responses.release();
    return all;
  }
}

const seal = (first: number, flags = 0): number =>
  exports.groupSeal(first, 1234.5, 9, 512, SEGMENT, OFFSET, flags);

/** Seals at `first`, applies, publishes and acknowledges. */
function commitGroup(first: number): number {
  seal(first);
  expect(exports.groupApply()).toBe(0);
  exports.groupPublish(first + exports.groupCommits() - 1);
  return exports.groupAck();
}

function find(key: string, snapshot: number, memtable = arena(0)): string | undefined {
  const length = kernel.bytes.write(key, staging, 'latin1');
  const address = exports.memtableFind(memtable, staging, length, BigInt(snapshot));
  if (address === 0) return undefined;
  const word = kernel.view.getUint32(address + VERSION_VALUE_LENGTH, true);
  if (word >>> 30 === OP_DELETE) return 'deleted';
  const value = address + VERSION_VALUE;
  return kernel.bytes.toString('latin1', value, value + (word & VERSION_LENGTH_MASK));
}

function stage(operations: readonly Operation[]): number {
  const bytes = encode(operations);
  kernel.bytes.set(bytes, staging);
  return bytes.length;
}

beforeEach(() => start());

describe('a group of writes', () => {
  it('is collected from all clients, logged, applied, published and acknowledged', () => {
    const [one, two] = [new Client(1), new Client(63)];
    one.write(11, [put('a', 'one'), del('b')]);
    one.write(12, [put('a', 'two')]);
    two.write(21, [put('b', 'three')], RECORD_FLAG_SYNC);
    expect(exports.groupCollect(1, 1000)).toBe(0);
    expect(exports.groupSync()).toBe(0);
    expect(exports.groupCollect(63, 1000)).toBe(0);
    expect(exports.groupSync()).toBe(1);
    expect([exports.groupCommits(), exports.groupOps()]).toEqual([3, 4]);
    const waiting = [0, 1, 2].map((i) => [exports.groupClient(i), exports.groupRequestId(i)]);
    expect(waiting).toEqual([[1, 11], [1, 12], [63, 21]]); // biome-ignore format: pairs

    const bytes = seal(100);
    expect(bytes).toBe(exports.groupBytes());
    const group = Buffer.from(kernel.bytes.subarray(wal, wal + bytes));
    expect(decodeGroupHeader(group)).toEqual({
      bodyBytes: bytes - 64,
      firstSequence: 100,
      timestampUs: 1234.5,
      epoch: 9,
      durableBytes: 512,
      commits: 3,
      continues: false,
    });
    expect(group.readBigUInt64LE(8)).toBe(
      xxh64(group.subarray(16), placementSeed(SEGMENT, OFFSET)),
    );
    expect(group.readUInt32LE(64)).toBe(encode([put('a', 'one'), del('b')]).length);

    expect(find('a', 2 ** 53)).toBeUndefined();
    expect(exports.groupApply()).toBe(0);
    expect([find('a', 100), find('a', 101), find('a', 99)]).toEqual(['one', 'two', undefined]);
    expect([find('b', 101), find('b', 102)]).toEqual(['deleted', 'three']);
    exports.groupPublish(102);
    expect(kernel.view.getBigUint64(H_VISIBLE, true)).toBe(102n);
    const counter = (i: number): bigint => kernel.view.getBigUint64(H_COUNTERS + i * 8, true);
    expect(counter(COUNTER_OPS_APPLIED)).toBe(4n);
    expect(counter(COUNTER_BYTES_APPLIED)).toBe(15n);

    expect(one.answers()).toEqual([]);
    expect(exports.groupAck()).toBe(0);
    expect(kernel.view.getBigUint64(H_TOUCHED, true)).toBe((1n << 63n) | 2n);
    expect(one.answers()).toEqual([[11, 100], [12, 101]]); // biome-ignore format: pairs
    expect(two.answers()).toEqual([[21, 102]]);
    exports.groupBegin();
    expect([exports.groupCommits(), exports.groupBytes(), exports.groupSync()]).toEqual([0, 64, 0]);
    expect(exports.groupCollect(1, 1000)).toBe(0);
    expect(exports.groupCommits()).toBe(0);
  });

  it('ends at the most operations, but takes one commit of any number', () => {
    const client = new Client(2);
    client.write(1, [put('a', '1'), put('b', '1'), put('c', '1')]);
    client.write(2, [put('a', '2')]);
    client.write(3, [put('a', '3')]);
    expect(exports.groupCollect(2, 2)).toBe(1);
    expect(exports.groupCommits()).toBe(1);
    exports.groupBegin();
    expect(exports.groupCollect(2, 2)).toBe(0);
    expect(exports.groupCommits()).toBe(2);
  });

  it('ends at the most commits', () => {
    start({ requestRingBytes: 1 << 20 });
    const client = new Client(2);
    const most = exports.groupCommitsMax();
    for (let i = 0; i < most + 3; i++) expect(client.write(i, [put(`${i}`, '')])).toBe(true);
    expect(exports.groupCollect(2, 1e9)).toBe(1);
    expect(exports.groupCommits()).toBe(most);
    exports.groupBegin();
    expect(exports.groupCollect(2, 1e9)).toBe(0);
    expect(exports.groupCommits()).toBe(3);
  });

  it('ends at the bytes of the buffer; a write beyond it is for the host', () => {
    start({ requestRingBytes: 1 << 23 });
    const client = new Client(2);
    const most = exports.groupOpsBytesMax();
    client.write(1, [put('a', 'v'.repeat(2_000_000))]);
    client.write(2, [put('b', 'v'.repeat(most - 2_000_000))]);
    expect(exports.groupCollect(2, 1000)).toBe(1);
    expect(exports.groupCommits()).toBe(1);
    exports.groupBegin();
    expect(exports.groupCollect(2, 1000)).toBe(0);
    expect(exports.groupCommits()).toBe(1);
    exports.groupBegin();
    const overhead = encode([put('c', 'v'.repeat(1 << 21))]).length - (1 << 21);
    client.write(3, [put('c', 'v'.repeat(most - overhead))]);
    client.write(4, [put('c', 'v'.repeat(most - overhead + 1))]);
    expect(exports.groupCollect(2, 1000)).toBe(1);
    expect(exports.groupBytes()).toBeLessThan(kernel.u32[H_WAL_BYTES >>> 2] as number);
    exports.groupBegin();
    expect(exports.groupCollect(2, 1000)).toBe(2);
    expect(exports.groupCommits()).toBe(0);
    const record = exports.ringPeek(2);
    expect(kernel.u32[(record + 8) >>> 2]).toBe(4);
    exports.ringPop(2);
    expect(exports.ringPeek(2)).toBe(0);
  });

  it('leaves what is no plain write to the host', () => {
    const client = new Client(3);
    expect(exports.ringPeek(3)).toBe(0);
    client.write(1, [put('a', '1')]);
    client.send(REQUEST_GET, 0, 2, 0, Buffer.from('........key'));
    client.send(REQUEST_WRITE, RECORD_FLAG_MORE, 3, 2, Buffer.from('half'));
    client.write(4, [put('a', '1')]);
    expect(exports.groupCollect(3, 1000)).toBe(2);
    expect(exports.groupCommits()).toBe(1);
    for (const [requestId, kind] of [
      [2, REQUEST_GET],
      [3, REQUEST_WRITE],
    ]) {
      expect(exports.groupCollect(3, 1000)).toBe(2);
      const record = exports.ringPeek(3);
      expect(kernel.bytes[record + 4]).toBe(kind);
      expect(kernel.u32[(record + 8) >>> 2]).toBe(requestId);
      exports.ringPop(3);
    }
    expect(exports.groupCollect(3, 1000)).toBe(0);
    expect(exports.groupCommits()).toBe(2);
  });

  it('takes staged commits of every kind; prepares and aborts are not applied', () => {
    const kinds = [0, 1, 2, 3];
    for (const kind of kinds) {
      const bytes = stage([put(`kind${kind}`, 'x')]);
      expect(exports.groupAppend(staging, bytes, 1, kind, 2 ** 50 + kind, NOBODY, 0)).toBe(0);
    }
    expect(exports.groupAppend(staging, 0, 0, 2, 77, NOBODY, 0)).toBe(0);
    expect(exports.groupAppend(staging, 0, 0, 4, 77, NOBODY, 0)).toBe(-1);
    seal(50);
    expect(exports.groupApply()).toBe(0);
    expect(kinds.map((kind) => find(`kind${kind}`, 100))).toEqual(['x', undefined, 'x', undefined]);
    expect(find('kind2', 51)).toBeUndefined();
    expect(exports.groupAck()).toBe(0);
    expect(kernel.view.getBigUint64(H_TOUCHED, true)).toBe(0n);
    const first = wal + 64;
    const length = kernel.view.getUint32(first, true);
    expect(kernel.view.getBigUint64(first + 24 + length + 16, true)).toBe(BigInt(2 ** 50 + 1));
  });

  it('refuses staged operations that are malformed', () => {
    const bytes = stage([put('a', '1'), put('b', '2')]);
    expect(exports.groupAppend(staging, bytes, 1, 0, 0, NOBODY, 0)).toBe(-1);
    expect(exports.groupAppend(staging, bytes, 3, 0, 0, NOBODY, 0)).toBe(-1);
    expect(exports.groupAppend(staging, bytes - 1, 2, 0, 0, NOBODY, 0)).toBe(-1);
    expect([exports.groupCommits(), exports.groupBytes()]).toEqual([0, 64]);
    expect(exports.groupAppend(staging, bytes, 2, 0, 0, NOBODY, 0)).toBe(0);
  });

  it('goes on in the next arena when one is full', () => {
    const arenaBytes = 1024 * 1024;
    start({ arenaBytes });
    const value = 'v'.repeat(30_000);
    for (let c = 0; c < 60; c++) {
      const bytes = stage([put(`k${c}`, value), put('same', `${c}`)]);
      expect(exports.groupAppend(staging, bytes, 2, 0, 0, NOBODY, 0)).toBe(0);
    }
    seal(1);
    let switches = 0;
    while (exports.groupApply() === 1) {
      switches++;
      exports.memtableInit(arena(switches), arenaBytes);
      exports.setActiveMemtable(arena(switches));
    }
    expect(switches).toBe(1);
    const versions = [0, 1].map((i) => kernel.u32[(arena(i) + ARENA_VERSIONS) >>> 2] as number);
    expect((versions[0] as number) + (versions[1] as number)).toBe(120);
    for (let c = 0; c < 60; c++) {
      expect(find(`k${c}`, c + 1, arena(0)) ?? find(`k${c}`, c + 1, arena(1))).toBe(value);
      const same = find('same', c + 1, arena(1)) ?? find('same', c + 1, arena(0));
      expect(same).toBe(`${c}`);
    }
    expect(exports.groupApply()).toBe(0);
  });

  it('applies staged operations with one sequence number, over several arenas', () => {
    const arenaBytes = 1024 * 1024;
    start({ arenaBytes });
    const value = 'v'.repeat(30_000);
    const operations = [...Array(100).keys()].map((i) => put(`k${i}`, value));
    const bytes = stage(operations);
    let active = 0;
    while (exports.applyOps(staging, bytes, 500) === 1) {
      active++;
      exports.memtableInit(arena(active), arenaBytes);
      exports.setActiveMemtable(arena(active));
    }
    expect(active).toBe(2);
    const count = (i: number): number => kernel.u32[(arena(i) + ARENA_VERSIONS) >>> 2] as number;
    expect(count(0) + count(1) + count(2)).toBe(100);
    const where = (key: string, sequence: number): number =>
      [0, 1, 2].filter((i) => find(key, sequence, arena(i)) !== undefined).length;
    expect(operations.every(({ key }) => where(key, 500) === 1)).toBe(true);
    expect(operations.every(({ key }) => where(key, 499) === 0)).toBe(true);
    expect(exports.applyOps(staging, stage([put('a', 'b')]), 501)).toBe(0);
    kernel.bytes[staging] = 9;
    expect(exports.applyOps(staging, 4, 502)).toBe(-1);
  });
});

describe('acknowledgements', () => {
  it('wait, in order, while their client makes no room, and it is not collected from', () => {
    start({ responseRingBytes: 256, requestRingBytes: 65536 });
    const [slow, quick] = [new Client(4), new Client(5)];
    const blocked = (RINGS + 4 * RING_CONTROL_BYTES + RING_RESPONSE_BLOCKED) >>> 2;
    for (let i = 0; i < 30; i++) {
      slow.write(i, [put(`${i}`, '')]);
      if (i < 5) quick.write(i, [put(`${i}`, '')]);
    }
    expect([exports.groupCollect(4, 1000), exports.groupCollect(5, 1000)]).toEqual([0, 0]);
    // 10 records of 24 bytes fit a ring of 256.
    expect(commitGroup(1)).toBe(20);
    expect(Atomics.load(kernel.i32, blocked)).toBe(1);
    expect(quick.answers().length).toBe(5);

    exports.groupBegin();
    slow.write(30, [put('30', '')]);
    quick.write(5, [put('5', '')]);
    expect(exports.groupCollect(4, 1000)).toBe(3);
    expect(exports.groupCollect(5, 1000)).toBe(0);
    // A retry while a group is being gathered leaves that group alone.
    const answers = slow.answers();
    expect(exports.groupAckRetry()).toBe(10);
    expect([exports.groupClient(0), exports.groupRequestId(0)]).toEqual([5, 5]);
    expect(commitGroup(36)).toBe(10);
    expect(quick.answers()).toEqual([[5, 36]]);

    for (let round = 0; round < 3; round++) {
      answers.push(...slow.answers());
      exports.groupAckRetry();
    }
    expect(exports.groupAckRetry()).toBe(0);
    expect(answers).toEqual([...Array(30).keys()].map((i) => [i, i + 1]));
    exports.groupBegin();
    expect(exports.groupCollect(4, 1000)).toBe(0);
    expect(commitGroup(37)).toBe(0);
    expect(slow.answers()).toEqual([[30, 37]]);
  });

  it('of a client that is gone are dropped', () => {
    start({ responseRingBytes: 256 });
    const client = new Client(4);
    for (let i = 0; i < 30; i++) client.write(i, [put(`${i}`, '')]);
    exports.groupCollect(4, 1000);
    expect(commitGroup(1)).toBe(20);
    exports.groupForget(4);
    expect(exports.groupAckRetry()).toBe(0);
    expect(client.answers().length).toBe(10);
    exports.groupBegin();
    client.write(99, [put('a', '')]);
    expect(exports.groupCollect(4, 1000)).toBe(0);
    exports.groupForget(4);
    expect(commitGroup(31)).toBe(0);
    expect(client.answers()).toEqual([]);
  });

  it('always find a place, however many clients are stuck', () => {
    start({ responseRingBytes: 256, requestRingBytes: 65536, arenaBytes: 4 * 1024 * 1024 });
    let sequence = 1;
    let sent = 0;
    for (let slot = 0; slot < 64; slot++) {
      const client = new Client(slot);
      for (let i = 0; i < 1024; i++) if (client.write(i, [put('a', '')])) sent++;
      exports.groupBegin();
      expect([0, 1]).toContain(exports.groupCollect(slot, 1e9));
      expect(exports.groupCommits()).toBe(exports.groupCommitsMax());
      commitGroup(sequence);
      sequence += exports.groupCommits();
    }
    expect(sent).toBe(65536);
    expect(exports.groupAckRetry()).toBe(65536 - 64 * 10);
    const clients = [...Array(64).keys()].map((slot) => new Client(slot));
    let answered = 0;
    for (let round = 0; round < 200; round++) {
      for (const client of clients) {
        client.responses.reload();
        answered += client.answers().length;
      }
      exports.groupAckRetry();
    }
    expect(answered).toBe(65536);
  });
});

describe('the rings', () => {
  it('pass every record whole, whatever their sizes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(60), fc.nat(3)), { minLength: 1, maxLength: 300 }),
        (steps) => {
          start({ requestRingBytes: 256, responseRingBytes: 256 });
          const client = new Client(1);
          let next = 0;
          let expected = 0;
          const drain = (): void => {
            exports.groupBegin();
            expect(exports.groupCollect(1, 1000)).toBe(0);
            for (let i = 0; i < exports.groupCommits(); i++) {
              expect(exports.groupRequestId(i)).toBe(expected++);
            }
            const first = expected - exports.groupCommits() + 1;
            expect(commitGroup(first)).toBe(0);
            for (const [requestId, sequence] of client.answers()) {
              expect(sequence).toBe(requestId + 1);
            }
          };
          for (const [bytes, turns] of steps) {
            const operations = bytes < 4 ? [] : [put('k', 'v'.repeat(bytes))];
            if (client.write(next, operations)) next++;
            else drain();
            if (turns === 0) drain();
          }
          drain();
          expect(expected).toBe(next);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('carry responses of the host between acknowledgements', () => {
    start({ responseRingBytes: 256 });
    const client = new Client(9);
    kernel.bytes.write('payload', staging, 'latin1');
    expect(exports.ringPushResponse(9, 2, 4, 77, 5, staging, 7)).toBe(0);
    expect(client.responses.next()).toBe(true);
    const { kind, flags, requestId, argument, payload, payloadBytes } = client.responses;
    expect([kind, flags, requestId, argument, payloadBytes]).toEqual([2, 4, 77, 5, 7]);
    expect(kernel.bytes.toString('latin1', payload, payload + 7)).toBe('payload');
    client.responses.release();
    expect(exports.ringPushResponse(9, 2, 0, 1, 0, staging, 112)).toBe(0);
    expect(exports.ringPushResponse(9, 2, 0, 1, 0, staging, 112)).toBe(1);
    expect(exports.ringPushResponse(9, 2, 0, 1, 0, staging, 113)).toBe(-1);
    client.responses.next();
    client.responses.release();
    expect(exports.ringPushResponse(9, 2, 0, 2, 0, staging, 112)).toBe(0);
    expect(client.responses.next()).toBe(true);
    expect(client.responses.requestId).toBe(2);
  });

  it('survive a client that publishes anything at all', () => {
    start({ requestRingBytes: 1024, responseRingBytes: 256 });
    const ring = requestRing(kernel, 1);
    const control = RINGS + RING_CONTROL_BYTES;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1024, maxLength: 1024 }),
        fc.array(fc.tuple(fc.nat(127), fc.nat(1100), fc.nat(5), fc.nat(3)), { maxLength: 20 }),
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.oneof(fc.nat(1200), fc.integer({ min: 0, max: 0xffffffff })),
        (noise, headers, tail, published) => {
          kernel.bytes.set(noise, ring.base);
          for (const [at, length, kind, flags] of headers) {
            kernel.view.setUint32(ring.base + at * 8, length, true);
            if (at < 127) kernel.view.setUint32(ring.base + at * 8 + 4, kind | (flags << 8), true);
          }
          kernel.u32[(control + RING_REQUEST_TAIL) >>> 2] = tail & ~7;
          kernel.u32[(control + RING_REQUEST_HEAD) >>> 2] = (tail & ~7) + published;
          for (let i = 0; i < 200; i++) {
            exports.groupBegin();
            const result = exports.groupCollect(1, 1000);
            expect(result).toBeGreaterThanOrEqual(-1);
            expect(exports.groupCommits()).toBeLessThanOrEqual(64);
            if (result === 0) break;
            const record = exports.ringPeek(1) >>> 0;
            if (record === 0 || record === 0xffffffff) break;
            const end = record + RECORD_HEADER_BYTES + (kernel.u32[record >>> 2] as number);
            expect(record).toBeGreaterThanOrEqual(ring.base);
            expect(end).toBeLessThanOrEqual(ring.base + ring.bytes);
            exports.ringPop(1);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

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
