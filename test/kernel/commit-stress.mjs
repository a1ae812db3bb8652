/**
 * Three clients and a shard worker, each in its own thread, on rings so small that they are full most
 * of the time:
 *
 *   node test/kernel/commit-stress.mjs [seconds]
 *
 * Every write must be acknowledged once, in its client's order, with rising sequence numbers, and the
 * memtable must hold the last write of every key. Exit code 0, and a line of figures; or 1, and what
 * was wrong.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { build } from 'esbuild';

const CLIENTS = 3;
const REQUEST_RING_BYTES = 1024;
const RESPONSE_RING_BYTES = 256;
const WAL_BYTES = 256 * 1024;
const ARENA_BYTES = 32 * 1024 * 1024;
const HEADER = 0x1000;
const RINGS_BASE = 0x10000;
const WAL = 0x80000;
const SCRATCH = 0x100000;
const ARENA = SCRATCH + 64 * 3407872;
const KEYS = 500;
const WRITE = 1;
const STOP = 0;

/** The library's own ends of a ring. */
async function loadRings() {
  const { outputFiles } = await build({
    stdin: {
      contents: `export * from './ring-writer.ts'; export * from './ring-reader.ts';
        export * from './ring-location.ts'; export * from '../protocol/operations.ts';`,
      resolveDir: fileURLToPath(new URL('../../src/ring/', import.meta.url)),
    },
    bundle: true,
    format: 'esm',
    write: false,
  });
  return import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
}

const views = (memory) => ({
  bytes: Buffer.from(memory.buffer),
  u32: new Uint32Array(memory.buffer),
  i32: new Int32Array(memory.buffer),
});

const keyOf = (client, id) => `client${client}:${id % KEYS}`;
const textOf = (id) => `${id}`.padEnd((Math.imul(id, 2654435761) >>> 0) % 150, '.');

function check(condition, what) {
  if (!condition) throw new Error(what);
}

// ---- a client -------------------------------------------------------------------

async function runClient({ memory, control, client }) {
  const rings = await loadRings();
  const view = views(memory);
  const floats = new Float64Array(memory.buffer);
  const writer = new rings.RingWriter(view, rings.requestRing(view, client));
  const reader = new rings.RingReader(view, rings.responseRing(view, client));
  let sent = 0;
  let answered = 0;
  let sequence = 0;
  const send = () => {
    const key = keyOf(client, sent);
    const value = textOf(sent);
    const bytes = rings.putBytes(key.length, value.length);
    const address = writer.reserve(bytes);
    if (address === rings.FULL) return false;
    view.bytes[address] = 1;
    let at = rings.writeVarint(view.bytes, address + 1, key.length);
    at = rings.writeVarint(view.bytes, at, value.length);
    at += view.bytes.write(key, at, 'latin1');
    view.bytes.write(value, at, 'latin1');
    writer.commit(WRITE, 0, sent++, 1, bytes);
    return true;
  };
  const receive = (most) => {
    let some = 0;
    while (some < most && reader.next()) {
      check(reader.kind === 1 && reader.payloadBytes === 8, 'an answer of another kind');
      check(reader.requestId === answered, `answer to ${reader.requestId}, not ${answered}`);
      const next = floats[reader.payload >>> 3];
      check(next > sequence, `sequence ${next} after ${sequence}`);
      sequence = next;
      answered++;
      some++;
    }
    reader.release();
    return some;
  };
  while (Atomics.load(control, STOP) === 0) {
    let some = 0;
    while (some < 20 && send()) some++;
    writer.publish();
    // Now and then the answers are left alone until their ring is full.
    if (sent % 1000 < 900 || some === 0) some += receive(15);
    if (some === 0) Atomics.wait(control, client, 0, 1);
  }
  while (answered < sent) {
    if (receive(100) === 0) Atomics.wait(control, client, 0, 1);
  }
  return { sent, answered };
}

// ---- the shard worker -----------------------------------------------------------

