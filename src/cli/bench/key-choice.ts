/**
 * Which record an operation is about, by YCSB's distributions (Cooper et al., SoCC 2010). Zipfian
 * numbers follow Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994).
 */

import { Permutation, Random } from './records.js';

/** Picks the id of a record. */
export type KeyChoice = () => number;

export const ZIPFIAN_CONSTANT = 0.99;

export function uniform(count: number, seed: number): KeyChoice {
  const random = new Random(seed);
  return () => random.below(count);
}

/** Ranks by popularity: 0 is the most popular of [0, count). */
export function zipfianRanks(count: number, seed: number, theta = ZIPFIAN_CONSTANT): KeyChoice {
  const random = new Random(seed);
  const zetaN = zeta(count, theta);
  const alpha = 1 / (1 - theta);
  const half = 1 + 0.5 ** theta;
  const eta = (1 - (2 / count) ** (1 - theta)) / (1 - zeta(2, theta) / zetaN);
  return () => {
    const u = random.next() / 4294967296;
    const uz = u * zetaN;
    if (uz < 1) return 0;
    if (uz < half) return Math.min(1, count - 1);
    return Math.min(count - 1, Math.floor(count * (eta * u - eta + 1) ** alpha));
  };
}

/** Zipfian, the popular records spread over all of them: YCSB's "scrambled" form. */
export function zipfian(count: number, seed: number): KeyChoice {
  const rank = zipfianRanks(count, seed);
  // The same for every seed: clients that differ in it agree on what is popular.
  const spread = new Permutation(count, 99);
  return () => spread.at(rank());
}

/** Zipfian, the newest record the most popular; `newest` may grow. */
export function latest(count: number, seed: number, newest: () => number): KeyChoice {
  const rank = zipfianRanks(count, seed);
  return () => Math.max(0, newest() - rank());
}

/** Sum of 1/i^theta for i in [1, count]; beyond a million by Euler and Maclaurin's formula. */
function zeta(count: number, theta: number): number {
  const exact = Math.min(count, 1_000_000);
  let sum = 0;
  for (let i = 1; i <= exact; i++) sum += i ** -theta;
  if (count === exact) return sum;
  const integral = (count ** (1 - theta) - exact ** (1 - theta)) / (1 - theta);
  return sum + integral + (count ** -theta - exact ** -theta) / 2;
}
