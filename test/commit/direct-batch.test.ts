/** Batches on the client's own thread, step by step: failures, handing over, death, and what is left. */

import { beforeEach, describe, expect, it } from 'vitest';
import type { ResolvedConfig } from '../../src/config.js';
import { NoSpaceError } from '../../src/errors.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { H_UNSETTLED } from '../../src/kernel/assembly/layout.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { LentShard } from '../../src/kernel/lent-shard.js';
import { createPlace, LocalDatabase, type TogetherCommit } from '../durability/local-database.js';
import type { Changes } from '../durability/plants.js';
import { put, type TestShard, testConfig } from '../shard/harness.js';
import { DirectClient, leftovers, partOf } from './direct-client.js';

const SHARDS = 3;
const ALL = [0, 1, 2];

interface Scene {
  readonly fs: MemoryFileSystem;
  readonly db: LocalDatabase;
  readonly client: DirectClient;
  reopen(mode?: 'all' | 'synced'): Promise<LocalDatabase>;
}

async function makeScene(
  plant?: Changes,
  kernelOf?: (shard: TestShard) => Kernel,
  config: Partial<ResolvedConfig> = {},
): Promise<Scene> {
  const fs = new MemoryFileSystem(3);
  createPlace(fs, SHARDS);
  const resolved = testConfig({ shards: SHARDS, walSync: 'async', ...config });
  const options = { fs, config: resolved, lendsLog };
  const db = await LocalDatabase.open(plant === undefined ? options : { ...options, plant });
  const client = new DirectClient(db, kernelOf, fs);
  const reopen = async (mode: 'all' | 'synced' = 'all'): Promise<LocalDatabase> => {
    await db.abandon();
    fs.crash(mode);
    return LocalDatabase.open(options);
  };
  return { fs, db, client, reopen };
}

const everywhere = (version: string, key = 'key', shards: readonly number[] = ALL) =>
  shards.map((shard) => ({ shard, operations: [put(key, version), put(`${key}-2`, version)] }));

async function read(db: LocalDatabase, key = 'key'): Promise<(string | undefined)[]> {
  const found: (string | undefined)[] = [];
  for (const { client } of db.shards) found.push(...(await client.getMany([key, `${key}-2`])));
  return found;
}

const six = (version: string | undefined) => Array(6).fill(version);

function turnAll(db: LocalDatabase): void {
  for (let i = 0; i < 5; i++) db.turn();
}

/** Whether the coordinator lends its log. */
let lendsLog = false;

class Died extends Error {}

/** The `nth` write to a log from `arm` on goes half way, then ends in what nobody foresees. */
function dyingWrites(): { readonly plant: Changes; arm: (nth: number) => void } {
  let left = 0;
  const fileSystem = (fs: FileSystem): FileSystem =>
    new Proxy(fs, {
      get: (target, name) => {
        if (name !== 'open') {
          const found: unknown = Reflect.get(target, name);
          return typeof found === 'function' ? found.bind(target) : found;
        }
        return (...args: Parameters<FileSystem['open']>) => {
          const file = target.open(...args);
          const write = file.write.bind(file);
          file.write = (bytes, position) => {
            if (left === 0 || --left > 0) return write(bytes, position);
            write(bytes.subarray(0, bytes.length >> 1), position);
            throw new Died();
          };
          return file;
        };
      },
    });
  return {
    plant: { name: 'dying writes', fileSystem },
    arm: (nth) => {
      left = nth;
    },
  };
}

