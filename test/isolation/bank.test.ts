/**
 * 64 accounts over 4 shards, 8 clients: at any moment the sum is what it was, whoever looks, while
 * threads end in the middle of their work, while workers of the database die, and when the process is
 * killed and the database opened again.
 */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const BANK = fileURLToPath(new URL('./bank.mjs', import.meta.url));
const PROCESS = fileURLToPath(new URL('./bank-process.mjs', import.meta.url));
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
      const killAt = 30 + round * 25;
      const { signal } = await runBank(directory.path, { round, killAt, deaths: [] }, acknowledged);
      expect(signal).toBe('SIGKILL');
      expect(acknowledged.size).toBeGreaterThanOrEqual(before + killAt);
      await checkAcknowledged(directory.path, acknowledged);
    }
    directory.remove();
  }, 120_000);

  it('keeps its sum, and every acknowledged transfer, while its workers die', async () => {
    const directory = temporaryDirectory();
    {
      const db = await LightningDb.open(directory.path, OPTIONS);
      await openAccounts(db);
      await db.close();
    }
    const acknowledged = new Set<string>();
    const deaths = ['shard 1', 'coordinator', 'shard 3'];
    const { signal, exitCode } = await runBank(
      directory.path,
      { round: 0, deaths, killAt: undefined },
      acknowledged,
    );
    expect({ signal, exitCode }).toEqual({ signal: null, exitCode: 0 });
    expect(acknowledged.size).toBeGreaterThan(0);
    await checkAcknowledged(directory.path, acknowledged);
    directory.remove();
  }, 120_000);
});

async function checkAcknowledged(path: string, acknowledged: ReadonlySet<string>): Promise<void> {
  const db = await LightningDb.open(path, OPTIONS);
  const ids = checkBooks(db);
  for (const id of acknowledged) expect(ids.has(id), id).toBe(true);
  await db.close();
}

interface BankRound {
  readonly round: number;
  /** Workers of the database that die one after the other; then the process ends. */
  readonly deaths: readonly string[];
  /** After so many acknowledged transfers the process is killed. */
  readonly killAt: number | undefined;
}

async function runBank(
  path: string,
  { round, deaths, killAt }: BankRound,
  acknowledged: Set<string>,
): Promise<{ signal: string | null; exitCode: number | null }> {
  const task = { path, options: OPTIONS, name: `r${round}-`, seed: round * 100 + 1, deaths };
  const child = spawn(process.execPath, [PROCESS, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const failures: string[] = [];
  let transfers = 0;
  let rest = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('t ')) {
        acknowledged.add(line.slice(2));
        if (++transfers === killAt) child.kill('SIGKILL');
      } else {
        failures.push(line);
      }
    }
  });
  const end = await new Promise<{ signal: string | null; exitCode: number | null }>((resolve) => {
    child.on('close', (exitCode, signal) => resolve({ exitCode, signal }));
  });
  expect(failures).toEqual([]);
  return end;
}

async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > 10_000) throw new Error('It never came to be');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
