/** Made-up results, for what reads them. */

import type { Measurement } from '../../../src/cli/bench/measurement.js';
import {
  type BenchResult,
  RESULT_FORMAT,
  type StoreResult,
  thisMachine,
} from '../../../src/cli/bench/result.js';

export function measurement(
  name: string,
  perSecond: number,
  more: Partial<Measurement> = {},
): Measurement {
  return {
    name,
    operations: perSecond,
    seconds: 1,
    perSecond,
    bytesPerSecond: perSecond * 250,
    cpuSeconds: 0.5,
    threads: {},
    waiting: {},
    parks: {},
    residentBytes: 1e8,
    ...more,
  };
}

export function store(name: string, ...rounds: Measurement[][]): StoreResult {
  return { name, version: '1', configuration: '', rounds };
}

export function result(records: number, ...stores: StoreResult[]): BenchResult {
  return {
    format: RESULT_FORMAT,
    startedAt: '2026-01-01T00:00:00.000Z',
    machine: thisMachine(),
    settings: {
      records,
      keyBytes: 50,
      valueBytes: 200,
      shards: 2,
      rounds: 1,
      secondsPerWorkload: 1,
      seed: 42,
      openLoopPerSecond: 1000,
      cacheBytes: 1 << 30,
    },
    stores,
  };
}
