/**
 * Rounds of kill -9. The parent knows what was acknowledged and nothing else; each child recovers
 * what the one before left, compares, and goes on writing until it is killed: under load, within
 * recovery, within a bulk load. Databases are never closed in between. Each lives in one of
 * `atOnce` queues of rounds, which run side by side.
 *
 * When a child dies is counted in what it has done, not in time alone, so that a busy machine
 * gets as much tortured as an idle one.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LANES, LaneState, operationOf, random } from './operations.mjs';

const CHILD = fileURLToPath(new URL('./kill-child.mjs', import.meta.url));
const BULK_COUNT = 5_000;
const MODES = ['async', 'sync', { periodic: { intervalMs: 15 } }];
const SHARDS = [1, 2, 4];
const HANG_MS = 240_000;

/** Most die under load; some while they open the database, some while they load in bulk. */
const EARLY_SHARE = 0.2;
const BULK_SHARE = 0.15;
/** Under load: after so many acknowledgements at most, or so long after the first could come. */
const ACKNOWLEDGEMENTS_MAX = 800;
const LOAD_MS_MAX = 2500;

/** A database under torture, and what is known of it. */
class Victim {
  constructor(path, options) {
    this.path = path;
    this.options = options;
    this.states = Array.from({ length: LANES }, (_, lane) => new LaneState(lane));
    this.bulk = { before: null, under: null };
    this.bulkVersion = 0;
    this.isTouched = false;
  }
}

/** How long something takes here and now: the mean of the latest times. */
class Duration {
  #ms;

  constructor(ms) {
    this.#ms = ms;
  }

  note(ms) {
    this.#ms += (ms - this.#ms) / 8;
  }

  get ms() {
    return this.#ms;
  }
}

export async function runKillRounds({
  rounds,
  seed,
  isAtomic,
  hasBank,
  log,
  every = 50,
  atOnce = 2,
}) {
  const root = mkdtempSync(join(tmpdir(), 'lightning-db-torture-'));
  const victims = MODES.flatMap((walSyncMode, mode) =>
    SHARDS.map((shards) => {
      const options = { shards, walSyncMode, memtableSize: 1 << 20, cacheSize: 32 << 20 };
      return new Victim(join(root, `${mode}-${shards}`), options);
    }),
  );
  const totals = { rounds: 0, acknowledged: 0, inRecovery: 0, bulkLoads: 0, inBulk: 0, applied: 0 };
  const common = {
    seed,
    isAtomic,
    hasBank,
    totals,
    opening: new Duration(300),
    loading: new Duration(500),
  };
  let begun = 0;
  let failure;
  const runQueue = async (queue) => {
    const own = victims.filter((_, i) => i % atOnce === queue);
    const next = random(seed + queue * 7907);
    while (begun < rounds && failure === undefined) {
      const round = begun++;
      const victim = own[Math.floor(next() * own.length)];
      victim.isTouched = true;
      await runRound(victim, { ...common, round, next });
      totals.rounds++;
      if (totals.rounds % every === 0) log(summary(totals));
    }
    for (const victim of own.filter(({ isTouched }) => isTouched)) {
      if (failure !== undefined) return;
      await runRound(victim, { ...common, round: rounds, next, only: 'verify' });
    }
  };
  await Promise.all(
    Array.from({ length: atOnce }, (_, queue) =>
      runQueue(queue).catch((error) => {
        failure ??= error;
      }),
    ),
  );
  if (failure !== undefined) {
    failure.message += `; files are in ${root}`;
    throw failure;
  }
  log(summary(totals));
  rmSync(root, { recursive: true });
  return totals;
}

function summary({ rounds, acknowledged, applied, inRecovery, inBulk, bulkLoads }) {
  return (
    `${rounds} kills: ${acknowledged} acknowledged operations there, ${applied} that were under way too, ` +
    `${inRecovery} killed in recovery, ${inBulk} in a bulk load, ${bulkLoads} bulk loads done`
  );
}

