/**
 * What a database keeps in memory has limits: each is driven to where it holds, and `stats` shows it.
 * A client that never takes its answers: test/shard/pressure.test.ts. Requests that nobody waits for,
 * refused: test/router/client.test.ts. Indexes and filters: test/shard/meta-allocator.test.ts.
 */

import { LightningDb } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const MIB = 1 << 20;
const SHARDS = 2;
const MEMTABLE_BYTES = MIB;
const CACHE_BYTES = 8 * MIB;
const TRANSACTIONS_MAX = 20;
/** Memtables of a shard: see ARENA_COUNT in src/limits.ts. */
const MEMTABLES_MAX = 4;
/** What the kernel merges at once: see SOURCES_MAX in its layout. */
const RUNS_MAX = 40;
const SNAPSHOTS_MAX = 1024;
const PUTS = 100_000;
const VALUE = 'v'.repeat(300);

const directory = temporaryDirectory();
let db: LightningDb;
beforeAll(async () => {
  db = await LightningDb.open(directory.path, {
    shards: SHARDS,
    memtableSize: MEMTABLE_BYTES,
    cacheSize: CACHE_BYTES,
    // All values are alike.
    compressionEnabled: false,
    maxActiveTransactions: TRANSACTIONS_MAX,
  });
});
afterAll(async () => {
  await db.close();
  directory.remove();
});

async function expectBounded(): Promise<void> {
  const { shards, total } = await db.stats();
  expect(total.memtableBytes).toBeLessThanOrEqual(2 * MEMTABLE_BYTES * SHARDS);
  expect(total.cacheBytes).toBeLessThanOrEqual(CACHE_BYTES);
  for (const { memtables, runs, indexes } of shards) {
    expect(memtables.count).toBeLessThanOrEqual(MEMTABLES_MAX);
    expect(runs.length).toBeLessThanOrEqual(RUNS_MAX);
    expect(indexes.bytes).toBeLessThanOrEqual(indexes.bytesMax);
  }
}

describe('more than fits', () => {
  it('of puts that nobody waits for go through memtables that are full, and all of them arrive', async () => {
    let acknowledged = 0;
    const puts: Promise<void>[] = [];
    for (let i = 0; i < PUTS; i++) {
      puts.push(
        db.put(`key-${i}`, VALUE).then(() => {
          acknowledged++;
        }),
      );
    }
    // The answers cannot have come yet: this thread has not looked.
    expect(acknowledged).toBe(0);
    while (acknowledged < PUTS) {
      await expectBounded();
      await Promise.race([puts[PUTS - 1], new Promise((resolve) => setTimeout(resolve, 20))]);
    }
    const { flushes } = (await db.stats()).shards[0] ?? {};
    expect(flushes?.done).toBeGreaterThan(0);
  }, 120_000);

  it('of blocks goes through the cache', async () => {
    await db.flush();
    let count = 0;
    for await (const entries of db.scan({ prefix: 'key-' }).batches()) {
      count += entries.length;
      for (const [, value] of entries) if (value !== VALUE) throw new Error('A value is another');
    }
    expect(count).toBe(PUTS);
    for (let i = 0; i < PUTS; i += 7) expect(db.getSync(`key-${i}`)).toBe(VALUE);
    const { total, shards } = await db.stats();
    expect(total.tableBytes).toBeGreaterThan(2 * CACHE_BYTES);
    expect(shards.some(({ cache }) => cache.evictions > 0)).toBe(true);
    await expectBounded();
  }, 120_000);

  it('of snapshots is refused, and counted', async () => {
    const snapshots = Array.from({ length: SNAPSHOTS_MAX }, () => db.snapshot());
    expect((await db.stats()).snapshots.open).toBe(SNAPSHOTS_MAX);
    expect(() => db.snapshot()).toThrow(
      expect.objectContaining({ code: 'LIGHTNING_LIMIT_EXCEEDED' }),
    );
    // Nothing else is held up by them.
    await db.put('key-0', VALUE);
    expect(await db.get('key-0')).toBe(VALUE);
    for (const snapshot of snapshots) snapshot.close();
    expect((await db.stats()).snapshots.open).toBe(0);
  });

  it('of scans that stand still is refused, and counted', async () => {
    const scans: AsyncIterator<unknown>[] = [];
    let refusal: unknown;
    while (refusal === undefined && scans.length <= SNAPSHOTS_MAX) {
      const scan = db.scan({ prefix: 'key-' })[Symbol.asyncIterator]();
      const first = await scan.next().catch((error: unknown) => {
        refusal = error;
      });
      if (first !== undefined) scans.push(scan);
    }
    expect(refusal).toMatchObject({ code: 'LIGHTNING_LIMIT_EXCEEDED' });
    expect((await db.stats()).snapshots.open).toBe(scans.length);
    await expectBounded();
    await Promise.all(scans.map((scan) => scan.return?.()));
    expect((await db.stats()).snapshots.open).toBe(0);
  }, 120_000);

  it('of transactions is refused, and counted', async () => {
    const transactions = Array.from({ length: TRANSACTIONS_MAX }, () => db.begin());
    expect((await db.stats()).transactions.active).toBe(TRANSACTIONS_MAX);
    expect(() => db.begin()).toThrow(
      expect.objectContaining({ code: 'LIGHTNING_TOO_MANY_TRANSACTIONS' }),
    );
    for (const transaction of transactions) transaction.rollback();
    expect((await db.stats()).transactions.active).toBe(0);
  });
});
