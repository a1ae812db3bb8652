/** The benchmark's transactions do what they say: nothing is lost or counted twice. */

import { LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import * as workloads from '../../bench/transaction-workloads.js';
import { uniform, zipfian } from '../../src/cli/bench/key-choice.js';
import { Pace } from '../../src/cli/bench/pace.js';
import { Records } from '../../src/cli/bench/records.js';
import { temporaryDirectory } from '../api/temporary-directory.js';

const SHARDS = 2;
const COUNT = 500;
const OPERATIONS = 400;

describe('workloads of transactions', () => {
  it('commit what they count', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, {
      shards: SHARDS,
      cacheSize: 32 << 20,
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
    });
    const records = new Records(COUNT);
    const fill = db.batch();
    for (let id = 0; id < COUNT; id++) fill.put(records.key(id), records.value(id, 0));
    await fill.write();
    const contextOf = (choose = uniform(COUNT, 7)): workloads.TransactionContext => {
      const pace = new Pace({ seconds: Number.POSITIVE_INFINITY, operationsMax: OPERATIONS });
      pace.start();
      return { db, records, pace, choose, shards: SHARDS, seed: 7 };
    };
    const commitsOf = async (work: () => Promise<unknown>): Promise<number> => {
      const before = (await db.stats()).transactions.commits;
      await work();
      return (await db.stats()).transactions.commits - before;
    };

    for (const work of [workloads.singleShard, workloads.crossShard]) {
      const context = contextOf();
      expect(await commitsOf(() => work(context))).toBe(context.pace.operations);
    }
    expect(await commitsOf(() => workloads.ycsbF(contextOf()))).toBeGreaterThan(OPERATIONS / 4);
    const context = contextOf(zipfian(COUNT, 7));
    const { attempts, conflicts } = await workloads.conflictRate(context);
    expect(attempts).toBe(context.pace.operations);
    expect(conflicts).toBeLessThan(attempts);

    await workloads.loadOrders(db, 1);
    const orders = contextOf();
    await workloads.newOrder(orders, 1);
    expect(await workloads.checkOrders(db)).toBe(orders.pace.operations);
    await db.close();
    directory.remove();
  });
});
