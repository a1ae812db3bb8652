/**
 * Random transactions, several at a time and with plain writes between them, against a model that
 * keeps every version: every read must be right, and every commit must succeed or conflict as the
 * isolation level says.
 */

import fc from 'fast-check';
import { type Isolation, LightningDb, type Savepoint, type Transaction } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const SLOTS = 3;
const STEP_MS_MAX = 60_000;

const keys = fc.constantFrom(...'abcdefghijkl', 'é', '⚡', 'aa', 'ab', 'b0');
const values = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.integer({ min: 0, max: 2000 }).map((n) => 'v'.repeat(n)),
);
const slots = fc.integer({ min: 0, max: SLOTS - 1 });

type Step =
  | { readonly kind: 'begin'; readonly slot: number; readonly isolation: Isolation }
  | {
      readonly kind: 'get' | 'getForUpdate' | 'delete';
      readonly slot: number;
      readonly key: string;
    }
  | { readonly kind: 'put'; readonly slot: number; readonly key: string; readonly value: string }
  | {
      readonly kind: 'scan';
      readonly slot: number;
      readonly low: string | undefined;
      readonly high: string | undefined;
      readonly reverse: boolean;
      readonly limit: number | undefined;
      /** Calls of next(). */
      readonly calls: number;
    }
  | {
      readonly kind: 'savepoint' | 'rollbackTo' | 'commit' | 'rollback';
      readonly slot: number;
    }
  | { readonly kind: 'write'; readonly operations: readonly (readonly [string, string | null])[] }
  | { readonly kind: 'flush' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('begin' as const),
      slot: slots,
      isolation: fc.constantFrom<Isolation>('snapshot', 'serializable'),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom('get' as const, 'getForUpdate' as const, 'delete' as const),
      slot: slots,
      key: keys,
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      slot: slots,
      key: keys,
      value: values,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('scan' as const),
      slot: slots,
      low: fc.option(keys, { nil: undefined }),
      high: fc.option(keys, { nil: undefined }),
      reverse: fc.boolean(),
      limit: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
      calls: fc.integer({ min: 0, max: 20 }),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'savepoint' as const,
        'rollbackTo' as const,
        'commit' as const,
        'commit' as const,
        'rollback' as const,
      ),
      slot: slots,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      operations: fc.array(fc.tuple(keys, fc.option(values)), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'flush' as const }) },
);

const compare = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

interface Version {
  readonly at: number;
  readonly value: string | null;
}

interface Range {
  readonly low: string | undefined;
  readonly high: string | undefined;
}

/** Every version of every key. Time is the number of commits. */
class Model {
  readonly versions = new Map<string, Version[]>();
  now = 0;

  write(operations: Iterable<readonly [string, string | null]>): void {
    this.now++;
    for (const [key, value] of operations) {
      const list = this.versions.get(key) ?? [];
      list.push({ at: this.now, value });
      this.versions.set(key, list);
    }
  }

  state(at: number): Map<string, string> {
    const state = new Map<string, string>();
    for (const [key, list] of this.versions) {
      const value = list.findLast((version) => version.at <= at)?.value ?? null;
      if (value !== null) state.set(key, value);
    }
    return state;
  }

  isNewer(key: string, at: number): boolean {
    return (this.versions.get(key)?.at(-1)?.at ?? 0) > at;
  }
}

class Session {
  readonly reads = new Set<string>();
  readonly ranges: Range[] = [];
  /** A flush came after its beginning. */
  wasFlushed = false;
  readonly savepoints: { point: Savepoint; writes: Map<string, string | null> }[] = [];
  writes = new Map<string, string | null>();

  constructor(
    readonly tx: Transaction,
    readonly isolation: Isolation,
    readonly model: Model,
    readonly at: number,
  ) {}

  get(key: string): string | undefined {
    if (this.writes.has(key)) return this.writes.get(key) ?? undefined;
    return this.model.state(this.at).get(key);
  }

  entries(): [string, string][] {
    const state = this.model.state(this.at);
    for (const [key, value] of this.writes) {
      if (value === null) state.delete(key);
      else state.set(key, value);
    }
    return [...state].sort(([a], [b]) => compare(a, b));
  }

  /** With `certain`, keys that are missing now as they were then do not count. */
  conflicts(certain: boolean): boolean {
    if (this.writes.size === 0) return false;
    const then = this.model.state(this.at);
    const now = this.model.state(this.model.now);
    const isIn = (key: string, { low, high }: Range): boolean =>
      (low === undefined || compare(key, low) >= 0) &&
      (high === undefined || compare(key, high) <= 0);
    return [...this.model.versions.keys()].some(
      (key) =>
        this.model.isNewer(key, this.at) &&
        (!certain || then.has(key) || now.has(key)) &&
        (this.writes.has(key) || this.reads.has(key) || this.ranges.some((r) => isIn(key, r))),
    );
  }
}

