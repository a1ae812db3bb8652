/**
 * Clients whose every read and write is written down, to be compared with one serial order by
 * `history-oracle.mjs`. Runs on a thread of its own, attached to the database, until it is told to
 * end or is terminated.
 *
 * A lane does one thing after the other. Before a commit it writes a line with what it has read and
 * is about to write; after the answer another, with the number. Every commit also writes a mark of the
 * lane's own, which tells the outcome where no answer came.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { FILL_KEYS, fillKey, HOT_KEYS, hotKey, MARKS, shardOfKey } from './history-keys.mjs';
import { random } from './operations.mjs';

const { handle, name, lanes, seed, shards, directory } = workerData;
const db = await LightningDb.attach(handle);
const file = openSync(join(directory, `${name}.history`), 'a');
const next = random(seed);
const below = (n) => Math.floor(next() * n);
const now = () => Number(process.hrtime.bigint());
const tick = () => new Promise((resolve) => setImmediate(resolve));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isPassing = (error) =>
  ['LIGHTNING_SHARD_UNAVAILABLE', 'LIGHTNING_TIMEOUT', 'LIGHTNING_ABORTED'].includes(error.code);

let isOver = false;
let lines = '';
let failure;

function note(line) {
  lines += `${JSON.stringify(line)}\n`;
}

/** Lines have to be in the file before what they announce is sent. */
function writeOut() {
  if (lines !== '') writeSync(file, lines);
  lines = '';
}

const idOf = (value) => (value === undefined ? null : value.slice(0, value.indexOf(' ')));
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Skewed: a few keys are met all the time. */
const anyKey = () => hotKey(below(3) === 0 ? below(12) : below(HOT_KEYS));
const oldKey = () => (below(6) === 0 ? fillKey(below(FILL_KEYS)) : anyKey());

function padding() {
  const kind = below(100);
  if (kind < 70) return below(60);
  if (kind < 97) return below(1200);
  return kind < 99 ? below(20_000) : 0;
}

function anyRange() {
  const isFill = below(3) === 0;
  const key = isFill ? fillKey : hotKey;
  const count = isFill ? FILL_KEYS : HOT_KEYS;
  const first = below(count);
  const width = below(40) === 0 ? 1 + below(count - first) : 1 + below(Math.min(12, count - first));
  const range = { gte: key(first), lt: key(first + width), reverse: below(2) === 0 };
  const kind = below(4);
  if (kind === 0) range.limit = 1 + below(5);
  // Leaves early.
  const take = kind === 1 ? 1 + below(4) : Number.POSITIVE_INFINITY;
  return { range, take };
}

/** Scans, and says what it saw: [low, high, entries], both inclusive as far as it saw them. */
async function scan(source, isSync) {
  const { range, take } = anyRange();
  const entries = [];
  let isWhole = true;
  const add = ([key, value]) => {
    entries.push([key, idOf(value)]);
    if (entries.length < take) return false;
    isWhole = false;
    return true;
  };
  if (isSync) {
    for (const entry of source.scanSync(range)) if (add(entry)) break;
  } else if (below(2) === 0) {
    for await (const entry of source.scan(range)) if (add(entry)) break;
  } else {
    const { limit, ...rest } = range;
    void limit;
    outer: for await (const batch of source.scan(rest).batches()) {
      for (const entry of batch) if (add(entry)) break outer;
    }
    range.limit = undefined;
  }
  for (let i = 1; i < entries.length; i++) {
    const order = compare(entries[i - 1][0], entries[i][0]) * (range.reverse ? -1 : 1);
    if (order >= 0) throw new Error(`A scan is out of order: ${JSON.stringify(entries)}`);
  }
  if (range.limit !== undefined && entries.length === range.limit) isWhole = false;
  const last = entries.at(-1)?.[0];
  // The end of a range is exclusive: '!' marks it.
  const low = isWhole || !range.reverse ? range.gte : last;
  const high = isWhole || range.reverse ? `!${range.lt}` : last;
  return [low, high, entries.sort((a, b) => compare(a[0], b[0]))];
}

class Lane {
  constructor(index) {
    this.name = `${name}.${index}`;
    this.count = 0;
    this.marks = MARKS(this.name, shards);
    this.snapshots = [];
    this.counted = 0;
  }

  newId() {
    return `${this.name}.${this.count++}`;
  }

  async step() {
    const kind = below(100);
    if (kind < 48) return this.transaction();
    if (kind < 64) return this.batch();
    if (kind < 65) return this.largeBatch();
    if (kind < 73) return this.plainPut();
    if (kind < 86) return this.latest();
    if (kind < 96) return this.snapshot();
    return this.counter();
  }

  // ---- transactions ---------------------------------------------------------------------

