/** The workloads of transactions as part of a round: Lightning DB's alone, no peer has their like. */

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
  const workload = (
    name: string,
    run: (context: TransactionContext, lanes: number) => Promise<void>,
    choice: typeof uniform,
  ): ExtraWorkload[] =>
    [LANES, 1].map((lanes) => ({
      name: `${named} ${name} ${lanes === 1 ? 'alone' : `${lanes} in flight`}`,
      run: ({ records, pace, seed, count }) =>
        run({ db, records, pace, seed, shards, choose: choice(count, seed) }, lanes),
    }));
  return [
    ...workload('single-shard', singleShard, uniform),
    ...workload('cross-shard', crossShard, uniform),
    ...workload('ycsb f', ycsbF, zipfian).slice(0, 1),
    {
      name: `${named} new-order ${LANES} in flight`,
      prepare: () => loadOrders(db, WAREHOUSES),
      run: ({ pace, seed }) => newOrder({ db, pace, seed }, WAREHOUSES),
      check: async () => {
        if ((await checkOrders(db)) === 0) throw new Error('No order was made');
      },
    },
  ];
}
