/**
 * Clients of the list-append workload on a thread of their own: each runs transactions of 1 to 6
 * random operations, one after the other, and writes down what it did and saw.
 *
 * A list is the value of its key: the elements, joined by commas. An append reads the list and
 * writes it one longer, so that everything rests on what the database promises about that.
 *
 * A set is a range of keys, one per element, and is read by a scan of all of it.
 *
 * Every client also has two lists to which nobody else appends, so that it can do so without a
 * transaction: with a plain put, or to both at once with a batch.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { FAULTS } from './faulty-transaction.mjs';

const { handle, lanes, firstClient, clients, attempts, isolation, name, lists, sets, seed } =
  workerData;
const { arrived, threads, fault, ballastBytes = 0 } = workerData;
const db = await LightningDb.attach(handle);

let state = seed >>> 0;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
const now = () => Number(process.hrtime.bigint());
const parse = (text) => (text === undefined || text === '' ? [] : text.split(',').map(Number));
const tick = () => new Promise((resolve) => setImmediate(resolve));

const history = [];
const mayUseAll = fault === undefined;

const begin = () => (fault === undefined ? db.begin({ isolation }) : FAULTS[fault](db, isolation));
const sharedList = () => `${name}:list:${below(lists)}`;
const ownList = (client, which) => `${name}:own:${client}:${which}`;
const anyList = () =>
  mayUseAll && below(3) === 0 ? ownList(below(clients), 'ab'[below(2)]) : sharedList();

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

async function readSet(tx, prefix) {
  const options = { prefix: `${prefix}:`, values: false, reverse: below(2) === 0 };
  const keys = below(2) === 0 ? Array.from(tx.scanSync(options)) : await tx.scan(options).toArray();
  return keys.map((key) => Number(key.slice(prefix.length + 1))).sort((a, b) => a - b);
}

async function operate(tx, operations, elements) {
  const kind = below(mayUseAll ? 10 : 6);
  if (kind < 3) {
    const key = anyList();
    operations.push({ kind: 'read', key, list: await read(tx, key) });
  } else if (kind < 6) {
    const key = sharedList();
    const list = parse(await (tx.getForAppend ?? tx.get).call(tx, key));
    const element = elements.next++;
    tx.put(key, [...list, element].join(','));
    operations.push({ kind: 'append', key, element });
  } else {
    const key = `${name}:set:${below(sets)}`;
    if (kind < 8) {
      operations.push({ kind: 'range', key, list: await readSet(tx, key) });
    } else {
      const element = elements.next++;
      tx.put(`${key}:${element}`, 'here');
      operations.push({ kind: 'insert', key, element });
    }
  }
  if (below(4) === 0) await tick();
}

async function transact(client, elements) {
  const began = now();
  const operations = [];
  let outcome = 'committed';
  try {
    const tx = begin();
    const count = 1 + below(6);
    for (let n = 0; n < count; n++) await operate(tx, operations, elements);
    // The shard that has to take this votes late: the others wait, prepared.
    if (ballastBytes > 0 && below(3) === 0) {
      tx.put(`ballast:${below(64)}`, 'x'.repeat(ballastBytes));
    }
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

/** Appends to the own lists without a transaction, and looks around at once. */
async function append(client, own, elements) {
  const began = now();
  const names = below(2) === 0 ? ['a', 'b'] : ['ab'[below(2)]];
  const operations = names.map((which) => {
    own[which].push(elements.next);
    return { kind: 'append', key: ownList(client, which), element: elements.next++ };
  });
  if (names.length === 1) await db.put(operations[0].key, own[names[0]].join(','));
  else {
    const batch = db.batch();
    names.forEach((which, i) => {
      batch.put(operations[i].key, own[which].join(','));
    });
    await batch.write();
  }
  history.push({ client, began, ended: now(), outcome: 'committed', operations });
  if (below(2) === 0) await look(client);
}

/** Reads the own lists and some others, in a transaction that writes nothing. */
async function look(client) {
  const began = now();
  const keys = [ownList(client, 'a'), ownList(client, 'b')];
  for (let list = 0; list < Math.min(lists, 8); list++) keys.push(`${name}:list:${list}`);
  const tx = db.begin({ isolation });
  const values = await tx.getMany(keys);
  await tx.commit();
  const operations = keys.map((key, i) => ({ kind: 'read', key, list: parse(values[i]) }));
  history.push({ client, began, ended: now(), outcome: 'committed', operations });
}

async function lane(client) {
  const elements = { next: client * 1_000_000 + 1 };
  const own = { a: [], b: [] };
  for (let n = 0; n < attempts; n++) {
    if (mayUseAll && below(4) === 0) await append(client, own, elements);
    else await transact(client, elements);
  }
}

await Promise.all(Array.from({ length: lanes }, (_, n) => lane(firstClient + n)));
await db.close();
parentPort.postMessage(history);
