/**
 * Deaths inside the process: shard workers, the coordinator and pool threads are terminated, throw,
 * exit or run out of heap under load; attached threads are terminated in the middle of reads. What is
 * asked of the others goes on; what was acknowledged is there; what was not says so.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { EngineWorkers } from './engine-workers.mjs';
import { perform, readLane, verify } from './load.mjs';
import { LANES, LaneState, operationOf, random } from './operations.mjs';

const { LightningDb } = await import('lightning-db');

const HOW = ['terminate', 'throw', 'exit'];
const JOB_HOW = ['before', 'after', 'throw', 'heap'];
const SHARDS = [1, 2, 4];
/** A worker is replaced three times a minute; then it stays dead. */
const DEATHS_PER_OPEN = 3;
const PATIENCE_MS = 20_000;

export async function runDeaths({ rounds, seed, isAtomic, log, every = 50 }) {
  const root = mkdtempSync(join(tmpdir(), 'lightning-db-deaths-'));
  const engine = new EngineWorkers();
  const totals = { deaths: 0, operations: 0, failed: 0, attached: 0 };
  const next = random(seed);
  const known = new Map();
  try {
    while (totals.deaths < rounds) {
      const shards = SHARDS[Math.floor(next() * SHARDS.length)];
      const states =
        known.get(shards) ?? Array.from({ length: LANES }, (_, lane) => new LaneState(lane));
      known.set(shards, states);
      const path = join(root, String(shards));
      await runEpisode({
        path,
        shards,
        states,
        engine,
        next,
        totals,
        seed,
        isAtomic,
        rounds,
        log,
        every,
      });
    }
    log(summary(totals));
    rmSync(root, { recursive: true });
    return totals;
  } catch (error) {
    error.message += `; files are in ${root}`;
    error.round = totals.deaths;
    throw error;
  } finally {
    engine.close();
  }
}

function summary({ deaths, operations, failed, attached }) {
  return (
    `${deaths} deaths: ${operations} operations right, ${failed} rejected on the way, ` +
    `${attached} attached threads`
  );
}

async function runEpisode(run) {
  const { path, shards, states, engine, next, totals, rounds, log, every } = run;
  const options = {
    shards,
    memtableSize: 1 << 20,
    cacheSize: 32 << 20,
    workerDirectory: engine.directory,
    walSyncMode: next() < 0.5 ? 'async' : 'sync',
  };
  const db = await LightningDb.open(path, options);
  const isOver = { value: false, failure: undefined };
  try {
    const noted = (work) =>
      work.catch((error) => {
        isOver.failure ??= error;
      });
    const lanes = states.map((state) => noted(runLane(db, state, run, isOver)));
    const threads = [await attach(db, 'a'), await attach(db, 'b')];
    totals.attached += threads.length;
    const upkeep = noted(runUpkeep(db, isOver));
    const died = new Map();
    for (let death = 0; death < 4 && totals.deaths < rounds; death++) {
      await pause(20 + next() * 60);
      await dieOnce(db, run, died);
      if (isOver.failure !== undefined) throw isOver.failure;
      totals.deaths++;
      if (totals.deaths % every === 0) log(summary(totals));
      const victim = threads[0];
      if (next() < 0.4) {
        await victim.worker.terminate();
        threads[0] = await attach(db, `r${totals.deaths}`);
        totals.attached++;
      }
    }
    await Promise.all(threads.map(ask));
    isOver.value = true;
    await Promise.all([...lanes, upkeep]);
    if (isOver.failure !== undefined) throw isOver.failure;
    await Promise.all(threads.map(leave));
    await until('slots are free', async () => (await db.stats()).clients === 1);
    await verifyStates(db, run);
    const { problems } = await db.check();
    if (problems.length > 0) throw new Error(`check: ${JSON.stringify(problems)}`);
  } finally {
    isOver.value = true;
    await db.close();
  }
  const again = await LightningDb.open(path, { cacheSize: 32 << 20 });
  try {
    await verifyStates(again, run);
  } finally {
    await again.close();
  }
}

/** As `verify`, of states that no operation is under way of. */
async function verifyStates(db, { states, seed, isAtomic }) {
  const copies = states.map((state) => LaneState.parse(JSON.parse(JSON.stringify(state))));
  const applied = await verify(db, copies, { seed, isAtomic });
  const due = states.filter((state) => {
    const { changes } = operationOf(seed, state.lane, state.next);
    return changes.every(([key, version]) => (state.versions.get(key) ?? null) === version);
  });
  if (applied > due.length) throw new Error('An operation is there that was never begun');
}

