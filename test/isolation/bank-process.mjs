/**
 * A bank in a process of its own, to be killed: 8 clients on 4 threads move money, and a look at every
 * account is taken all the time. With `deaths`, shard workers and the coordinator are ended meanwhile,
 * one after the other, and the process ends by itself. Failures are lines that begin with FAILED.
 */

import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { EngineWorkers } from '../torture/engine-workers.mjs';

const { LightningDb } = await import('lightning-db');

const { path, options, name, seed, deaths } = JSON.parse(process.argv[2]);
const THREADS = 4;
const say = (line) => writeSync(1, `${line}\n`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const engine = new EngineWorkers();
const db = await LightningDb.open(path, { ...options, workerDirectory: engine.directory });
const failed = (error) => say(`FAILED ${error.stack}`);
const workers = Array.from({ length: THREADS }, (_, n) => {
  const workerData = { handle: db.share(), name: `${name}${n}`, seed: seed + n, reports: true };
  const worker = new Worker(new URL('./bank.mjs', import.meta.url), { workerData });
  worker.on('error', failed);
  return worker;
});
const ends = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
await Promise.all(
  workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))),
);

let isOver = false;
async function watch() {
  while (!isOver) {
    let snapshot;
    try {
      snapshot = db.snapshot();
      let sum = 0;
      for (const [, balance] of snapshot.scanSync({ prefix: 'account:' })) sum += Number(balance);
      if (sum !== 6400) say(`FAILED the bank has ${sum}`);
    } catch (error) {
      if (error.code !== 'LIGHTNING_SHARD_UNAVAILABLE') failed(error);
    } finally {
      snapshot?.close();
    }
    await pause(2);
  }
}
const watching = watch();

/** The next one dies when the one before has been replaced, and everybody is at work again. */
for (const victim of deaths) {
  await pause(100);
  await engine.kill(victim, 'terminate');
  for (;;) {
    try {
      await db.flush();
      break;
    } catch {
      await pause(10);
    }
  }
}
if (deaths.length > 0) {
  for (const worker of workers) worker.postMessage('end');
  await Promise.all(ends);
  isOver = true;
  await watching;
  // What threads held is given back soon after their end.
  for (let tries = 0; ; tries++) {
    const { transactions, snapshots } = await db.stats();
    if (transactions.active === 0 && snapshots.open === 0) break;
    if (tries === 2000) {
      say(`FAILED ${transactions.active} transactions, ${snapshots.open} snapshots are left over`);
      break;
    }
    await pause(5);
  }
  await db.close();
  engine.close();
  process.exit(0);
}
