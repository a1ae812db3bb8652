/** Loads into whole databases, through the public surface. */

import { createReadStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type BulkLoadProgress, LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

let directory: TemporaryDirectory;
let path: string;
beforeEach(() => {
  directory = temporaryDirectory();
  path = `${directory.path}/db`;
});
afterEach(() => directory.remove());

async function contents(config = {}): Promise<Map<unknown, unknown>> {
  const db = await LightningDb.open(path, config);
  try {
    const all = new Map<unknown, unknown>();
    for await (const [key, value] of db.scan()) all.set(key, value);
    for (const [key, value] of all) expect(await db.get(key as string)).toEqual(value);
    expect((await db.check()).problems).toEqual([]);
    return all;
  } finally {
    await db.close();
  }
}

const sorted = (map: Map<string, string>): Map<string, string> =>
  new Map([...map].sort(([a], [b]) => (a < b ? -1 : 1)));

describe('LightningDb.bulkLoad', () => {
  it.each([1, 3])('creates a database with %i shards', async (shards) => {
    const source = new Map(
      Array.from({ length: 20_000 }, (_, i) => [`k${(i * 7919) % 20_011}`, `v${i}`.repeat(i % 20)]),
    );
    const result = await LightningDb.bulkLoad(path, source, { shards });
    expect(result).toMatchObject({ records: source.size, duplicates: 0, rejected: 0 });
    expect(result.shards).toHaveLength(shards);
    expect(result.seconds.open).toBeGreaterThan(0);
    expect([...(await contents())]).toEqual([...sorted(source)]);
  });

  it('replaces what was there, in memory or in tables, and keeps the rest', async () => {
    const db = await LightningDb.open(path, { shards: 2 });
    const expected = new Map<string, string>();
    const put = async (key: string, value: string): Promise<void> => {
      await db.put(key, value);
      expected.set(key, value);
    };
    for (let i = 0; i < 300; i++) await put(`k${i}`, 'in a table');
    await db.flush();
    for (let i = 200; i < 500; i++) await put(`k${i}`, 'in the log');
    for (let i = 0; i < 500; i += 50) {
      await db.delete(`k${i}`);
      expected.delete(`k${i}`);
    }
    await db.close();

    const load: [string, string][] = [];
    for (let i = 0; i < 700; i += 5) load.push([`k${i}`, 'loaded']);
    await LightningDb.bulkLoad(path, load);
    for (const [key, value] of load) expected.set(key, value);
    expect([...(await contents())]).toEqual([...sorted(expected)]);

    const again = await LightningDb.open(path);
    await again.put('k5', 'written afterwards');
    await again.delete('k10');
    expect(await again.get('k5')).toBe('written afterwards');
    expect(await again.get('k10')).toBeUndefined();
    await again.compact();
    expect(await again.get('k5')).toBe('written afterwards');
    expect(await again.get('k10')).toBeUndefined();
    expect(await again.get('k15')).toBe('loaded');
    await again.close();
  });

  it('takes values of any size, and encodings', async () => {
    const large = { text: 'l'.repeat(3_000_000) };
    const config = { valueEncoding: 'json', shards: 2 } as const;
    await LightningDb.bulkLoad<'utf8', 'json'>(
      path,
      [
        ['large', large],
        ['small', [1, 2]],
      ],
      config,
    );
    expect(await contents(config)).toEqual(
      new Map<string, unknown>([
        ['large', large],
        ['small', [1, 2]],
      ]),
    );
  });

  it('reads a file', async () => {
    const file = `${directory.path}/people.csv`;
    writeFileSync(file, 'id,name\n1,Ann\n2,"Bo, Jr."\n');
    const reports: BulkLoadProgress[] = [];
    const result = await LightningDb.bulkLoad(path, file, {
      key: 'person:{id}',
      onProgress: (report) => reports.push(report),
    });
    expect(result).toMatchObject({ records: 2, format: 'csv', header: true });
    expect(await contents({ valueEncoding: 'json' })).toEqual(
      new Map([
        ['person:1', { id: '1', name: 'Ann' }],
        ['person:2', { id: '2', name: 'Bo, Jr.' }],
      ]),
    );
    expect(reports.at(-1)?.phase).toBe('done');
  });

  it('that fails leaves the database as it was', async () => {
    const db = await LightningDb.open(path, { shards: 2 });
    await db.put('kept', 'yes');
    await db.close();
    const file = `${directory.path}/broken.csv`;
    writeFileSync(file, `k,v\n${'a,b\n'.repeat(10_000)}broken\n`);
    await expect(LightningDb.bulkLoad(path, file)).rejects.toMatchObject({
      code: 'LIGHTNING_PARSE',
      details: { file, line: 10_002 },
    });
    const controller = new AbortController();
    const entries = function* (): Generator<[string, string]> {
      for (let i = 0; i < 200_000; i++) {
        if (i === 150_000) controller.abort();
        yield [`k${i}`, 'x'.repeat(100)];
      }
    };
    await expect(
      LightningDb.bulkLoad(path, entries(), { signal: controller.signal }),
    ).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
    expect([...(await contents())]).toEqual([['kept', 'yes']]);
    expect(readdirSync(`${path}/coordinator`).filter((name) => name.includes('bulk'))).toEqual([]);
  });

  it('whose stream fails while the database is opened fails like it', async () => {
    const source = createReadStream(`${directory.path}/missing.csv`);
    await expect(LightningDb.bulkLoad(path, source)).rejects.toMatchObject({ code: 'ENOENT' });
    expect([...(await contents())]).toEqual([]);
  });

  it('of a database that does not open fails like its open, and lets go of it', async () => {
    await (await LightningDb.open(path, { shards: 2 })).close();
    const current = `${path}/${readdirSync(path).find((name) => name.startsWith('shard'))}/CURRENT`;
    const bytes = readFileSync(current);
    writeFileSync(current, 'damaged');
    const source = Array.from({ length: 50_000 }, (_, i) => [`k${i}`, 'v'.repeat(300)] as const);
    for (let i = 0; i < 2; i++) {
      await expect(LightningDb.bulkLoad(path, source)).rejects.toMatchObject({
        code: 'LIGHTNING_CORRUPTION',
      });
    }
    writeFileSync(current, bytes);
    expect(await contents()).toEqual(new Map());
  });

  it('refuses a database that is open, and options that mean nothing', async () => {
    const db = await LightningDb.open(path, { shards: 1 });
    await expect(LightningDb.bulkLoad(path, [])).rejects.toMatchObject({
      code: 'LIGHTNING_LOCKED',
    });
    await db.close();
    for (const options of [{ keys: 'id' }, { format: 'xml' }, { shards: 0 }, { readOnly: true }]) {
      await expect(LightningDb.bulkLoad(path, [], options as never)).rejects.toThrow();
    }
    expect((await LightningDb.bulkLoad(path, [])).records).toBe(0);
  });
});
