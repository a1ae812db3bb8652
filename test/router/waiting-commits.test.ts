/** Commits that wait in their client for a slot of the transaction table, and what is asked for after. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  REQUEST_BLOB_BEGIN,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../../src/kernel/assembly/layout.js';
import { SHARD_DOWN, SHARD_SERVING } from '../../src/router/control-block.js';
import { TRANSACTION_SLOTS } from '../../src/router/transaction-table.js';
import { type FakeDatabase, fakeDatabase } from './fake-database.js';

const OTHER_CLIENT = 60;

let fake: FakeDatabase;
afterEach(async () => {
  fake.resume();
  await fake.db.close();
  fake.pause();
});

/** A database of which somebody else has all slots; `free` gives one back. */
async function start(shards = 2) {
  fake = await fakeDatabase({ shards });
  fake.resume();
  const { transactions } = fake.control;
  const slots = Array.from({ length: TRANSACTION_SLOTS }, () => transactions.claim(OTHER_CLIENT));
  const free = (): void => {
    const slot = slots.pop();
    if (slot !== undefined) transactions.unclaim(slot, transactions.word(slot));
  };
  const seen = (kind: number): number =>
    fake.shards.reduce((sum, shard) => sum + (shard.seen.get(kind) ?? 0), 0);
  return { db: fake.db, free, seen };
}

const KEYS = Array.from({ length: 16 }, (_, i) => `key-${i}`);

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe('a batch that waits for a slot', () => {
  it('is not overtaken by what its client writes after it', async () => {
    const { db, free, seen } = await start();
    const batch = db.batch();
    for (const key of KEYS) batch.put(key, 'batch');
    const order: string[] = [];
    const writes = [batch.write().then(() => order.push('batch'))];
    for (const key of KEYS) writes.push(db.put(key, 'put').then(() => order.push('put')));
    writes.push(db.delete('key-3').then(() => order.push('delete')));
    writes.push(db.put('large', 'x'.repeat(300_000)).then(() => order.push('large')));
    writes.push(
      db
        .batch()
        .put('key-4', 'last')
        .write()
        .then(() => order.push('alone')),
    );
    await pause();
    expect(order).toEqual([]);
    expect([REQUEST_WRITE, REQUEST_BLOB_BEGIN, REQUEST_PREPARE].map(seen)).toEqual([0, 0, 0]);
    free();
    await Promise.all(writes);
    expect(order).toHaveLength(KEYS.length + 4);
  });

  it('is followed by the next one, with what was written between the two before it', async () => {
    const { db, free, seen } = await start();
    const commit = (value: string): Promise<void> => {
      const batch = db.batch();
      for (const key of KEYS) batch.put(key, value);
      return batch.write();
    };
    const writes = [commit('first'), db.put('key-0', 'between'), commit('second')];
    writes.push(db.put('key-1', 'after'));
    await pause();
    expect(seen(REQUEST_WRITE)).toBe(0);
    free();
    await Promise.all(writes);
    expect(await db.get('key-0')).toBe('second');
    expect(await db.get('key-1')).toBe('after');
  });

  it('holds up no reads, and no writes to shards that it has no part for', async () => {
    const { db, free } = await start(8);
    const [first, second, ...rest] = KEYS;
    const batch = db
      .batch()
      .put(first as string, '1')
      .put(second as string, '2');
    const waiting = batch.write();
    const others = rest.map((key) => db.put(key, 'put').then(() => key));
    expect(rest).toContain(await Promise.race(others));
    expect(await db.get('missing')).toBeUndefined();
    free();
    await Promise.all([waiting, ...others]);
  });

  it('gives way when a shard goes away: what waited behind it was not applied', async () => {
    const { db, free } = await start();
    const batch = db.batch();
    for (const key of KEYS) batch.put(key, 'batch');
    const written = batch.write();
    const put = db.put('key-0', 'put');
    await pause();
    for (const { shard } of fake.session.client.shards) {
      fake.control.setShardState(shard, SHARD_DOWN);
    }
    await expect(put).rejects.toMatchObject({
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      details: { outcome: 'none' },
    });
    free();
    await expect(written).rejects.toMatchObject({ code: 'LIGHTNING_SHARD_UNAVAILABLE' });
    for (const { shard } of fake.session.client.shards) {
      fake.control.setShardState(shard, SHARD_SERVING);
    }
    await db.put('key-0', 'again');
    expect(await db.get('key-0')).toBe('again');
  });
});
