/** The client's side against shards that answer through real rings, most of them far too small. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import {
  ClosedError,
  InvalidArgumentError,
  LightningError,
  ShardUnavailableError,
} from '../../src/errors.js';
import {
  GET_MANY_KEYS_MAX,
  MANY_RESULT_BYTES,
  REQUEST_BLOB_BEGIN,
  REQUEST_GET,
  REQUEST_GET_MANY,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../../src/kernel/assembly/layout.js';
import type { LightningDb } from '../../src/lightning-db.js';
import { SHARD_DOWN, SHARD_SERVING } from '../../src/router/control-block.js';
import type { ShardClient } from '../../src/router/shard-client.js';
import { type FakeDatabase, type FakeDatabaseOptions, fakeDatabase } from './fake-database.js';
import { FakeShard, fakeShardMemory } from './fake-shard.js';

let fake: FakeDatabase;

async function start(options: FakeDatabaseOptions = {}): Promise<FakeDatabase> {
  fake = await fakeDatabase(options);
  fake.resume();
  return fake;
}

afterEach(async () => {
  fake.resume();
  await fake.db.close();
  fake.pause();
});

const seen = (kind: number): number =>
  fake.shards.reduce((sum, shard) => sum + (shard.seen.get(kind) ?? 0), 0);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Lets the kernel say that it needs a block, or finds a large value, for chosen keys. */
function missBlocks(shard: ShardClient, misses: (calls: number) => boolean): void {
  const { exports } = shard.kernel;
  let calls = 0;
  const get = (keyLength: number, snapshot: number, routing: number): number =>
    misses(calls++) ? 2 : exports.get(keyLength, snapshot, routing);
  const getMany = (count: number, snapshot: number): number => {
    const used = exports.getMany(count, snapshot);
    for (let i = 0; i < count; i++) {
      const at = shard.descriptorWord + (i * MANY_RESULT_BYTES) / 4;
      if (misses(calls++)) shard.kernel.u32[at] = 2;
    }
    return used;
  };
  const kernel = Object.create(shard.kernel, {
    exports: { value: { ...exports, get, getMany } },
  });
  shard.kernel = kernel;
}

