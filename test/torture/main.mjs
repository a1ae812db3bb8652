/**
 * npm run torture -- [rounds] [--rounds 1000] [--seed 1] [--at-once 2] [--not-atomic] [--no-bank]
 *
 *   rounds   kill -9 of processes under load, recovery compared with what was acknowledged
 *   deaths   shard workers, coordinator and pool threads that throw, end or are terminated
 *   faults   --seeds 3 --every 37: a fault at calls of a file system in memory (see faults.mjs)
 *   histories  --rounds 6 --seconds 8: what threads read and wrote, compared with the order of commits
 *   soak     --minutes 30: mixed load; memory, files and descriptors stay flat, totals are right
 *
 * Prints a line now and then, and at a failure the line that repeats it. Exit code 1: a failure.
 */

import { parseArgs } from 'node:util';

if (process.argv[2] === 'faults') {
  const { faults } = await import('./faults.mjs');
  process.exit((await faults(process.argv.slice(3))) ? 0 : 1);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '1000' },
    seed: { type: 'string' },
    minutes: { type: 'string', default: '30' },
    every: { type: 'string', default: '50' },
    'at-once': { type: 'string', default: '2' },
    seconds: { type: 'string', default: '8' },
    'not-atomic': { type: 'boolean', default: false },
    'no-bank': { type: 'boolean', default: false },
  },
});
const [mode = 'rounds'] = positionals;
const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
const startedAtMs = performance.now();
const log = (text) => {
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(0);
  process.stdout.write(`${seconds.padStart(5)} s  ${text}\n`);
};

const options = {
  rounds: Number(values.rounds),
  minutes: Number(values.minutes),
  every: Number(values.every),
  atOnce: Number(values['at-once']),
  seconds: Number(values.seconds),
  isAtomic: !values['not-atomic'],
  hasBank: !values['no-bank'],
  seed,
  log,
};
const MODES = {
  rounds: async () => (await import('./kill-rounds.mjs')).runKillRounds(options),
  deaths: async () => (await import('./deaths.mjs')).runDeaths(options),
  histories: async () => (await import('./histories.mjs')).runHistories(options),
  soak: async () => (await import('./soak.mjs')).runSoak(options),
};
if (MODES[mode] === undefined) {
  process.stderr.write(`Unknown mode "${mode}": ${Object.keys(MODES).join(', ')}\n`);
  process.exit(2);
}
log(`${mode}, seed ${seed}`);
try {
  await MODES[mode]();
} catch (error) {
  process.exitCode = 1;
  log(`FAILED ${error instanceof Error ? error.message : error}`);
  const rounds = error.round === undefined ? values.rounds : error.round + 1;
  const flags = `--rounds ${rounds} --seed ${seed}${values['not-atomic'] ? ' --not-atomic' : ''}${values['no-bank'] ? ' --no-bank' : ''}`;
  log(`repeat with: npm run torture -- ${mode} ${flags}`);
}
