import { describe, expect, it } from 'vitest';
import {
  DELAY_MS_MAX,
  isStopped,
  RunsLately,
  type WritePressure,
  writeDelayMs,
} from '../../src/shard/write-throttle.js';

const AT_EASE: WritePressure = {
  groupBytes: 100_000,
  memtableFill: 0.3,
  flushBytesPerMs: 100_000,
  runs: 5,
  runsSlow: 20,
  runsStop: 28,
};
const delay = (changes: Partial<WritePressure>): number => writeDelayMs({ ...AT_EASE, ...changes });

describe('writes', () => {
  it('are not delayed while one memtable fills and another is flushed', () => {
    expect(delay({})).toBe(0);
    expect(delay({ memtableFill: 0.6, runs: 19 })).toBe(0);
  });

  it('are delayed more and more as memtables fill, from nothing on', () => {
    const delays = [0.61, 0.7, 0.8, 0.9, 1].map((memtableFill) => delay({ memtableFill }));
    expect(delays[0]).toBeLessThan(0.1);
    for (let i = 1; i < delays.length; i++) {
      expect(delays[i]).toBeGreaterThan(delays[i - 1] as number);
    }
    // Half way, writes come as fast as flushes take them away.
    expect(delays[2]).toBeCloseTo(1, 5);
  });

  it('are delayed more and more as runs gather, the more the less room is left', () => {
    expect(delay({ runs: 20 })).toBeGreaterThan(0);
    const delays = [20, 21, 22, 23, 24, 25, 26, 27].map((runs) => delay({ runs }));
    const steps = delays.slice(1).map((ms, i) => ms / (delays[i] as number));
    for (const step of steps.slice(0, 3)) expect(step).toBeCloseTo(1.25, 5);
    for (const step of steps.slice(3)) expect(step).toBeCloseTo(1.6, 5);
    // From a part of the time that a flush of it takes to several times that.
    expect(delays[0]).toBeCloseTo(0.3, 5);
    expect(delays[7]).toBeGreaterThan(3);
    expect(isStopped({ ...AT_EASE, runs: 27 })).toBe(false);
    expect(isStopped({ ...AT_EASE, runs: 28 })).toBe(true);
  });

  it('are slowed by the runs of the last seconds, not by what one flush or merge changes at once', () => {
    const lately = new RunsLately();
    expect(lately.runs(20, 1e6)).toBe(20);
    expect(lately.runs(14, 1e6 + 1)).toBeGreaterThan(19.9);
    expect(lately.runs(14, 1e6 + 2000)).toBeCloseTo(14 + 6 / Math.E, 1);
    expect(lately.runs(14, 1e6 + 60_000)).toBeCloseTo(14, 5);
    // Short of the stop, what there is counts.
    expect(lately.runs(27, 1e6 + 60_001)).toBe(24);
    // A clock that goes back changes nothing.
    expect(lately.runs(14, 1e6)).toBe(24);
  });

  it('are never delayed long at a time', () => {
    expect(delay({ memtableFill: 1, groupBytes: 1e9 })).toBe(DELAY_MS_MAX);
  });
});
