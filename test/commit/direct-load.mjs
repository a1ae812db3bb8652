/**
 * Threads that write batches over any number of shards, small and large, beside puts and transactions
 * over the same keys, while others look: all of a batch is seen at once, versions never go back, and of
 * two writes of one thread the later one wins. In the end the process is killed, after it has said what
 * was acknowledged.
 *
 * Arguments: path, seconds, shards, writers, seed. Each group of keys has one writer, but for those that
 * all write. A group's "tail" is written by its batches, and by puts between them.
 */

import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const SIZES = [2, 3, 5, 12, 40, 1000, 2, 4, 12, 150];
/** The last ones are everybody's. */
const SHARED = 4;
const say = (line) => writeSync(1, `${line}\n`);

const keysOf = (group) =>
  Array.from({ length: SIZES[group] }, (_, i) => `g${group}-${String(i).padStart(4, '0')}`);
const tailOf = (group) => `tail-${group}`;
const isShared = (group) => group >= SIZES.length - SHARED;

function randoms(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const versionOf = (value) => Number(value.split(':')[1]);

class Writer {
  constructor(db, { writer, writers, seed, acknowledged, stop }) {
    this.db = db;
    this.writer = writer;
    this.random = randoms(seed * 31 + writer);
    this.groups = SIZES.map((_, group) => group).filter(
      (group) => isShared(group) || group % writers === writer,
    );
    this.version = 0;
    this.acknowledged = acknowledged;
    this.stop = stop;
    this.open = new Set();
  }

  value(version) {
    return `${this.writer}:${version}:${'v'.repeat(this.random(4) === 0 ? this.random(200) : 8)}`;
  }

  batch(group) {
    const version = ++this.version;
    const batch = this.db.batch();
    const value = this.value(version);
    for (const key of keysOf(group)) batch.put(key, value);
    if (!isShared(group)) batch.put(tailOf(group), value);
    return this.#noted(batch.write(), group, version);
  }

  tail(group) {
    return this.#noted(this.db.put(tailOf(group), this.value(++this.version)), -1, 0);
  }

  transaction(group) {
    const version = ++this.version;
    const value = this.value(version);
    const work = this.db.transaction(
      async (tx) => {
        const keys = keysOf(group);
        const [first, last] = [await tx.get(keys[0]), await tx.get(keys.at(-1))];
        if (first !== last) say(`torn in a transaction: ${first} ${last}`);
        for (const key of keys) tx.put(key, value);
        if (!isShared(group)) tx.put(tailOf(group), value);
      },
      { maxRetries: 0 },
    );
    return this.#noted(work, group, version);
  }

  /** Settles in any case. */
  #noted(work, group, version) {
    const settled = work.then(
      () => {
        if (group >= 0 && !isShared(group)) this.#acknowledge(group, version);
      },
      (error) => {
        if (error.code !== 'LIGHTNING_CONFLICT') say(`refused: ${error.code} ${error.message}`);
      },
    );
    this.open.add(settled);
    settled.then(() => this.open.delete(settled));
    return settled;
  }

  #acknowledge(group, version) {
    const before = Atomics.load(this.acknowledged, group);
    if (version > before) Atomics.store(this.acknowledged, group, version);
  }

  async run() {
    const { random } = this;
    while (Atomics.load(this.stop, 0) === 0) {
      const group = this.groups[random(this.groups.length)];
      const choice = random(10);
      if (choice < 6) {
        for (let i = random(30); i >= 0; i--) await this.batch(group);
      } else if (choice === 6) {
        // One behind the other, without waiting.
        for (let i = random(6); i >= 0; i--) void this.batch(group);
        if (!isShared(group)) void this.tail(group);
        await this.batch(group);
      } else if (choice === 7 && !isShared(group)) {
        await this.tail(group);
        void this.tail(group);
        await this.batch(group);
        await this.tail(group);
      } else {
        await this.transaction(group);
      }
      if (this.open.size > 100) await Promise.all(this.open);
    }
    await Promise.all(this.open);
  }
}

class Reader {
  constructor(db, seed) {
    this.db = db;
    this.random = randoms(seed);
    /** By group and writer: the highest version seen. */
    this.highest = new Map();
    this.tails = new Map();
    this.looks = 0;
  }

