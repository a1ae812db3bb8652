/** How transactions end when they do not commit: a typed error each, and nothing is left behind. */

import { Worker } from 'node:worker_threads';
import {
  LightningDb,
  type LightningError,
  TooManyTransactionsError,
  type Transaction,
  TransactionFinishedError,
  TransactionTimeoutError,
} from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const small = { shards: 2, cacheSize: 32 << 20 };

let directory: TemporaryDirectory;
let db: LightningDb;
beforeEach(async () => {
  directory = temporaryDirectory();
  db = await LightningDb.open(directory.path, small);
});
afterEach(async () => {
  await db.close();
  directory.remove();
});

async function errorOf(work: () => unknown): Promise<LightningError> {
  try {
    await work();
  } catch (error) {
    expect((error as Error).message.length).toBeGreaterThan(10);
    return error as LightningError;
  }
  throw new Error('It did not throw');
}

/** Everything that a finished transaction must refuse. */
const calls: [string, (tx: Transaction) => unknown][] = [
  ['get', (tx) => tx.get('a')],
  ['getSync', (tx) => tx.getSync('a')],
  ['getForUpdate', (tx) => tx.getForUpdate('a')],
  ['getMany', (tx) => tx.getMany(['a'])],
  ['getManySync', (tx) => tx.getManySync(['a'])],
  ['has', (tx) => tx.has('a')],
  ['hasSync', (tx) => tx.hasSync('a')],
  ['scan', (tx) => tx.scan().toArray()],
  ['scanSync', (tx) => [...tx.scanSync()]],
  ['put', (tx) => tx.put('a', '1')],
  ['delete', (tx) => tx.delete('a')],
  ['savepoint', (tx) => tx.savepoint()],
  ['commit', (tx) => tx.commit()],
];

describe('a finished transaction', () => {
  const endings: [string, (tx: Transaction) => unknown, string][] = [
    ['commit', (tx) => tx.put('x', '1').commit(), 'committed'],
    ['rollback', (tx) => tx.rollback(), 'rollback'],
    [
      'conflict',
      async (tx) => {
        tx.put('x', '1');
        await db.put('x', '2');
        await tx.commit().catch(() => undefined);
      },
      'conflict',
    ],
  ];
  it.each(endings)('after a %s refuses every call', async (_name, end, state) => {
    const tx = db.begin();
    await end(tx);
    expect(tx.isActive).toBe(false);
    for (const [name, call] of calls) {
      const error = await errorOf(() => call(tx));
      expect(error, name).toBeInstanceOf(TransactionFinishedError);
      expect(error, name).toMatchObject({
        code: 'LIGHTNING_TRANSACTION_FINISHED',
        details: { state },
      });
    }
    tx.rollback();
    expect((await db.stats()).snapshots.open).toBe(0);
  });

  it('refuses calls while its commit is under way, too', async () => {
    const tx = db.begin();
    const commit = tx.put('x', '1').commit();
    expect((await errorOf(() => tx.get('x'))).code).toBe('LIGHTNING_TRANSACTION_FINISHED');
    expect((await errorOf(() => tx.rollback())).code).toBe('LIGHTNING_INVALID_ARGUMENT');
    await commit;
    expect(await db.get('x')).toBe('1');
  });

  it('ends a scan that was left open', async () => {
    await db.batch().put('a', '1').put('b', '2').write();
    const tx = db.begin();
    const scan = tx.scanSync({ limit: 1 });
    tx.rollback();
    expect((await errorOf(() => [...scan])).code).toBe('LIGHTNING_TRANSACTION_FINISHED');
  });

  it('was rolled back when a block with "using" is left', async () => {
    {
      const tx = db.begin();
      tx.put('x', '1');
      tx[Symbol.dispose]();
    }
    expect(await db.get('x')).toBeUndefined();
    expect((await db.stats()).transactions.active).toBe(0);
  });
});

