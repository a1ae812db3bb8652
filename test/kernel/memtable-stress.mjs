/**
 * One writer and three readers on memtables in one shared memory, for as long as asked:
 *
 *   node test/kernel/memtable-stress.mjs [seconds]
 *
 * Everything about commit s follows from s: its key, its value. So a reader can check any version it
 * meets, and knows which must be there. Two arenas take turns, overwritten as soon as the epoch of
 * the last reader is over: a reader that was forgotten would find bytes of the wrong generation.
 *
 * Exit code 0, and a line of figures; or 1, and the first thing that was wrong.
 */

import { readFileSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const READERS = 3;
const ARENA_BYTES = 24 * 1024 * 1024;
const ARENAS = 1024 * 1024;
const MEMORY_BYTES = ARENAS + 2 * ARENA_BYTES;
/** Private memory of thread t: key, value, cursor. */
const keyAt = (t) => 0x10000 + t * 0x20000;
const valueAt = (t) => keyAt(t) + 0x10000;
const cursorAt = (t) => keyAt(t) + 0x18000;
const H_EPOCH = 0x1000 + 192;

// Words of the control buffer.
const VISIBLE = 0;
const GENERATION = 1;
const FIRST = 2; // first commit of generations 0, 1 modulo 2
const STOP = 4;

function instantiate(memory, control) {
  const path =
    process.env.LIGHTNING_TEST_KERNEL ?? new URL('../../dist/kernel.wasm', import.meta.url);
  const module = new WebAssembly.Module(readFileSync(path));
  const env = {
    memory,
    abort() {
      throw new Error('aborted');
    },
  };
  return {
    kernel: new WebAssembly.Instance(module, { env }).exports,
    bytes: Buffer.from(memory.buffer),
    view: new DataView(memory.buffer),
    words: new BigInt64Array(control),
  };
}

function mix(x) {
  let h = Math.imul(x ^ (x >>> 16), 0x45d9f3b);
  h = Math.imul(h ^ (h >>> 16), 0x45d9f3b);
  return (h ^ (h >>> 16)) >>> 0;
}

const KEY_SPACES = [40, 700, 20_000, 1_000_000, 3000];
const keySpace = (generation) => KEY_SPACES[generation % KEY_SPACES.length];
/** Most generations are short: trees that grow from nothing under the readers' eyes. */
const commitsMax = (generation) =>
  generation % 97 === 96 ? Number.POSITIVE_INFINITY : 50 * 2 ** (mix(generation) % 10);

/** Keys of many shapes: prefixes of each other, shared prefixes around what a node stores, wide nodes. */
function keyOf(commit, generation) {
  const i = mix(commit) % keySpace(generation);
  const h = mix(i + 7);
  switch (i % 5) {
    case 0:
      return 'a'.repeat((i / 5) % 400);
    case 1:
      return `prefix-longer-than-a-node:${h % 50}/${h}`;
    case 2:
      return String.fromCharCode(h & 0xff, (h >>> 8) & 0xff, (h >>> 16) & 0xff);
    case 3:
      return `user${h.toString(36)}:profile`;
    default:
      return String.fromCharCode(0xff, 0, h & 0xff) + 'x'.repeat((h >>> 8) % 30) + (h >>> 16);
  }
}

const valueLength = (commit) => 8 + (mix(commit + 99) % 120);

function writeValue(thread, commit) {
  const at = valueAt(thread.number);
  const length = valueLength(commit);
  thread.view.setFloat64(at, commit, true);
  thread.bytes.fill(commit & 0xff, at + 8, at + length);
  return length;
}

const arenaOf = (generation) => ARENAS + (generation & 1) * ARENA_BYTES;

// ---- the writer -----------------------------------------------------------------

function write(thread, seconds) {
  const { kernel, bytes, view, words } = thread;
  let commit = 0;
  let first = 1;
  let generation = 0;
  let epoch = 0;
  const end = Date.now() + seconds * 1000;
  while ((commit & 1023) !== 0 || (Date.now() < end && Atomics.load(words, STOP) === 0n)) {
    commit++;
    const keyLength = bytes.write(keyOf(commit, generation), keyAt(0), 'latin1');
    const length = writeValue(thread, commit);
    const full =
      commit - first >= commitsMax(generation) ||
      kernel.memtablePut(
        arenaOf(generation),
        keyAt(0),
        keyLength,
        1,
        valueAt(0),
        length,
        BigInt(commit),
      );
    if (full) {
      // Nobody must be left in the arena that was replaced when this generation began.
      while (epoch !== 0 && kernel.epochReached(epoch) === 0) {
        if (Atomics.load(words, STOP) !== 0n) return { commit, generation };
      }
      generation++;
      const arena = arenaOf(generation);
      const [top, end] = [view.getUint32(arena + 4, true), view.getUint32(arena + 8, true)];
      bytes.fill(0xee, arena, top);
      bytes.fill(0xee, end, arena + ARENA_BYTES);
      kernel.memtableInit(arena, ARENA_BYTES);
      first = commit;
      Atomics.store(words, FIRST + (generation & 1), BigInt(first));
      Atomics.store(words, GENERATION, BigInt(generation));
      epoch = kernel.retire();
      // Once more: the key depends on the generation.
      commit--;
      continue;
    }
    // Groups of commits become visible together.
    if (mix(commit) % 7 < 3) Atomics.store(words, VISIBLE, BigInt(commit));
  }
  return { commit, generation };
}

// ---- a reader -------------------------------------------------------------------

class Reader {
  constructor(thread) {
    this.thread = thread;
    this.random = thread.number * 7919;
    this.reads = 0;
    this.steps = 0;
  }

  next(bound) {
    this.random = (this.random + 0x9e3779b9) | 0;
    return mix(this.random) % bound;
  }

  check(condition, what) {
    if (condition) return;
    throw new Error(`${what} (reader ${this.thread.number}, ${this.context})`);
  }

  /** Checks a version whole; returns its commit. */
  checkVersion(address, key, snapshot) {
    const { view, bytes } = this.thread;
    const commit = Number(view.getBigUint64(address, true));
    this.check(commit >= this.first && commit <= snapshot, `version ${commit} of another time`);
    this.check(keyOf(commit, this.generation) === key, `version ${commit} of another key`);
    const word = view.getUint32(address + 12, true);
    const length = word & 0x3fffffff;
    this.check(word >>> 30 === 1 && length === valueLength(commit), `length of version ${commit}`);
    this.check(view.getFloat64(address + 16, true) === commit, `value of version ${commit}`);
    for (let i = 8; i < length; i++) {
      if (bytes[address + 16 + i] !== (commit & 0xff))
        this.check(false, `bytes of version ${commit}`);
    }
    return commit;
  }

  keyOfLeaf(leaf) {
    const length = this.thread.view.getUint32(leaf, true);
    this.check(length <= 400, 'key length');
    return this.thread.bytes.toString('latin1', leaf + 8, leaf + 8 + length);
  }

  /** The newest version of a leaf that the snapshot sees, checked; 0 when there is none. */
  checkLeaf(leaf, key, snapshot) {
    const { view } = this.thread;
    let address = Atomics.load(this.thread.u32, (leaf + 4) >>> 2);
    let last = Infinity;
    while (address !== 0) {
      const commit = Number(view.getBigUint64(address, true));
      this.check(commit < last, 'chain out of order');
      last = commit;
      if (commit <= snapshot) return this.checkVersion(address, key, snapshot);
      address = view.getUint32(address + 8, true);
    }
    return 0;
  }

  run() {
    const { kernel, words, number } = this.thread;
    while (Atomics.load(words, STOP) === 0n) {
      kernel.readerEnter(number);
      const visible = Number(Atomics.load(words, VISIBLE));
      this.generation = Number(Atomics.load(words, GENERATION));
      this.first = Number(Atomics.load(words, FIRST + (this.generation & 1)));
      this.arena = arenaOf(this.generation);
      this.context = `visible ${visible}, generation ${this.generation} from ${this.first}`;
      if (visible >= this.first) {
        const turn = this.next(4);
        if (turn < 2) for (let i = 0; i < 30; i++) this.get(visible);
        else if (turn === 2) this.walk(visible, this.next(2) === 0);
        else this.seek(visible);
      }
      kernel.readerLeave(number);
    }
  }

  somebody(visible) {
    return this.first + this.next(visible - this.first + 1);
  }

  get(visible) {
    const { kernel, bytes, number } = this.thread;
    const commit = this.somebody(visible);
    const key = keyOf(commit, this.generation);
    const length = bytes.write(key, keyAt(number), 'latin1');
    const exact = kernel.memtableFind(this.arena, keyAt(number), length, BigInt(commit));
    this.check(exact !== 0, `commit ${commit} is lost`);
    this.check(this.checkVersion(exact, key, commit) === commit, `commit ${commit} is hidden`);
    const newest = kernel.memtableFind(this.arena, keyAt(number), length, BigInt(visible));
    this.check(
      newest !== 0 && this.checkVersion(newest, key, visible) >= commit,
      'time ran backwards',
    );
    if (commit > this.first) {
      const before = kernel.memtableFind(this.arena, keyAt(number), length, BigInt(commit - 1));
      if (before !== 0) this.checkVersion(before, key, commit - 1);
    }
    bytes.write(`${key}\x01never`, keyAt(number), 'latin1');
    const never = kernel.memtableFind(this.arena, keyAt(number), length + 6, BigInt(visible));
    this.check(never === 0, 'a key that nobody wrote');
    this.reads += 4;
  }

  /** A walk over a stretch: in order, whole at the snapshot. */
  walk(visible, forward) {
    const { kernel, bytes, number } = this.thread;
    const start = this.next(3) === 0 ? undefined : keyOf(this.somebody(visible), this.generation);
    const cursor = cursorAt(number);
    let leaf;
    if (start === undefined) {
      leaf = forward
        ? kernel.memtableFirst(cursor, this.arena)
        : kernel.memtableLast(cursor, this.arena);
    } else {
      const length = bytes.write(start, keyAt(number), 'latin1');
      leaf = forward
        ? kernel.memtableSeek(cursor, this.arena, keyAt(number), length)
        : kernel.memtableSeekLast(cursor, this.arena, keyAt(number), length);
    }
    const stepsMax = 100 + this.next(1500);
    const seen = new Set();
    let last;
    let steps = 0;
    while (leaf !== 0 && steps < stepsMax) {
      const key = this.keyOfLeaf(leaf);
      if (last !== undefined) this.check(forward ? key > last : key < last, 'walk out of order');
      if (steps === 0 && start !== undefined)
        this.check(key === start, 'seek of a key that is there');
      if (this.checkLeaf(leaf, key, visible) !== 0) seen.add(key);
      last = key;
      steps++;
      leaf = forward ? kernel.memtableNext(cursor) : kernel.memtablePrev(cursor);
    }
    this.steps += steps;
    this.check(steps > 0, 'nothing to walk over');
    const reached = leaf === 0 ? undefined : last;
    const isInside = (key) =>
      (start === undefined || (forward ? key >= start : key <= start)) &&
      (reached === undefined || (forward ? key <= reached : key >= reached));
    for (let i = 0; i < 300; i++) {
      const key = keyOf(this.somebody(visible), this.generation);
      if (isInside(key)) this.check(seen.has(key), `walk passed over "${key}"`);
    }
  }

  /** Seeks beside a key that is there, then both ways over it. */
  seek(visible) {
    const { kernel, bytes, number } = this.thread;
    const cursor = cursorAt(number);
    for (let i = 0; i < 20; i++) {
      const key = keyOf(this.somebody(visible), this.generation);
      const above = `${key}\x00`;
      const length = bytes.write(above, keyAt(number), 'latin1');
      let leaf = kernel.memtableSeekLast(cursor, this.arena, keyAt(number), length);
      this.check(leaf !== 0, 'seek below found nothing');
      let found = this.keyOfLeaf(leaf);
      this.check(found === key || found === above, 'seek below found another key');
      leaf = kernel.memtableNext(cursor);
      if (leaf !== 0) {
        this.check(this.keyOfLeaf(leaf) > found, 'step up went down');
        leaf = kernel.memtablePrev(cursor);
        found = this.keyOfLeaf(leaf);
        this.check(found >= key, 'step back passed over a key');
      }
      leaf = kernel.memtableSeek(cursor, this.arena, keyAt(number), length);
      if (leaf !== 0) {
        this.check(this.keyOfLeaf(leaf) >= above, 'seek above found a key below');
        leaf = kernel.memtablePrev(cursor);
        this.check(leaf !== 0 && this.keyOfLeaf(leaf) >= key, 'step down passed over a key');
      }
      this.steps += 4;
    }
  }
}

// ---- start ----------------------------------------------------------------------

if (isMainThread) {
  const seconds = Number(process.argv[2] ?? 10);
  const pages = MEMORY_BYTES / 65536;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const control = new SharedArrayBuffer(1024);
  const thread = { number: 0, ...instantiate(memory, control) };
  thread.view.setBigUint64(H_EPOCH, 1n, true);
  thread.bytes.fill(0xee, ARENAS, ARENAS + 2 * ARENA_BYTES);
  for (const arena of [arenaOf(1), arenaOf(0)]) thread.kernel.memtableInit(arena, ARENA_BYTES);
  Atomics.store(thread.words, FIRST, 1n);
  // Failures come through memory: the writer's loop takes no messages.
  const workers = [...Array(READERS).keys()].map(
    (i) => new Worker(new URL(import.meta.url), { workerData: { memory, control, number: i + 1 } }),
  );
  const results = workers.map(
    (worker) =>
      new Promise((resolve) => {
        worker.once('message', resolve);
        worker.once('error', (error) => {
          Atomics.store(thread.words, STOP, 1n);
          resolve({ failure: error.stack });
        });
      }),
  );
  await Promise.all(
    workers.map((worker) => new Promise((online) => worker.once('online', online))),
  );
  const { commit, generation } = write(thread, seconds);
  Atomics.store(thread.words, STOP, 1n);
  const all = await Promise.all(results);
  const failures = all.filter((result) => result.failure !== undefined);
  const sum = (name) => all.reduce((total, result) => total + (result[name] ?? 0), 0);
  process.stdout.write(
    `${commit} commits, ${generation + 1} generations, ${sum('reads')} reads, ${sum('steps')} steps\n`,
  );
  for (const { failure } of failures) process.stderr.write(`${failure}\n`);
  process.exitCode = failures.length === 0 ? 0 : 1;
} else {
  const { parentPort } = await import('node:worker_threads');
  const { memory, control, number } = workerData;
  const thread = { number, ...instantiate(memory, control), u32: new Uint32Array(memory.buffer) };
  const reader = new Reader(thread);
  let failure;
  try {
    reader.run();
  } catch (error) {
    failure = error.stack;
    Atomics.store(thread.words, STOP, 1n);
  }
  parentPort.postMessage({ failure, reads: reader.reads, steps: reader.steps });
}
