/**
 * Workers of an open database that throw, exit or run out of heap: the others serve, nothing that was
 * acknowledged is lost, and what died is there again, or says why it is not.
 */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LightningError } from '../../src/errors.js';
import { SHARD_FENCED } from '../../src/router/control-block.js';
import type { Death } from '../torture/engine-workers.mjs';
import { eventually, REASON_OF_TEST, Scene, until } from './scene.js';

const DEATHS: readonly Death[] = ['throw', 'exit', 'heap'];

/** What is said of a worker that died so. */
const REASONS = {
  throw: REASON_OF_TEST,
  exit: 'its thread ended with code 0',
  heap: 'Worker terminated due to reaching memory limit: JS heap out of memory',
};

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});
afterEach(() => scene.remove());

describe.each(DEATHS)('a shard worker that dies (%s)', (how) => {
  it('is replaced, rejects what it had not answered, and holds nobody up', async () => {
    await scene.open();
    const told = new Map<string, string>();
    const outcomes = new Set<string>();
    for (let i = 0; i < 300; i++) {
      const key = scene.keyOf(0, 1 + (i % 30));
      await scene.db.put(key, `${i}`);
      told.set(key, `${i}`);
    }
    const other = scene.writing(1);
    const pending = Array.from({ length: 200 }, (_, i) =>
      scene.db.put(scene.keyOf(0), `${i}`).then(
        () => outcomes.add('ok'),
        ({ code, details }: LightningError) => outcomes.add(`${code} ${details['outcome']}`),
      ),
    );
    await scene.engine.kill('shard 0', how);
    await Promise.all(pending);
    for (const outcome of outcomes) {
      expect(['ok', 'LIGHTNING_SHARD_UNAVAILABLE unknown']).toContain(outcome);
    }
    await eventually(() => scene.db.put(scene.keyOf(0), 'after'));
    expect(scene.control.shardGeneration(0)).toBe(2);
    for (const [key, value] of await other.stop()) told.set(key, value);
    for (const [key, value] of told) expect(await scene.db.get(key)).toBe(value);
    await scene.useAll(how);
    expect((await scene.db.check()).problems).toEqual([]);
    await scene.db.close();
    await scene.open();
    for (const [key, value] of told) expect(scene.db.getSync(key)).toBe(value);
    expect(scene.db.getSync(scene.keyOf(0))).toBe('after');
  });

  it('again and again is fenced, and the reason is shown', async () => {
    await scene.open();
    const lost = scene.keyOf(0);
    for (let death = 0; death < 4; death++) {
      await eventually(() => scene.db.put(lost, `${death}`));
      await scene.engine.kill('shard 0', how);
    }
    await until(() => scene.control.shardState(0) === SHARD_FENCED);
    await expect(scene.db.put(lost, 'x')).rejects.toMatchObject({
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      details: { outcome: 'none' },
      message: expect.stringContaining(REASONS[how]),
    });
    const { shards } = await scene.db.stats();
    expect(shards.map(({ fencedReason }) => fencedReason)).toEqual([REASONS[how], undefined]);
    await scene.db.put(scene.keyOf(1), 'fine');
    await scene.db.close();
    await scene.open();
    expect(scene.db.getSync(lost)).toBe('3');
  });
});

describe.each(DEATHS)('a coordinator that dies (%s)', (how) => {
  it('is replaced; reads and writes of one shard go on meanwhile', async () => {
    await scene.open();
    const writers = [scene.writing(0), scene.writing(1)];
    await scene.useAll('before');
    const coordinator = scene.control.coordinator.thread();
    const [outcome] = await Promise.allSettled([
      scene.writeBoth(60, 'both'),
      scene.engine.kill('coordinator', how),
    ]);
    await scene.useAll('after');
    expect(scene.control.coordinator.thread()).not.toBe(coordinator);
    const both = await scene.readBoth(60);
    expect(both[0]).toBe(both[1]);
    if (outcome?.status === 'fulfilled') expect(both[0]).toBe('both');
    const told = await Promise.all(writers.map((writer) => writer.stop()));
    await scene.db.close();
    await scene.open();
    for (const map of told) {
      for (const [key, value] of map) expect(scene.db.getSync(key)).toBe(value);
    }
    expect(await scene.readBoth(50)).toEqual(['after', 'after']);
  });

  it('again and again is not replaced any more, and the reason is shown', async () => {
    await scene.open();
    for (let death = 0; death < 4; death++) {
      await scene.useAll(`${death}`);
      await scene.engine.kill('coordinator', how);
    }
    await until(() => scene.control.coordinator.fencedReason() !== undefined);
    const refusal = {
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      message: expect.stringContaining(REASONS[how]),
      details: { outcome: 'none', reason: REASONS[how] },
    };
    await expect(scene.writeBoth(50, 'x')).rejects.toMatchObject(refusal);
    await scene.db.put(scene.keyOf(0), 'goes on');
    await expect(scene.db.flush()).rejects.toMatchObject(refusal);
    await expect(scene.db.compact()).rejects.toMatchObject(refusal);
    await expect(scene.db.check()).rejects.toMatchObject(refusal);
    expect((await scene.db.stats()).background.fencedReason).toBe(REASONS[how]);
    expect(scene.db.getSync(scene.keyOf(0))).toBe('goes on');
    expect(await scene.readBoth(50)).toEqual(['3', '3']);
    scene.db.snapshot().close();
    await scene.db.close();
    await scene.open();
    expect(scene.db.getSync(scene.keyOf(0))).toBe('goes on');
    await scene.useAll('again');
    expect((await scene.db.stats()).background.fencedReason).toBeUndefined();
  });
});

describe.each(['before', 'after', 'throw', 'heap'] as const)(
  'a pool thread that dies (%s)',
  (how) => {
    it('fails its job, which is done again; nobody else dies', async () => {
      await scene.open();
      const coordinator = scene.control.coordinator.thread();
      for (let i = 0; i < 100; i++) await scene.db.put(`key-${i}`, `${i}`);
      const other = scene.writing(1);
      scene.engine.killNextJob(how);
      await eventually(() => scene.db.flush());
      await until(() => !scene.engine.isJobToDie);
      await scene.useAll(how);
      await scene.db.compact();
      for (const [key, value] of await other.stop()) expect(await scene.db.get(key)).toBe(value);
      expect(scene.control.coordinator.thread()).toBe(coordinator);
      expect([0, 1].map((shard) => scene.control.shardGeneration(shard))).toEqual([1, 1]);
      expect((await scene.db.check()).problems).toEqual([]);
    });
  },
);

describe('pool threads that die again and again', () => {
  it('have writes refused with the reason once memory is full, until they live', async () => {
    await scene.open();
    scene.engine.killJobs('heap');
    const value = 'v'.repeat(10_000);
    const key = (n: number): string => scene.keyOf(0, 100 + n);
    let written = 0;
    let refusal: LightningError | undefined;
    while (refusal === undefined) {
      await scene.db.put(key(written), value).then(
        () => written++,
        (error: LightningError) => {
          refusal = error;
        },
      );
    }
    expect(refusal.code).toBe('LIGHTNING_ABORTED');
    expect(refusal.message).toContain(REASONS.heap);
    expect(scene.db.getSync(key(written - 1))).toBe(value);
    await scene.db.put(scene.keyOf(1), 'other');
    scene.engine.killJobs(undefined);
    await eventually(() => scene.db.put(key(written), value));
    await scene.useAll('again');
    for (let n = 0; n <= written; n++) expect((await scene.db.get(key(n))) === value).toBe(true);
  }, 60_000);
});
