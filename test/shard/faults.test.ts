/**
 * Refused calls of the file system, with flushes and merges going on: want of room costs the writes
 * it hits and nothing else; anything else ends writing, and reopening brings back what was
 * acknowledged.
 */

import { describe, expect, it } from 'vitest';
import { LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { TestShard } from './harness.js';
import { applyStep, commitStep, planSteps, readAll, type Step, stepsConfig } from './steps.js';

const STEP = Number(process.env['LIGHTNING_TEST_CRASH_STEP'] ?? 29);
const DIRECTORY = '/shard-000';

function emptyPlace(seed: number) {
  const fs = new MemoryFileSystem(seed);
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  // Half of the points have a client that commits itself.
  return { fs, directory: DIRECTORY, config: stepsConfig('async'), direct: seed % 2 === 0 };
}

interface Outcome {
  readonly state: Map<string, string>;
  /** Steps that failed without saying that nothing of them was applied. */
  readonly unknown: Step[];
  readonly errors: LightningError[];
}

async function commitAll(shard: TestShard, steps: readonly Step[]): Promise<Outcome> {
  const outcome: Outcome = { state: new Map(), unknown: [], errors: [] };
  for (const [i, step] of steps.entries()) {
    try {
      await commitStep(shard, step);
      applyStep(outcome.state, step);
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      outcome.errors.push(error);
      if (error.details['outcome'] === 'unknown') outcome.unknown.push(step);
    }
    if (i % 25 === 24) await new Promise((resolve) => setImmediate(resolve));
    if (i % 50 === 49) await shard.shard.compact().catch(() => undefined);
  }
  return outcome;
}

/** Names the keys that differ: the values are long. */
function expectSame(
  found: ReadonlyMap<string, string>,
  expected: ReadonlyMap<string, string>,
  label: string,
): void {
  const names = new Set([...found.keys(), ...expected.keys()]);
  const differing = [...names].filter((name) => found.get(name) !== expected.get(name));
  expect(differing, label).toEqual([]);
}

async function openAnyway(place: ReturnType<typeof emptyPlace>): Promise<TestShard> {
  try {
    return await TestShard.open(place);
  } catch (error) {
    expect(error).toBeInstanceOf(LightningError);
    return TestShard.open({ ...place, control: ControlBlock.create(1) });
  }
}

describe('a call of the file system that is refused', () => {
  it('for want of room rejects the writes it hits, and nothing else', async () => {
    for (let k = 1; k < 3000; k += STEP) {
      const place = emptyPlace(k);
      const steps = planSteps(1 + (k % 89));
      place.fs.failAt(k, 'ENOSPC');
      const shard = await openAnyway(place);
      const { state, errors } = await commitAll(shard, steps);
      const label = `call ${k}`;
      const { readOnlyReason } = shard.shard.state;
      if (readOnlyReason !== undefined) {
        // A failed sync is final, whatever its reason.
        expect(readOnlyReason.message, label).toMatch(/fdatasync|fsync/);
        await shard.shard.close();
        continue;
      }
      for (const error of errors) expect(error.code, label).toBe('LIGHTNING_NO_SPACE');
      expect(errors.length, label).toBeLessThanOrEqual(1);
      expectSame(await readAll(shard), state, label);
      const isLast = place.fs.calls < k;
      await shard.shard.close();
      place.fs.crash('synced');
      const again = await TestShard.open({ ...place, control: ControlBlock.create(1) });
      expectSame(await readAll(again), state, label);
      await again.shard.close();
      if (isLast) break;
    }
  }, 600_000);

  it('for a broken disk ends writing at most; what was acknowledged comes back', async () => {
    for (let k = 2; k < 3000; k += STEP) {
      const place = emptyPlace(k);
      const steps = planSteps(1 + (k % 83));
      place.fs.failAt(k, 'EIO');
      const shard = await openAnyway(place);
      const { state, unknown, errors } = await commitAll(shard, steps);
      const label = `call ${k}`;
      // Reads go on whatever happened.
      expectSame(await readAll(shard), state, label);
      for (const error of errors) {
        expect(['LIGHTNING_READ_ONLY', 'LIGHTNING_IO'], label).toContain(error.code);
      }
      expect(unknown.length, label).toBeLessThanOrEqual(1);
      const isLast = place.fs.calls < k;
      await shard.shard.close().catch(() => undefined);
      place.fs.crash('all');
      const again = await TestShard.open({ ...place, control: ControlBlock.create(1) });
      const found = await readAll(again);
      const withUnknown = new Map(state);
      for (const step of unknown) applyStep(withUnknown, step);
      const isSame = [state, withUnknown].some(
        (one) => one.size === found.size && [...one].every(([k, v]) => found.get(k) === v),
      );
      expect(isSame, label).toBe(true);
      await again.client.put('writable', 'again');
      await again.shard.close();
      if (isLast) break;
    }
  }, 600_000);
});

describe('a full disk', () => {
  it('refuses writes instead of hanging, and takes them once there is room', async () => {
    const place = emptyPlace(1);
    const shard = await TestShard.open(place);
    const value = 'v'.repeat(4000);
    await shard.client.put('before', '1');
    place.fs.limitRoom(40_000);
    const written: number[] = [];
    let refused = 0;
    for (let i = 0; i < 300; i++) {
      try {
        await shard.client.put(`key-${i}`, value);
        written.push(i);
      } catch (error) {
        expect((error as LightningError).code).toBe('LIGHTNING_NO_SPACE');
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(0);
    expect(await shard.client.get('before')).toBe('1');
    place.fs.limitRoom(Number.POSITIVE_INFINITY);
    await shard.client.put('after', '2');
    await shard.settle();
    for (let i = 0; i < 300; i++) {
      expect(await shard.client.get(`key-${i}`)).toBe(written.includes(i) ? value : undefined);
    }
    await shard.shard.close();
  });

  it('while a merge runs keeps what the merge was to replace: its tables may have lost their names', async () => {
    const place = emptyPlace(1);
    const shard = await TestShard.open(place);
    for (let round = 0; round < 3; round++) {
      await shard.client.put('key', String(round));
      await shard.client.put(`key-${round}`, 'x'.repeat(100));
      await shard.shard.flush();
    }
    const tables = (): string[] =>
      place.fs.readdir(DIRECTORY).filter((name) => name.endsWith('.table'));
    const before = tables();
    shard.jobs.before = async () => {
      // What a log that could not be rolled brings about.
      place.fs.failAt(1, 'EIO');
      expect(() => shard.shard.state.syncDirectory()).toThrow();
    };
    await expect(shard.shard.compact()).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    expect(tables()).toEqual(expect.arrayContaining(before));
    expect(await shard.client.get('key')).toBe('2');
    await shard.shard.close().catch(() => undefined);
    place.fs.crash('synced');
    const after = await TestShard.open(place);
    expect(await after.client.get('key')).toBe('2');
    expect(await after.client.get('key-0')).toBe('x'.repeat(100));
    await after.shard.close();
  });
});
