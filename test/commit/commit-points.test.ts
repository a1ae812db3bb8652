/**
 * A commit over two shards meets the death of the process, or of one worker, at every step of the
 * protocol. Whether it took place is decided by one thing: whether its decision is in the log.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const COMMITTER = fileURLToPath(new URL('./committer.mjs', import.meta.url));

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

interface End {
  readonly signal: string | null;
  readonly lines: readonly string[];
}

function run(mode: 'write' | 'read' | 'thread', fault: string, sync = 'async'): Promise<End> {
  const child = spawn(process.execPath, [COMMITTER, join(directory.path, 'db'), mode, sync], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LIGHTNING_DB_FAULT: fault },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return new Promise((resolve) => {
    child.on('close', (_code, signal) => {
      resolve({ signal, lines: text.split('\n').filter((line) => line !== '') });
    });
  });
}

/** What all keys hold; more than one version would be a torn commit. */
async function versionsOnDisk(): Promise<string[]> {
  const db = await LightningDb.open(join(directory.path, 'db'), { cacheSize: 16 << 20 });
  const entries = await db.scan().toArray();
  const { problems } = await db.check();
  expect(problems).toEqual([]);
  await db.close();
  expect(entries).toHaveLength(8);
  return [...new Set(entries.map(([, value]) => value))];
}

/** Where the process dies in the second commit, and what is there afterwards. */
const kills: [string, 'first' | 'second', sync?: 'sync'][] = [
  ['claimed*2', 'first'],
  ['prepare-received#1*2', 'first'],
  ['prepare-torn#0*2', 'first'],
  ['prepare-written#0*2', 'first'],
  ['prepare-written#1*2', 'first'],
  ['all-prepared*2', 'first'],
  ['deciding*2', 'first'],
  ['decision-appended*2', 'second', 'sync'],
  ['decision-written*2', 'second'],
  ['decided*2', 'second'],
  ['commit-seen#0*2', 'second'],
  ['applied#1*2', 'second'],
  ['recorded#0*2', 'second'],
];

describe('the death of the process', () => {
  it.each(kills)(
    'at %s leaves the %s commit whole',
    async (point, expected, sync) => {
      const { signal } = await run('write', `kill:${point}`, sync);
      expect(signal).toBe('SIGKILL');
      expect(await versionsOnDisk()).toEqual([expected]);
      expect(await versionsOnDisk()).toEqual([expected]);
    },
    60_000,
  );

  it('with both prepares on their way leaves one commit or the other, whole', async () => {
    // The workers may come to the end of it before the signal does.
    expect((await run('write', 'kill:prepares-sent*2')).signal).toBe('SIGKILL');
    const found = await versionsOnDisk();
    expect([['first'], ['second']]).toContainEqual(found);
    expect(await versionsOnDisk()).toEqual(found);
  }, 60_000);

  it('while the outcome is found out, again and again, changes nothing', async () => {
    expect((await run('write', 'kill:decision-written*2')).signal).toBe('SIGKILL');
    for (const point of ['resolving', 'resolved#0', 'resolved#1']) {
      expect((await run('read', `kill:${point}`)).signal).toBe('SIGKILL');
    }
    expect(await versionsOnDisk()).toEqual(['second']);
  }, 60_000);
});

describe('COMMIT records that are lost', () => {
  it('are made up for by the decision', async () => {
    const { signal } = await run('write', 'weaken:lose-commit-records,kill:recorded#1*2');
    expect(signal).toBe('SIGKILL');
    expect(await versionsOnDisk()).toEqual(['second']);
  }, 60_000);
});

/** Where one worker dies, what the client is told, and what is there afterwards. */
const deaths: [string, string, 'first' | 'second'][] = [
  ['prepare-received#1*2', 'refused LIGHTNING_SHARD_UNAVAILABLE', 'first'],
  ['prepare-torn#0*2', 'refused LIGHTNING_SHARD_UNAVAILABLE', 'first'],
  ['prepare-written#0*2', 'refused LIGHTNING_SHARD_UNAVAILABLE', 'first'],
  ['all-prepared*2', 'committed', 'second'],
  ['deciding*2', 'committed', 'second'],
  ['decision-appended*2', 'committed', 'second'],
  ['decision-written*2', 'committed', 'second'],
  ['decided*2', 'committed', 'second'],
  ['commit-seen#0*2', 'committed', 'second'],
  ['applied#1*2', 'committed', 'second'],
  ['recorded#0*2', 'committed', 'second'],
];

describe('the death of one worker', () => {
  it.each(deaths)(
    'at %s: the client is told "%s", and the %s commit is whole',
    async (point, told, expected) => {
      const { signal, lines } = await run('write', `die:${point}`);
      expect({ signal, lines }).toEqual({ signal: null, lines: [told, expected] });
      expect(await versionsOnDisk()).toEqual([expected]);
    },
    60_000,
  );
});

describe('the death of a client thread', () => {
  it('whose commit is prepared in part gives it up: the others may write, and nothing of it stays', async () => {
    // Shard 1 goes no further, so that nothing can be decided.
    const faults = 'hang:prepare-received#1*3,die:prepares-sent*2';
    const { signal, lines } = await run('thread', faults);
    expect({ signal, lines }).toEqual({ signal: null, lines: ['released', 'first'] });
    expect(await versionsOnDisk()).toEqual(['first']);
  }, 60_000);
});
