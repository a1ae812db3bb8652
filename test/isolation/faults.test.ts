/** The checker on real histories of transactions that are broken on purpose: it names each fault. */

import { type Isolation, LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { appendWorkload } from './append-workload.js';
import { type AnomalyName, violations } from './list-append-checker.js';
import { bookRooms } from './phantom-workload.js';

const SHARDS = 4;

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
      const directory = temporaryDirectory();
      const db = await LightningDb.open(directory.path, {
        shards: SHARDS,
        cacheSize: SHARDS * (8 << 20),
      });
      const keys = Array.from({ length: 8 }, (_, i) => `list:${i}`);
      const found = new Set<AnomalyName>();
      // Chance has to bring the clients together: a few rounds, each with keys of its own.
      for (let round = 0; round < 20 && !anomalies.every((name) => found.has(name)); round++) {
        const history = await appendWorkload(db, {
          isolation,
          keys: keys.map((key) => `${key}:${round}`),
          attempts: 60,
          seed: round + 1,
          fault,
        });
        for (const { name } of violations(history, isolation)) found.add(name);
      }
      expect([...found]).toEqual(expect.arrayContaining(anomalies));
      await db.close();
      directory.remove();
    },
    120_000,
  );

  it('"unvalidated ranges" overbooks rooms, and is found', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, {
      shards: SHARDS,
      cacheSize: SHARDS * (8 << 20),
    });
    // Snapshot isolation validates no ranges.
    const overbooked: string[] = [];
    for (let round = 0; round < 20 && overbooked.length === 0; round++) {
      const bookings = await bookRooms(db, 'snapshot', 40, 60);
      overbooked.push(...bookings.overbooked);
      const rooms = db.batch();
      for await (const key of db.scan({ prefix: 'room:', values: false })) rooms.delete(key);
      await rooms.write();
    }
    expect(overbooked).not.toEqual([]);
    await db.close();
    directory.remove();
  }, 120_000);
});
