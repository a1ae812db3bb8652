/**
 * Clients of a bank on a thread of their own: money moves between accounts in transactions, while
 * plain puts and batches go on beside. Every transfer writes an entry of its own, so that the balances
 * can be worked out anew. With `reports`, each acknowledged transfer is a line on standard output.
 *
 * A shard that is being replaced is waited for; a transfer whose outcome is not known is not made again.
 */

import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

/** What becomes of operations when a part of the database dies. */
const DEATHS = ['LIGHTNING_SHARD_UNAVAILABLE', 'LIGHTNING_ABORTED'];

const ACCOUNTS = 64;
const OPENING = 100;
const account = (n) => `account:${String(n).padStart(2, '0')}`;

const { handle, name, seed, reports } = workerData;
const db = await LightningDb.attach(handle);

let state = seed >>> 0;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
let next = 0;
let transfers = 0;
let looks = 0;

function report(line) {
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

/** Work that is left, for now, when a shard or the coordinator is away. */
async function ifThere(work) {
  try {
    await work();
  } catch (error) {
    if (!DEATHS.includes(error.code)) throw error;
    await new Promise((resolve) => setTimeout(resolve, 5));
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
  if (reports) report(`t ${id}\n`);
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
    try {
      for (const balance of await tx.getMany(keys)) sum += Number(balance);
    } finally {
      tx.rollback();
    }
  } else {
    const snapshot = db.snapshot();
    try {
      for (const key of keys) sum += Number(await snapshot.get(key));
    } finally {
      snapshot.close();
    }
  }
  if (sum !== ACCOUNTS * OPENING) throw new Error(`The bank has ${sum} (way ${way})`);
  // A batch writes both halves of a pair, or neither.
  const [a, b] = Array.from(db.scanSync({ prefix: `pair:${below(8)}:`, keys: false }));
  if (a !== b) throw new Error(`A batch was torn: ${a}, ${b}`);
  looks++;
}

async function lane(isolation) {
  while (!ended) {
    await ifThere(() => transfer(isolation));
    if (below(10) === 0) await ifThere(look);
  }
}

async function others() {
  for (let n = 0; !ended; n++) {
    await ifThere(() => db.put(`noise:${n % 100}`, `${n}`));
    const pair = `pair:${below(8)}:`;
    const value = `${name}-${n}`;
    await ifThere(() => db.batch().put(`${pair}a`, value).put(`${pair}b`, value).write());
  }
}

let ended = false;
parentPort.once('message', () => {
  ended = true;
});
if (reports) parentPort.postMessage({ attached: true });
await Promise.all([lane('snapshot'), lane('serializable'), others()]);
await db.close();
parentPort.postMessage({ transfers, looks });
