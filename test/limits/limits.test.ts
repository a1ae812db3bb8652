/** The operating system's own limits, in child processes: what is refused says so, nothing is lost. */

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { afterAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const CHILD = fileURLToPath(new URL('./limited.mjs', import.meta.url));
const directory = temporaryDirectory();
chmodSync(directory.path, 0o755);
afterAll(() => directory.remove());

const options = {
  shards: 1,
  memtableSize: 1 << 20,
  cacheSize: 16 << 20,
  walSyncMode: 'sync' as const,
};

interface Result {
  readonly opened: boolean;
  readonly waiting?: boolean;
  readonly written: readonly string[];
  readonly refused: Readonly<Record<string, number>>;
  readonly wrong: number;
  readonly closed: boolean;
  readonly message?: string;
}

interface Run {
  /** Before the program is started, in the shell. */
  readonly limit?: string;
  readonly task: Record<string, unknown>;
  /** Called when the child waits for it: makes room, or takes something away. */
  readonly change?: () => void;
  readonly uid?: number;
}

async function run({ limit = 'true', task, change, uid }: Run): Promise<Result> {
  const child = spawn('bash', ['-c', `${limit} && exec "$0" "$@"`, process.execPath, CHILD], {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  let notes = '';
  let last: Result | undefined;
  let rest = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    notes += text;
  });
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      last = JSON.parse(line);
      if (last?.waiting !== true) continue;
      change?.();
      child.kill('SIGUSR2');
    }
  });
  child.stdin.end(JSON.stringify({ options, valueBytes: 1000, ...task }));
  const ended = await new Promise((resolve) =>
    child.on('close', (code, signal) => resolve(signal ?? code)),
  );
  expect(ended, notes).toBe(0);
  return last as Result;
}

/** Everything that was acknowledged is there, and `check` is content. */
async function expectAllThere(path: string, written: readonly string[]): Promise<void> {
  const db = await LightningDb.open(path, { cacheSize: 16 << 20 });
  for (const key of written) expect(await db.get(key), key).toBeDefined();
  expect((await db.check()).problems).toEqual([]);
  await db.put('writable', 'again');
  await db.close();
}

const isRoot = process.getuid?.() === 0;
const isLinux = process.platform === 'linux';

describe.runIf(isLinux)('with few file descriptors', () => {
  it.each([26, 48])(
    '(%i) an open or a write is refused, or all goes well',
    async (count) => {
      const path = join(directory.path, `descriptors-${count}`);
      const result = await run({
        limit: `ulimit -n ${count}`,
        task: { path, puts: 300, large: 20 },
      });
      for (const code of Object.keys(result.refused)) {
        expect(['LIGHTNING_NO_SPACE', 'LIGHTNING_IO', 'LIGHTNING_SHARD_UNAVAILABLE']).toContain(
          code,
        );
      }
      if (!result.opened) return;
      expect(result.wrong).toBe(0);
      await expectAllThere(path, result.written);
    },
    60_000,
  );
});

describe.runIf(isLinux)('with files that may not grow', () => {
  it('writes that hit the limit are refused; the others are there', async () => {
    const path = join(directory.path, 'file-size');
    // KiB: less than a memtable's log, and than some of the large values.
    const result = await run({ limit: 'ulimit -f 300', task: { path, puts: 900, large: 5 } });
    expect(result.opened).toBe(true);
    expect(result.wrong).toBe(0);
    expect(Object.keys(result.refused).filter((code) => code !== 'LIGHTNING_NO_SPACE')).toEqual([]);
    expect(result.refused['LIGHTNING_NO_SPACE']).toBeGreaterThan(0);
    expect(result.written.length).toBeGreaterThan(0);
    await expectAllThere(path, result.written);
  }, 60_000);
});

/** A small file system of its own, where mounting is allowed. */
function mountSmall():
  | { readonly path: string; readonly grow: () => void; readonly unmount: () => void }
  | undefined {
  if (!isLinux || !isRoot) return undefined;
  const path = join(directory.path, 'small');
  mkdirSync(path);
  const mount = (options: string): boolean =>
    spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]).status === 0;
  if (!mount('size=3m')) return undefined;
  return {
    path,
    grow: () => mount('remount,size=64m'),
    unmount: () => spawnSync('umount', [path]),
  };
}

describe('on a full disk', () => {
  it('writes are refused until there is room, and nothing acknowledged is lost', async ({
    skip,
  }) => {
    const small = mountSmall();
    if (small === undefined) {
      skip('mounting a small file system needs root on Linux');
      return;
    }
    try {
      const path = join(small.path, 'db');
      const result = await run({
        task: { path, puts: 2500, large: 0, room: true },
        change: small.grow,
      });
      expect(result).toMatchObject({ opened: true, wrong: 0, closed: true });
      expect(Object.keys(result.refused)).toEqual(['LIGHTNING_NO_SPACE']);
      expect(result.written).toContain('after');
      await expectAllThere(path, result.written);
    } finally {
      small.unmount();
    }
  }, 120_000);
});

describe.runIf(isLinux)('in a directory that may not be written', () => {
  it('an open says so and changes nothing; opened read-only, it reads', async () => {
    const path = join(directory.path, 'forbidden');
    const db = await LightningDb.open(path, options);
    await db.put('key-0', 'key-0:value');
    await db.close();
    const names = readdirSync(path, { recursive: true }).sort();
    // Permissions do not stop root: somebody else has to try.
    const uid = isRoot ? 65_534 : undefined;
    if (!isRoot) for (const name of [path, join(path, 'shard-000')]) chmodSync(name, 0o555);
    const who = uid === undefined ? {} : { uid };
    const refused = await run({ task: { path, puts: 1 }, ...who });
    expect(refused).toMatchObject({ opened: false, refused: { LIGHTNING_IO: 1 } });
    expect(refused.message).toContain(path);
    const readOnly = await run({
      task: { path, puts: 1, options: { readOnly: true, cacheSize: 16 << 20 } },
      ...who,
    });
    expect(readOnly).toMatchObject({ opened: true, refused: { LIGHTNING_READ_ONLY: 1 }, wrong: 0 });
    if (!isRoot) for (const name of [path, join(path, 'shard-000')]) chmodSync(name, 0o755);
    expect(readdirSync(path, { recursive: true }).sort()).toEqual(names);
    await expectAllThere(path, ['key-0']);
  }, 60_000);

  it('any more, writes and flushes are refused; what was acknowledged is there', async () => {
    const path = join(directory.path, 'closed');
    mkdirSync(path);
    // Permissions do not stop root: somebody else has to try.
    const uid = isRoot ? 65_534 : undefined;
    if (uid !== undefined) chownSync(path, uid, uid);
    const allow = (mode: number): void => {
      for (const name of ['.', 'shard-000', 'coordinator']) chmodSync(join(path, name), mode);
    };
    const result = await run({
      task: { path, puts: 120, more: 240 },
      change: () => allow(0o555),
      ...(uid === undefined ? {} : { uid }),
    });
    allow(0o755);
    expect(result).toMatchObject({ opened: true, wrong: 0 });
    const codes = Object.keys(result.refused);
    expect(codes.length).toBeGreaterThan(0);
    for (const code of codes) expect(['LIGHTNING_IO', 'LIGHTNING_READ_ONLY']).toContain(code);
    expect(result.written.length).toBeGreaterThanOrEqual(120);
    await expectAllThere(path, result.written);
  }, 60_000);
});