describe('a transaction that takes too long', () => {
  it('is rolled back, gives back what it held, and says so', async () => {
    const tx = db.begin({ timeoutMs: 20 });
    tx.put('x', '1');
    await waitUntil(() => !tx.isActive);
    const { transactions, snapshots } = await db.stats();
    expect(transactions.active).toBe(0);
    expect(transactions.aborts.timeout).toBe(1);
    expect(snapshots.open).toBe(0);
    for (const [name, call] of calls) {
      const error = await errorOf(() => call(tx));
      expect(error, name).toBeInstanceOf(TransactionTimeoutError);
      expect(error).toMatchObject({ code: 'LIGHTNING_TIMEOUT', details: { timeoutMs: 20 } });
    }
    expect(await db.get('x')).toBeUndefined();
  });

  it('that was forgotten does not keep its place', async () => {
    for (let i = 0; i < 10; i++) db.begin({ timeoutMs: 10 + i }).put(`x${i}`, '1');
    await waitUntil(async () => (await db.stats()).transactions.aborts.timeout === 10);
    expect((await db.stats()).transactions).toMatchObject({ active: 0, started: 10 });
    expect((await db.stats()).snapshots.open).toBe(0);
  });

  it('rejects db.transaction while its function still runs', async () => {
    let late: unknown;
    const never = db.transaction(
      async (tx) => {
        tx.put('x', '1');
        await waitUntil(() => !tx.isActive);
        late = await errorOf(() => tx.put('y', '1'));
      },
      { timeoutMs: 20 },
    );
    expect((await errorOf(() => never)).code).toBe('LIGHTNING_TIMEOUT');
    await waitUntil(() => late !== undefined);
    expect((late as LightningError).code).toBe('LIGHTNING_TIMEOUT');
    expect(await db.get('x')).toBeUndefined();
  });

  it('because of conflicts gives up', async () => {
    const hopeless = db.transaction(
      async (tx) => {
        tx.put('x', '1');
        await db.put('x', '2');
      },
      { timeoutMs: 100, maxRetries: 1_000_000 },
    );
    expect((await errorOf(() => hopeless)).code).toBe('LIGHTNING_TIMEOUT');
  });
});

describe('a signal', () => {
  it('that is aborted before, rejects at once', async () => {
    let ran = false;
    const work = (): void => {
      ran = true;
    };
    const error = await errorOf(() => db.transaction(work, { signal: AbortSignal.abort('why') }));
    expect(error).toMatchObject({ code: 'LIGHTNING_ABORTED', cause: 'why' });
    expect(ran).toBe(false);
  });

  it('aborted meanwhile rolls back', async () => {
    const controller = new AbortController();
    const running = db.transaction(
      async (tx) => {
        tx.put('x', '1');
        controller.abort();
        await new Promise((resolve) => setImmediate(resolve));
      },
      { signal: controller.signal },
    );
    expect((await errorOf(() => running)).code).toBe('LIGHTNING_ABORTED');
    expect(await db.get('x')).toBeUndefined();
    const { active, aborts } = (await db.stats()).transactions;
    expect({ active, aborted: aborts.aborted }).toEqual({ active: 0, aborted: 1 });
  });

  it('aborted after the end changes nothing', async () => {
    const controller = new AbortController();
    await db.transaction((tx) => void tx.put('x', '1'), { signal: controller.signal });
    controller.abort();
    expect(await db.get('x')).toBe('1');
  });
});

describe('too many transactions', () => {
  it('are refused, on all threads together, until one ends', async () => {
    await db.close();
    db = await LightningDb.open(directory.path, { ...small, maxActiveTransactions: 3 });
    const first = db.begin();
    db.begin();
    const other = await attachedThread(`
      db.begin();
      post((() => { try { db.begin(); return 'begun'; } catch (error) { return error.code; } })());`);
    expect(other.message).toBe('LIGHTNING_TOO_MANY_TRANSACTIONS');
    const error = await errorOf(() => db.begin());
    expect(error).toBeInstanceOf(TooManyTransactionsError);
    expect(error.details).toEqual({ max: 3 });
    expect((await errorOf(() => db.transaction(() => 1))).code).toBe(
      'LIGHTNING_TOO_MANY_TRANSACTIONS',
    );
    first.rollback();
    db.begin().rollback();
    // The thread's own place comes back when it ends.
    await other.worker.terminate();
    await waitUntil(async () => (await db.stats()).transactions.active === 1);
    db.begin();
    db.begin();
    expect((await errorOf(() => db.begin())).code).toBe('LIGHTNING_TOO_MANY_TRANSACTIONS');
  });
});

