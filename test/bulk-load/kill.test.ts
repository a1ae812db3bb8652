import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const SCRIPT = fileURLToPath(new URL('./killed-load.mjs', import.meta.url));
const BASE_KEYS = 200;
const ENTRIES = 60_000;

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.remove());

async function writeBase(): Promise<void> {
  const db = await LightningDb.open(directory.path, { shards: 2 });
  for (let i = 0; i < BASE_KEYS; i++) await db.put(`base:${i}`, 'old');
  await db.close();
}

interface Ended {
  readonly output: string;
  readonly signal: NodeJS.Signals | null;
}

function load(kill: string): { readonly ended: Promise<Ended>; readonly end: () => void } {
  const child = spawn(process.execPath, [SCRIPT, directory.path, String(ENTRIES), kill], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  return {
    ended: new Promise((resolve) => child.on('close', (_, signal) => resolve({ output, signal }))),
    end: () => child.kill('SIGKILL'),
  };
}

/** Whether the load is there; throws when it is there in part, or left something behind. */
async function isLoaded(): Promise<boolean> {
  const db = await LightningDb.open(directory.path);
  try {
    let loaded = 0;
    let fresh = 0;
    let base = 0;
    for await (const [key, value] of db.scan()) {
      if (key.startsWith('base:')) {
        base++;
        if (value === 'new') fresh++;
        else expect(value).toBe('old');
        continue;
      }
      const n = Number(key.slice('load:'.length));
      expect(value).toBe(`value ${n} ${'x'.repeat(n % 200)}`);
      loaded++;
    }
    expect(base).toBe(BASE_KEYS);
    expect([
      [0, 0],
      [ENTRIES, ENTRIES / 1000],
    ]).toContainEqual([loaded, fresh]);
    expect((await db.check()).problems).toEqual([]);
    expect(readdirSync(`${directory.path}/coordinator`).filter((n) => n.includes('bulk-'))).toEqual(
      [],
    );
    const files = readdirSync(directory.path, { recursive: true, encoding: 'utf8' });
    const stats = await db.stats();
    const tables = stats.shards
      .flatMap(({ runs }) => runs)
      .reduce((sum, run) => sum + run.tables, 0);
    expect(files.filter((name) => name.endsWith('.table'))).toHaveLength(tables);
    return loaded > 0;
  } finally {
    await db.close();
  }
}

describe('a load that is killed', () => {
  it.each([
    ['read', false],
    ['merge', false],
    ['link', false],
    ['before-intent', false],
    ['after-intent', true],
    ['before-removal', true],
    ['after-removal', true],
    ['done', true],
    ['never', true],
  ])('at "%s" is there as a whole or not at all: %s', async (kill, expected) => {
    await writeBase();
    const { output, signal } = await load(kill).ended;
    expect({ output, signal }).toEqual(
      kill === 'never' ? { output: 'loaded', signal: null } : { output: '', signal: 'SIGKILL' },
    );
    expect(await isLoaded()).toBe(expected);
  });

  it('at any moment is there as a whole or not at all', async () => {
    await writeBase();
    const startedAtMs = performance.now();
    await load('never').ended;
    const wholeMs = performance.now() - startedAtMs;
    for (let round = 0; round < 10; round++) {
      directory.remove();
      directory = temporaryDirectory();
      await writeBase();
      const { ended, end } = load('never');
      await sleep((wholeMs * (round + Math.random())) / 10);
      end();
      const { output } = await ended;
      const loaded = await isLoaded();
      if (output === 'loaded') expect(loaded).toBe(true);
    }
  }, 120_000);

  it('while shards link is completed by the next open', async () => {
    for (let round = 0; round < 6; round++) {
      directory.remove();
      directory = temporaryDirectory();
      await writeBase();
      const { ended, end } = load('never');
      const coordinator = `${directory.path}/coordinator`;
      let isOver = false;
      void ended.then(() => {
        isOver = true;
      });
      const hasIntent = (): boolean =>
        existsSync(coordinator) &&
        readdirSync(coordinator).some((name) => /bulk-.*\.json$/.test(name));
      while (!isOver && !hasIntent()) await new Promise((resolve) => setImmediate(resolve));
      await sleep(round * 2);
      end();
      await ended;
      expect(await isLoaded()).toBe(true);
    }
  }, 120_000);
});
