/** Bad input, closing, opening twice, dead workers: a typed error each, and nothing lost. */

import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { LightningDb, LightningError, type LightningErrorCode } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from './temporary-directory.js';

const execute = promisify(execFile);

async function codeOf(work: () => unknown): Promise<LightningErrorCode | string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof LightningError) {
      expect(error.message.length).toBeGreaterThan(10);
      return error.code;
    }
    return `not a LightningError: ${String(error)}`;
  }
  return 'no error';
}

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const small = { shards: 2, cacheSize: 32 << 20 };

describe('a read-only open', () => {
  it('shows a log that is larger than its memtables', async () => {
    const path = join(directory.path, 'db');
    const db = await LightningDb.open(path, { ...small, memtableSize: 16 << 20 });
    const batch = db.batch();
    for (let i = 0; i < 40_000; i++) batch.put(`key-${i}`, 'v'.repeat(100));
    await db.writeBatch(batch);
    const copy = join(directory.path, 'copy');
    cpSync(path, copy, { recursive: true });
    await db.close();
    const options = { ...small, memtableSize: 1 << 20, readOnly: true };
    const reader = await LightningDb.open(copy, options);
    expect((await reader.scan().toArray()).length).toBe(40_000);
    await reader.close();
  });
});

describe('a shard whose memory is larger than 2 GiB', () => {
  it('keeps the values that are put', async () => {
    const db = await LightningDb.open(directory.path, { shards: 1, cacheSize: 1 << 30 });
    await db.put('key', 'value');
    await db.put('empty', '');
    expect([db.getSync('key'), await db.get('empty')]).toEqual(['value', '']);
    await db.close();
  });
});

describe('wrong arguments', () => {
  it('are refused by name', async () => {
    const open = (config: object): Promise<unknown> => LightningDb.open(directory.path, config);
    expect(await codeOf(() => open({ shard: 2 }))).toBe('LIGHTNING_INVALID_ARGUMENT');
    await expect(open({ cachesize: 1 })).rejects.toThrow(/cacheSize/);
    for (const config of [
      { shards: 0 },
      { shards: 1.5 },
      { shards: '2' },
      { cacheSize: -1 },
      { memtableSize: 10 },
      { walSyncMode: 'sometimes' },
      { walSyncMode: { periodic: { intervalMs: 0 } } },
      { writeBatchSize: 0 },
      { keyEncoding: 'utf16' },
      { prefetch: 'yes' },
      { createIfMissing: 1 },
    ]) {
      expect(await codeOf(() => open(config)), JSON.stringify(config)).toBe(
        'LIGHTNING_INVALID_ARGUMENT',
      );
    }
    expect(readdirSync(directory.path)).toEqual([]);
  });

  it('of operations are refused and leave the database working', async () => {
    const db = await LightningDb.open(directory.path, small);
    await db.put('there', 'x');
    expect(() => db.begin().put('a', 'b', null as never)).toThrow(LightningError);
    await expect(LightningDb.repair(directory.path, null as never)).rejects.toMatchObject({
      code: 'LIGHTNING_INVALID_ARGUMENT',
    });
    const anything = db as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const [method, ...args] of [
      ['put', 1, 'x'],
      ['put', 'x', 1],
      ['put', 'x'],
      ['put', null, 'x'],
      ['get', undefined],
      ['get', {}],
      ['getSync', 7],
      ['getMany', 'a'],
      ['getMany', ['a', 1]],
      ['delete', Symbol('x')],
      ['has', Buffer.from('x')],
      ['scanSync', { gte: 1 }],
      ['scanSync', { limit: -1 }],
      ['scanSync', { from: 'a' }],
      ['writeBatch', []],
      ['put', 'a', 'x', null],
      ['delete', 'a', null],
      ['putIf', 'there', 1, { absent: true }],
      ['putIf', 'there', 'x', { absent: true }, null],
      ['transaction', () => {}, null],
      ['check', null],
      ['begin', null],
      ['put', 'k'.repeat(65537), 'x'],
      ['put', '⚡'.repeat(30000), 'x'],
    ] as [string, ...unknown[]][]) {
      expect(
        await codeOf(() => anything[method]?.(...args)),
        `${method}(${args.map(String).join(', ').slice(0, 60)})`,
      ).toBe('LIGHTNING_INVALID_ARGUMENT');
    }
    const batch = db.batch().put('a', '1');
    expect(await codeOf(() => batch.put('b', 2 as unknown as string))).toBe(
      'LIGHTNING_INVALID_ARGUMENT',
    );
    await batch.write();
    expect(await db.get('a')).toBe('1');
    expect(await db.get('b')).toBeUndefined();
    await db.close();
  });
});

