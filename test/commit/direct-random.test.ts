/**
 * Random lives of a database whose coordinator lends its log. More of them: LIGHTNING_DB_DIRECT_SEEDS, from
 * LIGHTNING_DB_DIRECT_FIRST on.
 */

import { describe, expect, it } from 'vitest';
import { RandomRun } from './direct-random.js';

const FIRST = Number(process.env['LIGHTNING_DB_DIRECT_FIRST'] ?? 1);
const SEEDS = Number(process.env['LIGHTNING_DB_DIRECT_SEEDS'] ?? 8);
const STEPS_SHOWN = 60;

describe('a random life', () => {
  it.each(Array.from({ length: SEEDS }, (_, i) => FIRST + i))(
    'from seed %i keeps what was promised',
    async (seed) => {
      const run = new RandomRun({ seed, steps: 300, withErrors: seed % 2 === 0 });
      try {
        await run.run();
      } catch (error) {
        const steps = run.trace.slice(-STEPS_SHOWN).join('\n');
        throw new Error(`${String(error)}, after\n${steps}`, { cause: error });
      }
      expect(run.counts.get('direct')).toBeGreaterThan(10);
    },
    120_000,
  );
});
