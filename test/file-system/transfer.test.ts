import { describe, expect, it } from 'vitest';
import { readOn, writeOn } from '../../src/file-system/transfer.js';

const GIB = 2 ** 30;

describe('a transfer', () => {
  it('goes on after calls that fall short, from where they came to', () => {
    const asked: [number, number][] = [];
    const step = (done: number, wanted: number): number => {
      asked.push([done, wanted]);
      return Math.min(wanted, 4);
    };
    expect(readOn(10, step)).toBe(10);
    writeOn(10, step);
    const once = [
      [0, 10],
      [4, 6],
      [8, 2],
    ];
    expect(asked).toEqual([...once, ...once]);
  });

  it('of a read ends where the file does', () => {
    const answers = [3, 2, 0];
    expect(readOn(10, () => answers.shift() ?? 1)).toBe(5);
    expect(readOn(0, () => 1)).toBe(0);
  });

  it('of a write does not turn in place', () => {
    expect(() => writeOn(10, () => 0)).toThrow(/no progress/);
  });

  it('asks for no more at once than systems move', () => {
    const wanted: number[] = [];
    readOn(2.5 * GIB, (_, bytes) => {
      wanted.push(bytes);
      return bytes;
    });
    expect(wanted).toEqual([GIB, GIB, GIB / 2]);
  });
});
