/** More than fits: memtables that wait for flushes, rings that are full, clients that go away. */

import { describe, expect, it } from 'vitest';
import { type LightningError, NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { RECORD_FLAG_SYNC, REQUEST_GET } from '../../src/kernel/assembly/layout.js';
import { shardStats } from '../../src/shard/shard-stats.js';
import { put, TestClient, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';

function place(changes: Parameters<typeof testConfig>[0] = {}) {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return { fs, directory: DIRECTORY, config: testConfig(changes) };
}

/** A shard with memtables of a few hundred KiB whose flushes fail until `clearFaults`. */
async function withoutRoom(errno: 'ENOSPC' | 'EMFILE') {
  let nowMs = 0;
  const at = place({ arenaBytes: 128 * 1024, requestRingBytes: 1 << 20 });
  // It moves on by itself, slowly: delays end.
  const clock = { nowMs: () => (nowMs += 0.01), wallMs: () => 0 };
  let isFull = true;
  const shard = await TestShard.open({
    ...at,
    clock,
    before: async ({ kind }) => {
      nowMs += 1000;
      if (kind !== 'flush' || !isFull) return;
      throw new NoSpaceError('Cannot open a table', { details: { errno } });
    },
  });
  const makeRoom = (): void => {
    isFull = false;
  };
  const other = new TestClient(shard.shard, shard.kernel, 2);
  // Flushes are tried again after a while, however many turns a fast machine takes until then.
  for (const client of [shard.client, other]) client.turnsMax = Number.POSITIVE_INFINITY;
  return { shard, makeRoom, client: shard.client, other };
}

const immediate = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('while flushes do not finish', () => {
  it('writes are slowed, then wait; reads go on; nothing is lost', async () => {
    const at = place({ arenaBytes: 128 * 1024 });
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const before = async (job: { kind: string }): Promise<void> => {
      if (job.kind === 'flush') await held;
    };
    const shard = await TestShard.open({ ...at, before });
    const { client } = shard;
    const value = 'v'.repeat(2000);
    const ids: number[] = [];
    for (let i = 0; i < 600; i++) ids.push(client.write([put(`key-${i}`, value)]));
    const answered = new Set<number>();
    const poll = (): void => {
      for (const id of ids)
        if (!answered.has(id) && client.poll(id) !== undefined) answered.add(id);
    };
    const start = performance.now();
    while (shard.shard.loop.stalls.stops === 0 && performance.now() - start < 20_000) {
      shard.shard.turn();
      poll();
      await immediate();
    }
    expect(shard.shard.loop.stalls.stops).toBe(1);
    expect(shard.shard.loop.stalls.delays).toBeGreaterThan(0);
    expect(answered.size).toBeGreaterThan(100);
    expect(answered.size).toBeLessThan(600);
    // Another client's reads are answered meanwhile.
    const reader = new TestClient(shard.shard, shard.kernel, 2);
    expect(await reader.get('key-0')).toBe(value);
    expect(shard.shard.loop.isBusy).toBe(true);
    release();
    while (answered.size < 600) {
      shard.shard.turn();
      poll();
      await immediate();
    }
    for (let i = 0; i < 600; i += 50) expect(await client.get(`key-${i}`)).toBe(value);
    await shard.shard.close();
  });

  it('a commit larger than all memtables waits in its middle and becomes visible as one', async () => {
    const at = place({ arenaBytes: 128 * 1024 });
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const shard = await TestShard.open({
      ...at,
      before: async (job) => {
        if (job.kind === 'flush') await held;
      },
    });
    const value = 'v'.repeat(1000);
    const id = shard.client.write(Array.from({ length: 1500 }, (_, i) => put(`key-${i}`, value)));
    const reader = new TestClient(shard.shard, shard.kernel, 2);
    for (let i = 0; i < 300; i++) {
      shard.client.poll(id);
      shard.shard.turn();
      await immediate();
    }
    expect(shard.shard.state.commit.isApplying).toBe(true);
    expect(await reader.get('key-0')).toBeUndefined();
    release();
    await shard.client.wait(id);
    expect(await reader.getMany(['key-0', 'key-1499'])).toEqual([value, value]);
    await shard.shard.close();
  });
});

describe('while flushes find no room', () => {
  const value = 'v'.repeat(1000);
  const bulk = (count: number) => Array.from({ length: count }, (_, i) => put(`key-${i}`, value));

  it.each(['ENOSPC', 'EMFILE'] as const)(
    '%s refuses a commit larger than what is free',
    async (errno) => {
      const { shard, client, other, makeRoom } = await withoutRoom(errno);
      const written = await client.commit(bulk(150));
      const { commits } = shard.shard.state.commit;
      await expect(client.commit(bulk(400))).rejects.toMatchObject({
        code: 'LIGHTNING_NO_SPACE',
        details: { errno },
      });
      expect(shard.shard.state.commit.commits).toBe(commits);
      expect(await other.get('key-149')).toBe(value);
      expect(await other.get('key-150')).toBeUndefined();
      makeRoom();
      // Writes resume by themselves.
      await shard.settle();
      expect(await client.commit(bulk(400))).toBeGreaterThan(written);
      expect(await other.get('key-399')).toBe(value);
      await shard.shard.close();
    },
  );

  it('tells who waits for a commit larger than all memtables, and who comes after it', async () => {
    const { shard, client, other, makeRoom } = await withoutRoom('EMFILE');
    await expect(client.commit(bulk(1500))).rejects.toMatchObject({
      code: 'LIGHTNING_NO_SPACE',
      details: { errno: 'EMFILE', outcome: 'unknown' },
    });
    await expect(other.put('later', '1')).rejects.toMatchObject({ code: 'LIGHTNING_NO_SPACE' });
    expect(await other.get('key-0')).toBeUndefined();
    expect(await client.get('later')).toBeUndefined();
    makeRoom();
    await shard.settle();
    while (shard.shard.state.commit.isApplying) {
      shard.shard.turn();
      await immediate();
    }
    expect(await other.getMany(['key-0', 'key-1499'])).toEqual([value, value]);
    await other.put('later', '2');
    expect(await client.get('later')).toBe('2');
    await shard.shard.close();
  });
});

describe('a group of writes while flushes fail', () => {
  // What is left of the last memtable in the end is anything from nothing to a value.
  it.each([3000, 3900, 4200])(
    'is not written when a memtable might not take all of it: %i bytes',
    async (bytes) => {
      const { shard, client, makeRoom } = await withoutRoom('ENOSPC');
      let written = 0;
      for (;;) {
        const outcome = await client.put(`key-${written}`, 'v'.repeat(bytes)).then(
          () => undefined,
          (error: LightningError) => error,
        );
        if (outcome === undefined) written++;
        if (outcome === undefined) continue;
        expect(outcome.code).toBe('LIGHTNING_NO_SPACE');
        expect(outcome.details['outcome']).toBeUndefined();
        break;
      }
      expect(shard.shard.state.commit.isApplying).toBe(false);
      makeRoom();
      await shard.settle();
      await client.put('later', '1');
      expect(await client.get(`key-${written}`)).toBeUndefined();
      await shard.shard.close();
    },
  );

  it('is written in part when its values leave gaps: who waits for it is told', async () => {
    const { shard, client, other, makeRoom } = await withoutRoom('ENOSPC');
    // 18 fit a memtable, and leave a gap: four memtables take 72.
    const large = 'v'.repeat(7000);
    const ids = Array.from({ length: 73 }, (_, i) => client.write([put(`key-${i}`, large)]));
    for (const id of ids) {
      await expect(client.wait(id)).rejects.toMatchObject({
        code: 'LIGHTNING_NO_SPACE',
        details: { errno: 'ENOSPC', outcome: 'unknown' },
      });
    }
    await expect(other.put('later', '1')).rejects.toMatchObject({ code: 'LIGHTNING_NO_SPACE' });
    expect(await other.get('key-0')).toBeUndefined();
    makeRoom();
    await shard.settle();
    while (shard.shard.state.commit.isApplying) {
      shard.shard.turn();
      await immediate();
    }
    expect(await other.getMany(['key-0', 'key-72'])).toEqual([large, large]);
    const later = await client.put('later', '2');
    expect(later).toBeGreaterThan(0);
    expect(await other.get('later')).toBe('2');
    await shard.shard.close();
  });
});

describe('a client', () => {
  it('that does not take its answers holds up only itself', async () => {
    const at = place({ responseRingBytes: 4096 });
    const shard = await TestShard.open(at);
    const value = 'v'.repeat(3000);
    await shard.client.put('key', value);
    const lazy = new TestClient(shard.shard, shard.kernel, 2);
    const head = Buffer.alloc(8);
    head.writeDoubleLE(-1);
    const get = Buffer.concat([head, Buffer.from('key')]);
    const reads = Array.from({ length: 50 }, () => lazy.send(REQUEST_GET, 0, get));
    const writes = Array.from({ length: 200 }, (_, i) => lazy.write([put(`lazy-${i}`, '1')]));
    for (let i = 0; i < 20; i++) shard.shard.turn();
    expect(shard.shard.loop.hasUnsent).toBe(true);
    for (let i = 0; i < 50; i++) await shard.client.put(`other-${i}`, '1');
    // It wakes up: every answer comes, once.
    for (const id of reads) expect((await lazy.wait(id)).payload.toString()).toBe(value);
    for (const id of writes) await lazy.wait(id);
    expect(shard.shard.loop.hasUnsent).toBe(false);
    await shard.shard.close();
  });

  it('may use rings of the smallest size', async () => {
    const at = place({ requestRingBytes: 256, responseRingBytes: 256 });
    const shard = await TestShard.open(at);
    const value = 'v'.repeat(5000);
    await shard.client.commit([put('a', value), put('b', '2')]);
    await shard.client.putBlob('c', Buffer.from(value));
    expect(await shard.client.getMany(['a', 'b', 'c', 'd'])).toEqual([
      value,
      '2',
      value,
      undefined,
    ]);
    const empty = await shard.client.commit([]);
    expect(await shard.client.put('d', '4')).toBe(empty + 1);
    await shard.shard.close();
  });

  it('may put values into a batch that no memtable could hold', async () => {
    const at = place({ arenaBytes: 128 * 1024, requestRingBytes: 1 << 20 });
    const shard = await TestShard.open(at);
    const large = 'v'.repeat(200_000);
    const many = Array.from({ length: 300 }, (_, i) => put(`many-${i}`, 'w'.repeat(300)));
    await shard.client.commit([put('a', '1'), put('large', large), put('b', '2')]);
    await shard.client.commit(many);
    expect(await shard.client.getMany(['a', 'large', 'b', 'many-299'])).toEqual([
      '1',
      large,
      '2',
      'w'.repeat(300),
    ]);
    expect(shard.shard.state.blobs.count).toBe(1);
    await shard.shard.close();
  });

  it('that goes away in the middle of everything leaves nothing behind', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    for (let round = 0; round < 5; round++) {
      const client = new TestClient(shard.shard, shard.kernel, 3);
      client.pieceBytesMax = 1000;
      client.write([put(`a-${round}`, 'x'.repeat(70_000))]);
      client.write([put(`b-${round}`, '1')]);
      shard.shard.turn();
      shard.kernel.exports.readerEnter(3);
      shard.shard.releaseClient(3);
    }
    // The epoch it died in holds nothing up.
    await shard.shard.compact();
    await shard.settle();
    expect(shard.shard.state.retirement.isEmpty).toBe(true);
    const next = new TestClient(shard.shard, shard.kernel, 3);
    await next.put('mine', '1');
    expect(await next.get('mine')).toBe('1');
    expect(await next.get('a-0')).toBeUndefined();
    await shard.shard.close();
  });

  it('sends requests in pieces among others', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    const { client } = shard;
    client.pieceBytesMax = 500;
    const value = 'v'.repeat(20_000);
    const ids = Array.from({ length: 30 }, (_, i) =>
      client.write(i % 3 === 0 ? [put(`large-${i}`, value)] : [put(`small-${i}`, '1')]),
    );
    for (const id of ids) await client.wait(id);
    for (let i = 0; i < 30; i++) {
      const name = i % 3 === 0 ? `large-${i}` : `small-${i}`;
      expect(await client.get(name)).toBe(i % 3 === 0 ? value : '1');
    }
    await shard.shard.close();
  });
});

