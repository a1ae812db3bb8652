/**
 * Histories of random transactions, batches, puts, scans and snapshots on several threads, compared
 * with the serial order of their commits. Small memtables, large batches, threads that end in the
 * middle, workers that die, processes that are killed: over all of it there is one order.
 *
 * An episode is one database and several rounds, each a process of its own; see history-child.mjs.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { History } from './history-oracle.mjs';
import { random } from './operations.mjs';

const CHILD = fileURLToPath(new URL('./history-child.mjs', import.meta.url));
const MODES = ['async', 'async', 'sync', { periodic: { intervalMs: 15 } }];

export async function runHistories({ rounds, seconds = 8, seed, log }) {
  for (let done = 0, episode = 0; done < rounds; episode++) {
    const count = Math.min(3, rounds - done);
    await runEpisode({ seed: seed + episode, rounds: count, seconds, log });
    done += count;
  }
}

async function runEpisode({ seed, rounds, seconds, log }) {
  const root = mkdtempSync(join(tmpdir(), `lightning-db-histories-${seed}-`));
  const path = join(root, 'db');
  const directory = join(root, 'histories');
  mkdirSync(directory);
  const next = random(seed);
  const options = {
    shards: [1, 2, 3, 4][Math.floor(next() * 4)],
    walSyncMode: MODES[Math.floor(next() * MODES.length)],
    memtableSize: [256 << 10, 1 << 20][Math.floor(next() * 2)],
    blockBytes: 1024,
    tableBytesMax: 256 << 10,
  };
  options.cacheSize = options.shards * (16 << 20);
  const hasDeaths = next() < 0.5;
  const threads = 2 + Math.floor(next() * 3);
  const history = new History();
  const taken = new Set();
  try {
    for (let round = 0; round < rounds; round++) {
      const isKilled = next() < 0.4;
      const task = { path, directory, options, seed, round, seconds, threads, lanes: 3, hasDeaths };
      const said = await runRound(task, isKilled ? seconds * 1000 * next() : undefined);
      for (const name of readdirSync(directory)) {
        if (taken.has(name)) continue;
        taken.add(name);
        history.take(readFileSync(join(directory, name), 'utf8'));
      }
      await findOut(path, history);
      log(
        `seed ${seed} round ${round} ${JSON.stringify({ ...options, hasDeaths, isKilled })} ${said}`,
      );
    }
    const final = await contents(path, history);
    const problems = history.check(final);
    if (problems.length > 0) throw new Error(problems.join('\n'));
    log(`seed ${seed}: ${JSON.stringify(history.counts)}`);
    rmSync(root, { recursive: true });
  } catch (error) {
    error.message += `\n(seed ${seed}; files are in ${root})`;
    throw error;
  }
}

async function runRound(task, killAfterMs) {
  const child = spawn(process.execPath, [CHILD, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let failure;
  let said = '';
  let notes = '';
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line === 'ready' && killAfterMs !== undefined) {
        setTimeout(() => child.kill('SIGKILL'), killAfterMs);
      }
      if (line.startsWith('stats')) said = line;
      if (line.startsWith('FAILED')) failure ??= line;
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    notes += text;
  });
  const watchdog = setTimeout(() => {
    failure ??= 'it hangs';
    child.kill('SIGKILL');
  }, 240_000);
  const [code, signal] = await new Promise((resolve) => {
    child.on('close', (c, s) => resolve([c, s]));
  });
  clearTimeout(watchdog);
  const isExpected = code === 0 || (killAfterMs !== undefined && signal === 'SIGKILL');
  if (!isExpected) failure ??= `the child ended with ${code ?? signal}: ${notes.slice(0, 3000)}`;
  if (failure !== undefined)
    throw new Error(`round ${task.round}: ${failure} ${notes.slice(0, 3000)}`);
  return said;
}

const idOf = (value) => value.slice(0, value.indexOf(' '));

async function findOut(path, history) {
  const db = await LightningDb.open(path, { cacheSize: 64 << 20 });
  for (const { id, mark } of history.unknown()) {
    const found = await db.getVersioned(mark);
    const isThere = found !== undefined && idOf(found.value) === id;
    history.resolve(id, isThere ? found.version : undefined);
  }
  await db.close();
}

async function contents(path, history) {
  const db = await LightningDb.open(path, { cacheSize: 64 << 20 });
  const final = new Map();
  for await (const [key, value] of db.scan()) {
    if (!key.startsWith('counter:')) final.set(key, idOf(value));
    else {
      const { committed, unknown } = history.counters.get(key);
      // A thread that ended wrote nothing down about its last one.
      if (Number(value) < committed || Number(value) > committed + unknown + 500) {
        throw new Error(`${key} is ${value}: ${committed} increments, ${unknown} unknown`);
      }
    }
  }
  const { problems } = await db.check();
  await db.close();
  if (problems.length > 0) throw new Error(`check: ${JSON.stringify(problems)}`);
  return final;
}
