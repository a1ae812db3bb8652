/** The checker on real histories of transactions that are broken on purpose: it names each fault. */

import type { Isolation } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { appendHistories } from './append-workload.js';
import { type AnomalyName, violations } from './list-append-checker.js';

/** The fault, the isolation that it breaks, and what must be among the anomalies found. */
const faults: [fault: string, isolation: Isolation, anomalies: AnomalyName[]][] = [
  ['unvalidated writes', 'snapshot', ['lost update']],
  ['unvalidated reads', 'serializable', ['G2-item']],
  ['torn commit', 'snapshot', ['fractured read', 'G-single']],
  ['reads of the newest', 'snapshot', ['fractured read', 'G-single']],
  ['dirty writes', 'snapshot', ['G1a', 'G1b']],
  ['stale moment', 'snapshot', ['G-single-realtime']],
  ['blind to itself', 'snapshot', ['internal']],
  ['lost part', 'snapshot', ['lost update']],
];

describe('a fault that was planted', () => {
  it.each(faults)(
    '"%s" breaks %s isolation and is found',
    async (fault, isolation, anomalies) => {
      const found = new Set<AnomalyName>();
      // Chance has to bring the clients together.
      const options = { isolation, shards: 4, rounds: 20, attempts: 60, seed: 1, fault };
      for await (const history of appendHistories(options)) {
        for (const { name } of violations(history, isolation)) found.add(name);
        if (anomalies.every((name) => found.has(name))) break;
      }
      expect([...found]).toEqual(expect.arrayContaining(anomalies));
    },
    300_000,
  );
});