function scan(session: Session, s: Step & { readonly kind: 'scan' }): void {
  const options = { gte: s.low, lte: s.high, reverse: s.reverse, limit: s.limit };
  const expected = session
    .entries()
    .filter(([k]) => s.low === undefined || compare(k, s.low) >= 0)
    .filter(([k]) => s.high === undefined || compare(k, s.high) <= 0);
  if (s.reverse) expected.reverse();
  const within = expected.slice(0, s.limit);
  const iterator = session.tx.scanSync(options);
  const found: [string, string][] = [];
  let isDone = false;
  for (let call = 0; call < s.calls && !isDone; call++) {
    const { done, value } = iterator.next();
    if (done === true) isDone = true;
    else found.push(value);
  }
  expect(found).toEqual(within.slice(0, s.calls));
  expect(isDone).toBe(s.calls > within.length);
  if (session.isolation === 'snapshot') return;
  if (s.low !== undefined && s.high !== undefined && compare(s.low, s.high) > 0) return;
  const isWhole = isDone && (s.limit === undefined || within.length < s.limit);
  const last = found.at(-1)?.[0];
  if (isWhole) session.ranges.push({ low: s.low, high: s.high });
  else if (last !== undefined && s.reverse) session.ranges.push({ low: last, high: s.high });
  else if (last !== undefined) session.ranges.push({ low: s.low, high: last });
}

/** A step that did not end would tell nothing when the whole test runs out of time. */
async function within<T>(step: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${step} did not end`)), STEP_MS_MAX);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function run(shards: number, steps: readonly Step[]): Promise<void> {
  const directory = temporaryDirectory();
  const options = {
    shards,
    memtableSize: 1 << 20,
    cacheSize: shards * (8 << 20),
    blockBytes: 512,
  };
  const db = await within('open', LightningDb.open(directory.path, options));
  const model = new Model();
  const sessions: (Session | undefined)[] = [];
  const end = async (slot: number): Promise<void> => {
    const session = sessions[slot];
    if (session === undefined) return;
    sessions[slot] = undefined;
    const commit = session.tx.commit().then(
      () => 'committed',
      (error) => (error.code === 'LIGHTNING_CONFLICT' ? error.code : String(error.stack)),
    );
    const outcome = await within('commit', commit);
    let conflict = session.conflicts(false);
    if (session.wasFlushed && session.writes.size > 0) {
      // Deletes that hide nothing are gone; of ranges in tables it is only known what may be there.
      const must = session.conflicts(true);
      const may = conflict || session.ranges.length > 0;
      if (must !== may) conflict = outcome === 'LIGHTNING_CONFLICT';
    }
    expect(outcome).toBe(conflict ? 'LIGHTNING_CONFLICT' : 'committed');
    if (!conflict && session.writes.size > 0) model.write(session.writes);
  };
  try {
    for (const s of steps) {
      if (s.kind === 'flush') {
        await within('flush', db.flush());
        for (const session of sessions) if (session !== undefined) session.wasFlushed = true;
        continue;
      }
      if (s.kind === 'write') {
        const batch = db.batch();
        for (const [key, value] of s.operations) {
          if (value === null) batch.delete(key);
          else batch.put(key, value);
        }
        await within('write', batch.write());
        model.write(s.operations);
        continue;
      }
      if (s.kind === 'begin') {
        await end(s.slot);
        const tx = db.begin({ isolation: s.isolation });
        sessions[s.slot] = new Session(tx, s.isolation, model, model.now);
        continue;
      }
      const session = sessions[s.slot];
      if (session === undefined) continue;
      switch (s.kind) {
        case 'get':
        case 'getForUpdate': {
          const isRead = session.isolation === 'serializable' || s.kind === 'getForUpdate';
          if (isRead && !session.writes.has(s.key)) session.reads.add(s.key);
          expect(await within(s.kind, session.tx[s.kind](s.key))).toBe(session.get(s.key));
          break;
        }
        case 'put':
          session.tx.put(s.key, s.value);
          session.writes.set(s.key, s.value);
          break;
        case 'delete':
          session.tx.delete(s.key);
          session.writes.set(s.key, null);
          break;
        case 'scan':
          scan(session, s);
          break;
        case 'savepoint':
          session.savepoints.push({
            point: session.tx.savepoint(),
            writes: new Map(session.writes),
          });
          break;
        case 'rollbackTo': {
          const savepoint = session.savepoints.pop();
          if (savepoint === undefined) break;
          session.tx.rollbackTo(savepoint.point);
          session.writes = savepoint.writes;
          break;
        }
        case 'commit':
          await end(s.slot);
          break;
        case 'rollback':
          session.tx.rollback();
          sessions[s.slot] = undefined;
          break;
      }
    }
    for (let slot = 0; slot < SLOTS; slot++) await end(slot);
    const expected = [...model.state(model.now)].sort(([a], [b]) => compare(a, b));
    expect(Array.from(db.scanSync())).toEqual(expected);
    expect((await within('stats', db.stats())).transactions.active).toBe(0);
  } finally {
    await within('close', db.close());
    directory.remove();
  }
}

describe('random transactions', () => {
  it.each([1, 3])(
    'read and conflict as a model of all versions says, with %i shards',
    async (shards) => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) =>
          run(shards, steps),
        ),
        {
          numRuns: Number(process.env['MODEL_RUNS'] ?? 12),
          // Of a failure that does not come again, a search for a smaller one would not end.
          interruptAfterTimeLimit: 200_000,
        },
      );
    },
    300_000,
  );
});
