import { expect, it } from 'vitest';
import { markdownOf } from '../../bench/markdown.js';
import { measurement, result, store } from '../cli/bench/result-fixture.js';

it('Markdown has a table for each store, with as many cells in every row', () => {
  const read = measurement('readrandom sync', 1e6, { threads: { client: 1 } });
  const text = markdownOf([
    result(
      1e6,
      store('lightning-db', [read]),
      store('peer', [measurement('readrandom sync', 1e5)]),
    ),
  ]);
  expect(text).toContain('10.00 ×');
  expect(text).toContain('| peer |');
  expect(text).toContain('64 cores');
  for (const table of text.split('\n\n')) {
    const cells = table
      .trimEnd()
      .split('\n')
      .map((line) => line.split('|').length);
    expect(new Set(cells).size).toBe(1);
  }
});
