/**
 * Random operations against a sorted map: puts, deletes, batches, reads, scans, snapshots, flushes,
 * compactions and reopenings, on a database with tiny memtables and blocks.
 */

import fc from 'fast-check';
import { LightningDb, type Snapshot } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const keys = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 }),
  fc.string({ unit: fc.constantFrom('a', 'é', '⚡'), maxLength: 3 }),
  fc.integer({ min: 0, max: 60 }).map((i) => `common-prefix-of-many-keys-${i}`),
);
const values = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.integer({ min: 0, max: 3000 }).map((n) => 'v'.repeat(n)),
  fc.integer({ min: 15000, max: 40000 }).map((n) => 'large'.repeat(n)),
);

type Step =
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  | { readonly kind: 'delete' | 'get'; readonly key: string }
  | { readonly kind: 'batch'; readonly operations: readonly (readonly [string, string | null])[] }
  | {
      readonly kind: 'scan';
      readonly low: string;
      readonly high: string;
      readonly reverse: boolean;
      readonly limit: number;
    }
  | { readonly kind: 'flush' | 'compact' | 'reopen' | 'snapshot' | 'release' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('put' as const), key: keys, value: values }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), key: keys }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('get' as const), key: keys }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      operations: fc.array(fc.tuple(keys, fc.option(values)), { maxLength: 30 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('scan' as const),
      low: keys,
      high: keys,
      reverse: fc.boolean(),
      limit: fc.integer({ min: 1, max: 20 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'flush' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'compact' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'reopen' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'snapshot' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'release' as const }) },
);

const compare = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

function sorted(model: ReadonlyMap<string, string>): [string, string][] {
  return [...model].sort(([a], [b]) => compare(a, b));
}

interface Held {
  readonly snapshot: Snapshot<string, string>;
  readonly model: ReadonlyMap<string, string>;
}

async function run(shards: number, steps: readonly Step[]): Promise<void> {
  const directory = temporaryDirectory();
  const open = (): Promise<LightningDb> =>
    LightningDb.open(directory.path, {
      shards,
      memtableSize: 1 << 20,
      cacheSize: shards * (8 << 20),
      blockBytes: 512,
    });
  let db = await open();
  const model = new Map<string, string>();
  const held: Held[] = [];
  try {
    for (const s of steps) {
      switch (s.kind) {
        case 'put':
          await db.put(s.key, s.value);
          model.set(s.key, s.value);
          break;
        case 'delete':
          await db.delete(s.key);
          model.delete(s.key);
          break;
        case 'get':
          expect(await db.get(s.key)).toBe(model.get(s.key));
          expect(db.getSync(s.key)).toBe(model.get(s.key));
          break;
        case 'batch': {
          const batch = db.batch();
          for (const [key, value] of s.operations) {
            if (value === null) {
              batch.delete(key);
              model.delete(key);
            } else {
              batch.put(key, value);
              model.set(key, value);
            }
          }
          await batch.write();
          break;
        }
        case 'scan': {
          const expected = sorted(model).filter(
            ([k]) => compare(k, s.low) >= 0 && compare(k, s.high) <= 0,
          );
          if (s.reverse) expected.reverse();
          const options = { gte: s.low, lte: s.high, reverse: s.reverse, limit: s.limit };
          expect(Array.from(db.scanSync(options))).toEqual(expected.slice(0, s.limit));
          break;
        }
        case 'flush':
          await db.flush();
          break;
        case 'compact':
          await db.compact();
          break;
        case 'reopen':
          for (const { snapshot } of held.splice(0)) snapshot.close();
          await db.close();
          db = await open();
          break;
        case 'snapshot':
          held.push({ snapshot: db.snapshot(), model: new Map(model) });
          break;
        case 'release':
          held.shift()?.snapshot.close();
          break;
      }
    }
    for (const h of held) expect(Array.from(h.snapshot.scanSync())).toEqual(sorted(h.model));
    const entries: [string, string][] = [];
    for await (const entry of db.scan()) entries.push(entry);
    expect(entries).toEqual(sorted(model));
    expect(Array.from(db.scanSync({ reverse: true }))).toEqual(sorted(model).reverse());
    for (const h of held) h.snapshot.close();
    expect((await db.check()).problems).toEqual([]);
  } finally {
    await db.close();
    directory.remove();
  }
}

describe('random operations', () => {
  it.each([1, 3])(
    'match a sorted map with %i shards',
    async (shards) => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) =>
          run(shards, steps),
        ),
        { numRuns: Number(process.env['MODEL_RUNS'] ?? 12), endOnFailure: false },
      );
    },
    300_000,
  );
});