describe('closing', () => {
  it('rolls back what is active; later calls say that the database is closed', async () => {
    const tx = db.begin().put('x', '1');
    const running = db.transaction(async (t) => {
      t.put('y', '1');
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
    const rejected = errorOf(() => running);
    await db.close();
    expect((await rejected).code).toBe('LIGHTNING_CLOSED');
    for (const [name, call] of calls) {
      expect((await errorOf(() => call(tx))).code, name).toBe('LIGHTNING_CLOSED');
    }
    expect((await errorOf(() => db.begin())).code).toBe('LIGHTNING_CLOSED');
    expect((await errorOf(() => db.transaction(() => 1))).code).toBe('LIGHTNING_CLOSED');
    expect((await errorOf(() => db.putIf('a', 'b', { absent: true }))).code).toBe(
      'LIGHTNING_CLOSED',
    );
    db = await LightningDb.open(directory.path, small);
    expect(await db.getMany(['x', 'y'])).toEqual([undefined, undefined]);
  });

  it('waits for commits that are under way', async () => {
    const commits = Array.from({ length: 50 }, (_, i) =>
      db
        .begin()
        .put(`x${i}`, '1')
        .put(`y${i}`, '1')
        .commit()
        .then(
          () => true,
          () => false,
        ),
    );
    await db.close();
    const committed = await Promise.all(commits);
    db = await LightningDb.open(directory.path, small);
    for (const [i, isCommitted] of committed.entries()) {
      const [x, y] = await db.getMany([`x${i}`, `y${i}`]);
      expect(y).toBe(x);
      if (isCommitted) expect(x).toBe('1');
    }
  });
});

describe('a database opened read-only', () => {
  it('has transactions that read', async () => {
    await db.put('a', '1');
    await db.close();
    db = await LightningDb.open(directory.path, { ...small, readOnly: true });
    const tx = db.begin({ isolation: 'serializable' });
    expect(await tx.get('a')).toBe('1');
    expect(await tx.scan().toArray()).toEqual([['a', '1']]);
    expect((await errorOf(() => tx.put('a', '2'))).code).toBe('LIGHTNING_READ_ONLY');
    expect((await errorOf(() => tx.delete('a'))).code).toBe('LIGHTNING_READ_ONLY');
    await tx.commit();
    expect(await db.transaction((t) => t.get('a'))).toBe('1');
    expect((await errorOf(() => db.putIf('a', 'b', { absent: true }))).code).toBe(
      'LIGHTNING_READ_ONLY',
    );
    expect((await errorOf(() => db.update('a', () => 'b'))).code).toBe('LIGHTNING_READ_ONLY');
  });
});

describe('wrong arguments', () => {
  it('are refused by name, and leave the transaction as it was', async () => {
    const tx = db.begin();
    tx.put('a', '1');
    const anything = tx as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const [method, ...args] of [
      ['put', 1, 'x'],
      ['put', 'x', 1],
      ['put', 'x', 'y', { valueEncoding: 'utf-9' }],
      ['put', 'x', 'y', { sync: true }],
      ['delete', 1],
      ['get', 1],
      ['get', 'x', { encoding: 'utf8' }],
      ['getSync', null],
      ['getForUpdate', {}],
      ['getMany', 'a'],
      ['getMany', ['a', 1]],
      ['scan', { from: 'a' }],
      ['rollbackTo', 1],
      ['commit', { async: true }],
      ['put', 'k'.repeat(65537), 'x'],
    ] as [string, ...unknown[]][]) {
      const { code } = await errorOf(() => anything[method]?.(...args));
      expect(code, `${method}(${args.map(String).join(', ').slice(0, 40)})`).toBe(
        'LIGHTNING_INVALID_ARGUMENT',
      );
    }
    await tx.commit();
    expect(await db.scan().toArray()).toEqual([['a', '1']]);
  });

  it('of the database are refused by name', async () => {
    const anything = db as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const [method, ...args] of [
      ['begin', { isolation: 'read committed' }],
      ['begin', { timeoutMs: 0 }],
      ['begin', { maxRetries: 1 }],
      ['begin', 7],
      ['transaction', 'work'],
      ['transaction', () => 1, { maxRetries: -1 }],
      ['transaction', () => 1, { signal: {} }],
      ['transaction', () => 1, { sync: 1 }],
      ['transaction', () => 1, { isolationLevel: 'snapshot' }],
      ['putIf', 'a', 'b', {}],
      ['putIf', 'a', 'b', { absent: false }],
      ['putIf', 'a', 'b', { absent: true, version: 1 }],
      ['putIf', 'a', 'b', { version: '1' }],
      ['putIf', 'a', 'b', { equals: 7 }],
      ['putIf', 7, 'b', { absent: true }],
      ['update', 'a', 'b'],
      ['getVersioned', 7],
    ] as [string, ...unknown[]][]) {
      expect(
        (await errorOf(() => anything[method]?.(...args))).code,
        `${method} ${JSON.stringify(args)}`,
      ).toBe('LIGHTNING_INVALID_ARGUMENT');
    }
    expect((await db.stats()).transactions.active).toBe(0);
  });
});

