/** Runs the list-append workload in a process of its own: 8 clients on several threads. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Isolation } from 'lightning-db';
import type { Weakening } from '../../src/faults.js';
import { temporaryDirectory } from '../api/temporary-directory.js';
import type { History } from './history.js';

const PROCESS = fileURLToPath(new URL('./append-process.mjs', import.meta.url));

export interface WorkloadOptions {
  readonly isolation: Isolation;
  readonly shards: number;
  /** Each with keys of its own; the last ones may be left out by the caller. */
  readonly rounds: number;
  /** Per client and round. */
  readonly attempts: number;
  readonly seed: number;
  /** How transactions are broken on purpose; see faulty-transaction.mjs. */
  readonly fault?: string;
  /** Some transactions also write a value of so many bytes, and take longer to be prepared. */
  readonly ballastBytes?: number;
  /** Which rule of the engine does not hold; see src/faults.ts. */
  readonly weakening?: Weakening | undefined;
}

/** The history of each round. The process is ended when the caller stops looking. */
export async function* appendHistories(options: WorkloadOptions): AsyncGenerator<History> {
  const { shards, weakening, ...rest } = options;
  const directory = temporaryDirectory();
  const config = { shards, cacheSize: shards * (8 << 20), memtableSize: 512 << 10 };
  const task = JSON.stringify({ ...rest, path: directory.path, options: config });
  const env = { ...process.env };
  if (weakening !== undefined) env['LIGHTNING_DB_FAULT'] = `weaken:${weakening}`;
  const child = spawn(process.execPath, [PROCESS, task], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  const end = new Promise<number | null>((resolve) => child.on('close', resolve));
  try {
    for await (const line of createInterface(child.stdout)) yield JSON.parse(line) as History;
    const exitCode = await end;
    if (exitCode !== 0) throw new Error(`The workload ended with ${exitCode}`);
  } finally {
    child.kill('SIGKILL');
    await end;
    directory.remove();
  }
}

/** Not so few commits, nor so few conflicts, that the history says nothing. */
export function countsOf(history: History): { committed: number; aborted: number } {
  return {
    committed: history.filter(({ outcome }) => outcome === 'committed').length,
    aborted: history.filter(({ outcome }) => outcome === 'aborted').length,
  };
}
