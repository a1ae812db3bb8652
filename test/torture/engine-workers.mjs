/**
 * A hold on the worker threads of a database that runs in this process: to end them, to have them
 * throw, exit or run out of heap, and to have the pool's threads die in the middle of a job.
 *
 * Import this before the library. The threads run the built workers through entries of their own
 * (`workerDirectory`), which listen on a BroadcastChannel; pool threads, which block between jobs, look
 * for a file instead.
 */

import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = new URL('../../dist/', import.meta.url);
const CHANNEL = 'lightning-db torture';
/** Enough for each, little enough to run out of soon. */
const HEAP_MB = 96;

const threads = createRequire(import.meta.url)('node:worker_threads');
const { BroadcastChannel, Worker } = threads;

/** Live workers by name, `shard 0` or `coordinator`. */
const workers = new Map();
threads.Worker = class TrackedWorker extends Worker {
  constructor(location, options = {}) {
    const isEngine = /^lightning-db /.test(options.name ?? '');
    super(
      location,
      isEngine ? { ...options, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } } : options,
    );
    const name = options.name?.replace(/^lightning-db /, '');
    if (name === undefined || name === options.name) return;
    workers.set(name, this);
    this.once('exit', () => {
      if (workers.get(name) === this) workers.delete(name);
    });
  }
};
syncBuiltinESMExports();

/** Bounds the heaps of a thread's workers: for the coordinator, whose workers are the pool's threads. */
const POOL_HEAP = `
const { syncBuiltinESMExports } = require('node:module');
const threads = require('node:worker_threads');
const { Worker } = threads;
threads.Worker = class extends Worker {
  constructor(location, options) {
    super(location, { ...options, resourceLimits: { maxOldGenerationSizeMb: ${HEAP_MB} } });
  }
};
syncBuiltinESMExports();
`;

const HOARD = 'for (const hoard = []; ; ) hoard.push(new Array(100_000).fill(hoard.length + 0.5));';

const entry = (file, name) => `
require('./pool-heap.cjs');
const { BroadcastChannel, workerData } = require('node:worker_threads');
require(${JSON.stringify(fileURLToPath(new URL(`workers/${file}`, DIST)))});
const name = ${name};
const channel = new BroadcastChannel(${JSON.stringify(CHANNEL)});
channel.onmessage = ({ data }) => {
  if (data.name !== name) return;
  if (data.how === 'throw') setImmediate(() => { throw new Error('thrown by a test'); });
  if (data.how === 'exit') process.exit(0);
  if (data.how === 'heap') ${HOARD}
};
channel.unref();
`;

export class EngineWorkers {
  #directory = mkdtempSync(join(tmpdir(), 'lightning-db-workers-'));
  #channel = new BroadcastChannel(CHANNEL);

  constructor() {
    const write = (name, text) => writeFileSync(join(this.#directory, name), text);
    write('pool-heap.cjs', POOL_HEAP);
    write('shard.cjs', entry('shard.cjs', "'shard ' + workerData.shard"));
    write('coordinator.cjs', entry('coordinator.cjs', "'coordinator'"));
    // Before its work a thread just ends; after it, the result is lost and the files are there.
    write(
      'job.cjs',
      `const { existsSync, readFileSync, unlinkSync } = require('node:fs');
const { default: run } = require(${JSON.stringify(fileURLToPath(new URL('workers/job.cjs', DIST)))});
module.exports = async (posted) => {
  const flag = ${JSON.stringify(this.#flag)};
  let how = '';
  if (existsSync(flag)) {
    try { how = readFileSync(flag, 'latin1'); unlinkSync(flag); } catch {}
  }
  if (existsSync(flag + '-always')) how = readFileSync(flag + '-always', 'latin1');
  if (how === 'before') process.exit(1);
  if (how === 'throw') throw new Error('thrown by a test');
  if (how === 'heap') ${HOARD}
  const result = await run(posted);
  if (how === 'after') process.exit(1);
  return result;
};
`,
    );
    copyFileSync(new URL('workers/load.cjs', DIST), join(this.#directory, 'load.cjs'));
    copyFileSync(new URL('kernel.wasm', DIST), join(this.#directory, 'kernel.wasm'));
    this.#channel.unref();
  }

  /** The option that makes a database run these. */
  get directory() {
    return this.#directory;
  }

  get #flag() {
    return join(this.#directory, 'job-flag');
  }

  has(name) {
    return workers.has(name);
  }

  /** Resolves when the worker of that name, `shard 1` or `coordinator`, is gone. */
  async kill(name, how) {
    const worker = workers.get(name);
    if (worker === undefined) return;
    const gone = new Promise((resolve) => worker.once('exit', resolve));
    if (how === 'terminate') worker.terminate();
    else this.#channel.postMessage({ name, how });
    await gone;
  }

  /**
   * The next job that starts dies: `before` its work, `after` it, by an error (`throw`), or out of
   * heap (`heap`).
   */
  killNextJob(how) {
    writeFileSync(this.#flag, how);
  }

  /** From now on all jobs do; undefined: none. */
  killJobs(how) {
    if (how === undefined) rmSync(`${this.#flag}-always`, { force: true });
    else writeFileSync(`${this.#flag}-always`, how);
  }

  get isJobToDie() {
    return existsSync(this.#flag);
  }

  close() {
    this.#channel.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
