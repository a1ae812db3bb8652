/** Transactions of one thread that meet conflicts about the same key run again one at a time. */

import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RetryTurns } from '../../src/transaction/retry-turns.js';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const LANES = 100;

describe('turns', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('come in order, one key apart from the other, and pass on when one keeps its own', () => {
    vi.useFakeTimers();
    const turns = new RetryTurns();
    const gone: string[] = [];
    const take = (key: string, name: string) => turns.take(key, () => gone.push(name));
    const [a, b, c, d] = [take('x', 'a'), take('x', 'b'), take('x', 'c'), take('x', 'd')];
    const other = take('y', 'other');
    expect([a, b, c, d, other].map((turn) => turns.isFirst(turn))).toEqual([
      true,
      false,
      false,
      false,
      true,
    ]);
    turns.release(c);
    turns.release(c);
    turns.release(a);
    vi.advanceTimersByTime(1);
    expect(gone).toEqual(['b']);
    expect(turns.isFirst(b)).toBe(true);
    vi.advanceTimersByTime(1000);
    expect(gone).toEqual(['b', 'd']);
    expect([turns.isFirst(b), turns.isFirst(d)]).toEqual([false, true]);
    turns.release(b);
    turns.release(d);
    turns.release(other);
    vi.advanceTimersByTime(1000);
    expect(gone).toEqual(['b', 'd']);
    expect(vi.getTimerCount()).toBe(0);
    expect(turns.isFirst(take('x', 'e'))).toBe(true);
  });
});

describe('transactions about one key', () => {
  let directory: TemporaryDirectory;
  let db: LightningDb;
  beforeEach(async () => {
    directory = temporaryDirectory();
    db = await LightningDb.open(directory.path, { shards: 2 });
  });
  afterEach(async () => {
    await db.close();
    directory.remove();
  });

  const lanes = (work: (lane: number) => Promise<unknown>): Promise<unknown[]> =>
    Promise.all(Array.from({ length: LANES }, (_, lane) => work(lane)));
  const more = (value: string | undefined): string => `${Number(value ?? 0) + 1}`;

  it('are run again once or so, however many there are', async () => {
    await lanes(() => db.update('hot', more));
    expect(await db.get('hot')).toBe(`${LANES}`);
    await lanes((lane) =>
      db.transaction(async (tx) => {
        tx.put('hot', more(await tx.get('hot')))
          .put(`${lane}`, 'x')
          .put(`other ${lane}`, 'x');
      }),
    );
    expect(await db.get('hot')).toBe(`${2 * LANES}`);
    expect((await db.stats()).transactions.retries).toBeLessThan(4 * LANES);
  });

  it('end while they wait when their signal or their time says so', async () => {
    const { signal, abort } = (() => {
      const controller = new AbortController();
      return { signal: controller.signal, abort: () => controller.abort() };
    })();
    let release: (() => void) | undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let runs = 0;
    const first = db.transaction(async (tx) => {
      tx.put('hot', 'first');
      if (runs++ === 0) await db.put('hot', 'other');
      else await held;
    });
    await vi.waitFor(() => expect(runs).toBe(2));
    const late = async (options: object): Promise<unknown> => {
      let isFirst = true;
      return db
        .transaction(async (tx) => {
          tx.put('hot', 'late');
          if (isFirst) await db.put('hot', 'other');
          isFirst = false;
        }, options)
        .catch((error: { code: string }) => error.code);
    };
    const waiting = [late({ signal }), late({ timeoutMs: 50 })];
    setTimeout(abort, 20);
    expect(await Promise.all(waiting)).toEqual(['LIGHTNING_ABORTED', 'LIGHTNING_TIMEOUT']);
    release?.();
    await first.catch(() => undefined);
    expect((await db.stats()).transactions.active).toBe(0);
  });

  it('that wait for one behind them, inside of their function, come to an end', async () => {
    let runs = 0;
    await db.transaction(async (tx) => {
      await tx.getForUpdate('hot');
      tx.put('mine', 'x');
      runs++;
      if (runs === 1) await db.put('hot', '1');
      if (runs !== 2) return;
      let inner = 0;
      await db.transaction(async (other) => {
        await other.getForUpdate('hot');
        other.put('theirs', 'x');
        if (inner++ === 0) await db.put('hot', '2');
      });
    });
    expect(await db.getMany(['mine', 'theirs'])).toEqual(['x', 'x']);
  });
});
