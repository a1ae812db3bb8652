/** The workloads of transactions as part of a round: Lightning DB's alone, no peer has their like. */

import type { TransactionStats } from 'lightning-db';
import { uniform, zipfian } from '../src/cli/bench/key-choice.js';
import { LightningStore } from '../src/cli/bench/lightning-store.js';
import type { BenchStore, Durability } from '../src/cli/bench/store.js';
import type { ExtraWorkload } from '../src/cli/bench/suites.js';
import {
  checkOrders,
  crossShard,
  LANES,
  loadOrders,
  newOrder,
  singleShard,
  type TransactionContext,
  ycsbF,
} from './transaction-workloads.js';

const WAREHOUSES = 10;

export function transactionWorkloads(
  store: BenchStore,
  durability: Durability,
  shards: number,
): readonly ExtraWorkload[] {
  if (!(store instanceof LightningStore)) return [];
  const { db } = store;
  const named = durability === 'sync' ? 'tx sync' : 'tx';
  let before: TransactionStats | undefined;
  const statistics = async (): Promise<TransactionStats> => (await db.stats()).transactions;
  const conflicts = {
    prepare: async (): Promise<void> => {
      before = await statistics();
    },
    note: async (): Promise<string> => {
      const after = await statistics();
      const conflicted = after.aborts.conflict - (before?.aborts.conflict ?? 0);
      const attempts = conflicted + after.commits - (before?.commits ?? 0);
      return `${((conflicted / Math.max(attempts, 1)) * 100).toFixed(2)} % conflicts`;
    },
  };
  const workload = (
    name: string,
    run: (context: TransactionContext, lanes: number) => Promise<void>,
    choice: typeof uniform,
  ): ExtraWorkload[] =>
    [LANES, 1].map((lanes) => ({
      ...conflicts,
      name: `${named} ${name} ${lanes === 1 ? 'alone' : `${lanes} in flight`}`,
      run: ({ records, pace, seed, count }) =>
        run({ db, records, pace, seed, shards, choose: choice(count, seed) }, lanes),
    }));
  return [
    ...workload('single-shard', singleShard, uniform),
    ...workload('cross-shard', crossShard, uniform),
    ...workload('ycsb f', ycsbF, zipfian).slice(0, 1),
    ...workload('zipfian', singleShard, zipfian).slice(0, 1),
    ...workload('zipfian cross-shard', crossShard, zipfian).slice(0, 1),
    {
      ...conflicts,
      name: `${named} new-order ${LANES} in flight`,
      prepare: async () => {
        await loadOrders(db, WAREHOUSES);
        await conflicts.prepare();
      },
      run: ({ pace, seed }) => newOrder({ db, pace, seed }, WAREHOUSES),
      check: async () => {
        if ((await checkOrders(db)) === 0) throw new Error('No order was made');
      },
    },
  ];
}
