import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alignedFrom, clustersOf, rangeStarts } from '../../src/compaction/clusters.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import { table } from '../version/table.js';

const MIB = 1024 * 1024;
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz'];

function sized(smallest: string, largest: string, mib: number): TableInfo {
  return { ...table(1, smallest, largest), bytes: mib * MIB };
}

/** Tables of a newer run over keys a to z, cut as a merge cuts them. */
function cutAt(starts: readonly Uint8Array[]): TableInfo[] {
  const names = starts.map((start) => Buffer.from(start).toString());
  return ['a0', ...names].map((first, i) => {
    const next = names[i];
    const last = next === undefined ? 'z9' : `${String.fromCharCode(next.charCodeAt(0) - 1)}9`;
    return sized(first, last, 8);
  });
}

describe('ranges of a bottom run', () => {
  const bottom = LETTERS.map((letter) => sized(`${letter}0`, `${letter}9`, 48));

  it('begin with tables of it and are not much larger than asked for', () => {
    const starts = rangeStarts([bottom]).map((start) => Buffer.from(start).toString());
    expect(starts.slice(0, 3)).toEqual(['b0', 'c0', 'd0']);
    const small = LETTERS.map((letter) => sized(`${letter}0`, `${letter}9`, 16));
    const few = rangeStarts([small]).map((start) => Buffer.from(start).toString());
    expect(few).toEqual(['e0', 'i0', 'm0', 'q0', 'u0', 'y0']);
  });

  it('are kept by every run that is cut at them, and joined by one that is not', () => {
    const first = cutAt(rangeStarts([bottom]));
    const second = cutAt(rangeStarts([first, bottom]));
    expect(alignedFrom([second, first, bottom])).toBe(0);
    expect(clustersOf([second, first, bottom]).length).toBe(26);
    const flushed = [sized('a5', 'z5', 8)];
    expect(alignedFrom([flushed, flushed, second, first, bottom])).toBe(2);
    expect(alignedFrom([first, flushed, bottom])).toBe(2);
  });

  it('do not matter while there is little', () => {
    const little = LETTERS.map((letter) => sized(`${letter}0`, `${letter}9`, 8));
    expect(alignedFrom([[sized('a5', 'z5', 8)], little])).toBe(0);
  });

  it('always come to be: a run that is cut at them is never cut again', () => {
    const sizes = fc.array(fc.nat(600), { minLength: 26, maxLength: 26 });
    fc.assert(
      fc.property(sizes, sizes, (mibs, other) => {
        const uneven = LETTERS.map((x, i) => sized(`${x}0`, `${x}9`, (mibs[i] as number) + 1));
        const coarse = LETTERS.filter((_, i) => (other[i] as number) % 3 === 0).map((x) =>
          sized(`${x}1`, `${x}2`, 4),
        );
        const older = [coarse, uneven];
        expect(alignedFrom(older)).toBe(0);
        expect(alignedFrom([cutAt(rangeStarts(older)), ...older])).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
