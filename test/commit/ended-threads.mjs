/**
 * Threads that commit batches over all shards are ended at moments of chance. What is seen then is one
 * version, of those that were begun; others go on, and nothing stays held.
 *
 * Arguments: path, rounds, shards.
 */

import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const KEYS = Array.from({ length: 30 }, (_, i) => `key-${String(i).padStart(2, '0')}`);
const say = (line) => writeSync(1, `${line}\n`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function write(db, version) {
  const batch = db.batch();
  for (const key of KEYS) batch.put(key, String(version));
  await batch.write();
}

/** Begun and acknowledged versions, by this thread. */
async function writeOn(db, versions) {
  for (let i = 0; i < 20; i++) await db.put('warm', 'up');
  for (;;) {
    const version = Atomics.add(versions, 0, 1) + 1;
    await write(db, version);
    Atomics.store(versions, 1, version);
  }
}

class Seen {
  highest = 0;

  look(db) {
    const snapshot = db.snapshot();
    this.#check(KEYS.map((key) => snapshot.getSync(key)));
    snapshot.close();
    this.#check([...db.scanSync({ prefix: 'key-' })].map(([, value]) => value));
  }

  #check(values) {
    const versions = [...new Set(values)];
    if (versions.length > 1) say(`torn ${versions.join(' ')}`);
    if (Number(versions[0]) < this.highest) say(`back ${this.highest} ${versions[0]}`);
    this.highest = Number(versions[0]);
  }
}

async function main() {
  const [path, rounds, shards] = process.argv.slice(2);
  const db = await LightningDb.open(path, { shards: Number(shards), cacheSize: 16 << 20 });
  const versions = new Int32Array(new SharedArrayBuffer(8));
  const seen = new Seen();
  let written = [];
  await write(db, 0);
  for (let round = 0; round < Number(rounds); round++) {
    const before = Atomics.load(versions, 1);
    const data = { handle: db.share(), versions };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    while (Atomics.load(versions, 1) < before + 20 + (round % 13)) {
      seen.look(db);
      await sleep(0);
    }
    // Some microseconds more or less.
    for (let i = 0; i < round * 37; i++) Atomics.load(versions, 0);
    const ended = worker.terminate();
    for (let i = 0; i < 5; i++) seen.look(db);
    await ended;
    for (let i = 0; i < 20; i++) {
      seen.look(db);
      await sleep(0);
    }
    const [begun, acknowledged] = [Atomics.load(versions, 0), Atomics.load(versions, 1)];
    // What was acknowledged last may not be noted yet.
    if (seen.highest < acknowledged || seen.highest > begun) {
      say(`seen ${seen.highest} of ${acknowledged} to ${begun}`);
    }
    // Others go on: puts, a transaction, a batch.
    for (const key of KEYS) await db.put(`other-${key}`, String(begun));
    await db.transaction(async (tx) => {
      for (const key of KEYS) tx.put(key, await tx.get(key));
    });
    await write(db, begun);
    seen.look(db);
    Atomics.store(versions, 1, begun);
    const groups = (await db.stats()).shards.map(({ wal }) => wal.groups);
    // One that was replaced would have begun to count anew.
    if (groups.some((count, shard) => count < (written[shard] ?? 0))) say(`replaced in ${round}`);
    written = groups;
  }
  const stats = await db.stats();
  const { preparing, unreleased, committed } = stats.transactions.acrossShards;
  say(`left ${preparing} ${unreleased}`);
  say(`problems ${(await db.check()).problems.length}`);
  say(`direct ${committed > 0 && stats.shards.every(({ wal }) => wal.directGroups > 0)}`);
  say(`sees ${seen.highest}`);
  await db.close();
}

if (isMainThread) await main();
else await writeOn(await LightningDb.attach(workerData.handle), workerData.versions);
