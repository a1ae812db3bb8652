/**
 * One writer and several reader threads on one shard, with memtables so small that switching,
 * flushing, compacting and reclaiming happen all the time. Every read is checked against what it may
 * legally see.
 *
 *     node test/stress/stress.mjs [seconds] [readers] [path]
 *
 * For each key the writer keeps two numbers in shared memory: `submitted`, raised before a write is
 * handed in, and `acknowledged`, raised after it was acknowledged. A read that starts when `lo` is
 * acknowledged and ends when `hi` is submitted must see a version in [lo, hi]; a missing key is legal
 * only when a version in that range is a delete. Values name their key and version and fill their
 * length with a pattern, so a torn or misplaced value shows by itself.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const KEYS = 3000;
const keyOf = (i) => `key-${String(i).padStart(6, '0')}-${'p'.repeat(i % 30)}`;
/** Every seventh version of a key is a delete. */
const isDelete = (version) => version % 7 === 0;
const storedValue = (i, version) =>
  `${i}:${version}:`.padEnd(20 + ((i * 31 + version * 17) % 400), String(version % 10));

function check(i, value, lo, hi, what) {
  if (value === undefined) {
    for (let v = lo; v <= hi; v++) if (isDelete(v)) return;
    throw new Error(`${what}: ${keyOf(i)} is missing, versions ${lo}..${hi} are legal`);
  }
  const version = Number(value.split(':', 2)[1]);
  if (!(version >= lo && version <= hi) || isDelete(version)) {
    throw new Error(`${what}: ${keyOf(i)} has version ${version}, legal are ${lo}..${hi}`);
  }
  if (value !== storedValue(i, version))
    throw new Error(`${what}: ${keyOf(i)} version ${version} is torn`);
}

async function read() {
  const { handle, submitted, acknowledged, stop, seed } = workerData;
  const db = await LightningDb.attach(handle);
  let state = seed;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const counts = { gets: 0, promises: 0, many: 0, scans: 0, scanned: 0, snapshots: 0 };
  const keys = Array.from({ length: KEYS }, (_, i) => keyOf(i));
  while (Atomics.load(stop, 0) === 0) {
    for (let n = 0; n < 2000; n++) {
      const i = below(KEYS);
      const lo = Atomics.load(acknowledged, i);
      const value = db.getSync(keys[i]);
      check(i, value, lo, Atomics.load(submitted, i), 'getSync');
      counts.gets++;
    }
    for (let n = 0; n < 20; n++) {
      const i = below(KEYS);
      const lo = Atomics.load(acknowledged, i);
      check(i, await db.get(keys[i]), lo, Atomics.load(submitted, i), 'get');
      counts.promises++;
    }
    {
      const some = Array.from({ length: 100 }, () => below(KEYS));
      const lows = some.map((i) => Atomics.load(acknowledged, i));
      const values = await db.getMany(some.map((i) => keys[i]));
      some.forEach((i, n) => {
        check(i, values[n], lows[n], Atomics.load(submitted, i), 'getMany');
      });
      counts.many += some.length;
    }
    {
      const from = below(KEYS);
      const to = Math.min(KEYS, from + 200);
      const reverse = below(2) === 1;
      const lows = Array.from({ length: to - from }, (_, n) =>
        Atomics.load(acknowledged, from + n),
      );
      const seen = new Map();
      let previous;
      for (const [key, value] of db.scanSync({ gte: keys[from], lt: keys[to] ?? 'l', reverse })) {
        if (previous !== undefined && (reverse ? key >= previous : key <= previous)) {
          throw new Error(`scan: ${key} after ${previous}`);
        }
        previous = key;
        seen.set(key, value);
      }
      for (let n = 0; n < lows.length; n++) {
        const i = from + n;
        check(i, seen.get(keys[i]), lows[n], Atomics.load(submitted, i), 'scan');
        seen.delete(keys[i]);
      }
      if (seen.size > 0) throw new Error(`scan: foreign keys ${[...seen.keys()]}`);
      counts.scans++;
      counts.scanned += to - from;
    }
    if (below(4) === 0) {
      // What a snapshot says does not change while the writer goes on.
      const snapshot = db.snapshot();
      const i = below(KEYS);
      const first = snapshot.getSync(keys[i]);
      for (let n = 0; n < 50; n++) db.getSync(keys[below(KEYS)]);
      const second = snapshot.getSync(keys[i]);
      if (first !== second) throw new Error(`snapshot: ${keys[i]} changed`);
      snapshot.close();
      counts.snapshots++;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await db.close();
  parentPort.postMessage(counts);
}

async function write() {
  const seconds = Number(process.argv[2] ?? 10);
  const readers = Number(process.argv[3] ?? 3);
  const path = process.argv[4] ?? mkdtempSync(join(tmpdir(), 'lightning-db-stress-'));
  const db = await LightningDb.open(join(path, 'db'), {
    shards: 1,
    memtableSize: 256 << 10,
    cacheSize: 8 << 20,
    blockBytes: 1024,
    tableBytesMax: 256 << 10,
  });
  const submitted = new Int32Array(new SharedArrayBuffer(KEYS * 4));
  const acknowledged = new Int32Array(new SharedArrayBuffer(KEYS * 4));
  const stop = new Int32Array(new SharedArrayBuffer(4));
  let failure;
  const workers = Array.from({ length: readers }, (_, n) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { handle: db.share(), submitted, acknowledged, stop, seed: 1000 + n },
    });
    const done = new Promise((resolve) => {
      worker.once('message', resolve);
      worker.once('error', (error) => {
        failure ??= error;
        Atomics.store(stop, 0, 1);
        resolve(undefined);
      });
    });
    return done;
  });
  let state = 99;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const end = performance.now() + seconds * 1000;
  let writes = 0;
  try {
    while (performance.now() < end && failure === undefined) {
      const batch = db.batch();
      const chosen = new Set();
      for (let n = 0; n < 1 + below(200); n++) chosen.add(below(KEYS));
      for (const i of chosen) {
        const version = Atomics.add(submitted, i, 1) + 1;
        if (isDelete(version)) batch.delete(keyOf(i));
        else batch.put(keyOf(i), storedValue(i, version));
      }
      await batch.write();
      for (const i of chosen) Atomics.store(acknowledged, i, submitted[i]);
      writes += chosen.size;
    }
  } finally {
    Atomics.store(stop, 0, 1);
  }
  const counts = await Promise.all(workers);
  if (failure !== undefined) throw failure;
  for (let i = 0; i < KEYS; i++) {
    check(i, db.getSync(keyOf(i)), acknowledged[i], submitted[i], 'at the end');
  }
  const stats = await db.stats();
  const { problems } = await db.check();
  if (problems.length > 0) throw new Error(`check: ${JSON.stringify(problems)}`);
  await db.close();
  if (process.argv[4] === undefined) rmSync(path, { recursive: true, force: true });
  process.stdout.write(`${JSON.stringify({ seconds, writes, readers: counts, stats })}\n`);
}

await (isMainThread ? write() : read());