describe('a cache that is too small', () => {
  it('for a value does not keep it from being read', async () => {
    const at = place({ cacheBytesPerShard: 65536, arenaBytes: 4 << 20 });
    const shard = await TestShard.open(at);
    const values = Array.from({ length: 20 }, (_, i) => `${i}:${'v'.repeat(i * 10_000)}`);
    for (const [i, value] of values.entries()) await shard.client.put(`key-${i}`, value);
    await shard.client.put('key-3', 'newer');
    await shard.client.delete('key-4');
    await shard.shard.compact();
    for (const [i, value] of values.entries()) {
      const expected = i === 3 ? 'newer' : i === 4 ? undefined : value;
      expect(await shard.client.get(`key-${i}`), `key-${i}`).toBe(expected);
    }
    expect(await shard.client.get('key-99')).toBeUndefined();
    await shard.shard.close();
  });

  it('while a reader stays inside an epoch does not keep gets waiting', async () => {
    const at = place({ cacheBytesPerShard: 65536 });
    const shard = await TestShard.open(at);
    for (let i = 0; i < 500; i++) await shard.client.put(`key-${i}`, `${i}:${'v'.repeat(500)}`);
    await shard.shard.compact();
    shard.kernel.exports.readerEnter(7);
    for (let i = 0; i < 500; i++) {
      expect(await shard.client.get(`key-${i}`)).toBe(`${i}:${'v'.repeat(500)}`);
    }
    shard.kernel.exports.readerLeave(7);
    await shard.shard.close();
  });
});