function runShard(memory, control, seconds, isOver) {
  const path =
    process.env.LIGHTNING_TEST_KERNEL ?? new URL('../../dist/kernel.wasm', import.meta.url);
  const env = { memory, abort: () => check(false, 'aborted') };
  const module = new WebAssembly.Module(readFileSync(path));
  const kernel = new WebAssembly.Instance(module, { env }).exports;
  let arenas = [ARENA, ARENA + ARENA_BYTES];
  for (const arena of arenas) kernel.memtableInit(arena, ARENA_BYTES);
  kernel.setActiveMemtable(ARENA);
  const end = Date.now() + seconds * 1000;
  let sequence = 1;
  let groups = 0;
  let waited = 0;
  const turn = () => {
    kernel.groupBegin();
    for (let client = 1; client <= CLIENTS; client++) {
      const status = kernel.groupCollect(client, 50);
      check(status >= 0 && status !== 2, `collect says ${status}`);
    }
    const commits = kernel.groupCommits();
    if (commits > 0) {
      kernel.groupSeal(sequence, 1, 1, 0, 1, 64, 0);
      if (kernel.groupApply() === 1) {
        // What was in the arena before the last one is forgotten.
        arenas = arenas.reverse();
        kernel.memtableInit(arenas[0], ARENA_BYTES);
        kernel.setActiveMemtable(arenas[0]);
        check(kernel.groupApply() === 0, 'an empty arena is full');
      }
      sequence += commits;
      kernel.groupPublish(sequence - 1);
      if (kernel.groupAck() > 0) waited++;
      groups++;
    }
    kernel.groupAckRetry();
    return commits;
  };
  while (Date.now() < end && !isOver()) turn();
  Atomics.store(control, STOP, 1);
  const { bytes, u32 } = views(memory);
  const find = (key) => {
    const length = bytes.write(key, SCRATCH, 'latin1');
    for (const arena of arenas) {
      const version = kernel.memtableFind(arena, SCRATCH, length, 1n << 60n);
      if (version === 0) continue;
      const valueLength = u32[(version + 12) >>> 2] & 0x3fffffff;
      return bytes.toString('latin1', version + 16, version + 16 + valueLength);
    }
    return undefined;
  };
  return { turn, find, figures: () => ({ commits: sequence - 1, groups, waited }) };
}

if (isMainThread) {
  const seconds = Number(process.argv[2] ?? 5);
  const pages = (ARENA + 2 * ARENA_BYTES) / 65536;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const control = new Int32Array(new SharedArrayBuffer(64));
  const { u32 } = views(memory);
  const header = {
    12: SCRATCH,
    16: RINGS_BASE,
    20: REQUEST_RING_BYTES,
    24: RESPONSE_RING_BYTES,
    40: WAL,
    44: WAL_BYTES,
  };
  for (const [offset, value] of Object.entries(header))
    u32[(HEADER + Number(offset)) >>> 2] = value;
  let running = CLIENTS;
  const results = [1, 2, 3].map(
    (client) =>
      new Promise((resolve) => {
        const worker = new Worker(new URL(import.meta.url), {
          workerData: { memory, control, client },
        });
        worker.once('message', resolve);
      }),
  );
  for (const result of results) {
    result.then(({ failure }) => {
      running--;
      if (failure !== undefined) process.stderr.write(`${failure}\n`);
    });
  }
  const shard = runShard(memory, control, seconds, () => running < CLIENTS);
  // The clients finish what they sent.
  while (running > 0) {
    shard.turn();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const all = await Promise.all(results);
  const { commits, groups, waited } = shard.figures();
  const sum = (name) => all.reduce((total, result) => total + (result[name] ?? 0), 0);
  const isWhole = all.every(
    ({ failure, sent, answered }) => failure === undefined && sent === answered,
  );
  all.forEach(({ sent }, i) => {
    for (let id = Math.max(sent - KEYS, 0); id < sent; id++) {
      check(
        shard.find(keyOf(i + 1, id)) === textOf(id),
        `write ${id} of client ${i + 1} is not there`,
      );
    }
  });
  process.stdout.write(
    `${commits} commits in ${groups} groups, ${waited} with answers that waited\n`,
  );
  process.exitCode = isWhole && sum('sent') === commits ? 0 : 1;
} else {
  parentPort.postMessage(await runClient(workerData).catch((error) => ({ failure: error.stack })));
}
