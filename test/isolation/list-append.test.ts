/** Random transactions of 8 clients on 4 threads: no history that the isolation level excludes. */

import type { Isolation } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { appendHistories, countsOf } from './append-workload.js';
import { violations } from './list-append-checker.js';

const ROUNDS = Number(process.env['APPEND_ROUNDS'] ?? 3);
const SEED = Number(process.env['APPEND_SEED'] ?? 1);

const cases: { isolation: Isolation; shards: number; ballastBytes: number }[] = [
  { isolation: 'snapshot', shards: 1, ballastBytes: 0 },
  { isolation: 'snapshot', shards: 4, ballastBytes: 0 },
  { isolation: 'serializable', shards: 1, ballastBytes: 0 },
  { isolation: 'serializable', shards: 4, ballastBytes: 400_000 },
];

describe('list appends, sets, plain puts and batches', () => {
  it.each(cases)(
    'under $isolation, over $shards shards',
    async ({ isolation, shards, ballastBytes }) => {
      const options = { isolation, shards, rounds: ROUNDS, attempts: 60, seed: SEED };
      let rounds = 0;
      for await (const history of appendHistories({ ...options, ballastBytes })) {
        rounds++;
        const { committed, aborted } = countsOf(history);
        expect(committed).toBeGreaterThan(100);
        expect(aborted).toBeGreaterThan(0);
        expect(violations(history, isolation)).toEqual([]);
      }
      expect(rounds).toBe(ROUNDS);
    },
    300_000,
  );
});
