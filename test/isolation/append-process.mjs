/**
 * A process that runs rounds of the list-append workload: 8 clients on 4 threads, then one read of
 * everything. Writes a line for every round, its history, until it is done or killed. A process of its
 * own, since what LIGHTNING_DB_FAULT weakens is weakened for good.
 */

import { writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const CLIENT = fileURLToPath(new URL('./append-client.mjs', import.meta.url));
const THREADS = 4;
const LANES = 2;
const CLIENTS = THREADS * LANES;

const { path, options, rounds, isolation, attempts, seed, fault, ballastBytes } = JSON.parse(
  process.argv[2],
);
const db = await LightningDb.open(path, options);

function run(workerData) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(CLIENT, { workerData });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

/** Keys of their own, few in the first rounds, so that conflicts are many, and more later. */
async function round(index) {
  const arrived = new Int32Array(new SharedArrayBuffer(4));
  const common = {
    handle: db.share(),
    lanes: LANES,
    clients: CLIENTS,
    attempts,
    isolation,
    name: `round-${index}`,
    lists: 4 + (index % 3) * 6,
    sets: 3 + (index % 3) * 3,
    arrived,
    threads: THREADS,
    fault,
    ballastBytes,
  };
  const parts = await Promise.all(
    Array.from({ length: THREADS }, (_, n) =>
      run({ ...common, firstClient: n * LANES, seed: (seed * 1000 + index) * 100 + n }),
    ),
  );
  return [...parts.flat(), await lookAtAll(common)];
}

async function lookAtAll({ name, sets }) {
  const began = Number(process.hrtime.bigint());
  const operations = [];
  const found = Array.from({ length: sets }, () => []);
  for await (const [key, value] of db.scan({ prefix: `${name}:` })) {
    const [, kind, which, element] = key.split(':');
    if (kind === 'set') found[which].push(Number(element));
    else operations.push({ kind: 'read', key, list: value.split(',').map(Number) });
  }
  found.forEach((list, which) => {
    operations.push({ kind: 'range', key: `${name}:set:${which}`, list });
  });
  const ended = Number(process.hrtime.bigint());
  return { client: -1, began, ended, outcome: 'committed', operations };
}

function say(line) {
  const bytes = Buffer.from(`${line}\n`);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

for (let index = 0; index < rounds; index++) say(JSON.stringify(await round(index)));
await db.close();
process.exit(0);