describe('durability', () => {
  it('costs one sync per group, however many commits are in it', async () => {
    const at = place({ walSync: 'sync' });
    const shard = await TestShard.open(at);
    const { syncs } = at.fs;
    const ids = Array.from({ length: 100 }, (_, i) => shard.client.write([put(`k-${i}`, '1')]));
    for (const id of ids) await shard.client.wait(id);
    expect(at.fs.syncs - syncs).toBe(1);
    await shard.shard.close();
  });

  it('of one write may be asked for in any mode', async () => {
    const at = place({ walSync: 'async' });
    const shard = await TestShard.open(at);
    await shard.client.put('a', '1');
    await shard.client.commit([put('b', '2')], RECORD_FLAG_SYNC);
    await shard.client.put('c', '3');
    at.fs.crash('synced');
    const again = await TestShard.open(at);
    expect(await again.client.getMany(['a', 'b', 'c'])).toEqual(['1', '2', undefined]);
    await again.shard.close();
  });
});

describe('statistics', () => {
  it('count what happened', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    for (let i = 0; i < 10; i++) await shard.client.put(`k-${i}`, 'v');
    await shard.shard.compact();
    await shard.client.get('k-3');
    await expect(shard.client.get('x'.repeat(70_000))).resolves.toBeUndefined();
    const stats = shardStats(shard.shard);
    expect(stats).toMatchObject({
      runs: [{ tables: 1, entries: 10 }],
      wal: { commits: 10, operations: 10 },
      flushes: { done: 1, failed: 0, running: 0 },
      compactions: { failed: 0, running: 0 },
      reads: { blocksRead: 1 },
    });
    expect(() => structuredClone(stats)).not.toThrow();
    await shard.shard.close();
  });
});
