/**
 * Rounds of kill -9. The parent knows what was acknowledged and nothing else; each child recovers
 * what the one before left, compares, and goes on writing until it is killed: under load, within
 * recovery, within a bulk load. Databases are never closed in between.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LANES, LaneState, operationOf, random } from './operations.mjs';

const CHILD = fileURLToPath(new URL('./kill-child.mjs', import.meta.url));
const BULK_COUNT = 20_000;
const MODES = ['async', 'sync', { periodic: { intervalMs: 15 } }];
const SHARDS = [1, 2, 4];

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

export async function runKillRounds({ rounds, seed, isAtomic, hasBank, log, every = 50 }) {
  const root = mkdtempSync(join(tmpdir(), 'lightning-db-torture-'));
  const next = random(seed);
  const victims = MODES.flatMap((walSyncMode, mode) =>
    SHARDS.map((shards) => {
      const options = { shards, walSyncMode, memtableSize: 1 << 20, cacheSize: 32 << 20 };
      return new Victim(join(root, `${mode}-${shards}`), options);
    }),
  );
  const totals = { rounds: 0, acknowledged: 0, inRecovery: 0, bulkLoads: 0, applied: 0 };
  try {
    for (let round = 0; round < rounds; round++) {
      const victim = victims[Math.floor(next() * victims.length)];
      victim.isTouched = true;
      await runRound(victim, { seed, round, isAtomic, hasBank, next, totals });
      totals.rounds++;
      if (totals.rounds % every === 0) log(summary(totals));
    }
    for (const victim of victims.filter(({ isTouched }) => isTouched)) {
      await runRound(victim, {
        seed,
        round: rounds,
        isAtomic,
        hasBank,
        next,
        totals,
        only: 'verify',
      });
    }
    log(summary(totals));
    return totals;
  } catch (error) {
    error.message += `; files are in ${root}`;
    throw error;
  } finally {
    if (process.exitCode === undefined && totals.rounds === rounds)
      rmSync(root, { recursive: true });
  }
}

function summary({ rounds, acknowledged, applied, inRecovery, bulkLoads }) {
  return (
    `${rounds} kills: ${acknowledged} acknowledged operations there, ${applied} that were under way too, ` +
    `${inRecovery} killed in recovery, ${bulkLoads} bulk loads`
  );
}

async function runRound(victim, { seed, round, isAtomic, hasBank, next, totals, only }) {
  const { path, options } = victim;
  const isBulk = only === undefined && next() < 0.12;
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
  // Most die under load; some as soon as they have begun to open the database.
  const isEarly = next() < 0.2;
  const delayMs = isBulk ? next() * 700 : isEarly ? 60 + next() * 250 : next() * 350;
  const startsAt = isBulk ? 'loading' : isEarly ? 'spawn' : 'ready';
  const child = spawn(process.execPath, [CHILD], { stdio: ['pipe', 'pipe', 'pipe'] });
  let timer;
  const arm = (event) => {
    if (only !== undefined || event !== startsAt) return;
    timer ??= setTimeout(() => child.kill('SIGKILL'), delayMs);
  };
  let failure;
  let hasResolved = false;
  const take = (line) => {
    const [what, ...rest] = line.split(' ');
    arm(what);
    if (what === 'FAILED') failure ??= rest.join(' ');
    else if (what === 'resolved') {
      hasResolved = true;
      totals.applied += Number(rest[0]);
      victim.states = JSON.parse(rest.slice(1).join(' ')).map(LaneState.parse);
    } else if (what === 'a') {
      const state = victim.states[Number(rest[0])];
      if (Number(rest[1]) !== state.next)
        failure ??= `lane ${rest[0]} is at ${rest[1]}, not ${state.next}`;
      state.apply(operationOf(seed, state.lane, state.next));
      state.next++;
      totals.acknowledged++;
    } else if (what === 'bulk') {
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
  arm('spawn');
  // A hang is a failure, too.
  const watchdog = setTimeout(() => {
    failure ??= 'it hangs';
    child.kill('SIGKILL');
  }, 120_000);
  const [code, signal] = await new Promise((resolve) =>
    child.on('close', (c, s) => resolve([c, s])),
  );
  clearTimeout(timer);
  clearTimeout(watchdog);
  if (!hasResolved) totals.inRecovery++;
  const isExpected = only === undefined ? signal === 'SIGKILL' : code === 0;
  if (!isExpected) failure ??= `the child ended with ${code ?? signal}: ${notes.slice(0, 2000)}`;
  if (failure === undefined) return;
  const error = new Error(`round ${round} (${JSON.stringify(options)}): ${failure}`);
  error.round = round;
  throw error;
}
