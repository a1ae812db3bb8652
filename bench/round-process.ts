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
import { formatRate } from '../src/cli/number-format.js';
import { newStore } from './stores.js';

export interface RoundSpec {
  readonly store: string;
  readonly settings: LightningSettings;
  readonly records: number;
  readonly seed: number;
  readonly seconds: number;
  readonly only?: readonly string[] | undefined;
  readonly suite: 'targets' | 'all';
  readonly openLoopPerSecond: number;
  readonly directory: string;
}

export interface RoundOutcome {
  readonly version: string;
  readonly configuration: string;
  readonly measurements: Measurement[];
  /** Resident memory before the store was opened, at the end, and at its highest. */
  readonly baseBytes: number;
  readonly endBytes: number;
  readonly peakBytes: number;
}

/** The child's side. */
export async function runRoundProcess(specFile: string): Promise<void> {
  const spec = JSON.parse(readFileSync(specFile, 'utf8')) as RoundSpec;
  const { kind, records } = newStore(spec.store, spec.settings, spec.records, spec.seed);
  const baseBytes = residentBytes();
  let endBytes = baseBytes;
  const measurements = await runRound(kind, {
    ...spec,
    records,
    clientEntry: new URL('./bench-client.js', import.meta.url),
    onMeasured({ name, perSecond, note }) {
      endBytes = residentBytes();
      const suffix = note === undefined ? '' : `  (${note})`;
      process.stderr.write(`  ${name.padEnd(34)} ${formatRate(perSecond)}${suffix}\n`);
    },
  });
  const outcome: RoundOutcome = {
    ...kind.describe(),
    measurements,
    baseBytes,
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
