/**
 * A batch that is committed on the client's own thread meets the death of the process, of that thread, or
 * of the coordinator, at every step. As by way of the workers, whether it took place is decided by whether
 * its decision is in the log; and nothing stays locked, or with the dead.
 *
 * Where a fault is armed in one thread only, that it happens shows that the batch went this way.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const COMMITTER = fileURLToPath(new URL('./direct-committer.mjs', import.meta.url));
const KEYS = 12;

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

interface End {
  readonly signal: string | null;
  /** What the last batch wrote. */
  readonly begun: number;
  readonly isAcknowledged: boolean;
  /** All other lines. */
  readonly lines: readonly string[];
}

function run(where: 'thread' | 'workers', fault: string): Promise<End> {
  const path = join(directory.path, 'db');
  // For a fault in the coordinator, that decides itself.
  const ofWorkers = where === 'workers' ? `${fault},weaken:keep-log` : '';
  const child = spawn(process.execPath, [COMMITTER, path, where, fault], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LIGHTNING_DB_FAULT: ofWorkers },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return new Promise((resolve) => {
    child.on('close', (_code, signal) => {
      const all = text.split('\n').filter((line) => line !== '');
      const steps = all.filter((line) => /^(begin|done) /.test(line));
      const last = steps.at(-1) ?? '';
      const lines = all.filter((line) => !steps.includes(line));
      const begun = Number(last.split(' ')[1]);
      resolve({ signal, begun, isAcknowledged: last.startsWith('done'), lines });
    });
  });
}

/** The version that all keys hold; more than one would be a torn commit. */
async function versionOnDisk(): Promise<number> {
  const db = await LightningDb.open(join(directory.path, 'db'), { cacheSize: 16 << 20 });
  const entries = await db.scan({ prefix: 'key-' }).toArray();
  const { problems } = await db.check();
  expect(problems).toEqual([]);
  await db.close();
  expect(entries).toHaveLength(KEYS);
  const versions = [...new Set(entries.map(([, value]) => value))];
  expect(versions).toHaveLength(1);
  return Number(versions[0]);
}

/**
 * Where the thread is, and how many versions back is what is found then: what is in no log when the
 * process dies never was, and when the thread dies the coordinator decides what is prepared.
 */
const decisions: [string, 0 | 1][] = [
  ['all-prepared', 1],
  ['deciding', 1],
  ['decision-appended', 0],
  ['decision-written', 0],
  ['decided', 0],
];
const points: [string, 0 | 1][] = [
  ['claimed', 1],
  ['prepare-received#0', 1],
  ['prepare-received#1', 1],
  ['prepare-torn#0', 1],
  ['prepare-torn#2', 1],
  ['prepare-written#0', 1],
  ['prepare-written#2', 1],
  ['prepares-sent', 1],
  ['commit-seen#0', 0],
  ['commit-seen#2', 0],
  ['applied#0', 0],
  ['applied#2', 0],
  // The record is that of the batch before, and comes with a PREPARE.
  ['recorded#0', 1],
  ['recorded#2', 1],
];

/** These are reached by way of the workers, too, which may then come to the end of it. */
const mayGoOn = (point: string): boolean => point === 'prepares-sent';

function expectVersion(found: number, begun: number, back: 0 | 1, point: string): void {
  if (mayGoOn(point)) expect([begun - 1, begun]).toContain(found);
  else expect(found).toBe(begun - back);
}

describe('the death of the process', () => {
  it.each([...points, ...decisions])(
    'while the thread is at %s leaves the batch whole: versions back: %i',
    async (point, back) => {
      const { signal, begun, lines } = await run('thread', `kill:${point}*20`);
      expect({ signal, lines }).toEqual({ signal: 'SIGKILL', lines: [] });
      const found = await versionOnDisk();
      expectVersion(found, begun, back, point);
      expect(await versionOnDisk()).toBe(found);
    },
    60_000,
  );

  it.each(decisions)(
    'while the coordinator is at %s leaves the batch whole: versions back: %i',
    async (point, back) => {
      const { signal, begun, lines } = await run('workers', `kill:${point}*60`);
      expect({ signal, lines }).toEqual({ signal: 'SIGKILL', lines: [] });
      expect(await versionOnDisk()).toBe(begun - back);
      expect(await versionOnDisk()).toBe(begun - back);
    },
    60_000,
  );
});

describe('the death of the thread', () => {
  it.each([...points, ...decisions.map(([point]): [string, 0] => [point, 0])])(
    'at %s: others see the batch whole, and go on: versions back: %i',
    async (point, back) => {
      const { signal, begun, lines } = await run('thread', `die:${point}*20`);
      const seen = Number(/^sees (\d+)$/.exec(lines[0] ?? '')?.[1]);
      // Whoever is first decides it, or gives up what its client has left.
      if (point === 'all-prepared') expect([begun - 1, begun]).toContain(seen);
      else expectVersion(seen, begun, back, point);
      expect({ signal, lines }).toEqual({
        signal: null,
        lines: [`sees ${seen}`, 'direct true', 'left 0 0'],
      });
      expect(await versionOnDisk()).toBe(seen);
    },
    60_000,
  );
});

describe('threads that are ended at moments of chance', () => {
  it('leave one version, and nothing held', async () => {
    const script = fileURLToPath(new URL('./ended-threads.mjs', import.meta.url));
    const rounds = process.env['LIGHTNING_DB_ENDED_THREADS'] ?? '30';
    const args = [script, join(directory.path, 'db'), rounds, '3'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    await new Promise((resolve) => child.on('close', resolve));
    const lines = text.split('\n').filter((line) => line !== '');
    const seen = /^sees (\d+)$/.exec(lines.at(-1) ?? '')?.[1];
    expect(lines).toEqual(['left 0 0', 'problems 0', 'direct true', `sees ${seen}`]);
    const db = await LightningDb.open(join(directory.path, 'db'), { cacheSize: 16 << 20 });
    const entries = await db.scan({ prefix: 'key-' }).toArray();
    expect([...new Set(entries.map(([, value]) => value))]).toEqual([seen]);
    expect(entries).toHaveLength(30);
    await db.close();
  }, 300_000);
});

describe('the death of the coordinator', () => {
  it.each(['all-prepared', 'deciding', 'decision-appended', 'decision-written', 'decided'])(
    'at %s hands the batch over, which is committed',
    async (point) => {
      const { signal, begun, lines } = await run('workers', `die:${point}*60`);
      expect(begun).toBeGreaterThan(60);
      expect({ signal, lines }).toEqual({
        signal: null,
        lines: [`sees ${begun}`, 'direct true', 'left 0 0'],
      });
      expect(await versionOnDisk()).toBe(begun);
    },
    60_000,
  );
});

describe('a coordinator that hangs', () => {
  it('before it decides has the batch given up: the shards serve on', async () => {
    const { begun, lines } = await run('workers', 'hang:all-prepared*60');
    expect(lines).toEqual(['refused LIGHTNING_TIMEOUT none', `sees ${begun - 1}`]);
    expect(await versionOnDisk()).toBe(begun - 1);
  }, 60_000);

  it('after it has decided holds up nothing: what is not decided then is given up', async () => {
    const { begun, lines } = await run('workers', 'hang:decided*60');
    expect(lines).toEqual(['refused LIGHTNING_TIMEOUT none', `sees ${begun - 1}`]);
    expect(await versionOnDisk()).toBe(begun - 1);
  }, 60_000);
});
