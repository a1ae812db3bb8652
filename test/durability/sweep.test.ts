/** A few hundred points of the sweep; `npm run torture -- faults` has thousands. */

import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/file-system/memory.js';
import { FAULTS, type FaultKind, isReadFault, MODES } from './points.js';
import { runPoint, zeroCalls } from './sweep.js';

const SEED = Number(process.env['LIGHTNING_SWEEP_SEED'] ?? 20261126);
const POINTS_PER_FAULT = 18;
/** Scripts make about 2000 calls; the later a point, the more it costs. */
const CALLS = 700;

describe('a fault at any call of the file system', () => {
  it.each(FAULTS)(
    '%s: what comes back is what was promised',
    async (fault) => {
      const random = seededRandom(SEED + FAULTS.indexOf(fault));
      const failures: string[] = [];
      let hits = 0;
      for (let i = 0; i < POINTS_PER_FAULT; i++) {
        const mode = MODES[i % MODES.length] as (typeof MODES)[number];
        const script = 1 + Math.floor(random() * 1000);
        const call = 1 + Math.floor(random() * random() * CALLS);
        const { failure, isHit } = await runPoint({ script, mode, fault, call });
        if (failure !== undefined) failures.push(`npm run torture -- faults --point ${failure}`);
        if (isHit) hits++;
      }
      expect(failures).toEqual([]);
      expect(hits).toBeGreaterThan(POINTS_PER_FAULT * 0.7);
    },
    300_000,
  );
});

/** A fault that comes with the next call of its kind, which is not the one that writes zeros. */
const PASSES_BY: readonly FaultKind[] = ['emfile-once', 'name-once'];

describe('a fault while zeros are written ahead of a log', () => {
  it('costs nothing that was acknowledged', async () => {
    const script = 3;
    const calls = await zeroCalls(script);
    expect(calls.length).toBeGreaterThan(10);
    const failures: string[] = [];
    for (const [i, fault] of FAULTS.entries()) {
      if (fault.endsWith('-sticky') || PASSES_BY.includes(fault) || isReadFault(fault)) continue;
      for (let n = i % 5; n < calls.length; n += 5) {
        const point = { script, mode: 'sync', fault, call: calls[n] as number } as const;
        const { failure, isHit } = await runPoint(point);
        if (failure !== undefined) failures.push(`npm run torture -- faults --point ${failure}`);
        expect(isHit).toBe(true);
      }
    }
    expect(failures).toEqual([]);
  }, 300_000);
});

describe('a point', () => {
  it.each(FAULTS)('of %s repeats exactly', async (fault) => {
    for (const [i, mode] of MODES.entries()) {
      const point = { script: 11 + i, mode, fault, call: 90 + 37 * i } as const;
      const { calls } = await runPoint(point);
      expect((await runPoint(point)).calls).toBe(calls);
    }
  });
});
