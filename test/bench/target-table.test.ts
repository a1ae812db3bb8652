import { describe, expect, it } from 'vitest';
import { targetOutcomes, targetTable } from '../../bench/target-table.js';
import type { Measurement } from '../../src/cli/bench/measurement.js';
import { NULL_STORE } from '../../src/cli/bench/null-store.js';
import {
  type BenchResult,
  RESULT_FORMAT,
  type StoreResult,
  thisMachine,
} from '../../src/cli/bench/result.js';

function store(name: string, rates: Record<string, readonly number[]>, disk: number): StoreResult {
  const rounds = [0, 1, 2].map((round) =>
    Object.entries(rates).map(
      ([workload, perSecond]): Measurement => ({
        name: workload,
        operations: 1,
        seconds: 1,
        perSecond: perSecond[round] ?? 0,
        bytesPerSecond: 0,
        cpuSeconds: 0,
        threads: {},
        residentBytes: 0,
        ...(workload === 'compacted' ? { figures: { diskBytesPerRecord: disk } } : {}),
      }),
    ),
  );
  return { name, version: '', configuration: '', rounds };
}

function result(...stores: StoreResult[]): BenchResult {
  return {
    format: RESULT_FORMAT,
    startedAt: '',
    machine: thisMachine(),
    settings: {
      records: 1,
      keyBytes: 50,
      valueBytes: 200,
      shards: 1,
      rounds: 3,
      secondsPerWorkload: 1,
      seed: 1,
      openLoopPerSecond: 1,
    },
    stores,
  };
}

const READ = 'readrandom sync';

describe('targets', () => {
  it('compare medians with the best peer, not with the harness', () => {
    const outcomes = targetOutcomes(
      result(
        store('own', { [READ]: [9e6, 2e6, 1e6], compacted: [1, 1, 1] }, 130),
        store('slow', { [READ]: [1, 2, 3], compacted: [1, 1, 1] }, 125),
        store('fast', { [READ]: [5e5, 9e5, 1e5], compacted: [1, 1, 1] }, 200),
        store(NULL_STORE, { [READ]: [9e9, 9e9, 9e9], compacted: [1, 1, 1] }, 0),
      ),
    );
    expect(outcomes).toMatchObject([
      { own: 2e6, best: { store: 'fast', value: 5e5 }, ratio: 4, met: true },
      // Less is better.
      { own: 130, best: { store: 'slow', value: 125 }, met: false },
    ]);
  });

  it('are missed when the rate of its own is, whatever the ratio', () => {
    const [outcome] = targetOutcomes(
      result(
        store('own', { [READ]: [8e5, 8e5, 8e5] }, 0),
        store('peer', { [READ]: [1e5, 1e5, 1e5] }, 0),
      ),
    );
    expect(outcome).toMatchObject({ ratio: 8, met: false });
  });

  it('are neither met nor missed without a peer', () => {
    const alone = result(store('own', { [READ]: [2e6, 2e6, 2e6] }, 0));
    expect(targetOutcomes(alone)).toMatchObject([{ ratio: undefined, met: undefined }]);
    expect(targetTable(alone).join('\n')).not.toMatch(/met|short/);
  });
});