describe('encodings', () => {
  it('turn keys and values of transactions into bytes and back, as elsewhere', async () => {
    const other = temporaryDirectory();
    const typed = await LightningDb.open(other.path, {
      ...small,
      keyEncoding: {
        encode: (n: number) => {
          const bytes = Buffer.alloc(8);
          bytes.writeDoubleBE(n);
          return bytes;
        },
        decode: (bytes: Uint8Array) => Buffer.from(bytes).readDoubleBE(),
      },
      valueEncoding: 'json',
    });
    await typed.put(1, { n: 1 });
    await typed.transaction(async (tx) => {
      tx.put(2, { n: 2 }).put(3, 'text', { valueEncoding: 'utf8' });
      expect(await tx.get(2)).toEqual({ n: 2 });
      expect(tx.getSync(3, { valueEncoding: 'buffer' })).toEqual(Buffer.from('text'));
      expect(await tx.getMany([2, 1])).toEqual([{ n: 2 }, { n: 1 }]);
      tx.delete(3);
      expect(Array.from(tx.scanSync({ gte: 1 }))).toEqual([
        [1, { n: 1 }],
        [2, { n: 2 }],
      ]);
      expect(Array.from(tx.scanSync({ reverse: true, values: false }))).toEqual([2, 1]);
    });
    expect(await typed.putIf(2, { n: 3 }, { equals: { n: 2 } })).toBe(true);
    expect(await typed.update(2, (v) => ({ n: (v as { n: number }).n + 1 }))).toEqual({ n: 4 });
    await typed.close();
    other.remove();
  });
});

describe('statistics', () => {
  it('count beginnings, ends and times', async () => {
    const before = (await db.stats()).transactions;
    expect(before).toMatchObject({ active: 0, started: 0, commits: 0, conflictRate: 0 });
    const open = db.begin();
    for (let i = 0; i < 5; i++) await db.transaction((tx) => void tx.put('x', `${i}`));
    open.put('x', 'y');
    await open.commit().catch(() => undefined);
    db.begin().rollback();
    await db.transaction(() => Promise.reject(new Error('oops'))).catch(() => undefined);
    const last = db.begin();
    const after = (await db.stats()).transactions;
    expect(after).toMatchObject({ active: 1, started: 9, commits: 5 });
    expect(after.aborts).toMatchObject({ conflict: 1, rollback: 1, error: 1, timeout: 0 });
    expect(after.conflictRate).toBeCloseTo(1 / 6);
    expect(after.commitLatency.count).toBe(5);
    expect(after.commitLatency.sumUs).toBeGreaterThan(0);
    expect(after.duration.count).toBe(8);
    last.rollback();
  });

  it('count commits over several shards', async () => {
    const batch = db.batch();
    for (let i = 0; i < 20; i++) batch.put(`k${i}`, '1');
    await batch.write();
    await db.transaction((tx) => {
      for (let i = 0; i < 20; i++) tx.put(`k${i}`, '2');
    });
    expect((await db.stats()).transactions.acrossShards).toEqual({
      committed: 2,
      aborted: { newer: 0, locked: 0, range: 0, wounded: 0, unavailable: 0, log: 0, timeout: 0 },
      wounded: 0,
      inDoubt: 0,
      preparing: 0,
      unreleased: 0,
      unknown: 0,
    });
  });

  it('add up over threads, and keep what a thread that has gone did', async () => {
    const { worker } = await attachedThread(`
      await db.transaction((tx) => { tx.put('t', '1'); });
      post('done');`);
    await worker.terminate();
    await db.transaction((tx) => void tx.put('x', '1'));
    expect((await db.stats()).transactions.commits).toBe(2);
  });

  it('are left out on request', async () => {
    await db.close();
    db = await LightningDb.open(directory.path, { ...small, enableStatistics: false });
    const open = db.begin();
    await db.transaction((tx) => void tx.put('x', '1'));
    const { active, started, commits, duration } = (await db.stats()).transactions;
    expect({ active, started, commits, count: duration.count }).toEqual({
      active: 1,
      started: 0,
      commits: 0,
      count: 0,
    });
    open.rollback();
  });
});

/** Runs code with an attached `db`, and `post`, on a thread; resolves with the first post. */
async function attachedThread(code: string): Promise<{ worker: Worker; message: unknown }> {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { LightningDb } = require('lightning-db');
    const post = (message) => parentPort.postMessage(message);
    setInterval(() => {}, 1000);
    LightningDb.attach(workerData).then(async (db) => { ${code} });`;
  const worker = new Worker(source, { eval: true, workerData: db.share() });
  const message = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  return { worker, message };
}

async function waitUntil(holds: () => boolean | Promise<boolean>): Promise<void> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > 10_000) throw new Error('It never came to be');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
