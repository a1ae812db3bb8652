import { describe, expect, it } from 'vitest';
import { LatencyHistogram } from '../../../src/cli/bench/latency-histogram.js';
import type { Measurement } from '../../../src/cli/bench/measurement.js';
import { reportPage } from '../../../src/cli/bench/report/page.js';
import { type BenchResult, RESULT_FORMAT, thisMachine } from '../../../src/cli/bench/result.js';

function measurement(name: string, perSecond: number): Measurement {
  const latency = new LatencyHistogram();
  for (let i = 1; i < 2000; i++) latency.record(i * 100);
  return {
    name,
    operations: perSecond,
    seconds: 1,
    perSecond,
    bytesPerSecond: perSecond * 250,
    cpuSeconds: 0.5,
    threads: { client: 0.4, shard: 0.1 },
    latency: latency.summary(),
    residentBytes: 1e8,
    samples: [10, 20, 30, 40],
  };
}

function result(records: number): BenchResult {
  return {
    format: RESULT_FORMAT,
    startedAt: '2026-01-01T00:00:00.000Z',
    machine: thisMachine(),
    settings: {
      records,
      keyBytes: 50,
      valueBytes: 200,
      shards: 2,
      rounds: 1,
      secondsPerWorkload: 1,
      seed: 42,
      openLoopPerSecond: 1000,
    },
    stores: [
      {
        name: 'lightning-db',
        version: '1',
        configuration: 'a < b & "c"',
        rounds: [[measurement('fillrandom batch 1000', 5e5), measurement('readrandom sync', 1e6)]],
      },
      {
        name: 'other',
        version: '2',
        configuration: '',
        rounds: [[measurement('readrandom sync', 4e5)]],
      },
    ],
  };
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
    const open: string[] = [];
    for (const [, closing, name = '', rest = ''] of page.matchAll(
      /<(\/?)([a-z][a-z0-9]*)([^>]*)>/g,
    )) {
      if (closing === '/') expect(open.pop()).toBe(name);
      else if (!rest.endsWith('/') && name !== 'meta') open.push(name);
    }
    expect(open).toEqual([]);
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
