/** A part of a commit over several shards that is larger than the memory for what prepared commits keep. */

import { expect, it } from 'vitest';
import { shardDirectoryName } from '../../src/file-system/file-names.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { createPlace, DATABASE_PATH, LocalDatabase } from '../durability/local-database.js';
import { put, testConfig } from '../shard/harness.js';

const LARGE = 'v'.repeat(20_000);

async function open() {
  const fs = new MemoryFileSystem(1);
  createPlace(fs, 2);
  const db = await LocalDatabase.open({ fs, config: testConfig({ shards: 2 }) });
  // More than the shard's memory for indexes and the like, and one value with a file of its own.
  const operations = Array.from({ length: 900 }, (_, i) => put(`key ${i}`, LARGE));
  operations.push(put('file', 'v'.repeat(100_000)));
  const commit = db.commitTogether([
    { shard: 0, operations },
    { shard: 1, operations: [put('key', 'x')] },
  ]);
  const blobs = (): string[] =>
    fs
      .readdir(`${DATABASE_PATH}/${shardDirectoryName(0)}`)
      .filter((name) => name.endsWith('.blob'));
  return { db, commit, blobs };
}

it('is refused, which aborts the commit, and leaves no file of its values', async () => {
  const { db, commit, blobs } = await open();
  for (const { shard, id } of commit.requests) {
    await expect(db.wait(shard, id, 10_000)).rejects.toThrow();
  }
  expect(await db.shard(0).client.get('key 0')).toBeUndefined();
  expect(blobs()).toEqual([]);
});
