/**
 * Batches over all shards that are committed on the client's own thread, one after the other, each of
 * which writes the next version to every key, until a fault happens. Says what it begins and what is
 * acknowledged, and in the end, if the process lives on, what is seen of it.
 *
 * `where`: "thread", the fault is armed in another thread, which writes the batches, and nowhere else;
 * "workers", everywhere but in the thread that writes.
 */

import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const KEYS = Array.from({ length: 12 }, (_, i) => `key-${i}`);
const say = (line) => writeSync(1, `${line}\n`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function write(db, version) {
  const batch = db.batch();
  for (const key of KEYS) batch.put(key, String(version));
  await batch.write();
}

/** Puts wake the workers, which then lend their shards for a while. */
async function warmUp(db) {
  for (let i = 0; i < 10; i++) for (const key of KEYS) await db.put(`warm-${key}`, 'up');
}

/** Writes versions until the fault happens, or a batch is refused. */
async function writeOn(db, versions = 20_000) {
  await warmUp(db);
  for (let version = 1; version <= versions; version++) {
    say(`begin ${version}`);
    try {
      await write(db, version);
    } catch (error) {
      say(`refused ${error.code} ${error.details.outcome}`);
      return;
    }
    say(`done ${version}`);
  }
}

if (!isMainThread) {
  await writeOn(await LightningDb.attach(workerData));
} else {
  const [path, where, fault, shards = '3'] = process.argv.slice(2);
  const db = await LightningDb.open(path, {
    shards: Number(shards),
    cacheSize: 16 << 20,
    memtableSize: 1 << 20,
  });
  if (where === 'thread') await inThread(db, fault);
  else await writeOn(db, 300);
  await lookAround(db, process.env.LIGHTNING_DB_FAULT?.startsWith('hang:'));
  await db.close();
}

/** While the thread writes, and after it has died, nobody sees a part of a batch. */
async function inThread(db, fault) {
  const env = { ...process.env, LIGHTNING_DB_FAULT: fault };
  await write(db, 0);
  const worker = new Worker(new URL(import.meta.url), { env, workerData: db.share() });
  let isOver = false;
  worker.once('exit', () => {
    isOver = true;
  });
  worker.on('error', (error) => say(`error ${error.message}`));
  let highest = 0;
  const see = (values) => {
    const versions = [...new Set(values)];
    if (versions.length > 1) say(`torn ${versions.join(' ')}`);
    if (Number(versions[0]) < highest) say(`back ${highest} ${versions[0]}`);
    highest = Number(versions[0]);
  };
  const look = () => {
    const snapshot = db.snapshot();
    see(KEYS.map((key) => snapshot.getSync(key)));
    snapshot.close();
    see([...db.scanSync({ prefix: 'key-' })].map(([, value]) => value));
  };
  const endsBy = performance.now() + 30_000;
  while (!isOver && performance.now() < endsBy) {
    look();
    await sleep(0);
  }
  // What it left is taken up by then, or is about to be.
  for (let i = 0; i < 50; i++) {
    look();
    await sleep(1);
  }
}

/** Reads see one version, and what was held is free again. */
async function lookAround(db, isHung) {
  const values = await untilServed(() => Promise.all(KEYS.map((key) => db.get(key))));
  const entries = await db.scan({ prefix: 'key-' }).toArray();
  const seen = [...new Set([...values, ...entries.map(([, value]) => value)])];
  say(`sees ${seen.join(' ')}`);
  // A coordinator that hangs answers no call.
  if (isHung) process.exit(0);
  const { shards } = await untilServed(() => db.stats());
  say(`direct ${shards.every(({ wal }) => wal.directGroups > 0)}`);
  for (const key of KEYS) {
    await untilServed(() => db.transaction(async (tx) => tx.put(key, await tx.get(key))));
  }
  for (let i = 0; i < 200; i++) await untilServed(() => write(db, seen[0]));
  const after = await db.stats();
  const { preparing, unreleased } = after.transactions.acrossShards;
  say(`left ${preparing} ${unreleased}`);
}

async function untilServed(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error.code !== 'LIGHTNING_SHARD_UNAVAILABLE') throw error;
      await sleep(5);
    }
  }
}
