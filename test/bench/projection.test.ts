import { describe, expect, it } from 'vitest';
import { fitLine, project, projectionSection } from '../../bench/projection.js';
import { measurement, result, store } from '../cli/bench/result-fixture.js';

describe('a projection', () => {
  it('reads off a line exactly, and says how far points are from it', () => {
    const line = [1, 10, 100].map((x) => ({ x, y: 3 + 2 * x }));
    const exact = fitLine(line);
    expect(exact.constant).toBeCloseTo(3, 9);
    expect(exact.slope).toBeCloseTo(2, 9);
    expect(exact.errorMax).toBeCloseTo(0, 9);
    const off = fitLine([...line, { x: 50, y: 200 }]);
    expect(off.errorMax).toBeGreaterThan(0.1);
  });

  it('is the mean where nothing varies, or less is claimed for more', () => {
    expect(fitLine([1, 1].map((x) => ({ x, y: 7 })))).toMatchObject({ constant: 7, slope: 0 });
    const falling = fitLine([1, 2].map((x) => ({ x, y: 9 - x })));
    expect(falling.slope).toBe(0);
    expect(falling.constant).toBeGreaterThan(7);
    expect(falling.constant).toBeLessThan(8);
  });

  const results = [1e6, 1e7, 1e8].map((records) =>
    result(
      records,
      store('lightning-db', [
        measurement('fillrandom batch 1000', 1e9 / (100 * Math.log(records))),
        measurement('open after close', 1, { seconds: 0.1 + records * 1e-9 }),
        measurement('readrandom sync', 1e6),
      ]),
    ),
  );

  it('grows each figure by its own form', () => {
    const figures = project(results, 1e9);
    const projected = Object.fromEntries(figures.map((figure) => [figure.title, figure.projected]));
    expect(projected['random write, compaction counted']).toBe('2,072 ns');
    expect(projected['open after a clean close']).toBe('1.10 s');
    expect(projected['random read, uniform']).toBe('1,000 ns');
  });

  it('is made from two sizes or more, whatever their order, and called what it is', () => {
    const [one, two] = results;
    expect(project(one === undefined ? [] : [one], 1e9)).toEqual([]);
    expect(projectionSection(one === undefined ? [] : [one])).toBe('');
    const section = projectionSection([two, one].flatMap((each) => each ?? []));
    expect(section).toContain('A projection, not a measurement');
    expect(section.indexOf('1 M')).toBeLessThan(section.indexOf('10 M'));
  });
});
