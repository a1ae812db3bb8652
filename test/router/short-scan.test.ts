/** Short synchronous scans read in one go; they must agree with long ones in every respect. */

import fc from 'fast-check';
import { LightningDb } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const key = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'ä', 'c'), maxLength: 5 }),
  fc.integer({ min: 0, max: 300 }).map((i) => `k${String(i).padStart(3, '0')}`),
);
const range = fc.record(
  {
    gt: key,
    gte: key,
    lt: key,
    lte: key,
    prefix: key,
    reverse: fc.boolean(),
    keys: fc.constant(false),
  },
  { requiredKeys: [] },
);

describe.each([1, 2, 5])('with %i shards, a scan with a small limit', (shards) => {
  const directory = temporaryDirectory();
  let db: LightningDb;
  beforeAll(async () => {
    db = await LightningDb.open(directory.path, { shards });
    const write = async (step: number): Promise<void> => {
      const batch = db.batch();
      for (let i = 0; i < 300; i += step)
        batch.put(`k${String(i).padStart(3, '0')}`, `${i}/${step}`);
      for (const k of ['', 'a', 'ab', 'ä', 'cab']) batch.put(k, `${k}/${step}`);
      batch.delete(`k${String(step).padStart(3, '0')}`);
      await batch.write();
    };
    await write(1);
    await db.compact();
    await write(3);
    await db.flush();
    await write(7);
    await db.put('large', 'x'.repeat(1 << 20));
  });
  afterAll(async () => {
    await db.close();
    directory.remove();
  });

  it('gives the beginning of what the whole scan gives', async () => {
    await fc.assert(
      fc.asyncProperty(range, fc.integer({ min: 1, max: 40 }), async (options, limit) => {
        const whole = await db.scan(options).toArray();
        expect([...db.scanSync({ ...options, limit })]).toEqual(whole.slice(0, limit));
        const snapshot = db.snapshot();
        expect([...snapshot.scanSync({ ...options, limit })]).toEqual(whole.slice(0, limit));
        snapshot.close();
      }),
      { numRuns: 150 },
    );
  });

  it('ends, and starts anew, as every scan does', () => {
    const scan = db.scanSync({ gte: 'k', limit: 1 });
    expect(scan.next()).toEqual({ done: false, value: ['k000', '0/7'] });
    expect(scan.next()).toEqual({ done: true, value: undefined });
    expect(scan.next()).toEqual({ done: true, value: undefined });
    expect([...db.scanSync({ gt: 'ä', limit: 3 })]).toEqual([]);
    for (const [k] of db.scanSync({ limit: 20 })) if (k === 'ab') break;
    expect([...db.scanSync({ gte: 'l', limit: 1 })]).toEqual([['large', 'x'.repeat(1 << 20)]]);
  });

  it('sees what was acknowledged, while others write and tables are replaced', async () => {
    for (let round = 0; round < 30; round++) {
      const batch = db.batch();
      for (let i = 0; i < 20; i++) batch.put(`w${i}`, `${round}`);
      const written = batch.write();
      const background = round % 10 === 5 ? db.compact() : round % 3 === 1 ? db.flush() : undefined;
      // Of one shard, all or nothing; never anything but this round's or the last one's.
      for (const [, v] of db.scanSync({ prefix: 'w', limit: 20 })) {
        expect([`${round}`, `${round - 1}`]).toContain(v);
      }
      await written;
      expect([...db.scanSync({ prefix: 'w', limit: 25 })].map(([, v]) => v)).toEqual(
        Array.from({ length: 20 }, () => `${round}`),
      );
      await background;
    }
  });
});
