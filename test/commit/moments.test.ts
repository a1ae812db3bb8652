/**
 * A commit over several shards meets, at each moment of its life, the death of the process, the loss
 * of power, the death of one shard's worker, or of the coordinator. What is there afterwards is what
 * presumed abort prescribes: on all shards the same, and before the first read.
 */

import { describe, expect, it } from 'vitest';
import { shardDirectoryName } from '../../src/file-system/file-names.js';
import { type CrashMode, PowerLossError } from '../../src/file-system/memory.js';
import { stateOf, TRANSACTION_FREE } from '../../src/router/transaction-table.js';
import { DATABASE_PATH, LocalDatabase } from '../durability/local-database.js';
import { put } from '../shard/harness.js';
import { MOMENTS, type Moment, Scene, SHARDS, type Version } from './moments.js';

const moment = (name: string): Moment => {
  const found = MOMENTS.find((one) => one.name === name);
  if (found === undefined) throw new Error(`There is no moment "${name}"`);
  return found;
};

async function versionsIn(db: LocalDatabase): Promise<string[]> {
  const values = await Promise.all(db.shards.map(({ client }) => client.get('key')));
  return values.map(String);
}

const everywhere = (version: string): string[] => Array.from({ length: SHARDS }, () => version);

async function reached({ reach }: Moment, mode: 'sync' | 'async', seed = 11): Promise<Scene> {
  const scene = await Scene.make(mode, seed);
  await reach(scene);
  return scene;
}

/** Everything ends; returns what two opens find, one after the other. */
async function end(scene: Scene, mode: CrashMode): Promise<string[][]> {
  await scene.db.abandon().catch(() => undefined);
  scene.fs.crash(mode);
  scene.onDeath?.();
  const found: string[][] = [];
  for (let open = 0; open < 2; open++) {
    const db = await LocalDatabase.open(scene.options);
    found.push(await versionsIn(db));
    await db.abandon();
    scene.fs.crash('all');
  }
  return found;
}