  look() {
    const group = this.random(SIZES.length);
    const { db } = this;
    this.looks++;
    if (this.random(2) === 0) {
      const snapshot = db.snapshot();
      this.#check(
        group,
        keysOf(group).map((key) => snapshot.getSync(key)),
        'snapshot',
      );
      if (!isShared(group)) {
        const tail = snapshot.getSync(tailOf(group));
        const body = snapshot.getSync(keysOf(group)[0]);
        if (body !== undefined && versionOf(tail) < versionOf(body)) say(`lost: ${tail} ${body}`);
      }
      snapshot.close();
    } else {
      const entries = [...db.scanSync({ prefix: `g${group}-` })];
      if (entries.length > 0 && entries.length !== SIZES[group]) say(`part: ${entries.length}`);
      this.#check(
        group,
        entries.map(([, value]) => value),
        'scan',
      );
    }
    if (isShared(group)) return;
    const tail = db.getSync(tailOf(group));
    if (tail === undefined) return;
    if (versionOf(tail) < (this.tails.get(group) ?? 0)) say(`tail back: ${group} ${tail}`);
    this.tails.set(group, versionOf(tail));
  }

  #check(group, values, how) {
    const [first] = values;
    for (const value of values) {
      if (value === first) continue;
      say(`torn in a ${how}: group ${group} ${first} ${value}`);
      return;
    }
    if (first === undefined) return;
    const name = `${group} ${first.split(':')[0]}`;
    const version = versionOf(first);
    if (version < (this.highest.get(name) ?? 0)) say(`back in a ${how}: ${name} ${version}`);
    this.highest.set(name, Math.max(version, this.highest.get(name) ?? 0));
  }

  async run(stop) {
    while (Atomics.load(stop, 0) === 0) {
      for (let i = 0; i < 10; i++) this.look();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

async function main() {
  const [path, seconds, shards, writers, seed] = process.argv.slice(2);
  const db = await LightningDb.open(path, {
    shards: Number(shards),
    memtableSize: 256 * 1024,
    cacheSize: 16 << 20,
  });
  const acknowledged = new Int32Array(new SharedArrayBuffer(4 * SIZES.length));
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const start = (role, writer) =>
    new Worker(new URL(import.meta.url), {
      workerData: {
        handle: db.share(),
        role,
        writer,
        writers: Number(writers),
        seed: Number(seed),
        acknowledged,
        stop,
      },
    });
  const threads = Array.from({ length: Number(writers) }, (_, writer) => start('writer', writer));
  threads.push(start('reader', 0));
  const ended = threads.map((thread) => new Promise((resolve) => thread.once('exit', resolve)));
  for (const thread of threads) thread.on('error', (error) => say(`error: ${error.stack}`));
  const own = new Reader(db, Number(seed) + 7);
  const halfMs = Number(seconds) * 500;
  const end = performance.now() + halfMs;
  while (performance.now() < end) {
    for (let i = 0; i < 4; i++) own.look();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  // The second half without this one, whose time is the coordinator's and the shards'.
  await new Promise((resolve) => setTimeout(resolve, halfMs / 2));
  const again = threads.slice(0, 1);
  if (Number(seed) % 2 === 0) {
    // All that is under way comes to its end.
    Atomics.store(stop, 0, 1);
    const stuck = setTimeout(() => say('stuck'), 60_000);
    await Promise.all(ended);
    clearTimeout(stuck);
  } else {
    await new Promise((resolve) => setTimeout(resolve, halfMs / 2 + again.length));
  }
  const stats = await db.stats();
  const direct = stats.shards.map(({ wal }) => wal.directGroups);
  const { preparing, unreleased, committed } = stats.transactions.acrossShards;
  if (Number(seed) % 2 === 0) say(`left ${preparing} ${unreleased}`);
  say(
    `counts ${JSON.stringify({ direct, committed, looks: own.looks, flushes: stats.shards.map((s) => s.flushes.done) })}`,
  );
  say(
    `acknowledged ${Array.from(acknowledged, (_, i) => Atomics.load(acknowledged, i)).join(' ')}`,
  );
  process.kill(process.pid, 'SIGKILL');
}

if (isMainThread) {
  await main();
} else {
  const db = await LightningDb.attach(workerData.handle);
  const { role, stop, seed } = workerData;
  if (role === 'writer') await new Writer(db, workerData).run();
  else await new Reader(db, seed).run(stop);
  await db.close();
}
