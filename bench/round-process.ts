/**
 * Every round of every store runs in a process of its own: heap, compiled code, caches and counters
 * of one do not touch another's.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LightningSettings } from '../src/cli/bench/lightning-store.js';
import type { Measurement } from '../src/cli/bench/measurement.js';
import { residentBytes } from '../src/cli/bench/process-counters.js';
import { runRound } from '../src/cli/bench/round.js';
import type { Suite } from '../src/cli/bench/suites.js';
import { formatRate } from '../src/cli/number-format.js';
import { newStore } from './stores.js';
import { transactionWorkloads } from './transactions.js';

export interface RoundSpec {
  readonly store: string;
  readonly settings: LightningSettings;
  readonly records: number;
  readonly seed: number;
  readonly seconds: number;
  readonly only?: readonly string[] | undefined;
  readonly suite: Suite;
  readonly openLoopPerSecond: number;
  readonly directory: string;
}

export interface RoundOutcome {
  readonly version: string;
  readonly configuration: string;
  readonly measurements: Measurement[];
  /** Resident memory at the end, and at its highest. */
  readonly endBytes: number;
  readonly peakBytes: number;
}

/** The child's side. */
export async function runRoundProcess(specFile: string): Promise<void> {
  const spec = JSON.parse(readFileSync(specFile, 'utf8')) as RoundSpec;
  const { kind, records } = newStore(spec.store, spec.settings, spec.records, spec.seed);
  let endBytes = residentBytes();
  const measurements = await runRound(kind, {
    ...spec,
    records,
    clientEntry: new URL('./bench-client.js', import.meta.url),
    crash: (path) => writeAndDie(spec, path),
    extras: (store, durability) => transactionWorkloads(store, durability, spec.settings.shards),
    onMeasured({ name, perSecond, note, failed }) {
      endBytes = residentBytes();
      const text = failed === undefined ? note : `FAILED: ${failed}`;
      const suffix = text === undefined ? '' : `  (${text})`;
      process.stderr.write(`  ${name.padEnd(34)} ${formatRate(perSecond)}${suffix}\n`);
    },
  });
  const outcome: RoundOutcome = {
    ...kind.describe(),
    measurements,
    endBytes,
    peakBytes: residentBytes('peak'),
  };
  writeFileSync(`${specFile}.out`, JSON.stringify(outcome));
}

/** The starting side. */
export async function inRoundProcess(spec: Omit<RoundSpec, 'directory'>, parent: string) {
  const directory = mkdtempSync(join(parent, 'lightning-db-bench-'));
  try {
    const specFile = join(directory, 'round.json');
    writeFileSync(specFile, JSON.stringify({ ...spec, directory } satisfies RoundSpec));
    const entry = fileURLToPath(new URL('./bench.js', import.meta.url));
    await exited(spawn(process.execPath, [entry, '--round', specFile], { stdio: 'inherit' }));
    return JSON.parse(readFileSync(`${specFile}.out`, 'utf8')) as RoundOutcome;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function exited(child: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`A round's process ended with ${signal ?? `code ${code}`}`));
    });
  });
}

/** Operations that a process writes before it is killed. */
const CRASH_OPERATIONS = 200_000;

interface CrashSpec {
  readonly round: RoundSpec;
  readonly path: string;
}

/** The child's side: overwrites records until it is killed, and says when it has done enough. */
export async function runCrashProcess(specFile: string): Promise<void> {
  const { round, path } = JSON.parse(readFileSync(specFile, 'utf8')) as CrashSpec;
  const { kind, records } = newStore(round.store, round.settings, round.records, round.seed);
  const store = await kind.open(path, 'async');
  for (let index = 0; ; ) {
    await store.writeBatch((sink) => {
      for (let n = 0; n < 1000; n++, index++) {
        const id = records.shuffled(index % records.count);
        sink.put(records.key(id), records.value(id, 3));
      }
    });
    if (index === CRASH_OPERATIONS) process.stdout.write('written\n');
  }
}

/** The starting side: lets a process write to the database and kills it in the middle. */
async function writeAndDie(round: RoundSpec, path: string): Promise<void> {
  const specFile = join(round.directory, 'crash.json');
  writeFileSync(specFile, JSON.stringify({ round, path } satisfies CrashSpec));
  const entry = fileURLToPath(new URL('./bench.js', import.meta.url));
  const child = spawn(process.execPath, [entry, '--crash', specFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (_code, signal) => resolve(signal));
  });
  child.stdout.once('data', () => child.kill('SIGKILL'));
  if ((await ended) !== 'SIGKILL')
    throw new Error('The process that was to be killed ended before');
}
