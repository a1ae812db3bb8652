/** The outcome of a run, as `--json` writes it and reports read it. */

import { arch, cpus, release, totalmem, type } from 'node:os';
import { type Measurement, type Summary, summarize } from './measurement.js';

export const RESULT_FORMAT = 1;

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  readonly v8: string;
}

export interface Settings {
  readonly records: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly shards: number;
  readonly rounds: number;
  readonly secondsPerWorkload: number;
  readonly seed: number;
  readonly openLoopPerSecond: number;
  readonly cacheBytes: number;
}

export interface StoreResult {
  readonly name: string;
  readonly version: string;
  readonly configuration: string;
  readonly rounds: Measurement[][];
  /** Resident memory at its highest, in each round's process. */
  readonly peakBytes?: number[];
}

export interface BenchResult {
  readonly format: typeof RESULT_FORMAT;
  readonly startedAt: string;
  readonly machine: Machine;
  readonly settings: Settings;
  readonly stores: StoreResult[];
}

export function thisMachine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    system: `${type()} ${release()} ${arch()}`,
    node: process.version,
    v8: process.versions.v8,
  };
}

/** A store's summary of every workload it ran, in the order it ran them. */
export function summariesOf({ rounds }: StoreResult): Summary[] {
  const names = new Set(rounds.flatMap((round) => round.map(({ name }) => name)));
  return [...names].flatMap((name) => {
    const summary = summarize(rounds.flatMap((round) => round.filter((m) => m.name === name)));
    return summary === undefined ? [] : [summary];
  });
}

export function summaryOf(store: StoreResult, name: string): Summary | undefined {
  return summarize(store.rounds.flatMap((round) => round.filter((m) => m.name === name)));
}
