/**
 * kill -9 under load, again and again on the same database: every acknowledged write must be there
 * when it is opened again, in every sync mode, and what was in flight must be whole or absent.
 */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LightningDb, type WalSyncMode } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const WRITER = fileURLToPath(new URL('./killed-writer.mjs', import.meta.url));
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 24);

/** What the oracle knows: the newest acknowledged version per key. */
class Account {
  readonly singles = new Map<string, number>();
  readonly batches = new Map<string, number>();
  readonly deleted = new Map<string, number>();
  lines = 0;

  take(line: string): void {
    const [kind, key, version] = line.split(' ');
    if (key === undefined || version === undefined) return;
    this.lines++;
    if (kind === 'a') this.singles.set(key, Number(version));
    if (kind === 'b') this.batches.set(key, Number(version));
    if (kind === 'd') this.deleted.set(key, Number(version));
  }
}

/** Version in a stored value, checked against its key and its length. */
function versionOf(key: string, stored: string): number {
  const match = /^(.*)=(\d+):(z*)$/.exec(stored);
  expect(match?.[1]).toBe(key);
  const version = Number(match?.[2]);
  expect(match?.[3]?.length).toBe((version * 7) % 900);
  return version;
}

async function writeUntilKilled(
  path: string,
  options: object,
  firstVersion: number,
  afterMs: number,
  account: Account,
): Promise<void> {
  const child = spawn(
    process.execPath,
    [WRITER, path, JSON.stringify(options), String(firstVersion)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let rest = '';
  let timer: NodeJS.Timeout | undefined;
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === 'ready') timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
      else account.take(line);
    }
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('close', (c, s) => resolve([c, s]));
  });
  clearTimeout(timer);
  expect({ code, signal }).toEqual({ code: null, signal: 'SIGKILL' });
}

async function compareWithAccount(db: LightningDb, account: Account): Promise<void> {
  for (const [key, version] of account.singles) {
    const stored = await db.get(key);
    expect(stored, `acknowledged ${key} version ${version}`).toBeDefined();
    expect(versionOf(key, stored ?? '')).toBeGreaterThanOrEqual(version);
  }
  for (const [group, version] of account.batches) {
    for (let i = 0; i < 10; i++) {
      const key = `b-${group}-${i}`;
      const stored = await db.get(key);
      expect(stored, `acknowledged batch ${group} version ${version}, key ${key}`).toBeDefined();
      expect(versionOf(key, stored ?? '')).toBeGreaterThanOrEqual(version);
    }
  }
  for (const [key, version] of account.deleted) {
    const stored = await db.get(key);
    // Only a newer put, whose delete was not acknowledged, may be there.
    if (stored !== undefined) expect(versionOf(key, stored)).toBeGreaterThan(version);
  }
}

const modes: [string, WalSyncMode][] = [
  ['async', 'async'],
  ['sync', 'sync'],
  ['periodic', { periodic: { intervalMs: 20 } }],
];

describe('a process killed while it writes', () => {
  it.each(modes)(
    'loses nothing that was acknowledged (%s)',
    async (_name, walSyncMode) => {
      const directory = temporaryDirectory();
      const account = new Account();
      let seed = 20261123;
      const random = (): number => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        return seed / 2 ** 32;
      };
      for (let round = 0; round < Math.ceil(ROUNDS / modes.length); round++) {
        const options = {
          shards: [1, 2, 4][round % 3],
          memtableSize: 1 << 20,
          cacheSize: 64 << 20,
          walSyncMode,
        };
        const path = `${directory.path}/${options.shards}`;
        const before = account.lines;
        const part = new Account();
        await writeUntilKilled(path, options, round * 10_000_000 + 1, 80 + random() * 500, part);
        account.lines += part.lines;
        expect(account.lines).toBeGreaterThan(before);
        const db = await LightningDb.open(path, options);
        await compareWithAccount(db, part);
        expect((await db.check()).problems).toEqual([]);
        await db.close();
      }
      directory.remove();
    },
    240_000,
  );
});