describe('a directory that cannot be opened', () => {
  it('missing, present, or not a database is told apart', async () => {
    const missing = `${directory.path}/missing`;
    expect(await codeOf(() => LightningDb.open(missing, { createIfMissing: false }))).toBe(
      'LIGHTNING_NOT_FOUND',
    );
    expect(readdirSync(directory.path)).toEqual([]);
    const db = await LightningDb.open(missing, small);
    await db.close();
    expect(await codeOf(() => LightningDb.open(missing, { errorIfExists: true }))).toBe(
      'LIGHTNING_ALREADY_EXISTS',
    );
    expect(await codeOf(() => LightningDb.open(missing, { shards: 5 }))).toBe(
      'LIGHTNING_INVALID_ARGUMENT',
    );
    const other = `${directory.path}/other`;
    mkdirSync(other);
    writeFileSync(`${other}/notes.txt`, 'mine');
    expect(await codeOf(() => LightningDb.open(other))).toBe('LIGHTNING_NOT_A_DATABASE');
    expect(readdirSync(other)).toEqual(['notes.txt']);
    writeFileSync(`${directory.path}/file`, 'a file');
    expect(await codeOf(() => LightningDb.open(`${directory.path}/file`))).toBe(
      'LIGHTNING_NOT_A_DATABASE',
    );
  });

  it('of a newer format version is refused and left alone', async () => {
    const db = await LightningDb.open(directory.path, small);
    await db.put('a', '1');
    await db.close();
    const file = `${directory.path}/DATABASE`;
    const bytes = readFileSync(file);
    const newer = Buffer.from(bytes);
    newer.writeUInt32LE(99, 8);
    writeFileSync(file, newer);
    expect(await codeOf(() => LightningDb.open(directory.path))).toBe(
      'LIGHTNING_UNSUPPORTED_FORMAT',
    );
    writeFileSync(file, bytes);
    const again = await LightningDb.open(directory.path);
    expect(await again.get('a')).toBe('1');
    await again.close();
  });

  it.skipIf(process.getuid?.() === 0)('without permission is an I/O error', async () => {
    chmodSync(directory.path, 0o000);
    expect(await codeOf(() => LightningDb.open(`${directory.path}/x`))).toBe('LIGHTNING_IO');
    chmodSync(directory.path, 0o700);
  });

  it('opened twice is locked, in this process and in another; the lock dies with its holder', async () => {
    const db = await LightningDb.open(directory.path, small);
    await expect(LightningDb.open(directory.path, small)).rejects.toMatchObject({
      code: 'LIGHTNING_LOCKED',
      details: { pid: process.pid },
    });
    const script = `import { LightningDb } from 'lightning-db';
      try { await LightningDb.open(${JSON.stringify(directory.path)}); console.log('opened'); }
      catch (error) { console.log(error.code, error.details.pid); }`;
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', script], {
      cwd: process.cwd(),
    });
    expect(stdout.trim()).toBe(`LIGHTNING_LOCKED ${process.pid}`);
    await db.put('still', 'here');
    await db.close();
    const again = await LightningDb.open(directory.path, small);
    expect(await again.get('still')).toBe('here');
    await again.close();
  });
});

describe('readOnly', () => {
  it('serves reads, refuses writes and writes nothing', async () => {
    const db = await LightningDb.open(directory.path, small);
    await db.put('a', '1');
    await db.close();
    const listing = (): string[] =>
      readdirSync(directory.path, { recursive: true }).map(String).sort();
    const before = listing();
    const reader = await LightningDb.open(directory.path, { ...small, readOnly: true });
    expect(await reader.get('a')).toBe('1');
    expect(await codeOf(() => reader.put('a', '2'))).toBe('LIGHTNING_READ_ONLY');
    expect(await codeOf(() => reader.batch().put('a', '2').write())).toBe('LIGHTNING_READ_ONLY');
    await reader.close();
    expect(listing()).toEqual(before);
  });
});