async function dieOnce(db, { engine, next, shards }, died) {
  const mayDie = (name) => (died.get(name) ?? 0) < DEATHS_PER_OPEN;
  const kind = next();
  if (kind < 0.25) {
    engine.killNextJob(JOB_HOW[Math.floor(next() * JOB_HOW.length)]);
    await db.flush().catch(expectUnavailable);
    return;
  }
  const name = kind < 0.45 ? 'coordinator' : `shard ${Math.floor(next() * shards)}`;
  if (!mayDie(name) || !engine.has(name)) return;
  died.set(name, (died.get(name) ?? 0) + 1);
  const isHeap = next() < 0.15;
  await engine.kill(name, isHeap ? 'heap' : HOW[Math.floor(next() * HOW.length)]);
  await until(`${name} is back`, async () => {
    if (!engine.has(name)) return false;
    try {
      // All shards, and jobs through the coordinator.
      await db.flush();
      return true;
    } catch (error) {
      expectUnavailable(error);
      return false;
    }
  });
}

async function runLane(db, state, { seed, isAtomic, totals }, isOver) {
  while (!isOver.value) {
    const operation = operationOf(seed, state.lane, state.next);
    try {
      await perform(db, operation);
      state.apply(operation);
      state.next++;
    } catch (error) {
      if (error.code !== 'LIGHTNING_SHARD_UNAVAILABLE') throw error;
      totals.failed++;
      await resolveLane(db, state, operation, error, isAtomic);
    }
    totals.operations++;
    if (totals.operations % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Finds out what became of an operation that was rejected. */
async function resolveLane(db, state, operation, cause, isAtomic) {
  let found;
  await until(`lane ${state.lane} can be read`, async () => {
    try {
      // Every shard has recovered what was in its log, and nothing is on its way any more.
      await db.flush();
      if (!isAtomic) await pause(50);
      found = await readLane(db, state);
      return true;
    } catch (error) {
      expectUnavailable(error);
      return false;
    }
  });
  const outcome = state.compare(found, operation, isAtomic);
  if (outcome === 'applied' && cause.details.outcome === 'none' && operation.changes.length === 1) {
    throw new Error(
      `An operation that "none" had been applied of is there: ${JSON.stringify(operation)}`,
    );
  }
  state.take(found);
}

async function runUpkeep(db, isOver) {
  for (let i = 0; !isOver.value; i++) {
    try {
      if (i % 3 === 2) await db.compact();
      else await db.flush();
    } catch (error) {
      expectUnavailable(error);
    }
    await pause(25);
  }
}

// ---- attached threads ---------------------------------------------------------------------

async function attach(db, name) {
  const options = { workerData: { handle: db.share(), name } };
  for (const startMs = performance.now(); ; ) {
    const worker = new Worker(new URL('./attached-reader.mjs', import.meta.url), options);
    try {
      await message(worker);
      return { worker };
    } catch (error) {
      if (performance.now() - startMs > PATIENCE_MS) throw error;
      if (!/Cannot attach|stopped before/.test(error.message)) throw error;
      await pause(20);
    }
  }
}

/** An attached thread can still call the coordinator, whichever that is now. */
async function ask({ worker }) {
  for (const startMs = performance.now(); ; ) {
    worker.postMessage({ what: 'stats' });
    const { clients, error } = await message(worker);
    if (clients >= 3) return;
    if (performance.now() - startMs > PATIENCE_MS)
      throw new Error(`stats of an attached thread: ${error ?? clients}`);
    await pause(20);
  }
}

async function leave({ worker }) {
  const gone = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage({ what: 'leave' });
  await gone;
}

function message(worker) {
  return new Promise((resolve, reject) => {
    const settle = (action) => (value) => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      action(value);
    };
    const onMessage = settle(resolve);
    const onError = settle(reject);
    const onExit = settle(() => reject(new Error('an attached thread ended')));
    worker.once('message', onMessage).once('error', onError).once('exit', onExit);
  });
}

// ---- waiting ------------------------------------------------------------------------------

function expectUnavailable(error) {
  const isExpected = [
    'LIGHTNING_SHARD_UNAVAILABLE',
    'LIGHTNING_ABORTED',
    'LIGHTNING_CLOSED',
  ].includes(error.code);
  if (!isExpected) throw error;
}

async function until(what, check) {
  for (const startMs = performance.now(); performance.now() - startMs < PATIENCE_MS; ) {
    if (await check()) return;
    await pause(10);
  }
  throw new Error(`In vain: until ${what}`);
}

async function pause(milliseconds) {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
