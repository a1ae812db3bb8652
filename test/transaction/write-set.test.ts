/** The write set against a sorted map, with savepoints, views that outlive changes, and compaction. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyScratch } from '../../src/router/key-scratch.js';
import { NONE } from '../../src/transaction/key-index.js';
import { WriteSet, type WriteView } from '../../src/transaction/write-set.js';

const SHARDS = 3;
const scratch = new KeyScratch();

const shardOf = (): number => scratch.hash % SHARDS;

function put(writes: WriteSet, key: string, value: string | undefined): void {
  scratch.setText(key);
  if (value === undefined) writes.delete(scratch, shardOf());
  else writes.put(scratch, shardOf(), value);
}

function entryText(writes: WriteSet, entry: number): [string, string | undefined] {
  const bytes = writes.bytesOf(entry);
  const start = writes.index.keyStarts[entry] as number;
  const key = bytes.utf8Slice(start, start + (writes.index.keyLengths[entry] as number));
  if (writes.isDelete(entry)) return [key, undefined];
  const valueStart = writes.valueStarts[entry] as number;
  return [key, bytes.utf8Slice(valueStart, writes.valueEnds[entry] as number)];
}

function get(writes: WriteSet, key: string): string | undefined | null {
  scratch.setText(key);
  const entry = writes.find(scratch, shardOf());
  return entry === NONE ? null : entryText(writes, entry)[1];
}

function drain(view: WriteView | undefined): [string, string | undefined][] {
  const entries: [string, string | undefined][] = [];
  while (view !== undefined && view.left > 0) entries.push(entryText(view.writes, view.next()));
  return entries;
}

const compare = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const sorted = (model: ReadonlyMap<string, string | undefined>): [string, string | undefined][] =>
  [...model].sort(([a], [b]) => compare(a, b));

const key = fc.oneof(
  fc.constantFrom('', 'a', 'b', 'ab', 'abc', 'é', '⚡', 'a'.repeat(300)),
  fc.integer({ min: 0, max: 80 }).map((n) => `key-${n}`),
);
const value = fc.option(
  fc.oneof(
    fc.string({ maxLength: 10 }),
    fc.constantFrom('ü'.repeat(50), 'x'.repeat(130), 'y'.repeat(70_000)),
  ),
  { nil: undefined },
);
const step = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(fc.constant('put' as const), key, value) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('savepoint' as const), key, value) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('rollback' as const), key, value) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('view' as const), key, value) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('compact' as const), key, value) },
);

describe('a write set', () => {
  it('is a sorted map with savepoints; views stay what they were', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        let writes = new WriteSet(SHARDS);
        let model = new Map<string, string | undefined>();
        let savepoints: { count: number; model: Map<string, string | undefined> }[] = [];
        const views: { view: WriteView | undefined; expected: [string, string | undefined][] }[] =
          [];
        for (const [kind, k, v] of steps) {
          if (kind === 'put') {
            put(writes, k, v);
            model.set(k, v);
          } else if (kind === 'savepoint') {
            savepoints.push({ count: writes.count, model: new Map(model) });
          } else if (kind === 'rollback') {
            const savepoint = savepoints.pop();
            if (savepoint === undefined) continue;
            writes = writes.truncated(savepoint.count);
            model = savepoint.model;
          } else if (kind === 'view') {
            const lower = { key: Buffer.from(k), inclusive: v === undefined };
            const reverse = k.length % 2 === 1;
            const expected = sorted(model).filter(([other]) => {
              const order = compare(other, k);
              return order > 0 || (order === 0 && lower.inclusive);
            });
            if (reverse) expected.reverse();
            views.push({ view: writes.view(lower, undefined, reverse), expected });
          } else {
            writes = writes.compacted();
            expect(writes.count).toBe(model.size);
            savepoints = [];
          }
          expect(get(writes, k)).toBe(model.has(k) ? model.get(k) : null);
        }
        for (const { view, expected } of views) expect(drain(view)).toEqual(expected);
        expect(drain(writes.view(undefined, undefined, false))).toEqual(sorted(model));
        for (const [k, v] of model) expect(get(writes, k)).toBe(v);
        expect(get(writes, 'never written')).toBe(null);
        const bytes = writes.parts.reduce((sum, part) => sum + (part?.length ?? 0), 0);
        expect(writes.bytes).toBe(bytes);
        expect(writes.parts.reduce((sum, part) => sum + (part?.count ?? 0), 0)).toBe(writes.count);
      }),
      { numRuns: 150 },
    );
  });

  it('is as new after clear', () => {
    const writes = new WriteSet(SHARDS);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 2000; i++) put(writes, `k${i % 700}`, `${round}-${i}`);
      expect(get(writes, 'k5')).toBe(`${round}-1405`);
      writes.clear();
      expect(writes.count).toBe(0);
      expect(get(writes, 'k5')).toBe(null);
      put(writes, 'small', 'x');
      expect(drain(writes.view(undefined, undefined, false))).toEqual([['small', 'x']]);
      writes.shared = false;
      writes.clear();
    }
  });
});
