import { describe, expect, it } from 'vitest';
import { LatencyHistogram } from '../../../src/cli/bench/latency-histogram.js';
import { excerptImage } from '../../../src/cli/bench/report/excerpt.js';
import { reportPage } from '../../../src/cli/bench/report/page.js';
import type { BenchResult } from '../../../src/cli/bench/result.js';
import * as fixture from './result-fixture.js';

function measured(name: string, perSecond: number) {
  const latency = new LatencyHistogram();
  for (let i = 1; i < 2000; i++) latency.record(i * 100);
  return fixture.measurement(name, perSecond, {
    threads: { client: 0.4, shard: 0.1 },
    latency: latency.summary(),
    samples: [10, 20, 30, 40],
    residentSamples: [1e8, 2e8, 3e8, 4e8],
  });
}

function result(records: number, peers = true): BenchResult {
  const own = fixture.store('lightning-db', [
    measured('fillrandom batch 1000', 5e5),
    measured('readrandom sync', 1e6),
    fixture.measurement('open after close', 1),
  ]);
  const other = fixture.store('other', [measured('readrandom sync', 4e5)]);
  return fixture.result(
    records,
    { ...own, configuration: 'a < b & "c"' },
    ...(peers ? [other] : []),
  );
}

/** Every element that is opened is closed, in order. */
function expectBalanced(markup: string): void {
  const open: string[] = [];
  for (const [, closing, name = '', rest = ''] of markup.matchAll(
    /<(\/?)([a-z][a-z0-9]*)([^>]*)>/gi,
  )) {
    if (closing === '/') expect(open.pop()).toBe(name);
    else if (!rest.endsWith('/') && name !== 'meta') open.push(name);
  }
  expect(open).toEqual([]);
}

describe('the report', () => {
  const page = reportPage(
    [result(1e6), result(1e7)],
    [
      {
        title: 'readrandom',
        own: 1e6,
        best: { store: 'other', value: 4e5 },
        ratio: 2.5,
        target: '≥ 2 ×',
        met: true,
      },
    ],
  );

  it('needs nothing but itself', () => {
    expect(page).not.toMatch(/<script|<link|src=|href=|url\(|@import/);
  });

  it('closes every element that it opens', () => {
    expectBalanced(page);
    expectBalanced(reportPage([result(1e6, false)]));
  });

  it('has no number that is none', () => {
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('shows text as it is', () => {
    expect(page).toContain('a &#60; b &#38; &#34;c&#34;');
  });

  it('shows the comparison, and sizes when there are several', () => {
    expect(page).toContain('2.50 ×');
    expect(page).toContain('From a million records up');
    expect(reportPage([result(1e6)])).not.toContain('From a million records up');
  });
});

describe('the image of a run', () => {
  it('is SVG that stands alone', () => {
    const image = excerptImage(result(1e6)) ?? '';
    expect(image).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(image).toContain('1.00 M/s');
    expect(image).not.toMatch(/NaN|undefined|href=/);
    expectBalanced(image);
  });

  it('is not made from nothing', () => {
    expect(excerptImage(fixture.result(1e6, fixture.store('own', [])))).toBeUndefined();
  });
});
