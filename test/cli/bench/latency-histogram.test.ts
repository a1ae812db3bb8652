import { build } from 'hdr-histogram-js';
import { describe, expect, it } from 'vitest';
import { LatencyHistogram } from '../../../src/cli/bench/latency-histogram.js';
import { Random } from '../../../src/cli/bench/records.js';

describe('a latency histogram', () => {
  it('agrees with HdrHistogram to one part in 64', () => {
    const random = new Random(5);
    const own = new LatencyHistogram();
    const reference = build({ lowestDiscernibleValue: 1, numberOfSignificantValueDigits: 3 });
    for (let i = 0; i < 50_000; i++) {
      // From nanoseconds to a minute, evenly over the decades.
      const value = Math.floor(10 ** ((random.next() / 4294967296) * 10.7));
      own.record(value);
      reference.recordValue(value);
    }
    for (const percentile of [1, 10, 50, 90, 99, 99.9, 99.99]) {
      const expected = reference.getValueAtPercentile(percentile);
      expect(Math.abs(own.percentile(percentile) - expected)).toBeLessThanOrEqual(
        Math.max(1, expected / 64),
      );
    }
    expect(own.summary()?.max).toBeCloseTo(own.percentile(100) / 1000, 6);
  });

  it('keeps small values exactly', () => {
    const own = new LatencyHistogram();
    for (let value = 0; value < 200; value++) own.record(value);
    expect(own.percentile(50)).toBe(99);
    expect(own.percentile(100)).toBe(199);
  });

  it('counts what is beyond its range as its greatest value', () => {
    const own = new LatencyHistogram();
    own.record(1e15);
    own.record(-5);
    expect(own.count).toBe(2);
    expect(own.percentile(50)).toBe(0);
    expect(own.percentile(100)).toBe(2 ** 40 - 1);
  });

  it('has no summary of nothing', () => {
    expect(new LatencyHistogram().summary()).toBeUndefined();
  });
});
