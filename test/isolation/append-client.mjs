/**
 * Clients of the list-append workload on a thread of their own: each runs transactions of 1 to 6
 * random operations, one after the other, and writes down what it did and saw.
 *
 * A list is the value of its key: the elements, joined by commas. An append reads the list and
 * writes it one longer, so that everything rests on what the database promises about that.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { FAULTS } from './faulty-transaction.mjs';

const { handle, lanes, firstClient, attempts, isolation, keys, seed, arrived, threads, fault } =
  workerData;
const db = await LightningDb.attach(handle);

let state = seed >>> 0;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
const now = () => Number(process.hrtime.bigint());
const parse = (text) => (text === undefined || text === '' ? [] : text.split(',').map(Number));

const history = [];

const begin = () => (fault === undefined ? db.begin({ isolation }) : FAULTS[fault](db, isolation));

/** All threads begin together. */
Atomics.add(arrived, 0, 1);
while (Atomics.load(arrived, 0) < threads) await new Promise((resolve) => setTimeout(resolve, 1));

/** Reads with one of the ways there are; all must agree. */
async function read(tx, key) {
  const way = below(5);
  if (way === 0) return parse(tx.getSync(key));
  if (way === 1) return parse((await tx.getMany([key]))[0]);
  if (way === 2) {
    for (const [found, value] of tx.scanSync({ gte: key, limit: 1 })) {
      return found === key ? parse(value) : [];
    }
    return [];
  }
  if (way === 3) {
    const entries = await tx.scan({ lte: key, reverse: true, limit: 1 }).toArray();
    return entries[0]?.[0] === key ? parse(entries[0][1]) : [];
  }
  return parse(await tx.get(key));
}

async function work(tx, operations, elements) {
  const count = 1 + below(6);
  for (let n = 0; n < count; n++) {
    const key = keys[below(keys.length)];
    if (below(2) === 0) {
      operations.push({ kind: 'read', key, list: await read(tx, key) });
    } else {
      const list = parse(await (tx.getForAppend ?? tx.get).call(tx, key));
      const element = elements.next++;
      tx.put(key, [...list, element].join(','));
      operations.push({ kind: 'append', key, element });
    }
    if (below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function attempt(client, elements) {
  const began = now();
  const operations = [];
  let outcome = 'committed';
  try {
    const tx = begin();
    await work(tx, operations, elements);
    if (below(20) === 0) {
      tx.rollback();
      outcome = 'aborted';
    } else {
      await tx.commit();
    }
  } catch (error) {
    if (error.code === 'LIGHTNING_CONFLICT' || error.details?.outcome === 'none') {
      outcome = 'aborted';
    } else if (error.details?.outcome === 'unknown') {
      outcome = 'unknown';
    } else {
      throw error;
    }
  }
  history.push({ client, began, ended: now(), outcome, operations });
}

async function lane(client) {
  const elements = { next: client * 1_000_000 + 1 };
  for (let n = 0; n < attempts; n++) await attempt(client, elements);
}

await Promise.all(Array.from({ length: lanes }, (_, n) => lane(firstClient + n)));
await db.close();
parentPort.postMessage(history);
