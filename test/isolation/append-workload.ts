/** Runs the list-append workload: 8 clients on several threads, then one read of everything. */

import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Isolation, LightningDb } from 'lightning-db';
import type { Attempt, History } from './history.js';

const CLIENT = fileURLToPath(new URL('./append-client.mjs', import.meta.url));
const THREADS = 4;
const LANES = 2;

export interface WorkloadOptions {
  readonly isolation: Isolation;
  readonly keys: readonly string[];
  /** Per client. */
  readonly attempts: number;
  readonly seed: number;
  /** What is broken on purpose; see faulty-transaction.mjs. */
  readonly fault?: string;
}

export async function appendWorkload(
  db: LightningDb,
  { isolation, keys, attempts, seed, fault }: WorkloadOptions,
): Promise<History> {
  const arrived = new Int32Array(new SharedArrayBuffer(4));
  const parts = await Promise.all(
    Array.from({ length: THREADS }, (_, n) =>
      run({
        handle: db.share(),
        lanes: LANES,
        firstClient: n * LANES,
        attempts,
        isolation,
        keys,
        seed: seed * 100 + n,
        arrived,
        threads: THREADS,
        fault,
      }),
    ),
  );
  const history = parts.flat();
  history.push(await finalRead(db, keys));
  return history;
}

function run(workerData: object): Promise<Attempt[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(CLIENT, { workerData });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

async function finalRead(db: LightningDb, keys: readonly string[]): Promise<Attempt> {
  const began = Number(process.hrtime.bigint());
  const lists = await db.getMany(keys);
  return {
    client: -1,
    began,
    ended: Number(process.hrtime.bigint()),
    outcome: 'committed',
    operations: keys.map((key, i) => ({
      kind: 'read',
      key,
      list: (lists[i] ?? '').split(',').filter(Boolean).map(Number),
    })),
  };
}

/** Not so few commits, nor so few conflicts, that the history says nothing. */
export function countsOf(history: History): { committed: number; aborted: number } {
  return {
    committed: history.filter(({ outcome }) => outcome === 'committed').length,
    aborted: history.filter(({ outcome }) => outcome === 'aborted').length,
  };
}