describe('writes', () => {
  it('of one turn are published together, and answered', async () => {
    const { db, pause, resume, session } = await start();
    pause();
    const puts = Array.from({ length: 100 }, (_, i) => db.put(`k${i}`, `v${i}`));
    expect(session.client.pending()).toBe(100);
    expect(fake.serve()).toBe(false);
    await Promise.resolve();
    expect(fake.serve()).toBe(true);
    resume();
    await Promise.all(puts);
    expect(seen(REQUEST_WRITE)).toBe(100);
    expect(db.getSync('k42')).toBe('v42');
    expect(session.client.pending()).toBe(0);
  });

  it('wait in order when the rings are tiny, and all of them are answered', async () => {
    const { db } = await start({ requestRingBytes: 256, responseRingBytes: 256 });
    const versions = Array.from({ length: 2000 }, (_, i) => db.put(`key-${i % 10}`, `${i}`));
    const deleted = db.delete('key-9');
    await Promise.all([...versions, deleted]);
    for (let key = 0; key < 9; key++) expect(db.getSync(`key-${key}`)).toBe(`${1990 + key}`);
    expect(db.getSync('key-9')).toBeUndefined();
  });

  it('larger than the ring go in pieces, larger than a memtable takes as blobs', async () => {
    const { db } = await start({ requestRingBytes: 512, responseRingBytes: 256, shards: 1 });
    const large = 'ü'.repeat(20_000);
    const huge = 'y'.repeat(600 * 1024);
    await Promise.all([db.put('a', large), db.put('b', huge), db.put('c', 'small')]);
    expect(seen(REQUEST_BLOB_BEGIN)).toBeGreaterThan(1000);
    expect(db.getSync('a') === large).toBe(true);
    expect((await db.get('b')) === huge).toBe(true);
    expect(db.getSync('c')).toBe('small');
    expect(await db.getMany(['c', 'b', 'none'])).toEqual(['small', huge, undefined]);
    expect(await db.has('b')).toBe(true);
    expect(db.hasSync('b')).toBe(true);
  });

  it('do not depend on what the caller does with its bytes afterwards', async () => {
    const options = { encodings: { valueEncoding: 'buffer' as const }, requestRingBytes: 256 };
    const { db } = await start({ ...options, shards: 1 });
    const puts = [];
    for (const size of [10, 100, 5000, 600 * 1024]) {
      const value = Buffer.alloc(size, 7);
      puts.push(db.put(`${size}`, value as never));
      value.fill(9);
    }
    await Promise.all(puts);
    for (const size of [10, 100, 5000, 600 * 1024]) {
      const value = (await db.get(`${size}`)) as unknown as Buffer;
      expect(value.length).toBe(size);
      expect(value.every((byte) => byte === 7)).toBe(true);
    }
  });

  it('in a batch go to each shard once, and may be written again', async () => {
    const { db } = await start({ shards: 3 });
    const batch = db.batch();
    for (let i = 0; i < 500; i++) batch.put(`k${i}`, `${i}`);
    for (let i = 0; i < 500; i += 2) batch.delete(`k${i}`);
    expect(batch.length).toBe(750);
    await batch.write();
    expect([seen(REQUEST_PREPARE), seen(REQUEST_WRITE)]).toEqual([3, 0]);
    expect(db.getSync('k4')).toBeUndefined();
    expect(db.getSync('k5')).toBe('5');
    await db.put('k5', 'other');
    await db.writeBatch(batch, { sync: true });
    expect(db.getSync('k5')).toBe('5');
    await db.batch().write();
  });

  it('in a batch stay what they were when the batch changes while it waits', async () => {
    const { db } = await start({ requestRingBytes: 256, shards: 1 });
    const batch = db.batch();
    for (let i = 0; i < 100; i++) batch.put(`k${i}`, 'first');
    const written = batch.write();
    batch.clear();
    for (let i = 0; i < 100; i++) batch.put(`k${i}`, 'second');
    const again = batch.write();
    await written;
    await again;
    expect(db.getSync('k7')).toBe('second');
    await expect(db.writeBatch({} as never)).rejects.toThrow(InvalidArgumentError);
  });

  it('that nobody waits for are refused once too much waits', async () => {
    const { db, pause, resume } = await start({
      shards: 1,
      requestRingBytes: 256,
      arenaBytes: 1 << 20,
    });
    pause();
    const value = 'x'.repeat(400 * 1024);
    const puts: Promise<string>[] = [];
    for (let i = 0; i < 700; i++) {
      puts.push(
        db.put('same', value).then(
          () => 'done',
          (error: LightningError) => error.code,
        ),
      );
    }
    await turn();
    expect(await puts[699]).toBe('LIGHTNING_LIMIT_EXCEEDED');
    // The rest would be written; this test does without.
    fake.control.setShardState(0, SHARD_DOWN);
    expect(await puts[0]).toBe('LIGHTNING_SHARD_UNAVAILABLE');
    fake.control.setShardState(0, SHARD_SERVING);
    resume();
  });
});

