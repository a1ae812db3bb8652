/**
 * Commits two batches over all shards, the second of which may meet a fault (LIGHTNING_DB_FAULT), and
 * says what it sees. Each batch writes one version to every key. In the mode "thread" another thread
 * writes the second one, and dies; in the mode "hang" a shard hangs.
 */

import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const [path, mode, walSyncMode = 'async'] = process.argv.slice(2);
const say = (line) => writeSync(1, `${line}\n`);
const KEYS = Array.from({ length: 8 }, (_, i) => `key-${i}`);

async function write(db, version) {
  const batch = db.batch();
  for (const key of KEYS) batch.put(key, version);
  await batch.write();
}

/** What the keys hold, once every shard is there. */
async function versions(db) {
  for (;;) {
    try {
      const values = await Promise.all(KEYS.map((key) => db.get(key)));
      const entries = await db.scan().toArray();
      return [...new Set([...values, ...entries.map(([, value]) => value)])].join(' ');
    } catch (error) {
      if (error.code !== 'LIGHTNING_SHARD_UNAVAILABLE') throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Writes from a thread of its own, until that ends. */
async function writeFromThread(db) {
  const source = `
    const { workerData } = require('node:worker_threads');
    const { LightningDb } = require('lightning-db');
    LightningDb.attach(workerData.handle).then(async (db) => {
      for (const version of ['first', 'second']) {
        const batch = db.batch();
        for (const key of workerData.keys) batch.put(key, version);
        await batch.write();
      }
    });`;
  const worker = new Worker(source, { eval: true, workerData: { handle: db.share(), keys: KEYS } });
  await new Promise((resolve) => worker.once('exit', resolve));
}

/** A shard that hangs answers nothing: what the others have done is looked at on this thread. */
async function sayHeld(db) {
  const writes = KEYS.map((key) => db.transaction((tx) => void tx.put(key, 'first')));
  await Promise.any(writes);
  say('released');
  say([...new Set(KEYS.map((key) => db.getSync(key)))].join(' '));
  process.exit(0);
}

// By way of the workers: direct-committer.mjs is for the other.
const db = await LightningDb.open(path, {
  shards: 2,
  cacheSize: 16 << 20,
  walSyncMode,
  directCommits: false,
});
if (mode === 'thread') {
  await write(db, 'first');
  await writeFromThread(db);
  await sayHeld(db);
}
if (mode === 'hang') {
  await write(db, 'first');
  for (const when of ['refused', 'at once']) {
    await write(db, 'second').catch(({ code, details }) =>
      say(`${when} ${code} ${details.outcome}`),
    );
  }
  await sayHeld(db);
}
if (mode === 'write') {
  await write(db, 'first');
  const outcome = await write(db, 'second').then(
    () => 'committed',
    (error) => `refused ${error.code}`,
  );
  say(outcome);
}
say(await versions(db));
await db.close();
