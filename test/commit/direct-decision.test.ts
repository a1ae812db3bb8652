/**
 * The coordinator's log in the hands of clients: what they append is the coordinator's when it takes the log
 * back, whatever went wrong; nothing is decided twice, forgotten, or by two at a time.
 */

import { describe, expect, it } from 'vitest';
import { DecisionLog } from '../../src/coordinator/decision-log.js';
import { logSegmentName, readDecisionLog } from '../../src/coordinator/log-reader.js';
import { verifyDatabase } from '../../src/coordinator/verify-database.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { AttachedThreads, type AttachService } from '../../src/router/attached-threads.js';
import { stateOf, TRANSACTION_UNKNOWN } from '../../src/router/transaction-table.js';
import { COORDINATOR_DIRECTORY } from '../../src/version/database-file.js';
import { createPlace, DATABASE_PATH, LocalDatabase } from '../durability/local-database.js';
import { DATABASE_ID, put, testConfig } from '../shard/harness.js';
import { DirectClient, leftovers } from './direct-client.js';

const SHARDS = 3;
const ALL = [0, 1, 2];
const COORDINATOR = `${DATABASE_PATH}/${COORDINATOR_DIRECTORY}`;

class Died extends Error {}

async function makeScene() {
  const fs = new MemoryFileSystem(5);
  createPlace(fs, SHARDS);
  const config = testConfig({ shards: SHARDS, walSync: 'async' });
  const options = { fs, config, lendsLog: true };
  const db = await LocalDatabase.open(options);
  let rings = 0;
  let diesAt = -1;
  /** As the client sees it: it may die in the middle of a write to the coordinator's log. */
  const open: FileSystem['open'] = (path, mode) => {
    const file = fs.open(path, mode);
    const write = file.write.bind(file);
    file.write = (bytes, position) => {
      if (diesAt < 0) return write(bytes, position);
      write(bytes.subarray(0, diesAt), position);
      throw new Died();
    };
    return file;
  };
  const dying = new Proxy(fs, {
    get: (target, name) => {
      const found: unknown = name === 'open' ? open : Reflect.get(target, name);
      return typeof found === 'function' ? found.bind(target) : found;
    },
  });
  const client = new DirectClient(db, undefined, dying);
  client.onRing = () => {
    rings++;
    db.decide();
  };
  return {
    fs,
    db,
    client,
    rings: () => rings,
    dieAt: (bytes: number) => {
      diesAt = bytes;
    },
    reopen: async (mode: 'all' | 'synced' = 'all') => {
      await db.abandon();
      fs.crash(mode);
      return LocalDatabase.open(options);
    },
  };
}

const everywhere = (version: string) =>
  ALL.map((shard) => ({ shard, operations: [put('key', version)] }));

async function read(db: LocalDatabase): Promise<(string | undefined)[]> {
  const found: (string | undefined)[] = [];
  for (const { client } of db.shards) found.push(await client.get('key'));
  return found;
}

const three = (version: string) => Array(3).fill(version);

const inLog = (fs: FileSystem): number =>
  readDecisionLog(fs, COORDINATOR, DATABASE_ID)?.decisions.size ?? 0;

function turnAll(db: LocalDatabase): void {
  for (let i = 0; i < 5; i++) db.turn();
}

describe('a log that is lent', () => {
  it('takes decisions without a word to the coordinator, which knows them when it looks', async () => {
    const { fs, db, client, rings } = await makeScene();
    const { log } = db.durability;
    const sequences: (number | undefined)[] = [];
    for (let i = 0; i < 10; i++) sequences.push(await client.batch(everywhere(`${i}`)));
    expect([rings(), inLog(fs)]).toEqual([0, 10]);
    log.hold();
    expect([...log.decisions.values()].map(({ sequence }) => sequence)).toEqual(sequences);
    log.letGo();
    // Carried over into the next segment, since nothing says that they are not needed.
    log.rotate();
    expect(inLog(fs)).toBe(10);
    await client.batch(everywhere('after'));
    expect([rings(), inLog(fs)]).toEqual([0, 11]);
    expect(await read(db)).toEqual(three('after'));
  });

  it('is not had while the coordinator uses it', async () => {
    const { fs, db, client, rings } = await makeScene();
    const { log } = db.durability;
    client.onRing = () => {
      expect(inLog(fs)).toBe(0);
      log.letGo();
      db.decide();
    };
    log.hold();
    expect(await client.batch(everywhere('first'))).toBeGreaterThan(0);
    expect(inLog(fs)).toBe(1);
    expect(rings()).toBe(0);
    expect(await read(db)).toEqual(three('first'));
  });

  it('is looked at now and then: the coordinator decides, and takes up what there is', async () => {
    const { fs, db, client, rings } = await makeScene();
    for (let i = 0; i < 3000; i++) await client.batch(everywhere(`${i}`));
    // 64 KiB of frames of 56 bytes are 1170, then comes one of its own.
    expect(rings()).toBe(2);
    db.durability.log.hold();
    expect(db.durability.log.decisions.size).toBe(3000);
    expect(inLog(fs)).toBe(3000);
  });

  it.each(['all', 'synced'] as const)(
    'has what was decided behind a mark on the medium with it (%s)',
    async (mode) => {
      const { db, client, reopen } = await makeScene();
      for (let i = 0; i < 5; i++) await client.batch(everywhere(`${i}`));
      await db.passInterval();
      expect(await read(await reopen(mode))).toEqual(three('4'));
    },
  );

  it('is found whole by the next coordinator, when one has died while it was lent', async () => {
    const { db, client, rings, reopen } = await makeScene();
    for (let i = 0; i < 5; i++) await client.batch(everywhere(`${i}`));
    db.replaceCoordinator();
    db.durability.log.hold();
    expect(db.durability.log.decisions.size).toBe(5);
    db.durability.log.letGo();
    await client.batch(everywhere('after'));
    expect(rings()).toBe(0);
    expect(await read(await reopen())).toEqual(three('after'));
  });

  it('is not lent where every commit is synced', async () => {
    const fs = new MemoryFileSystem(5);
    createPlace(fs, SHARDS);
    const config = testConfig({ shards: SHARDS, walSync: 'sync' });
    const db = await LocalDatabase.open({ fs, config, lendsLog: true });
    expect(db.control.transactions.lentLog.take(2, 56)).toBe(false);
  });
});

