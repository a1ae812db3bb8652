/** Keys of a getMany that are staged, and then not looked up, or not at once. */

import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const small = { shards: 1, cacheSize: 4 << 20, memtableSize: 1 << 20 };

it('forgets the keys before one that is refused', async () => {
  const db = await LightningDb.open(directory.path, small);
  for (const key of ['a', 'b', 'c']) await db.put(key, `value of ${key}`);
  await db.flush();
  expect(() => db.getManySync(['a', 'b', 5 as never])).toThrow('"keys" must be a string');
  // The bound goes where the staged keys' lengths were: taken for one, it is two thousand million.
  expect(Array.from(db.scanSync({ lt: 'zzzz', limit: 1 }))).toEqual([['a', 'value of a']]);
  expect(db.getManySync(['c', 'b'])).toEqual(['value of c', 'value of b']);
  await db.close();
});

it('reads the keys asked for when turning one to JSON uses the database', async () => {
  const db = await LightningDb.open(directory.path, { ...small, keyEncoding: 'json' });
  for (const key of [1, 2, 3, 4]) await db.put(key, `value of ${key}`);
  const reading = {
    toJSON: () => {
      expect(db.getManySync([3, 4])).toEqual(['value of 3', 'value of 4']);
      return 2;
    },
  };
  expect(db.getManySync([1, reading])).toEqual(['value of 1', 'value of 2']);
  await db.close();
});