/** Everybody goes on until nothing happens any more. */
async function goOn({ db }: Scene): Promise<void> {
  for (let quiet = 0; quiet < 3; ) {
    quiet = db.turn() ? 0 : quiet + 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The database is whole, and the commit's slot free, whatever became of it. */
async function expectOver(scene: Scene, version: Version): Promise<void> {
  const { db, commit } = scene;
  const { transactions } = db.control;
  expect(await versionsIn(db)).toEqual(everywhere(version));
  expect(stateOf(transactions.word(commit.slot))).toBe(TRANSACTION_FREE);
  expect(db.control.stableSequence()).toBe(db.control.lastSequence());
  const parts = db.shards.map((_, shard) => ({ shard, operations: [put('later', 'x')] }));
  const later = db.commitTogether(parts);
  for (const { shard, id } of later.requests) {
    expect(await db.wait(shard, id, 1000)).toBeGreaterThan(0);
  }
}

describe.each(MOMENTS)('$name', (at) => {
  const { after, afterPowerLoss = after, afterShard } = at;

  it('the process dies', async () => {
    for (const mode of ['sync', 'async'] as const) {
      const scene = await reached(at, mode);
      const found = await end(scene, 'all');
      // In the mode `async` there is no sync to die at.
      const isSynced = mode === 'sync' || !at.name.includes('not synced');
      if (isSynced) expect(found, mode).toEqual([everywhere(after), everywhere(after)]);
    }
  });

  it('the power fails', async () => {
    const synced = await end(await reached(at, 'sync'), 'synced');
    expect(synced).toEqual([everywhere(afterPowerLoss), everywhere(afterPowerLoss)]);
    // What was not synced may be there, too: only a decision can make a difference.
    const versions = after === afterPowerLoss ? [after] : ['first', 'second'];
    for (let seed = 0; seed < 2 * versions.length; seed++) {
      const found = await end(await reached(at, 'sync', seed), 'random');
      expect(versions.map((version) => [everywhere(version), everywhere(version)])).toContainEqual(
        found,
      );
    }
    // Without a mark above it, it has not been there for anybody.
    const unmarked = await end(await reached(at, 'async'), 'random');
    expect(unmarked).toEqual([everywhere('first'), everywhere('first')]);
  });

  it.skipIf(afterShard === undefined)('the worker of a shard dies', async () => {
    for (let victim = 0; victim < SHARDS; victim++) {
      const scene = await reached(at, 'sync');
      scene.onDeath?.();
      const replaced = scene.db.replaceShard(victim);
      if (at.name.startsWith('the number is known')) scene.db.replaceCoordinator();
      await replaced;
      await goOn(scene);
      await expectOver(scene, afterShard as Version);
      expect(await end(scene, 'all')).toEqual([
        everywhere(afterShard as Version),
        everywhere(afterShard as Version),
      ]);
    }
  });

  it.skipIf(afterShard === undefined)('the coordinator dies: all goes on', async () => {
    const scene = await reached(at, 'sync');
    scene.db.replaceCoordinator();
    await goOn(scene);
    await expectOver(scene, 'second');
  });
});

describe('a crash while the outcome is found out', () => {
  it.each([
    ['all are prepared, without DECISION', 'first'],
    ['COMMIT at one', 'second'],
  ])('(%s), again and again, changes nothing', async (name, version) => {
    const scene = await reached(moment(name), 'sync');
    await scene.db.abandon();
    scene.fs.crash('all');
    // Each attempt leaves files behind, so that the next one makes more calls.
    for (let attempt = 0; attempt < 25; attempt++) {
      scene.fs.crashAt(1 + attempt * 3);
      const opening = LocalDatabase.open(scene.options);
      await expect(opening).rejects.toThrow(PowerLossError);
      scene.fs.crash(attempt % 2 === 0 ? 'all' : 'synced');
    }
    const db = await LocalDatabase.open(scene.options);
    expect(await versionsIn(db)).toEqual(everywhere(version));
    await db.close();
  });
});

describe('a commit in doubt, while its shard flushes and deletes its log', () => {
  const segmentsOf = ({ fs }: Scene): string[] =>
    fs.readdir(`${DATABASE_PATH}/${shardDirectoryName(0)}`).filter((name) => name.endsWith('.wal'));

  /** Two flushes by shard 0, after which its log would start anew. */
  async function flushTwice({ db }: Scene): Promise<void> {
    for (let i = 0; i < 2; i++) {
      await db.shard(0).client.put('plain', `${i}`);
      await Promise.all([db.shard(0).shard.flush(), db.shard(0).settle()]);
    }
  }

  it.each([
    ['first', false],
    ['second', true],
  ] as const)(
    'keeps the segment of its PREPARE; then, the %s commit stands',
    async (version, isDecided) => {
      const scene = await reached(moment('all are prepared, without DECISION'), 'sync');
      const prepared = scene.walPath(0).split('/').at(-1) as string;
      await flushTwice(scene);
      expect(segmentsOf(scene)).toContain(prepared);
      expect(segmentsOf(scene).length).toBeGreaterThan(1);
      if (isDecided) scene.db.decide();
      await scene.db.abandon();
      scene.fs.crash('all');
      const db = await LocalDatabase.open(scene.options);
      expect(await versionsIn(db)).toEqual(everywhere(version));
      expect(await db.shard(0).client.get('plain')).toBe('1');
      await db.close();
    },
  );

  it('gives the segment back when it is over', async () => {
    const scene = await reached(moment('all are prepared, without DECISION'), 'sync');
    const prepared = scene.walPath(0).split('/').at(-1) as string;
    await flushTwice(scene);
    expect(segmentsOf(scene)).toContain(prepared);
    await goOn(scene);
    await flushTwice(scene);
    expect(segmentsOf(scene)).not.toContain(prepared);
    await expectOver(scene, 'second');
    await scene.db.close();
  });
});