describe('a decision that a client cannot write', () => {
  it('for want of room is refused by the coordinator, which finds none either', async () => {
    const { fs, db, client, reopen } = await makeScene();
    await client.batch(everywhere('first'));
    const plain = client.onRing;
    fs.failFrom(4, 'ENOSPC', 'write');
    client.onRing = () => {
      plain();
      fs.clearFaults();
    };
    const second = client.batch(everywhere('second'));
    turnAll(db);
    client.receive();
    await expect(second).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
    client.onRing = plain;
    turnAll(db);
    expect(leftovers(db)).toEqual([]);
    expect(inLog(fs)).toBe(1);
    // The next one goes by way of the workers, as after each that was not decided.
    expect(client.batch(everywhere('none'))).toBeUndefined();
    await client.batch(everywhere('third'));
    expect(inLog(fs)).toBe(2);
    expect(await read(await reopen())).toEqual(three('third'));
  });

  it('for want of room is made by the coordinator when that has passed', async () => {
    const { fs, db, client, rings } = await makeScene();
    fs.failOnce(4, 'ENOSPC', 'write');
    expect(await client.batch(everywhere('first'))).toBeGreaterThan(0);
    expect([rings(), inLog(fs)]).toEqual([1, 1]);
    expect(await read(db)).toEqual(three('first'));
  });

  it('for anything else is one of which nobody knows, and the last', async () => {
    const { fs, db, client, reopen } = await makeScene();
    await client.batch(everywhere('first'));
    fs.failOnce(4, 'EIO', 'write');
    const second = client.batch(everywhere('second'));
    turnAll(db);
    client.receive();
    void second?.catch(() => {});
    expect(db.durability.log.poison).toMatchObject({ code: 'LIGHTNING_IO' });
    const { transactions } = db.control;
    const states = Array.from({ length: transactions.highWater }, (_, slot) =>
      stateOf(transactions.word(slot)),
    );
    expect(states).toContain(TRANSACTION_UNKNOWN);
    expect(transactions.lentLog.take(2, 56)).toBe(false);
    db.replaceCoordinator();
    expect(transactions.lentLog.take(2, 56)).toBe(false);
    const found = await read(await reopen());
    expect([three('first'), three('second')]).toContainEqual(found);
  });
});

describe('a decision that ends in what nobody foresaw', () => {
  it.each([0, 30, 56])(
    'after %i bytes of it leaves the log to the coordinator, which makes it',
    async (bytes) => {
      const { fs, db, client, dieAt, reopen } = await makeScene();
      await client.batch(everywhere('first'));
      const lent = client.offer(ALL);
      dieAt(bytes);
      client.onRing = () => {};
      await expect(client.commit(everywhere('second'))).rejects.toMatchObject({
        details: { outcome: 'unknown' },
      });
      expect(db.control.transactions.lentLog.isHeldBy(client.slot)).toBe(false);
      client.onRing = () => db.decide();
      client.takeBack(lent);
      turnAll(db);
      expect(leftovers(db)).toEqual([]);
      expect(inLog(fs)).toBe(2);
      expect(await read(await reopen())).toEqual(three('second'));
    },
  );
});

describe('a log whose sync fails', () => {
  it('while it is lent is lent no longer', async () => {
    const { fs, db, client } = await makeScene();
    await client.batch(everywhere('first'));
    const { log } = db.durability;
    fs.failOnce(1, 'EIO', 'sync');
    await expect(log.appendMark(db.control.lastSequence())).rejects.toMatchObject({
      code: 'LIGHTNING_IO',
    });
    expect(db.control.transactions.lentLog.take(2, 56)).toBe(false);
    expect(log.decisions.size).toBe(1);
  });
});

