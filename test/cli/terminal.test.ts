import { PassThrough } from 'node:stream';
import type { WriteStream } from 'node:tty';
import { describe, expect, it } from 'vitest';
import {
  bar,
  LiveLines,
  painterFor,
  sparkline,
  table,
  visibleLength,
} from '../../src/cli/terminal.js';

const streamThat = (properties: object): WriteStream =>
  Object.assign(new PassThrough(), properties) as unknown as WriteStream;

describe('a bar', () => {
  it.each([
    [0, '····'],
    [0.25, '█···'],
    [0.28, '█▏··'],
    [1, '████'],
    [7, '████'],
    [Number.NaN, '····'],
  ])('shows %d as %s', (share, drawn) => {
    expect(bar(share, 4, '·')).toBe(drawn);
  });

  it('is as wide as it was asked to be', () => {
    for (let share = 0; share <= 1; share += 0.01) expect(bar(share, 10)).toHaveLength(10);
  });
});

it('a sparkline is as high as the greatest value', () => {
  expect(sparkline([0, 50, 100])).toBe('▁▅█');
  expect(sparkline([])).toBe('');
});

it('nothing is coloured outside a terminal', () => {
  const plain = painterFor(streamThat({ isTTY: false }));
  expect(plain('red', 'text')).toBe('text');
});

it('live lines are cut at the width of the terminal', () => {
  const stream = streamThat({ isTTY: true, columns: 10 });
  const live = new LiveLines(stream);
  live.draw(['0123456789', 'short']);
  const drawn = String(stream.read());
  expect(drawn).toContain('01234567…\n');
  expect(drawn).toContain('short\n');
  live.draw(['next']);
  expect(String(stream.read())).toContain('\u001b[2A');
});

it('colours take no room', () => {
  expect(visibleLength('\u001b[31mred\u001b[39m')).toBe(3);
});

it('a table is aligned', () => {
  expect(
    table([
      ['n', 'bytes', ''],
      ['10', '1', 'note'],
    ]),
  ).toEqual([' n  bytes', '10      1  note']);
});
