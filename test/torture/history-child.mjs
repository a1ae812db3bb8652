/**
 * One round: opens the database, has threads with lanes work on it, ends some of them in the middle,
 * ends workers of the database if it is told to, and closes it in the end if nobody kills it before.
 * Everything is told on standard output.
 */

import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { EngineWorkers } from './engine-workers.mjs';
import { random } from './operations.mjs';

const { LightningDb } = await import('lightning-db');

const { path, directory, options, seed, round, seconds, threads, lanes, hasDeaths } = JSON.parse(
  process.argv[2],
);
const say = (line) => writeSync(1, `${line}\n`);
const next = random(seed * 1000 + round);
const below = (n) => Math.floor(next() * n);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const engine = new EngineWorkers();
const db = await LightningDb.open(path, { ...options, workerDirectory: engine.directory });
let started = 0;
const running = new Set();

async function start() {
  const index = started++;
  const workerData = {
    handle: db.share(),
    name: `s${seed}r${round}t${index}`,
    lanes,
    seed: seed * 10_000 + round * 100 + index,
    shards: options.shards,
    directory,
  };
  const worker = new Worker(new URL('./history-lanes.mjs', import.meta.url), { workerData });
  worker.ended = new Promise((resolve) => worker.once('exit', resolve));
  worker.on('error', (error) => {
    // One that came while the coordinator was away.
    if (/Cannot attach|stopped before/.test(error.message)) return;
    say(`FAILED ${error.stack}`);
  });
  worker.on('message', ({ snapshot }) => {
    if (snapshot === undefined) return;
    const others = [...running].filter((other) => other !== worker);
    others[below(others.length)]?.postMessage({ snapshot });
  });
  worker.once('exit', () => running.delete(worker));
  running.add(worker);
}

for (let i = 0; i < threads; i++) await start();
say('ready');
const deaths = new Map();
const endsMs = performance.now() + seconds * 1000;
while (performance.now() < endsMs) {
  await pause(100 + below(300));
  const what = below(12);
  try {
    if (what < 2) await db.flush();
    else if (what === 2) await db.compact();
    else if (what === 3 && running.size > 1) await [...running][0].terminate();
    else if (hasDeaths && what === 4) {
      const name = below(3) === 0 ? 'coordinator' : `shard ${below(options.shards)}`;
      if ((deaths.get(name) ?? 0) < 3 && engine.has(name)) {
        deaths.set(name, (deaths.get(name) ?? 0) + 1);
        // One that is only just starting does not hear of it.
        const gone = engine.kill(name, ['terminate', 'throw', 'exit'][below(3)]);
        await Promise.race([gone, pause(2000)]);
      }
    }
  } catch (error) {
    const isPassing = [
      'LIGHTNING_SHARD_UNAVAILABLE',
      'LIGHTNING_ABORTED',
      'LIGHTNING_TIMEOUT',
    ].includes(error.code);
    if (!isPassing) say(`FAILED ${error.code} ${error.stack}`);
  }
  if (running.size < threads && started < 60) await start();
}
for (const worker of running) worker.postMessage({ what: 'end' });
for (const worker of running) {
  const isEnded = await Promise.race([worker.ended.then(() => true), pause(90_000)]);
  if (isEnded !== true) say('FAILED a thread does not end');
}
const { transactions, snapshots, clients } = await db.stats();
const { commits, aborts, acrossShards } = transactions;
say(`stats ${JSON.stringify({ commits, aborts, acrossShards, clients, started })}`);
if (transactions.active !== 0) say(`FAILED ${transactions.active} transactions are left over`);
if (snapshots.open !== 0) say(`FAILED ${snapshots.open} snapshots are left over`);
const { problems } = await db.check();
if (problems.length > 0) say(`FAILED check: ${JSON.stringify(problems)}`);
await db.close();
engine.close();
say('closed');
process.exit(0);
