/**
 * 64 accounts over 4 shards: at any moment the sum is what it was, whoever looks, while threads end
 * in the middle of their work, and when the process is killed and the database opened again.
 */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const BANK = fileURLToPath(new URL('./bank.mjs', import.meta.url));
const ACCOUNTS = 64;
const OPENING = 100;
const OPTIONS = { shards: 4, cacheSize: 4 * (8 << 20), memtableSize: 512 << 10 };
const ROUNDS = Number(process.env['BANK_ROUNDS'] ?? 3);

const account = (n: number): string => `account:${String(n).padStart(2, '0')}`;

async function openAccounts(db: LightningDb): Promise<void> {
  const batch = db.batch();
  for (let n = 0; n < ACCOUNTS; n++) batch.put(account(n), `${OPENING}`);
  await batch.write();
}

/** Every balance is what the transfers that are written down make of it. */
function checkBooks(db: LightningDb): Set<string> {
  const balances = new Map<string, number>();
  for (let n = 0; n < ACCOUNTS; n++) balances.set(account(n), OPENING);
  const ids = new Set<string>();
  for (const [key, entry] of db.scanSync({ prefix: 'transfer:' })) {
    const [from = '', to = '', amount] = entry.split(' ');
    balances.set(from, (balances.get(from) ?? 0) - Number(amount));
    balances.set(to, (balances.get(to) ?? 0) + Number(amount));
    ids.add(key.slice('transfer:'.length));
  }
  const found = Array.from(db.scanSync({ prefix: 'account:' }), ([k, v]) => [k, Number(v)]);
  expect(found).toEqual([...balances]);
  for (let n = 0; n < 8; n++) {
    const pair = Array.from(db.scanSync({ prefix: `pair:${n}:`, keys: false }));
    expect(new Set(pair).size).toBeLessThanOrEqual(1);
  }
  return ids;
}

describe('a bank', () => {
  it('keeps its sum while threads work, and while some of them end in the middle', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, OPTIONS);
    await openAccounts(db);
    let started = 0;
    let failure: unknown;
    const start = (): Worker => {
      const workerData = { handle: db.share(), name: `w${started}`, seed: 77 + started++ };
      const worker = new Worker(BANK, { workerData });
      worker.on('error', (error) => {
        failure ??= error;
      });
      return worker;
    };
    const workers = Array.from({ length: 4 }, start);
    for (let round = 0; round < ROUNDS; round++) {
      for (let look = 0; look < 20; look++) {
        const snapshot = db.snapshot();
        let sum = 0;
        for (const [, balance] of snapshot.scanSync({ prefix: 'account:' })) sum += Number(balance);
        expect(sum).toBe(ACCOUNTS * OPENING);
        snapshot.close();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      await (workers.shift() as Worker).terminate();
      workers.push(start());
      if (round % 2 === 0) await db.flush();
    }
    const results = await Promise.all(
      workers.map(async (worker) => {
        const result = new Promise<{ transfers: number; looks: number }>((resolve) => {
          worker.once('message', resolve);
          worker.once('exit', () => resolve({ transfers: 0, looks: 0 }));
        });
        worker.postMessage('end');
        return result;
      }),
    );
    expect(failure).toBeUndefined();
    expect(results.reduce((sum, { transfers }) => sum + transfers, 0)).toBeGreaterThan(0);
    expect(checkBooks(db).size).toBeGreaterThan(20);
    await waitUntil(async () => {
      const { transactions, snapshots } = await db.stats();
      return transactions.active === 0 && snapshots.open === 0;
    });
    await db.close();
    directory.remove();
  }, 120_000);

  it('keeps its sum, and every acknowledged transfer, over kill -9', async () => {
    const directory = temporaryDirectory();
    {
      const db = await LightningDb.open(directory.path, OPTIONS);
      await openAccounts(db);
      await db.close();
    }
    const acknowledged = new Set<string>();
    for (let round = 0; round < ROUNDS; round++) {
      const before = acknowledged.size;
      await transferUntilKilled(directory.path, round, acknowledged);
      const db = await LightningDb.open(directory.path, OPTIONS);
      const ids = checkBooks(db);
      for (const id of acknowledged) expect(ids.has(id), id).toBe(true);
      expect(acknowledged.size).toBeGreaterThan(before);
      await db.close();
    }
    directory.remove();
  }, 120_000);
});

async function transferUntilKilled(
  path: string,
  round: number,
  acknowledged: Set<string>,
): Promise<void> {
  const args = [BANK, path, JSON.stringify(OPTIONS), `r${round}`, String(round + 1)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let rest = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === 'ready') setTimeout(() => child.kill('SIGKILL'), 150 + round * 60);
      else acknowledged.add(line.slice(2));
    }
  });
  const signal = await new Promise((resolve) => {
    child.on('close', (_code, s) => resolve(s));
  });
  expect(signal).toBe('SIGKILL');
}

async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > 10_000) throw new Error('It never came to be');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
