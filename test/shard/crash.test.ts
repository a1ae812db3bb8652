/**
 * Power cuts at every call of the file system, with flushes and merges going on. What comes back must
 * be the state after some prefix of the commits: with `sync`, one that holds every acknowledged
 * commit; without, one that holds at least what was durable at some earlier open or close.
 */

import { describe, expect, it } from 'vitest';
import { type CrashMode, MemoryFileSystem } from '../../src/file-system/memory.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { checkShard } from '../../src/shard/check-shard.js';
import { TestShard } from './harness.js';
import { commitStep, planSteps, prefixesOf, readAll, type Step, stepsConfig } from './steps.js';

/** Every call with 1; the default is a sample. */
const STEP = Number(process.env['LIGHTNING_TEST_CRASH_STEP'] ?? 29);
const DIRECTORY = '/shard-000';

interface Run {
  acknowledged: number;
  attempted: number;
}

/** Commits steps until the power fails. */
async function commitSteps(shard: TestShard, steps: readonly Step[], run: Run): Promise<void> {
  for (let i = run.acknowledged; i < steps.length; i++) {
    const step = steps[i] as Step;
    run.attempted = i + 1;
    await commitStep(shard, step);
    run.acknowledged = i + 1;
    if (i % 25 === 24) await new Promise((resolve) => setImmediate(resolve));
    if (i % 50 === 49) await shard.shard.compact();
  }
  await shard.shard.close();
}

async function crashAndRecover(
  seed: number,
  walSync: 'sync' | 'async',
  mode: CrashMode,
  crashAt: number,
): Promise<boolean> {
  const steps = planSteps(seed);
  const fs = new MemoryFileSystem(seed * 1000 + crashAt);
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const run: Run = { acknowledged: 0, attempted: 0 };
  // Half of the points have a client that commits itself.
  const direct = crashAt % 2 === 0;
  const place = { fs, directory: DIRECTORY, config: stepsConfig(walSync), direct };
  fs.crashAt(crashAt);
  let shard: TestShard | undefined;
  let finished = false;
  try {
    shard = await TestShard.open(place);
    await commitSteps(shard, steps, run);
    finished = true;
  } catch (error) {
    if (!fs.powerLost) throw error;
  }
  shard?.shard.compactor.close();
  await shard?.shard.flusher.close();
  fs.crash(mode);

  // Recovery may meet the same fate, more than once.
  for (let attempts = 0; attempts < 3 && fs.random() < 0.5; attempts++) {
    fs.crashAt(1 + Math.floor(fs.random() * 25));
    try {
      const interrupted = await TestShard.open({ ...place, control: ControlBlock.create(1) });
      interrupted.shard.compactor.close();
      await interrupted.shard.flusher.close();
    } catch (error) {
      if (!fs.powerLost) throw error;
    }
    fs.crash(mode);
  }
  const again = await TestShard.open({ ...place, control: ControlBlock.create(1) });
  const recovered = await readAll(again);
  const prefixes = prefixesOf(recovered, steps);
  const label = `seed ${seed}, crash at ${crashAt}, ${walSync}, ${mode}`;
  const least = walSync === 'sync' || mode === 'all' ? run.acknowledged : 0;
  expect(
    prefixes.some((prefix) => prefix >= least && prefix <= run.attempted),
    `${label}: ${prefixes} is none of ${least} to ${run.attempted}`,
  ).toBe(true);
  expect((await checkShard(again.shard.state)).problems, label).toEqual([]);

  // What was there at open survives the next power cut, whatever the mode.
  await again.client.put('key-0', 'after the crash');
  again.shard.compactor.close();
  await again.shard.flusher.close();
  fs.crash('synced');
  const third = await TestShard.open({ ...place, control: ControlBlock.create(1) });
  const state = await readAll(third);
  const before = recovered.get('key-0');
  if (state.get('key-0') === 'after the crash') {
    if (before === undefined) state.delete('key-0');
    else state.set('key-0', before);
  }
  expect(state, label).toEqual(recovered);
  await third.shard.close();
  return finished;
}

describe('after a power cut at any call', () => {
  const cases: [walSync: 'sync' | 'async', mode: CrashMode][] = [
    ['sync', 'synced'],
    ['sync', 'random'],
    ['async', 'synced'],
    ['async', 'random'],
    ['async', 'all'],
  ];
  it.each(cases)(
    'with walSync %s, unsynced state %s: a prefix comes back',
    async (walSync, mode) => {
      const offset = cases.findIndex((one) => one[0] === walSync && one[1] === mode);
      for (let crashAt = 1 + offset; crashAt < 3000; crashAt += STEP) {
        if (await crashAndRecover(1 + (crashAt % 97), walSync, mode, crashAt)) break;
      }
    },
    600_000,
  );
});
