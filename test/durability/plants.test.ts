/** The tester tested: every planted fault is caught by some point of the sweep, which passes without it. */

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
];

function* pointsFor({ caughtBy }: Plant): Generator<Point> {
  if (caughtBy !== undefined) yield parsePoint(caughtBy);
  for (let round = 0; round < 12; round++) {
    for (const [mode, fault] of LIKELY) {
      const call = 120 + ((round * 61 + FAULTS.indexOf(fault) * 17) % 330);
      yield { script: 1 + (round % 5), mode, fault, call };
    }
  }
}

describe('the sweep', () => {
  it.each(PLANTS.map((plant) => [plant.name, plant] as const))(
    'notices when %s',
    async (name, plant) => {
      let caughtAt: Point | undefined;
      for (const point of pointsFor(plant)) {
        const { failure } = await runPoint(point, plant);
        if (failure === undefined) continue;
        caughtAt = point;
        if (formatPoint(point) !== plant.caughtBy) {
          process.stderr.write(`${name} is caught by ${formatPoint(point)}\n`);
        }
        break;
      }
      expect(caughtAt).toBeDefined();
      if (caughtAt !== undefined) expect((await runPoint(caughtAt)).failure).toBeUndefined();
    },
    120_000,
  );

  it('notices nothing when nothing is planted, through the same ways', async () => {
    const lines = new Set(PLANTS.flatMap(({ caughtBy }) => caughtBy ?? []));
    expect(lines.size).toBeGreaterThan(3);
    for (const line of lines) {
      expect((await runPoint(parsePoint(line), HARMLESS)).failure).toBeUndefined();
    }
  });
});
