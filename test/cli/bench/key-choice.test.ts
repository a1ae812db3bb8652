import { describe, expect, it } from 'vitest';
import { latest, uniform, zipfian, zipfianRanks } from '../../../src/cli/bench/key-choice.js';

const DRAWS = 100_000;

describe('key choice', () => {
  it('uniform picks all records alike', () => {
    const choose = uniform(10, 3);
    const counts = new Array(10).fill(0);
    for (let i = 0; i < DRAWS; i++) counts[choose()]++;
    for (const count of counts) expect(count / DRAWS).toBeCloseTo(0.1, 1);
  });

  it('zipfian picks the first rank as often as its distribution says', () => {
    const count = 1000;
    let zeta = 0;
    for (let i = 1; i <= count; i++) zeta += i ** -0.99;
    const choose = zipfianRanks(count, 3);
    let first = 0;
    let greatest = 0;
    for (let i = 0; i < DRAWS; i++) {
      const rank = choose();
      if (rank === 0) first++;
      greatest = Math.max(greatest, rank);
    }
    expect(first / DRAWS).toBeCloseTo(1 / zeta, 2);
    expect(greatest).toBeLessThan(count);
    expect(greatest).toBeGreaterThan(count / 2);
  });

  it('zipfian reckons its constant for many records as the sum would be', () => {
    // The sum to 2 M is known from the exact one to 1 M and the integral.
    const choose = zipfianRanks(2_000_000, 3);
    let first = 0;
    for (let i = 0; i < DRAWS; i++) if (choose() === 0) first++;
    let zeta = 0;
    for (let i = 1; i <= 2_000_000; i++) zeta += i ** -0.99;
    expect(first / DRAWS).toBeCloseTo(1 / zeta, 2);
  });

  it('scrambled zipfian spreads the popular records, the same for every seed', () => {
    const popular = (seed: number): number => {
      const choose = zipfian(1000, seed);
      const counts = new Map<number, number>();
      for (let i = 0; i < 20_000; i++) {
        const id = choose();
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? -1;
    };
    expect(popular(1)).toBe(popular(2));
    expect(popular(1)).not.toBe(0);
  });

  it('latest prefers the newest and never goes beyond', () => {
    let newest = 500;
    const choose = latest(500, 3, () => newest);
    const counts = new Map<number, number>();
    for (let i = 0; i < 20_000; i++) {
      const id = choose();
      expect(id).toBeLessThanOrEqual(newest);
      expect(id).toBeGreaterThanOrEqual(0);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts].sort((a, b) => b[1] - a[1])[0]?.[0]).toBe(500);
    newest = 600;
    expect(Math.max(...Array.from({ length: 100 }, choose))).toBe(600);
  });
});
