import { beforeEach, describe, expect, it } from 'vitest';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import {
  ARENA_VERSIONS,
  COUNTER_BYTES_APPLIED,
  COUNTER_OPS_APPLIED,
  H_COUNTERS,
  H_TOUCHED,
  H_VISIBLE,
  H_WAL_BYTES,
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  REQUEST_GET,
  REQUEST_WRITE,
  RING_CONTROL_BYTES,
  RING_RESPONSE_BLOCKED,
  RINGS,
} from '../../src/kernel/assembly/layout.js';
import { decodeGroupHeader } from '../../src/wal/segment-format.js';
import {
  arena,
  Client,
  commitGroup,
  del,
  encode,
  exports,
  find,
  kernel,
  NOBODY,
  OFFSET,
  put,
  SEGMENT,
  seal,
  stage,
  staging,
  start,
  wal,
} from './commit-shard.js';

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

  it('takes staged commits of every kind; only plain ones are applied', () => {
    const kinds = [0, 1];
    for (const kind of kinds) {
      const bytes = stage([put(`kind${kind}`, 'x')]);
      expect(exports.groupAppend(staging, bytes, 1, kind, 2 ** 50 + kind, NOBODY, 0)).toBe(0);
    }
    expect(exports.groupAppend(staging, 16, 0, 2, 77, NOBODY, 0)).toBe(0);
    expect(exports.groupAppend(staging, 0, 0, 3, 77, NOBODY, 0)).toBe(0);
    expect([exports.groupCommits(), exports.groupControls()]).toEqual([4, 3]);
    seal(50);
    expect(exports.groupApply()).toBe(0);
    expect(kinds.map((kind) => find(`kind${kind}`, 100))).toEqual(['x', undefined]);
    expect(exports.groupAck()).toBe(0);
    expect(kernel.view.getBigUint64(H_TOUCHED, true)).toBe(0n);
    const first = wal + 64;
    const length = kernel.view.getUint32(first, true);
    expect(kernel.view.getBigUint64(first + 24 + length + 16, true)).toBe(BigInt(2 ** 50 + 1));
  });

  it('refuses records about transactions with another body than theirs', () => {
    expect(exports.groupAppend(staging, 8, 0, 2, 77, NOBODY, 0)).toBe(-1);
    expect(exports.groupAppend(staging, 16, 1, 2, 77, NOBODY, 0)).toBe(-1);
    expect(exports.groupAppend(staging, 16, 0, 3, 77, NOBODY, 0)).toBe(-1);
    expect(exports.groupAppend(staging, 0, 0, 4, 77, NOBODY, 0)).toBe(-1);
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