  async transaction() {
    const isolation = below(2) === 0 ? 'snapshot' : 'serializable';
    const began = now();
    const tx = db.begin({ isolation });
    const record = { kind: 'tx', isolation, began, reads: [], held: [], scans: [], writes: [] };
    const writes = new Map();
    const id = this.newId();
    try {
      const count = 1 + below(8);
      for (let i = 0; i < count; i++) {
        await this.#operation(tx, record, writes, `${id}.${i}`);
        const wait = below(40);
        if (wait < 8) await tick();
        else if (wait === 8) await pause(below(60));
      }
    } catch (error) {
      tx.rollback();
      if (!isPassing(error)) throw error;
      return;
    }
    if (below(25) === 0 || (writes.size === 0 && below(2) === 0)) {
      tx.rollback();
      note({ ...record, writes: [], outcome: 'read' });
      return;
    }
    if (writes.size > 0) {
      const mark = this.marks[below(this.marks.length)];
      const local = below(2) === 0 ? this.#markBeside(writes.keys().next().value) : mark;
      tx.put(local, `${id} `);
      writes.set(local, id);
      record.mark = local;
    }
    record.writes = [...writes];
    await this.#commit(id, record, () => tx.commit());
  }

  #markBeside(key) {
    return this.marks.find((mark) => shardOfKey(mark, shards) === shardOfKey(key, shards));
  }

  async #operation(tx, record, writes, id) {
    const kind = below(20);
    const key = oldKey();
    const own = (found) => {
      if (!writes.has(key)) return false;
      if (writes.get(key) === found) return true;
      throw new Error(`${id} wrote ${writes.get(key)} to ${key} and read ${found}`);
    };
    if (kind < 4) {
      const found = idOf(await tx.get(key));
      if (!own(found)) record.reads.push([key, found]);
    } else if (kind < 6) {
      const found = idOf(tx.getSync(key));
      if (!own(found)) record.reads.push([key, found]);
    } else if (kind === 6) {
      const found = idOf(await tx.getForUpdate(key));
      if (!own(found)) record.held.push([key, found]);
    } else if (kind === 7) {
      const keys = [...new Set([key, oldKey(), oldKey()])];
      const values = await tx.getMany(keys);
      keys.forEach((k, i) => {
        if (!writes.has(k)) record.reads.push([k, idOf(values[i])]);
        else if (writes.get(k) !== idOf(values[i])) throw new Error(`${id}: getMany of own ${k}`);
      });
    } else if (kind < 11) {
      const [low, high, entries] = await scan(tx, below(2) === 0);
      const inRange = (k) => k >= low && (high.startsWith('!') ? k < high.slice(1) : k <= high);
      for (const [k, value] of writes) {
        const seen = entries.find(([found]) => found === k)?.[1] ?? null;
        if (inRange(k) && seen !== value) throw new Error(`${id}: scan saw ${seen} for own ${k}`);
      }
      const others = entries.filter(([k]) => !writes.has(k));
      record.scans.push([low, high, others, [...writes.keys()].filter(inRange)]);
    } else if (kind < 17) {
      tx.put(key, `${id} ${'x'.repeat(padding())}`);
      writes.set(key, id);
    } else if (kind < 19) {
      tx.delete(key);
      writes.set(key, null);
    } else {
      const point = tx.savepoint();
      for (let i = 0; i < 3; i++) tx.put(oldKey(), 'rolled back ');
      tx.delete(oldKey());
      if (below(2) === 0) await tick();
      tx.rollbackTo(point);
    }
  }

  async #commit(id, record, commit) {
    note({ ...record, id, committing: now() });
    writeOut();
    let sequence;
    try {
      sequence = await commit();
    } catch (error) {
      if (error.code === 'LIGHTNING_CONFLICT' || error.details?.outcome === 'none') {
        note({ id, outcome: 'none', code: error.code });
        return;
      }
      if (!isPassing(error)) throw error;
      sequence = await this.#findOut(id, record.mark);
      if (sequence === undefined) {
        note({ id, outcome: 'none', code: 'found out' });
        return;
      }
    }
    note({ id, outcome: 'committed', sequence, ended: now() });
    writeOut();
  }

  /** The number of the commit, if it took place. */
  async #findOut(id, mark) {
    for (;;) {
      try {
        await pause(50);
        await db.flush();
        const found = await db.getVersioned(mark);
        return idOf(found?.value) === id ? found.version : undefined;
      } catch (error) {
        if (!isPassing(error)) throw error;
      }
    }
  }

  // ---- batches and puts -----------------------------------------------------------------

  async batch() {
    const id = this.newId();
    const isLocal = below(2) === 0;
    const first = anyKey();
    const count = 1 + below(6);
    const writes = new Map();
    for (let i = 0; i < count; i++) {
      const key = i === 0 ? first : oldKey();
      if (isLocal && shardOfKey(key, shards) !== shardOfKey(first, shards)) continue;
      writes.set(key, below(4) === 0 ? null : `${id}.${i}`);
    }
    await this.#writeBatch(id, writes, this.#markBeside(first), padding);
  }

  async largeBatch() {
    const id = this.newId();
    const count = 100 + below(1200);
    const start = below(FILL_KEYS);
    const step = 1 + below(3);
    const writes = new Map();
    for (let i = 0; i < count; i++) {
      const value = below(5) === 0 ? null : `${id}.${i}`;
      writes.set(fillKey((start + i * step) % FILL_KEYS), value);
    }
    // Now and then one with values that have a file of their own.
    const isHuge = below(12) === 0;
    const bytes = () => (isHuge && below(200) === 0 ? 300_000 : below(400));
    await this.#writeBatch(id, writes, this.marks[0], bytes);
  }

  async #writeBatch(id, writes, mark, bytes) {
    const batch = db.batch();
    for (const [key, value] of writes) {
      if (value === null) batch.delete(key);
      else batch.put(key, `${value} ${'y'.repeat(bytes())}`);
    }
    batch.put(mark, `${id} `);
    writes.set(mark, id);
    const record = { kind: 'blind', began: now(), mark, writes: [...writes] };
    await this.#commit(id, record, async () => {
      await batch.write();
      return this.#sequenceOf(mark, id);
    });
  }

  async #sequenceOf(key, id) {
    for (;;) {
      try {
        const found = await db.getVersioned(key);
        if (idOf(found?.value) !== id) {
          throw new Error(`${key} was acknowledged as ${id} and is ${idOf(found?.value)}`);
        }
        return found.version;
      } catch (error) {
        if (!isPassing(error)) throw error;
        await pause(5);
      }
    }
  }

  /** Of a key that nobody else writes. */
  async plainPut() {
    const id = this.newId();
    const key = `own:${this.name}:${below(5)}`;
    const record = { kind: 'blind', began: now(), mark: key, writes: [[key, id]] };
    await this.#commit(id, record, async () => {
      await db.put(key, `${id} ${'z'.repeat(padding())}`);
      return this.#sequenceOf(key, id);
    });
  }

  /** Increments; the sum must come to what was acknowledged. */
  async counter() {
    const key = `counter:${below(3)}`;
    try {
      await db.update(key, (value) => `${Number(value ?? 0) + 1}`, { maxRetries: 1000 });
      note({ counter: key, outcome: 'committed' });
    } catch (error) {
      if (error.code === 'LIGHTNING_CONFLICT' || error.details?.outcome === 'none') return;
      if (!isPassing(error)) throw error;
      note({ counter: key, outcome: 'unknown' });
    }
    writeOut();
  }

  // ---- reads ----------------------------------------------------------------------------

  async latest() {
    const began = now();
    try {
      if (below(2) === 0) {
        const key = oldKey();
        const way = below(3);
        const value =
          way === 0
            ? db.getSync(key)
            : way === 1
              ? await db.get(key)
              : (await db.getMany([key]))[0];
        note({ kind: 'latest', began, reads: [[key, idOf(value)]], scans: [] });
      } else {
        const seen = await scan(db, below(2) === 0);
        note({ kind: 'latest', began, reads: [], scans: [seen] });
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
    }
  }

  async snapshot() {
    try {
      const { snapshots } = this;
      if (snapshots.length < 4 && below(3) === 0) {
        const began = now();
        const snapshot = db.snapshot();
        snapshots.push({ snapshot, sequence: snapshot.share().sequence, began });
        if (below(3) === 0) parentPort.postMessage({ snapshot: snapshot.share() });
      } else if (shared.length > 0 && below(3) === 0) {
        const snapshot = db.snapshot(shared.pop());
        snapshots.push({ snapshot, sequence: snapshot.share().sequence });
      }
      if (snapshots.length === 0) return;
      const at = below(snapshots.length);
      const { snapshot, sequence, began } = snapshots[at];
      const record = { kind: 'snapshot', sequence, began, reads: [], scans: [] };
      for (let i = 0; i < 4; i++) {
        const key = oldKey();
        const value = below(2) === 0 ? snapshot.getSync(key) : await snapshot.get(key);
        record.reads.push([key, idOf(value)]);
      }
      record.scans.push(await scan(snapshot, below(2) === 0));
      note(record);
      if (below(8) === 0) {
        snapshot.close();
        snapshots.splice(at, 1);
      }
    } catch (error) {
      // Those of a handle whose snapshot was closed meanwhile are refused.
      if (
        !isPassing(error) &&
        error.code !== 'LIGHTNING_CLOSED' &&
        error.code !== 'LIGHTNING_INVALID_ARGUMENT'
      )
        throw error;
    }
  }
}

const shared = [];
parentPort.on('message', ({ what, snapshot }) => {
  if (what === 'end') isOver = true;
  if (snapshot !== undefined && shared.length < 4) shared.push(snapshot);
});
parentPort.postMessage({ attached: true });
await Promise.all(
  Array.from({ length: lanes }, async (_, index) => {
    const lane = new Lane(index);
    try {
      for (let n = 0; !isOver && failure === undefined; n++) {
        await lane.step();
        if (n % 16 === 15) await tick();
      }
    } catch (error) {
      failure ??= error;
    }
    for (const { snapshot } of lane.snapshots) snapshot.close();
  }),
);
if (failure !== undefined) note({ failed: failure.stack ?? String(failure) });
writeOut();
closeSync(file);
await db.close();
parentPort.postMessage({ over: true });
parentPort.close();
