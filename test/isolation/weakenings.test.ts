/**
 * The checker on real histories of an engine in which one rule of the commit protocol does not hold:
 * it names what theory says must come of that. docs/TRANSACTIONS.md has the table.
 */

import type { Isolation } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import type { Weakening } from '../../src/faults.js';
import { appendHistories } from './append-workload.js';
import { type AnomalyName, violations } from './list-append-checker.js';

/** Chance has to bring the clients together: most rules need one round, now and then one needs more. */
const ROUNDS_MAX = 16;

interface Case {
  readonly weakening: Weakening;
  readonly isolation: Isolation;
  /** One of these must be found. */
  readonly predicted: readonly AnomalyName[];
  readonly ballastBytes?: number;
}

const cases: Case[] = [
  { weakening: 'skip-write-validation', isolation: 'snapshot', predicted: ['lost update'] },
  {
    weakening: 'skip-read-validation',
    isolation: 'serializable',
    predicted: ['G2-item', 'G2-item-realtime'],
  },
  { weakening: 'skip-range-validation', isolation: 'serializable', predicted: ['G2'] },
  { weakening: 'validate-against-last', isolation: 'snapshot', predicted: ['lost update'] },
  { weakening: 'ignore-prepared', isolation: 'snapshot', predicted: ['lost update'] },
  {
    weakening: 'skip-wounding',
    isolation: 'serializable',
    predicted: ['G2-item', 'G2-item-realtime'],
    // A plain write has to come between a vote and the decision.
    ballastBytes: 400_000,
  },
  {
    weakening: 'release-early',
    isolation: 'snapshot',
    predicted: ['fractured read', 'G-single', 'G-single-predicate'],
  },
  {
    weakening: 'snapshot-at-last',
    isolation: 'snapshot',
    predicted: ['internal', 'G-single', 'fractured read'],
  },
];

describe('an engine with the rule weakened', () => {
  it.each(cases)(
    '$weakening is caught',
    async ({ weakening, isolation, predicted, ballastBytes = 0 }) => {
      const found = new Set<AnomalyName>();
      const options = { isolation, shards: 4, rounds: ROUNDS_MAX, attempts: 60, seed: 1 };
      for await (const history of appendHistories({ ...options, weakening, ballastBytes })) {
        for (const { name } of violations(history, isolation)) found.add(name);
        if (predicted.some((name) => found.has(name))) break;
      }
      expect(
        predicted.some((name) => found.has(name)),
        `only ${[...found]}`,
      ).toBe(true);
    },
    300_000,
  );
});
