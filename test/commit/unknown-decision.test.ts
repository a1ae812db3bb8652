/**
 * The coordinator's log fails while a decision is written: nobody knows whether it is there. Nobody
 * waits for ever, nothing of the commit is applied or dropped, and the next open finds out.
 */

import { describe, expect, it } from 'vitest';
import { LightningError } from '../../src/errors.js';
import type { CrashMode } from '../../src/file-system/memory.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { LocalDatabase } from '../durability/local-database.js';
import { put, TestClient } from '../shard/harness.js';
import { Scene, SHARDS } from './moments.js';

/** Does something between the numbers of commits and their decision. */
class HookedControl extends ControlBlock {
  onNumbered: (() => void) | undefined;

  override decisionsAllocated(): void {
    super.decisionsAllocated();
    this.onNumbered?.();
  }
}

async function makeScene(): Promise<{ scene: Scene; control: HookedControl }> {
  let control: HookedControl | undefined;
  const scene = await Scene.make('sync', 5, {
    name: 'a hook',
    control: ({ buffer }) => {
      control = new HookedControl(buffer);
      return control;
    },
  });
  if (control === undefined) throw new Error('The database has made no control block');
  scene.turnAll();
  return { scene, control };
}

async function errorOf(work: Promise<unknown>): Promise<LightningError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof LightningError) return error;
  throw new Error(`Not refused: ${String(error)}`);
}

const readAll = (db: LocalDatabase): Promise<(string | undefined)[]> =>
  Promise.all(db.shards.map(({ client }) => client.get('key')));

const everywhere = (version: string): string[] => Array.from({ length: SHARDS }, () => version);

/** Closes, crashes, and opens again. */
async function reopen({ db, fs, options }: Scene, mode: CrashMode): Promise<LocalDatabase> {
  await db.close();
  fs.crash(mode);
  return LocalDatabase.open(options);
}

const failures = [
  ['write', 'all', ['first']],
  ['write', 'synced', ['first']],
  ['sync', 'all', ['second']],
  ['sync', 'synced', ['first']],
] as const;

describe('a decision of which nobody knows whether it is written', () => {
  it.each(failures)(
    '(%s fails; then: %s) is told as unknown, and found out at the next open',
    async (syscall, mode, versions) => {
      const { scene } = await makeScene();
      const { db, fs, commit } = scene;
      fs.failOnce(1, 'EIO', syscall);
      db.decide();
      for (const { shard, id } of commit.requests) {
        const { code, details } = await errorOf(db.wait(shard, id, 100));
        expect({ code, outcome: details['outcome'] }).toEqual({
          code: 'LIGHTNING_READ_ONLY',
          outcome: 'unknown',
        });
      }
      expect(await readAll(db)).toEqual(everywhere('first'));
      expect(db.control.stableSequence()).toBe(db.control.lastSequence());
      expect(db.control.transactions.counts()).toMatchObject({ unknown: 1, unreleased: 0 });
      for (const { client } of db.shards) {
        expect((await errorOf(client.put('later', 'x'))).code).toBe('LIGHTNING_READ_ONLY');
      }
      const again = await reopen(scene, mode);
      const found = await readAll(again);
      expect(versions.map(everywhere)).toContainEqual(found);
      await again.shard(0).client.put('later', 'x');
      await again.close();
    },
  );

  it.each(['small', 'large'])(
    'refuses a %s write that has a higher number, which the next open finds behind it',
    async (size) => {
      const { scene, control } = await makeScene();
      const { db, fs } = scene;
      const { shard, kernel } = db.shard(0);
      const stranger = new TestClient(shard, kernel, 2);
      stranger.turnsMax = 100;
      let request = 0;
      control.onNumbered = () => {
        control.onNumbered = undefined;
        const filler = Array.from({ length: size === 'large' ? 300 : 1 }, (_, i) =>
          put(`filler-${i}`, 'f'.repeat(1000)),
        );
        request = stranger.write([put('key', 'plain'), ...filler]);
        for (let turns = 0; turns < 50; turns++) {
          stranger.poll(0);
          shard.turn();
        }
        fs.failOnce(1, 'EIO', 'sync');
      };
      db.decide();
      const { code, details } = await errorOf(stranger.wait(request));
      expect({ code, outcome: details['outcome'] }).toEqual({
        code: 'LIGHTNING_READ_ONLY',
        outcome: 'unknown',
      });
      expect(await stranger.get('key')).toBe('first');
      expect(control.hasPendingSequences(0)).toBe(false);
      const again = await reopen(scene, 'all');
      expect(await readAll(again)).toEqual(['plain', 'second', 'second']);
      await again.close();
    },
  );

  it('keeps a shard away whose worker is replaced meanwhile: it must neither apply nor drop it', async () => {
    const { scene } = await makeScene();
    scene.fs.failOnce(1, 'EIO', 'sync');
    scene.db.decide();
    scene.turnAll();
    const error = await errorOf(scene.db.replaceShard(1));
    expect(error.code).toBe('LIGHTNING_SHARD_UNAVAILABLE');
    await scene.db.abandon();
    scene.fs.crash('all');
    const again = await LocalDatabase.open(scene.options);
    expect(await readAll(again)).toEqual(everywhere('second'));
    await again.close();
  });
});