describe.each<[string, boolean]>([
  ['the coordinator', false],
  ['the client itself', true],
])('decided by %s', (_, isLent) => {
  beforeEach(() => {
    lendsLog = isLent;
  });

  describe('a batch on the thread of its client', () => {
    it('is there at once, everywhere, and after a crash', async () => {
      const { db, client, reopen } = await makeScene();
      const first = await client.batch(everywhere('first'));
      const second = await client.batch(everywhere('second'));
      expect(second).toBeGreaterThan(first as number);
      expect(await read(db)).toEqual(six('second'));
      expect(db.control.stableSequence()).toBeGreaterThanOrEqual(second as number);
      turnAll(db);
      expect(leftovers(db)).toEqual([]);
      expect(await read(await reopen())).toEqual(six('second'));
    });

    it('takes none of the shards when one is away', async () => {
      const { db, client } = await makeScene();
      const id = db.shard(2).client.write([put('other', 'x')]);
      // What was asked for keeps the worker from sleeping, and has a turn coming.
      db.shard(2).shard.turn();
      const lent = client.offer([0, 1]);
      expect(client.directs[2]?.take(partOf([put('a', '1')]))).toBe(false);
      client.takeBack(lent);
      expect(await db.wait(2, id, 100)).toBeDefined();
      turnAll(db);
      expect(leftovers(db)).toEqual([]);
    });
  });

  describe('a PREPARE that cannot be written', () => {
    it.each([
      ['ENOSPC', 1],
      ['ENOSPC', 2],
      ['ENOSPC', 3],
      ['EFBIG', 1],
      ['EFBIG', 2],
    ])(
      'for want of room (%s, at participant %i) refuses the batch, and no more',
      async (errno, at) => {
        const { fs, db, client, reopen } = await makeScene();
        await client.batch(everywhere('first'));
        fs.failOnce(at, errno, 'write');
        await expect(client.batch(everywhere('second'))).rejects.toBeInstanceOf(NoSpaceError);
        turnAll(db);
        expect(leftovers(db)).toEqual([]);
        expect(await read(db)).toEqual(six('first'));
        for (const { shard } of db.shards) {
          const { wal, poison } = shard.state.commit;
          expect([fs.fileSize(wal?.path as string), poison]).toEqual([wal?.bytes, undefined]);
        }
        expect(await client.batch(everywhere('third', 'other'))).toBeGreaterThan(0);
        turnAll(db);
        expect(leftovers(db)).toEqual([]);
        const again = await reopen();
        expect(await read(again)).toEqual(six('first'));
        expect(await read(again, 'other')).toEqual(six('third'));
      },
    );

    it.each([1, 2, 3])(
      'for anything else (at participant %i) has that shard take no more writes',
      async (at) => {
        const { fs, db, client, reopen } = await makeScene();
        await client.batch(everywhere('first'));
        fs.failOnce(at, 'EIO', 'write');
        await expect(client.batch(everywhere('second'))).rejects.toMatchObject({
          code: 'LIGHTNING_READ_ONLY',
        });
        turnAll(db);
        expect(leftovers(db)).toEqual([]);
        expect(await read(db)).toEqual(six('first'));
        for (const [index, { shard, client: plain }] of db.shards.entries()) {
          expect(shard.state.readOnlyReason === undefined).toBe(index !== at - 1);
          if (index !== at - 1) await plain.put('other', 'x');
          else await expect(plain.put('other', 'x')).rejects.toThrow();
        }
        expect(await read(await reopen())).toEqual(six('first'));
      },
    );

    it.each([1, 2, 3])(
      'for reasons that nobody foresaw (at participant %i) leaves nothing held',
      async (at) => {
        const { plant, arm } = dyingWrites();
        const { db, client, reopen } = await makeScene(plant);
        await client.batch(everywhere('first'));
        arm(at);
        await expect(client.batch(everywhere('second'))).rejects.toMatchObject({
          code: 'LIGHTNING_SHARD_UNAVAILABLE',
          details: { outcome: 'none' },
        });
        turnAll(db);
        expect(leftovers(db)).toEqual([]);
        expect(await read(db)).toEqual(six('first'));
        await client.batch(everywhere('third', 'other'));
        const again = await reopen();
        expect(await read(again)).toEqual(six('first'));
        expect(await read(again, 'other')).toEqual(six('third'));
      },
    );
  });

  describe('a batch that is not decided in time', () => {
    it('is handed over to the workers, who answer', async () => {
      const { db, client, reopen } = await makeScene();
      await client.batch(everywhere('first'));
      client.onRing = () => {};
      // The coordinator has its log in use all the while.
      db.durability.log.hold();
      const second = client.batch(everywhere('second'));
      db.durability.log.letGo();
      expect(await read(db)).toEqual(six('first'));
      const slot = 0;
      expect(db.control.transactions.tellOwner(slot)).toBe(false);
      client.onRing = () => db.decide();
      turnAll(db);
      expect(await read(db)).toEqual(six('second'));
      expect(leftovers(db)).toEqual([]);
      client.receive();
      expect(db.control.stableSequence()).toBeGreaterThanOrEqual((await second) as number);
      expect(await read(await reopen())).toEqual(six('second'));
    });

    it("and whose thread dies is the workers' to be told about", async () => {
      const { db, client } = await makeScene();
      const { transactions } = db.control;
      const lent = client.offer(ALL);
      const { slot, word } = prepareAll(db, client);
      transactions.startAwaiting(slot);
      for (const shard of ALL) transactions.prepared(slot, shard);
      client.die();
      client.takeBack(lent);
      expect(transactions.word(slot)).toBe(word);
      // The coordinator has them look.
      expect(transactions.tellOwner(slot)).toBe(false);
      db.decide();
      turnAll(db);
      expect(await read(db)).toEqual(six('second'));
      client.release();
      expect(leftovers(db)).toEqual([]);
    });
  });

  const lentPrepare = (db: LocalDatabase, shard: number) =>
    new LentShard(db.shard(shard).kernel).prepare;

  /** Takes all shards and writes the PREPAREs of a batch to them. */
  function prepareAll(
    db: LocalDatabase,
    client: DirectClient,
    shards: readonly number[] = ALL,
  ): { slot: number; word: number } {
    const { transactions } = db.control;
    const slot = transactions.claim(client.slot);
    const id = client.nextId();
    const bits = shards.reduce((sum, shard) => sum | (1 << shard), 0);
    const word = transactions.begin(slot, id, bits, 0);
    const part = partOf([put('key', 'second'), put('key-2', 'second')]);
    for (const shard of shards) expect(client.directs[shard]?.take(part)).toBe(true);
    for (const shard of shards) {
      expect(client.directs[shard]?.prepare({ slot, word, id }, part)).toBeUndefined();
    }
    return { slot, word };
  }

  /** Applied in shard 0 only: shard 1 has no turn. */
  function leaveUnreleased(db: LocalDatabase, client: DirectClient): TogetherCommit {
    const { transactions } = db.control;
    const { onRing } = client;
    client.onRing = () => {};
    const older = db.commitTogether([
      { shard: 0, operations: [put('older', 'x')] },
      { shard: 1, operations: [put('older', 'x')] },
    ]);
    for (const shard of [0, 1]) for (let i = 0; i < 3; i++) db.shard(shard).shard.turn();
    db.decide();
    for (let i = 0; i < 3; i++) db.shard(0).shard.turn();
    expect(transactions.unapplied(older.slot, 0)).toBe(false);
    expect(transactions.unapplied(older.slot, 1)).toBe(true);
    client.onRing = onRing;
    return older;
  }

  describe('a batch that finds a memtable full', () => {
    it('is over when the worker of that shard has answered, whether others have woken or not', async () => {
      const full = { isFull: false };
      const { db, client, reopen } = await makeScene(undefined, (shard) => {
        const kernel = shard.instantiate();
        const exports = {
          ...kernel.exports,
          applyOps: (...args: [number, number, number]) => {
            if (full.isFull && shard === db.shard(1)) return 1;
            return kernel.exports.applyOps(...args);
          },
        };
        return Object.assign(Object.create(kernel), { exports }) as Kernel;
      });
      await client.batch(everywhere('first'));
      full.isFull = true;
      const lent = client.offer(ALL);
      const second = client.commit(everywhere('second'));
      client.takeBack([1]);
      for (let i = 0; i < 3; i++) db.shard(1).shard.turn();
      client.receive();
      // Nothing that was acknowledged is still hidden.
      expect(db.control.stableSequence()).toBeGreaterThanOrEqual((await second) as number);
      client.takeBack(lent.filter((shard) => shard !== 1));
      turnAll(db);
      expect(await read(db)).toEqual(six('second'));
      expect(leftovers(db)).toEqual([]);
      expect(await read(await reopen())).toEqual(six('second'));
    });
  });

  describe('a batch beside an older commit that is not over', () => {
    it('leaves that hidden, also when the batch before it went wrong', async () => {
      const failing = { applies: false };
      const { db, client } = await makeScene(undefined, (shard) => {
        const kernel = shard.instantiate();
        const exports = {
          ...kernel.exports,
          applyOps: (...args: [number, number, number]) => {
            if (failing.applies) throw new Died();
            return kernel.exports.applyOps(...args);
          },
        };
        return Object.assign(Object.create(kernel), { exports }) as Kernel;
      });
      failing.applies = true;
      await expect(client.batch(everywhere('first'))).rejects.toMatchObject({
        details: { outcome: 'unknown' },
      });
      failing.applies = false;
      turnAll(db);
      expect(await read(db)).toEqual(six('first'));
      expect(leftovers(db)).toEqual([]);
      leaveUnreleased(db, client);
      expect(await client.batch(everywhere('second', 'key', [0, 2]))).toBeGreaterThan(0);
      const { kernel } = db.shard(0);
      expect(Number(kernel.u64[H_UNSETTLED >>> 3])).toBeLessThan(db.control.lastSequence());
      turnAll(db);
      expect(await read(db, 'older')).toEqual([
        'x',
        undefined,
        'x',
        undefined,
        undefined,
        undefined,
      ]);
      expect(leftovers(db)).toEqual([]);
      expect(Number(kernel.u64[H_UNSETTLED >>> 3])).toBeGreaterThan(1e18);
    });
  });

  describe('a thread that dies while it applies', () => {
    it.each([0, 1, 2, 3])(
      'with %i parts applied leaves the rest to the workers',
      async (applied) => {
        const { db, client, reopen } = await makeScene();
        await client.batch(everywhere('first'));
        const { transactions } = db.control;
        const lent = client.offer(ALL);
        const { slot } = prepareAll(db, client);
        for (const shard of ALL) transactions.prepared(slot, shard);
        db.decide();
        const sequence = transactions.sequence(slot);
        for (const shard of ALL.slice(0, applied)) client.directs[shard]?.apply(sequence, 1);
        expect(await Promise.all(db.shards.map(({ client: it }) => it.get('key')))).toEqual(
          Array(3).fill('first'),
        );
        client.die();
        client.takeBack(lent);
        turnAll(db);
        expect(await read(db)).toEqual(six('second'));
        client.release();
        expect(leftovers(db)).toEqual([]);
        for (const { client: plain } of db.shards) await plain.put('key', 'third');
        await db.passInterval();
        expect(db.durability.log.decisions.size).toBe(0);
        const again = await reopen('synced');
        expect(await read(again)).toEqual(Array(3).fill(['third', 'second']).flat());
      },
    );

    it('beside an older commit that is not over keeps what it has applied hidden', async () => {
      const { db, client } = await makeScene();
      const { transactions } = db.control;
      await client.batch(everywhere('first'));
      const older = leaveUnreleased(db, client);
      client.onRing = () => {};
      const lent = client.offer([0, 2]);
      expect(lent).toEqual([0, 2]);
      const { slot } = prepareAll(db, client, [0, 2]);
      for (const shard of [0, 2]) transactions.prepared(slot, shard);
      db.decide();
      // It dies when it has put into the memtable what it had to, before it has said so.
      const { kernel } = db.shard(0);
      const { exports } = kernel;
      const { address, bytes } = lentPrepare(db, 0);
      exports.unsettledIfNone(transactions.sequence(slot));
      exports.applyOps(address, bytes, transactions.sequence(slot));
      exports.groupPublish(transactions.sequence(slot));
      client.die();
      for (let i = 0; i < 3; i++) db.shard(1).shard.turn();
      expect(transactions.unapplied(older.slot, 1)).toBe(false);
      client.takeBack(lent);
      db.shard(0).shard.state.prepared.poll();
      expect(Number(kernel.u64[H_UNSETTLED >>> 3])).toBeLessThanOrEqual(
        transactions.sequence(slot),
      );
      turnAll(db);
      expect(await db.shard(0).client.get('key')).toBe('second');
      expect(await db.shard(2).client.get('key')).toBe('second');
      expect(Number(kernel.u64[H_UNSETTLED >>> 3])).toBeGreaterThan(1e18);
    });
  });

  describe('COMMIT records and decisions', () => {
    it('of many batches are written and forgotten, with the batch after or by the worker', async () => {
      const { db, client, reopen } = await makeScene();
      for (let i = 0; i < 200; i++) {
        const shards = [[0, 1], [1, 2], [0, 2], ALL][i % 4];
        const lent = client.offer(ALL);
        // Several while the workers sleep.
        for (let n = 0; n < 3; n++) await commitLent(db, client, shards ?? ALL, `${i}.${n}`);
        client.takeBack(lent);
        if (i % 10 === 9) {
          await untilRecorded(db);
          await db.passInterval();
        }
        expect(db.durability.log.decisions.size).toBeLessThanOrEqual(30);
      }
      await untilRecorded(db);
      await db.passInterval();
      expect(db.durability.log.decisions.size).toBe(0);
      expect(leftovers(db)).toEqual([]);
      // Nothing is left but what the shards' own logs say.
      const again = await reopen('synced');
      expect(await read(again)).toEqual(six('199.2'));
    });

    it('of what a barrier does not cover go with it, on all shards', async () => {
      for (const mode of ['all', 'synced'] as const) {
        const { db, client, reopen } = await makeScene();
        await client.batch(everywhere('first'));
        await db.passInterval();
        await client.batch(everywhere('second'));
        await client.batch(everywhere('third'));
        expect(await read(await reopen(mode))).toEqual(six(mode === 'all' ? 'third' : 'first'));
      }
    });

    it('outlive flushes, new segments, and a new segment of the decisions', async () => {
      const small = { arenaBytes: 64 * 1024, memtableBytes: 128 * 1024 };
      const { db, client, reopen } = await makeScene(undefined, undefined, small);
      const value = 'v'.repeat(900);
      for (let i = 0; i < 400; i++) {
        const parts = everywhere(`${i}`).map(({ shard, operations }) => ({
          shard,
          operations: [...operations, put(`fill-${i % 97}`, `${i}${value}`)],
        }));
        const batch = client.batch(parts);
        if (batch === undefined) {
          const { requests } = db.commitTogether(parts);
          for (const { shard, id } of requests) await db.wait(shard, id, 1000);
        } else {
          // Where the memtable was full, the worker has to go on.
          turnAll(db);
          client.receive();
          await batch;
        }
        if (i % 50 === 49) await db.passInterval();
        if (i % 100 === 99) await db.flush();
        if (i % 120 === 119) db.durability.log.rotate();
      }
      for (const { shard } of db.shards) {
        expect(shard.flusher.counters.done).toBeGreaterThan(3);
        expect(shard.state.commit.lentGroups).toBeGreaterThan(100);
      }
      const again = await reopen();
      expect(await read(again)).toEqual(six('399'));
      for (const { client: plain } of again.shards) {
        for (let i = 303; i < 400; i++)
          expect(await plain.get(`fill-${i % 97}`)).toBe(`${i}${value}`);
      }
    });
  });
});

/** A batch over shards that have been lent already. */
async function commitLent(
  db: LocalDatabase,
  client: DirectClient,
  shards: readonly number[],
  version: string,
): Promise<void> {
  const committed = client.commit(everywhere(version, 'key', shards));
  expect(committed).toBeDefined();
  await committed;
  for (const shard of shards) {
    const { sequence } = new LentShard(db.shard(shard).kernel).record ?? {};
    expect(sequence).toBe(await committed);
  }
}

async function untilRecorded(db: LocalDatabase): Promise<void> {
  const isRecorded = () => db.shards.every(({ shard }) => shard.state.commitRecords.isEmpty);
  for (let i = 0; i < 1000 && !isRecorded(); i++) {
    turnAll(db);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(isRecorded()).toBe(true);
}
