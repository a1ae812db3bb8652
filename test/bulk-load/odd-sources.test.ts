/** Sources as people have them: empty, from old systems, pipes, closed too early, rejects beside them. */

import { execFileSync } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { type BulkLoadOptions, LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

let directory: TemporaryDirectory;
let path: string;
beforeEach(() => {
  directory = temporaryDirectory();
  path = `${directory.path}/db`;
});
afterEach(() => directory.remove());

const ONE_SHARD = { shards: 1, cacheSize: 8 << 20 };

/** Loads a text from a file; returns what is there then. */
async function loaded(
  name: string,
  text: string | Buffer,
  options: BulkLoadOptions = {},
): Promise<[string, string][]> {
  const file = `${directory.path}/${name}`;
  writeFileSync(file, text);
  await LightningDb.bulkLoad(path, file, { ...ONE_SHARD, ...options });
  return contents();
}

async function contents(): Promise<[string, string][]> {
  const db = await LightningDb.open(path, ONE_SHARD);
  try {
    return [...db.scanSync()];
  } finally {
    await db.close();
  }
}

describe('a file', () => {
  it('without a record loads none, whatever key it is to have', async () => {
    for (const text of ['', '\n\n', '\ufeff']) {
      expect(await loaded('none.csv', text, { key: 'id', value: '{name}' })).toEqual([]);
    }
    expect(await loaded('none.ndjson', '', { key: 'id' })).toEqual([]);
  });

  it('with lines of carriage returns alone is refused, not taken for one record', async () => {
    await expect(loaded('mac.csv', 'id,name\r1,Ada\r2,Bob\r')).rejects.toMatchObject({
      code: 'LIGHTNING_PARSE',
      message: expect.stringContaining('carriage return'),
    });
    expect(await loaded('one.csv', 'a,"b\rc"\r')).toEqual([['a', 'b\rc']]);
  });

  it('that is called .json is never read as CSV', async () => {
    await expect(loaded('text.json', 'a,b\n')).rejects.toMatchObject({ code: 'LIGHTNING_PARSE' });
  });

  it('whose columns do not have the name says which there are', async () => {
    const attempt = (text: string): Promise<unknown> => loaded('c.csv', text, { key: 'nope' });
    await expect(attempt('id,name\n1,a\n')).rejects.toThrow('the columns are "id", "name"');
    await expect(attempt('x,x\n1,a\n')).rejects.toThrow('the first row ("x", "x")');
  });

  it('that does not exist makes no database', async () => {
    const attempt = LightningDb.bulkLoad(path, `${directory.path}/missing.csv`);
    await expect(attempt).rejects.toMatchObject({
      code: 'LIGHTNING_IO',
      message: expect.stringContaining('it does not exist'),
    });
    expect(existsSync(path)).toBe(false);
  });

  it.skipIf(process.platform === 'win32')('may be a named pipe', async () => {
    const pipe = `${directory.path}/pipe`;
    execFileSync('mkfifo', [pipe]);
    const loading = LightningDb.bulkLoad(path, pipe, { ...ONE_SHARD, key: 'id', value: 'name' });
    createWriteStream(pipe).end('id,name\n1,Ada\n2,Bob\n');
    expect(await loading).toMatchObject({ records: 2, format: 'csv' });
    expect(await contents()).toEqual([
      ['1', 'Ada'],
      ['2', 'Bob'],
    ]);
  });
});

describe('the rejects file', () => {
  const options = (rejectsFile: string): BulkLoadOptions => ({ onError: 'skip', rejectsFile });

  it('is empty after a load without rejects, whatever it held', async () => {
    const rejects = `${directory.path}/rejects`;
    writeFileSync(rejects, 'of another load\n');
    expect(await loaded('good.csv', 'a,1\n', options(rejects))).toEqual([['a', '1']]);
    expect(readFileSync(rejects, 'utf8')).toBe('');
  });

  it('is never the file that is loaded', async () => {
    const text = 'a,1\nb\n';
    const file = `${directory.path}/source.csv`;
    await expect(loaded('source.csv', text, options(file))).rejects.toMatchObject({
      code: 'LIGHTNING_INVALID_ARGUMENT',
      details: { option: 'rejectsFile' },
    });
    expect(readFileSync(file, 'utf8')).toBe(text);
  });
});

describe('entries', () => {
  it('do not go with options that are for text', async () => {
    const attempts: [BulkLoadOptions, string][] = [
      [{ key: 'id' }, 'key'],
      [{ format: 'csv' }, 'format'],
      [{ header: true }, 'header'],
    ];
    for (const [options, option] of attempts) {
      for (const source of [[['a', '1']], Readable.from([['a', '1']])] as const) {
        await expect(
          LightningDb.bulkLoad(path, source as never, { ...ONE_SHARD, ...options }),
        ).rejects.toMatchObject({ code: 'LIGHTNING_INVALID_ARGUMENT', details: { option } });
      }
    }
  });

  it('of a stream that is closed before its end are not loaded', async () => {
    const stream = new Readable({ objectMode: true, read: () => {} });
    stream.push(['a', '1']);
    setImmediate(() => setImmediate(() => stream.destroy()));
    await expect(LightningDb.bulkLoad(path, stream as never, ONE_SHARD)).rejects.toMatchObject({
      code: 'LIGHTNING_PARSE',
    });
    expect(await contents()).toEqual([]);
  });

  it('are not loaded with options that are none', async () => {
    for (const options of [null, 5, 'csv', []]) {
      await expect(LightningDb.bulkLoad(path, [], options as never)).rejects.toMatchObject({
        code: 'LIGHTNING_INVALID_ARGUMENT',
      });
    }
  });
});