describe('closing', () => {
  it('twice is fine, and everything afterwards is refused', async () => {
    const db = await LightningDb.open(directory.path, small);
    const snapshot = db.snapshot();
    const iterator = db.scanSync();
    await Promise.all([db.close(), db.close()]);
    await db.close();
    for (const work of [
      () => db.get('a'),
      () => db.getSync('a'),
      () => db.put('a', '1'),
      () => db.getMany(['a']),
      () => db.batch().put('a', 'b').write(),
      () => db.flush(),
      () => snapshot.get('a'),
      () => [...iterator],
      () => db.stats(),
    ]) {
      expect(await codeOf(work), String(work)).toBe('LIGHTNING_CLOSED');
    }
  });

  it('with operations in flight finishes or rejects each, and loses no acknowledged write', async () => {
    const db = await LightningDb.open(directory.path, small);
    const results: Promise<string>[] = [];
    for (let i = 0; i < 2000; i++) {
      results.push(
        db.put(`k${i}`, `${i}`).then(
          () => `k${i}`,
          (error: LightningError) => error.code,
        ),
      );
    }
    await db.close();
    const outcomes = await Promise.all(results);
    const again = await LightningDb.open(directory.path, small);
    for (const outcome of outcomes) {
      if (outcome.startsWith('k')) expect(await again.get(outcome)).toBe(outcome.slice(1));
      else expect(outcome).toBe('LIGHTNING_CLOSED');
    }
    await again.close();
  });

  it('is not needed for the process to end, and what was acknowledged stays', async () => {
    const script = `import { LightningDb } from 'lightning-db';
      const db = await LightningDb.open(${JSON.stringify(directory.path)}, { shards: 2 });
      await db.put('forgotten', 'close');
      console.log(await db.get('forgotten'));`;
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 20_000,
    });
    expect(stdout.trim()).toBe('close');
    const db = await LightningDb.open(directory.path);
    expect(await db.get('forgotten')).toBe('close');
    await db.close();
  });
});

describe('other threads', () => {
  const attached = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { LightningDb } = require('lightning-db');
    LightningDb.attach(workerData.handle).then(async (db) => {
      if (workerData.mode === 'die') {
        db.put('from-the-dead', '1').catch(() => undefined);
        process.exit(0);
      }
      for (let i = 0; i < 500; i++) await db.put('t' + workerData.n + '-' + i, String(i));
      const seen = db.getSync('main');
      const last = await db.get('t' + workerData.n + '-499');
      let scanned = 0;
      for (const entry of db.scanSync({ prefix: 't' + workerData.n + '-' })) scanned++;
      await db.close();
      parentPort.postMessage({ seen, last, scanned });
    }).catch((error) => parentPort.postMessage({ error: String(error) }));`;

  const start = (data: object): Worker => new Worker(attached, { eval: true, workerData: data });

  it('attach with a handle, read and write what everybody sees', async () => {
    const db = await LightningDb.open(directory.path, small);
    await db.put('main', 'hello');
    const answers = await Promise.all(
      [1, 2, 3].map(
        (n) =>
          new Promise((resolve, reject) => {
            const worker = start({ handle: db.share(), n });
            worker.once('message', resolve);
            worker.once('error', reject);
          }),
      ),
    );
    expect(answers).toEqual(Array(3).fill({ seen: 'hello', last: '499', scanned: 500 }));
    expect(await db.get('t2-499')).toBe('499');
    await db.close();
  });

  it('that die do not disturb the others', async () => {
    const db = await LightningDb.open(directory.path, small);
    // More deaths than there are client slots: each slot is given back.
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        Array.from({ length: 8 }, () => {
          const worker = start({ handle: db.share(), mode: 'die' });
          return new Promise((resolve) => worker.once('exit', resolve));
        }),
      );
      await db.put(`alive-${round}`, 'yes');
      expect(db.getSync(`alive-${round}`)).toBe('yes');
    }
    await db.flush();
    await db.compact();
    const worker = start({ handle: db.share(), n: 9 });
    expect(await new Promise((resolve) => worker.once('message', resolve))).toMatchObject({
      last: '499',
      scanned: 500,
    });
    await db.close();
  });
});