describe('a client that dies with the log', () => {
  it('keeps its slot until the coordinator has the log, though no shard is there to find it', async () => {
    const { db, client, dieAt, fs } = await makeScene();
    const { transactions } = db.control;
    await client.batch(everywhere('first'));
    client.offer(ALL);
    dieAt(30);
    const { abort } = Object.getPrototypeOf(transactions);
    Object.assign(transactions, {
      abort: () => {
        throw new Died();
      },
    });
    expect(() => client.commit(everywhere('second'))).toThrow(Died);
    Object.assign(transactions, { abort });
    client.die();
    const service = {
      releaseClient: () => Promise.reject(new Error('The shard is away')),
      releaseLog: () => db.durability.log.takeUp(),
    };
    const threads = new AttachedThreads({
      databaseId: DATABASE_ID,
      control: db.control,
      service: service as unknown as AttachService,
      openerThread: 0,
    });
    threads.start();
    while (db.control.retiredClients().length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    threads.close();
    expect(db.control.claimClient(9)).toBe(client.slot);
    expect(transactions.lentLog.isHeldBy(client.slot)).toBe(false);
    expect(inLog(fs)).toBe(2);
  });

  it.each([0, 1, 30, 55, 56])(
    'after %i bytes of a decision has it decided again by the coordinator, when a shard finds it',
    async (bytes) => {
      const { fs, db, client, dieAt, reopen } = await makeScene();
      await client.batch(everywhere('first'));
      const lent = client.offer(ALL);
      dieAt(bytes);
      // Nothing runs in the thread any more: neither does what would tidy up after the error.
      const abandon = Object.getPrototypeOf(db.control.transactions).abort;
      Object.assign(db.control.transactions, {
        abort: () => {
          throw new Died();
        },
      });
      expect(() => client.commit(everywhere('second'))).toThrow(Died);
      Object.assign(db.control.transactions, { abort: abandon });
      client.die();
      client.takeBack(lent);
      turnAll(db);
      expect(leftovers(db)).toEqual([]);
      expect(await read(db)).toEqual(three('second'));
      expect(inLog(fs)).toBe(2);
      db.durability.log.hold();
      expect(db.durability.log.decisions.size).toBe(2);
      db.durability.log.letGo();
      expect(await read(await reopen())).toEqual(three('second'));
    },
  );
});

describe('a client that dies between its decision and the commit', () => {
  it('has decided, even when the coordinator finds no more room in the log', async () => {
    const { fs, db, client, reopen } = await makeScene();
    const { transactions } = db.control;
    await client.batch(everywhere('first'));
    const lent = client.offer(ALL);
    const { abort, commit } = Object.getPrototypeOf(transactions);
    const die = () => {
      throw new Died();
    };
    Object.assign(transactions, { abort: die, commit: die });
    expect(() => client.commit(everywhere('second'))).toThrow(Died);
    Object.assign(transactions, { abort, commit });
    client.die();
    fs.failFrom(1, 'ENOSPC', 'write');
    db.durability.log.takeUp();
    fs.clearFaults();
    client.takeBack(lent);
    turnAll(db);
    expect(leftovers(db)).toEqual([]);
    expect(await read(db)).toEqual(three('second'));
    expect(await read(await reopen())).toEqual(three('second'));
  });
});

describe('what was appended to a lent log', () => {
  it('is checked like the rest of it', async () => {
    const { fs, db, client } = await makeScene();
    for (let i = 0; i < 5; i++) await client.batch(everywhere(`${i}`));
    const { log } = db.durability;
    const { segment, bytes } = log;
    const job = { kind: 'verify-database', path: DATABASE_PATH, databaseId: DATABASE_ID } as const;
    expect(bytes).toBe(fs.fileSize(`${COORDINATOR}/${logSegmentName(segment)}`));
    const inLogs = () =>
      verifyDatabase(fs, { ...job, log: { segment, bytes } }).filter(({ file }) =>
        file.endsWith('.log'),
      );
    expect(inLogs()).toEqual([]);
    const file = fs.open(`${COORDINATOR}/${logSegmentName(segment)}`, 'r+');
    file.write(Buffer.from([1]), bytes - 20);
    expect(inLogs()).toHaveLength(1);
  });

  it('and cannot be read back ends the log: nothing of it is forgotten', async () => {
    const { fs, db, client } = await makeScene();
    await client.batch(everywhere('first'));
    fs.failReadOnce(1, 'EIO');
    db.durability.log.hold();
    expect(db.durability.log.poison).toMatchObject({ code: 'LIGHTNING_IO' });
    db.durability.log.letGo();
    expect(() => db.durability.log.rotate()).toThrow();
    const again = DecisionLog.open({
      fs,
      directory: COORDINATOR,
      databaseId: DATABASE_ID,
      bootId: 99,
      systemIdentity: fs.systemIdentity(),
      isSyncRun: false,
      syncShards: () => {},
    });
    expect(again.decisions.size).toBe(1);
  });
});
