import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newRateLimit, RateLimit } from '../../src/compaction/rate-limit.js';

const MIB = 1024 * 1024;

/** A clock that only goes on when somebody sleeps, or is told to. */
class TestClock {
  us = 1e9;
  readonly nowUs = (): number => this.us;
  readonly sleepUs = (us: number): void => {
    this.us += us;
  };
}

describe('a rate limit', () => {
  it('grants its rate, and a quarter of a second more after a pause', () => {
    const clock = new TestClock();
    const limit = new RateLimit(newRateLimit(4 * MIB), clock);
    const startUs = clock.us;
    for (let i = 0; i < 41; i++) limit.take(MIB);
    expect((clock.us - startUs) / 1e6).toBeCloseTo(10, 3);
    clock.us += 60e6;
    const resumedUs = clock.us;
    for (let i = 0; i < 5; i++) limit.take(MIB);
    expect((clock.us - resumedUs) / 1e6).toBeCloseTo(1, 3);
  });

  it('is shared by all threads', () => {
    const settings = newRateLimit(MIB);
    const clock = new TestClock();
    const threads = [1, 2, 3].map(() => new RateLimit(settings, clock));
    const startUs = clock.us;
    for (let i = 0; i < 10; i++) for (const thread of threads) thread.take(MIB / 4);
    expect((clock.us - startUs) / 1e6).toBeGreaterThan(7);
  });

  it('is never exceeded by more than the burst, however writes come', () => {
    const write = fc.record({ bytes: fc.integer({ min: 1, max: 2 * MIB }), pauseUs: fc.nat(2e6) });
    fc.assert(
      fc.property(fc.array(write, { minLength: 1, maxLength: 50 }), (writes) => {
        const clock = new TestClock();
        const limit = new RateLimit(newRateLimit(MIB), clock);
        const startUs = clock.us;
        let total = 0;
        for (const { bytes, pauseUs } of writes) {
          clock.us += pauseUs;
          limit.take(bytes);
          total += bytes;
          const seconds = (clock.us - startUs) / 1e6;
          expect(total / MIB).toBeLessThanOrEqual(seconds + 0.251);
        }
      }),
    );
  });
});
