/**
 * A bank: money moves between accounts in transactions, while plain puts and batches go on beside.
 * Every transfer writes an entry of its own, so that the balances can be worked out anew.
 *
 * As a worker thread it attaches to the database of `workerData.handle`; as a process of its own it
 * opens the one at the path given, and reports every acknowledged transfer on its standard output.
 */

import { writeSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const ACCOUNTS = 64;
const OPENING = 100;
const account = (n) => `account:${String(n).padStart(2, '0')}`;

const [path, optionsJson, prefix, seedText] = process.argv.slice(2);
const { name, seed } = isMainThread ? { name: prefix, seed: Number(seedText) } : workerData;
const db = isMainThread
  ? await LightningDb.open(path, JSON.parse(optionsJson))
  : await LightningDb.attach(workerData.handle);

let state = seed >>> 0;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
let next = 0;
let transfers = 0;
let looks = 0;

function report(line) {
  if (!isMainThread) return;
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

async function transfer(isolation) {
  const from = account(below(ACCOUNTS));
  const to = account(below(ACCOUNTS));
  if (from === to) return;
  const amount = 1 + below(20);
  const id = `${name}-${next++}`;
  const isWritten = await db.transaction(
    async (tx) => {
      const [left, right] = (await tx.getMany([from, to])).map(Number);
      if (left < amount) return false;
      tx.put(from, `${left - amount}`);
      tx.put(to, `${right + amount}`);
      tx.put(`transfer:${id}`, `${from} ${to} ${amount}`);
      return true;
    },
    { isolation, maxRetries: 10_000 },
  );
  if (!isWritten) return;
  report(`t ${id}\n`);
  transfers++;
}

/** The sum at one moment, found in one of several ways. */
async function look() {
  let sum = 0;
  const keys = Array.from({ length: ACCOUNTS }, (_, n) => account(n));
  const way = below(3);
  if (way === 0) {
    for (const [, balance] of db.scanSync({ prefix: 'account:' })) sum += Number(balance);
  } else if (way === 1) {
    const tx = db.begin();
    for (const balance of await tx.getMany(keys)) sum += Number(balance);
    await tx.commit();
  } else {
    const snapshot = db.snapshot();
    for (const key of keys) sum += Number(await snapshot.get(key));
    snapshot.close();
  }
  if (sum !== ACCOUNTS * OPENING) throw new Error(`The bank has ${sum} (way ${way})`);
  // A batch writes both halves of a pair, or neither.
  const [a, b] = Array.from(db.scanSync({ prefix: `pair:${below(8)}:`, keys: false }));
  if (a !== b) throw new Error(`A batch was torn: ${a}, ${b}`);
  looks++;
}

async function lane(isolation) {
  while (!ended) {
    await transfer(isolation);
    if (below(10) === 0) await look();
  }
}

async function others() {
  for (let n = 0; !ended; n++) {
    await db.put(`noise:${n % 100}`, `${n}`);
    const pair = `pair:${below(8)}:`;
    await db.batch().put(`${pair}a`, `${name}-${n}`).put(`${pair}b`, `${name}-${n}`).write();
  }
}

let ended = false;
if (!isMainThread)
  parentPort.once('message', () => {
    ended = true;
  });
report('ready\n');
await Promise.all([lane('snapshot'), lane('serializable'), others()]);
await db.close();
parentPort?.postMessage({ transfers, looks });
