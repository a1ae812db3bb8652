/** Random transactions of 8 clients on 4 threads: no history that the isolation level excludes. */

import { type Isolation, LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { appendWorkload, countsOf } from './append-workload.js';
import { violations } from './list-append-checker.js';

const ATTEMPTS = Number(process.env['APPEND_ATTEMPTS'] ?? 120);

const cases = (['snapshot', 'serializable'] as const).flatMap((isolation) =>
  [1, 4].map((shards): { isolation: Isolation; shards: number } => ({ isolation, shards })),
);

describe('list appends', () => {
  it.each(cases)(
    'under $isolation, over $shards shards',
    async ({ isolation, shards }) => {
      const directory = temporaryDirectory();
      const db = await LightningDb.open(directory.path, {
        shards,
        cacheSize: shards * (8 << 20),
        memtableSize: 512 << 10,
      });
      const committed: number[] = [];
      for (let round = 0; round < 3; round++) {
        // Fresh keys each round, few in the first, so that conflicts are many, and more later.
        const keys = Array.from({ length: 4 + round * 8 }, (_, i) => `list:${round}:${i}`);
        const options = { isolation, keys, attempts: ATTEMPTS / 2, seed: round + shards * 10 };
        const history = await appendWorkload(db, options);
        const counts = countsOf(history);
        committed.push(counts.committed);
        expect(counts.aborted).toBeGreaterThan(0);
        expect(violations(history, isolation)).toEqual([]);
      }
      expect(Math.min(...committed)).toBeGreaterThan(ATTEMPTS / 4);
      await db.close();
      directory.remove();
    },
    120_000,
  );
});
