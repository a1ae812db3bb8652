/**
 * The tester tested: every planted fault is caught at its point of the sweep, which passes without it. The
 * table in docs/TESTING.md says the same.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { HARMLESS, PLANTS, type Plant } from './plants.js';
import {
  FAULTS,
  type FaultKind,
  formatPoint,
  type Mode,
  type Point,
  parsePoint,
} from './points.js';
import { runPoint } from './sweep.js';

/** Where faults of durability show most. */
const LIKELY: readonly (readonly [Mode, FaultKind])[] = [
  ['async', 'power-random'],
  ['sync', 'power-random'],
  ['async', 'power-synced'],
  ['sync', 'power-synced'],
  ['periodic', 'power-synced'],
  ['async', 'process'],
  ['sync', 'sync-once'],
  ['async', 'sync-once'],
  ['periodic', 'enospc-once'],
  ['sync', 'read-eio-once'],
];

/** A point that catches the plant now, for who has to document another one. */
async function findPoint(plant: Plant): Promise<string> {
  for (let round = 0; round < 12; round++) {
    for (const [mode, fault] of LIKELY) {
      const call = 120 + ((round * 61 + FAULTS.indexOf(fault) * 17) % 330);
      const point: Point = { script: 1 + (round % 5), mode, fault, call };
      const isCaught = (await runPoint(point, plant)).failure !== undefined;
      if (isCaught && (await runPoint(point)).failure === undefined) return formatPoint(point);
    }
  }
  return 'no point that is tried';
}

describe('the sweep', () => {
  it.each(PLANTS.map((plant) => [plant.name, plant] as const))(
    'notices when %s',
    async (_, plant) => {
      const point = parsePoint(plant.caughtBy);
      const { failure } = await runPoint(point, plant);
      if (failure === undefined) {
        expect.fail(`${plant.caughtBy} passes; it is caught by ${await findPoint(plant)}`);
      }
      expect((await runPoint(point)).failure).toBeUndefined();
    },
    120_000,
  );

  it('notices nothing when nothing is planted, through the same ways', async () => {
    const lines = new Set(PLANTS.map(({ caughtBy }) => caughtBy));
    expect(lines.size).toBeGreaterThan(3);
    for (const line of lines) {
      expect((await runPoint(parsePoint(line), HARMLESS)).failure).toBeUndefined();
    }
  });

  it('is documented with where it notices what', () => {
    const text = readFileSync(new URL('../../docs/TESTING.md', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^\| (.+) \| `(.+)` \|$/gm)]
      .map(([, name, line]) => [name, line])
      .filter(([, line]) => /^\d+\/\w+\/[\w-]+\/\d+$/.test(line as string));
    expect(documented).toEqual(PLANTS.map(({ name, caughtBy }) => [name, caughtBy]));
  });
});