describe('reads', () => {
  it('that need a block go to the shard, alone or together', async () => {
    const { db, session } = await start({ shards: 2, responseRingBytes: 256 });
    for (let i = 0; i < 40; i++) await db.put(`k${i}`, `value-${i}`.repeat(i));
    for (const shard of session.client.shards) missBlocks(shard, (calls) => calls % 2 === 0);
    for (let i = 0; i < 40; i++) expect(await db.get(`k${i}`)).toBe(`value-${i}`.repeat(i));
    expect(seen(REQUEST_GET)).toBeGreaterThan(10);
    const keys = Array.from({ length: 60 }, (_, i) => `k${i}`);
    const expected = keys.map((_, i) => (i < 40 ? `value-${i}`.repeat(i) : undefined));
    expect(await db.getMany(keys)).toEqual(expected);
    expect(seen(REQUEST_GET_MANY)).toBe(2);
    expect(await Promise.all(keys.map((key) => db.has(key)))).toEqual(
      expected.map((value) => value !== undefined),
    );
  });

  it('of one turn, gathered or not, find what they ask the shard for before a later write', async () => {
    const { db, session } = await start({ shards: 2, requestRingBytes: 512 });
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}`);
    for (const key of keys) await db.put(key, 'old');
    for (const shard of session.client.shards) missBlocks(shard, (calls) => calls % 3 !== 0);
    for (let round = 0; round < 6; round++) {
      const before = keys.map((key) => db.get(key));
      const puts = keys.map((key, i) =>
        i % 2 === 0 ? db.put(key, `new-${round}`) : db.delete(key),
      );
      const after = keys.map((key) => db.get(key));
      const old = (await Promise.all(before)).slice(1);
      expect(new Set(old)).toEqual(
        round === 0 ? new Set(['old']) : new Set([`new-${round - 1}`, undefined]),
      );
      await Promise.all(puts);
      await Promise.all(after);
      expect(await Promise.all(keys.map((key) => db.get(key)))).toEqual(
        keys.map((_, i) => (i % 2 === 0 ? `new-${round}` : undefined)),
      );
    }
    expect(seen(REQUEST_GET)).toBeGreaterThan(100);
  });

  it('of one turn are looked up together while many come, and at once when they come alone', async () => {
    const { db, session } = await start({ shards: 1 });
    const shard = session.client.shards[0] as ShardClient;
    const calls = { alone: 0, together: 0 };
    const { exports } = shard.kernel;
    shard.kernel = Object.create(shard.kernel, {
      exports: {
        value: {
          ...exports,
          get: (...args: Parameters<typeof exports.get>) => {
            calls.alone++;
            return exports.get(...args);
          },
          getMany: (...args: Parameters<typeof exports.getMany>) => {
            calls.together++;
            return exports.getMany(...args);
          },
        },
      },
    });
    const countOf = async (read: () => Promise<unknown>): Promise<typeof calls> => {
      const before = { ...calls };
      await read();
      return { alone: calls.alone - before.alone, together: calls.together - before.together };
    };
    const readAll = (): Promise<unknown> =>
      Promise.all(Array.from({ length: 2 * GET_MANY_KEYS_MAX }, (_, i) => db.get(`k${i}`)));
    const readAlone = async (): Promise<void> => {
      for (let i = 0; i < 100; i++) await db.get(`k${i}`);
    };
    expect(await countOf(readAlone)).toEqual({ alone: 100, together: 0 });
    await readAll();
    expect(await countOf(readAll)).toEqual({ alone: 0, together: 2 });
    expect(await countOf(readAll)).toEqual({ alone: 0, together: 2 });
    // The first of them finds out.
    expect(await countOf(readAlone)).toEqual({ alone: 99, together: 1 });
    // A call is looked up when it is made.
    const { alone } = calls;
    const get = db.get('k1');
    expect(calls.alone).toBe(alone + 1);
    await get;
  });

  it('that are gathered fail when there is nothing to read, or nobody to ask', async () => {
    const { db, session, control } = await start({ shards: 1 });
    const getAll = (): Promise<unknown[]> =>
      Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          db.get(`k${i}`).then(
            (value) => value,
            (error: LightningError) => error.code,
          ),
        ),
      );
    for (let i = 0; i < 100; i++) await db.put(`k${i}`, 'value');
    for (let round = 0; round < 3; round++)
      expect(new Set(await getAll())).toEqual(new Set(['value']));
    missBlocks(session.client.shards[0] as ShardClient, () => true);
    control.setShardState(0, SHARD_DOWN);
    expect(new Set(await getAll())).toEqual(new Set(['LIGHTNING_SHARD_UNAVAILABLE']));
    control.setShardState(0, SHARD_SERVING);
    expect(new Set(await getAll())).toEqual(new Set(['value']));
  });

  it('use the encoding that is asked for', async () => {
    const { db } = await start();
    await db.put('json', '{"a":[1,"ü"]}');
    expect(await db.get('json', { valueEncoding: 'json' })).toEqual({ a: [1, 'ü'] });
    expect(db.getSync('json', { valueEncoding: 'buffer' })?.length).toBe(14);
    await db.put('made', { b: 2 }, { valueEncoding: 'json' });
    expect(db.getSync('made')).toBe('{"b":2}');
    const upper = {
      encode: (s: string) => Buffer.from(s),
      decode: (b: Uint8Array) => `${b.length}`,
    };
    expect(await db.getMany(['made', 'x'], { valueEncoding: upper })).toEqual(['7', undefined]);
    await expect(db.get('json', { valueEncoding: 'xml' as 'json' })).rejects.toThrow(
      'valueEncoding',
    );
  });

  it('let an encoding use the database itself', async () => {
    const { db } = await start({ shards: 2 });
    const nested = {
      encode: (text: string) => Buffer.from(`${text}/${db.getSync('other')}`),
      decode: (bytes: Uint8Array) => `${Buffer.from(bytes)}/${db.getSync('other')}`,
    };
    await db.put('other', 'inner');
    await db.put('outer', 'outer', { valueEncoding: nested });
    expect(db.getSync('outer', { valueEncoding: nested })).toBe('outer/inner/inner');
    const large = 'z'.repeat(300_000);
    await db.put('large', large);
    const view = db.getSync('large', { valueEncoding: nested });
    expect(view === `${large}/inner`).toBe(true);
  });

  it('of values larger than the scratch are whole', async () => {
    const { db } = await start();
    for (const text of ['a'.repeat(300_000), 'ö'.repeat(200_000)]) {
      await db.put('large', text);
      expect(db.getSync('large') === text).toBe(true);
      expect((await db.get('large')) === text).toBe(true);
      expect(db.hasSync('large')).toBe(true);
    }
  });
});

describe('scans and snapshots', () => {
  it('agree with a sorted map over any number of shards', async () => {
    const key = fc.oneof(
      fc.string({ unit: fc.constantFrom('a', 'b', 'é', '⚡'), maxLength: 4 }),
      fc.nat(50).map((n) => `prefix-${n}`),
    );
    const write = fc.tuple(key, fc.option(fc.string({ maxLength: 8 }), { freq: 4 }));
    const scan = fc.record(
      {
        gt: key,
        gte: key,
        lt: key,
        lte: key,
        prefix: key,
        reverse: fc.boolean(),
        limit: fc.nat(30),
      },
      { requiredKeys: [] },
    );
    await start();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(write, { maxLength: 150 }),
        fc.array(scan, { maxLength: 6 }),
        async (shards, writes, scans) => {
          fake.pause();
          fake = await fakeDatabase({ shards, arenaBytes: 1 << 20 });
          fake.resume();
          const { db } = fake;
          const model = new Map<string, string>();
          const batch = db.batch();
          for (const [name, value] of writes) {
            if (value === null) {
              batch.delete(name);
              model.delete(name);
            } else {
              batch.put(name, value);
              model.set(name, value);
            }
          }
          await batch.write();
          for (const options of scans) {
            const expected = select(model, options);
            expect([...db.scanSync(options)]).toEqual(expected);
            expect(await db.scan(options).toArray()).toEqual(expected);
            const keys = expected.map(([name]) => name);
            expect([...db.scanSync({ ...options, values: false })]).toEqual(keys);
            const values = [];
            for await (const value of db.scan({ ...options, keys: false })) values.push(value);
            expect(values).toEqual(expected.map(([, value]) => value));
          }
          expect(fake.control.openSnapshots().open).toBe(0);
          fake.pause();
        },
      ),
      { numRuns: 60 },
    );
  }, 60_000);

  it('hand out many entries in batches that grow', async () => {
    const { db } = await start({ shards: 3 });
    const batch = db.batch();
    for (let i = 0; i < 20_000; i++) batch.put(String(i).padStart(6, '0'), `${i}`);
    await batch.write();
    const sizes: number[] = [];
    let next = 0;
    for await (const entries of db.scan().batches()) {
      sizes.push(entries.length);
      for (const [name, value] of entries) {
        expect(name).toBe(String(next).padStart(6, '0'));
        expect(value).toBe(`${next++}`);
      }
    }
    expect(next).toBe(20_000);
    expect(sizes[0]).toBeLessThan(200);
    expect(Math.max(...sizes)).toBeGreaterThan(500);
  });

  it('see large values, and large batches of them', async () => {
    const { db } = await start({ shards: 2, arenaBytes: 64 << 20, requestRingBytes: 1 << 20 });
    for (let i = 0; i < 40; i++) await db.put(`k${i + 10}`, `${i}`.repeat(30_000 + i * 5000));
    const all = [...db.scanSync()];
    expect(all.map(([name]) => name)).toEqual(Array.from({ length: 40 }, (_, i) => `k${i + 10}`));
    all.forEach(([, value], i) => {
      expect(value === `${i}`.repeat(30_000 + i * 5000)).toBe(true);
    });
    expect((await db.scan({ keys: false }).toArray())[39]?.length).toBe(450_000);
  });

  it('stay at their moment, and give it back', async () => {
    const { db, control } = await start();
    await db.put('a', '1');
    const snapshot = db.snapshot();
    const iterator = db.scanSync();
    expect(iterator.next().value).toEqual(['a', '1']);
    await db.put('a', '2');
    await db.put('b', '2');
    expect(iterator.next().done).toBe(true);
    expect(snapshot.getSync('a')).toBe('1');
    expect(await snapshot.getMany(['a', 'b'])).toEqual(['1', undefined]);
    expect(await snapshot.scan().toArray()).toEqual([['a', '1']]);
    expect(control.openSnapshots().open).toBe(1);
    snapshot.close();
    snapshot.close();
    expect(control.openSnapshots().open).toBe(0);
    expect(() => snapshot.getSync('a')).toThrow(ClosedError);
    expect(() => snapshot.scan()).toThrow(ClosedError);
  });

  it('cover what was acknowledged, although something older is under way', async () => {
    const { db, control } = await start({ shards: 2 });
    const [first, second] = [keyOf(0), keyOf(1)];
    control.allocateSequences(0, 1);
    await db.put(second, 'acknowledged');
    setTimeout(() => control.sequencesApplied(0), 30);
    const snapshot = await db.scan().toArray();
    expect(snapshot).toEqual([[second, 'acknowledged']]);
    control.allocateSequences(0, 1);
    await db.put(second, 'again');
    control.setShardState(0, SHARD_DOWN);
    expect(() => db.snapshot()).toThrow(ShardUnavailableError);
    control.setShardState(0, SHARD_SERVING);
    control.sequencesApplied(0);
    db.snapshot().close();
    await db.put(first, 'fine');
  });

  it('that are forgotten give their moment back', async () => {
    const { db, control } = await start();
    const batch = db.batch();
    for (let i = 0; i < 1000; i++) batch.put(`k${i}`, 'x');
    await batch.write();
    const forget = async (): Promise<void> => {
      db.snapshot();
      db.scanSync().next();
      for await (const entries of { [Symbol.asyncIterator]: () => unfinished(db) }) {
        expect(entries.length).toBeGreaterThan(0);
        break;
      }
      await db.scan()[Symbol.asyncIterator]().next();
    };
    for (let i = 0; i < 5; i++) await forget();
    expect(control.openSnapshots().open).toBe(20);
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let i = 0; i < 100 && control.openSnapshots().open > 0; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(control.openSnapshots().open).toBe(0);
  });

  it('that are left while they wait are over', async () => {
    const { db, control } = await start();
    await db.put('a', '1');
    const iterator = db.scan()[Symbol.asyncIterator]();
    const first = iterator.next();
    await iterator.return?.();
    expect((await first).done).toBe(true);
    expect((await iterator.next()).done).toBe(true);
    expect(control.openSnapshots().open).toBe(0);
    const other = db.scan()[Symbol.asyncIterator]();
    const several = await Promise.all([other.next(), other.next(), other.next()]);
    expect(several.map(({ done }) => done)).toEqual([false, true, true]);
  });
});

/** Batches of a scan, for a loop that ends without saying so. */
function unfinished(db: LightningDb): AsyncIterator<[string, string][]> {
  const batches = db.scan().batches();
  return { next: () => batches.next() as Promise<IteratorResult<[string, string][]>> };
}

function keyOf(shard: number): string {
  const { client } = fake.session;
  for (let i = 0; ; i++) {
    client.key.setText(`key-${i}`);
    if (client.route().shard === shard) return `key-${i}`;
  }
}

interface Range {
  readonly gt?: string;
  readonly gte?: string;
  readonly lt?: string;
  readonly lte?: string;
  readonly prefix?: string;
  readonly reverse?: boolean;
  readonly limit?: number;
}

function select(model: ReadonlyMap<string, string>, range: Range): [string, string][] {
  const compare = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
  const entries = [...model]
    .sort(([a], [b]) => compare(a, b))
    .filter(([name]) => {
      if (range.gt !== undefined && compare(name, range.gt) <= 0) return false;
      if (range.gte !== undefined && compare(name, range.gte) < 0) return false;
      if (range.lt !== undefined && compare(name, range.lt) >= 0) return false;
      if (range.lte !== undefined && compare(name, range.lte) > 0) return false;
      return range.prefix === undefined || name.startsWith(range.prefix);
    });
  if (range.reverse) entries.reverse();
  return entries.slice(0, range.limit ?? entries.length);
}

describe('a shard that stops', () => {
  it('fails what was under way, and comes back with a new memory', async () => {
    const { db, session, control, pause, resume, shards } = await start({ shards: 2 });
    const key = keyOf(1);
    await db.put(key, 'before');
    pause();
    const written = db.put(key, 'lost');
    await turn();
    control.setShardState(1, SHARD_DOWN);
    await expect(written).rejects.toMatchObject({
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      details: { outcome: 'unknown' },
    });
    await expect(db.put(key, 'refused')).rejects.toMatchObject({ details: { outcome: 'none' } });
    await expect(db.batch().put(key, 'x').put(keyOf(0), 'x').write()).rejects.toThrow(
      ShardUnavailableError,
    );
    expect(db.getSync(keyOf(0))).toBeUndefined();
    const memory = fakeShardMemory({ shard: 1 });
    const module = await WebAssembly.compile(
      (await import('node:fs')).readFileSync(new URL('../../dist/kernel.wasm', import.meta.url)),
    );
    shards[1] = new FakeShard(module, memory, control, 1, [session.client.slot]);
    // Not yet connected: a new generation serves, the old connection is void.
    await expect(db.put(key, 'refused')).rejects.toThrow(ShardUnavailableError);
    session.client.reconnect(1, { memory, generation: control.shardGeneration(1) });
    resume();
    await db.put(key, 'after');
    expect(db.getSync(key)).toBe('after');
  });
});

describe('a closed database', () => {
  it('refuses everything, and gives all snapshots back', async () => {
    const { db, control } = await start();
    const snapshot = db.snapshot();
    const batch = db.batch().put('a', '1');
    const scan = db.scanSync();
    const put = db.put('last', 'one');
    const closing = db.close();
    expect(db.close()).toBe(closing);
    await closing;
    await put;
    for (const work of [
      () => db.get('a'),
      () => db.getMany(['a']),
      () => db.put('a', 'b'),
      () => db.delete('a'),
      () => batch.write(),
      () => db.has('a'),
      () => snapshot.get('a'),
      () => db.flush(),
    ]) {
      await expect(work()).rejects.toThrow(ClosedError);
    }
    for (const work of [
      () => db.getSync('a'),
      () => scan.next(),
      () => db.snapshot(),
      () => db.batch(),
      () => db.share(),
      () => db.scanSync(),
    ]) {
      expect(work).toThrow(ClosedError);
    }
    expect(control.openSnapshots().open).toBe(0);
    snapshot.close();
    expect(new LightningError('LIGHTNING_CLOSED', 'x').code).toBe('LIGHTNING_CLOSED');
  });
});