/** When a child is to die: at an event, and so much after it in time or in acknowledgements. */
function planDeath(isBulk, { next, opening, loading }) {
  const luck = next();
  if (isBulk && luck < 0.7) return { event: 'loading', delayMs: next() * 1.1 * loading.ms };
  if (luck < EARLY_SHARE) return { event: 'opening', delayMs: next() * opening.ms };
  return {
    event: 'ready',
    delayMs: LOAD_MS_MAX,
    acknowledgements: Math.floor(next() * next() * ACKNOWLEDGEMENTS_MAX),
  };
}

async function runRound(victim, run) {
  const { seed, round, isAtomic, hasBank, next, totals, only } = run;
  const { path, options } = victim;
  // One load at a time is of unknown outcome.
  const isBulk = only === undefined && next() < BULK_SHARE && victim.bulk.under === null;
  if (isBulk) victim.bulk.under = { version: ++victim.bulkVersion, count: BULK_COUNT };
  const task = {
    path,
    options,
    seed,
    round,
    isAtomic,
    hasBank,
    states: victim.states,
    only,
    bulkKnown: victim.bulk,
    ...(isBulk ? { bulk: victim.bulk.under } : {}),
  };
  const death = planDeath(isBulk, run);
  const child = spawn(process.execPath, [CHILD], { stdio: ['pipe', 'pipe', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  let timer;
  let acknowledged = 0;
  const arm = (event) => {
    if (only !== undefined || event !== death.event) return;
    timer ??= setTimeout(kill, death.delayMs);
    if (death.acknowledgements === 0) kill();
  };
  let failure;
  let phase = 'spawned';
  let phaseMs = performance.now();
  const enter = (name) => {
    phase = name;
    phaseMs = performance.now();
  };
  const take = (line) => {
    const [what, ...rest] = line.split(' ');
    arm(what);
    if (what === 'a') {
      const state = victim.states[Number(rest[0])];
      if (Number(rest[1]) !== state.next)
        failure ??= `lane ${rest[0]} is at ${rest[1]}, not ${state.next}`;
      state.apply(operationOf(seed, state.lane, state.next));
      state.next++;
      totals.acknowledged++;
      acknowledged++;
      if (acknowledged === death.acknowledgements) kill();
      return;
    }
    if (what === 'FAILED') failure ??= rest.join(' ');
    else if (what === 'loading' || what === 'opening') enter(what);
    else if (what === 'ready') {
      run.opening.note(performance.now() - phaseMs);
      enter('ready');
    } else if (what === 'resolved') {
      totals.applied += Number(rest[0]);
      victim.states = JSON.parse(rest.slice(1).join(' ')).map(LaneState.parse);
    } else if (what === 'bulk') {
      run.loading.note(performance.now() - phaseMs);
      victim.bulk = { before: victim.bulk.under, under: null };
      totals.bulkLoads++;
    } else if (what === 'bulkfound') {
      const { before, under } = victim.bulk;
      if (under !== null && Number(rest[0]) === under.version)
        victim.bulk = { before: under, under: null };
      else victim.bulk = { before, under: null };
    }
  };
  let rest = '';
  let notes = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) take(line);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    notes += text;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(task));
  // A hang is a failure, too.
  const watchdog = setTimeout(() => {
    failure ??= 'it hangs';
    child.kill('SIGKILL');
  }, HANG_MS);
  const [code, signal] = await new Promise((resolve) =>
    child.on('close', (c, s) => resolve([c, s])),
  );
  clearTimeout(timer);
  clearTimeout(watchdog);
  if (phase === 'loading') totals.inBulk++;
  else if (phase !== 'ready' && only === undefined) totals.inRecovery++;
  const isExpected = only === undefined ? signal === 'SIGKILL' : code === 0;
  if (!isExpected) failure ??= `the child ended with ${code ?? signal}: ${notes.slice(0, 2000)}`;
  if (failure === undefined) return;
  const error = new Error(`round ${round} (${JSON.stringify(options)}): ${failure}`);
  error.round = round;
  throw error;
}
