/**
 * A process that recovers a database, compares it with what its parent knows, and writes until it is
 * killed. Standard input: the task, as JSON. Standard output: a line per event, written *after* the
 * event; the parent keeps the account.
 *
 *   loading          a bulk load is begun
 *   opening          the database is about to be opened
 *   resolved N …     the lanes as they were found; N operations that were under way had been applied
 *   a LANE I         operation I was acknowledged
 *   ready            the load is about to begin
 *   bulk             the bulk load was acknowledged
 *   FAILED …         something is not as it should be
 */

import { readFileSync, writeSync } from 'node:fs';
import { LightningDb } from 'lightning-db';
import { openBank, perform, transfer, verify } from './load.mjs';
import { LaneState, operationOf, random, storedValue } from './operations.mjs';

/** A full pipe is no reason to stop: the parent reads as fast as it can. */
function report(line) {
  for (const bytes = Buffer.from(`${line}\n`), sent = { at: 0 }; sent.at < bytes.length; ) {
    try {
      sent.at += writeSync(1, bytes, sent.at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

function fail(error) {
  report(
    `FAILED ${error instanceof Error ? (error.stack ?? error.message).replaceAll('\n', ' | ') : error}`,
  );
  process.exit(3);
}
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

const task = JSON.parse(readFileSync(0, 'utf8'));
const { path, options, seed, round, hasBank, bulk } = task;
const states = task.states.map(LaneState.parse);

if (bulk !== undefined) {
  report('loading');
  const entries = function* () {
    for (let n = 0; n < bulk.count; n++) {
      const key = `bulk-${String(n).padStart(6, '0')}`;
      yield [key, storedValue(key, bulk.version)];
    }
  };
  await LightningDb.bulkLoad(path, entries(), {
    ...options,
    keyEncoding: 'utf8',
    memoryBytes: 64 << 20,
  });
  report('bulk');
}

report('opening');
const db = await LightningDb.open(path, options);
const applied = await verify(db, states, task);
await verifyBulk();
report(`resolved ${applied} ${JSON.stringify(states)}`);
if (task.only === 'verify') {
  const { problems } = await db.check();
  if (problems.length > 0) fail(`check: ${JSON.stringify(problems)}`);
  await db.close();
  process.exit(0);
}

/** Either all of the last load that was under way is there, or all of the one before. */
async function verifyBulk() {
  const found = new Map();
  for await (const [key, value] of db.scan({ prefix: 'bulk-' })) {
    const version = Number(/^[^=]*=(\d+):/.exec(value)?.[1]);
    if (value !== storedValue(key, version)) fail(`${key} has a value that was never loaded`);
    found.set(version, (found.get(version) ?? 0) + 1);
  }
  const { before, under } = task.bulkKnown;
  const isAs = (load) =>
    load === null ? found.size === 0 : found.size === 1 && found.get(load.version) === load.count;
  if (!isAs(before) && !(under !== null && isAs(under))) {
    fail(`a bulk load is there in part: ${JSON.stringify({ found: [...found], before, under })}`);
  }
  report(`bulkfound ${[...found.keys()][0] ?? 0}`);
}

async function lane(state) {
  for (let i = state.next; ; i++) {
    await perform(db, operationOf(seed, state.lane, i));
    report(`a ${state.lane} ${i}`);
  }
}

async function upkeep() {
  const next = random(seed + round);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, next() * 100));
    if (next() < 0.7) await db.flush();
    else await db.compact();
  }
}

async function bank() {
  const next = random(seed * 3 + round);
  for (;;) {
    await transfer(db, next);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const work = [...states.map(lane), upkeep()];
if (hasBank) {
  await openBank(db);
  work.push(bank(), bank());
}
report('ready');
await Promise.all(work);
