/**
 * A COMMIT record that stands behind the end of the log, where a power loss has left a hole, goes with
 * what is cut: what became of its commit is written down again before the decision is forgotten.
 */

import { expect, it } from 'vitest';
import { NoSpaceError } from '../../src/errors.js';
import { shardDirectoryName } from '../../src/file-system/file-names.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { createPlace, DATABASE_PATH, LocalDatabase } from '../durability/local-database.js';
import { logEnd } from '../file-system/log-end.js';
import { put, testConfig } from '../shard/harness.js';

const SHARDS = 3;

it('a commit whose record is cut off with the end of the log is not forgotten', async () => {
  const fs = new MemoryFileSystem(1);
  createPlace(fs, SHARDS);
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, wallMs: () => 1e6 + nowMs };
  const options = { fs, clock, config: testConfig({ shards: SHARDS, walSync: 'sync' }) };
  const db = await LocalDatabase.open(options);
  db.shard(0).jobs.before = async () => {
    throw new NoSpaceError('There is no room for a table');
  };
  const { state } = db.shard(0).shard;
  const send = (key: string, shards: readonly number[]) =>
    db.commitTogether(shards.map((shard) => ({ shard, operations: [put(key, 'there')] })));
  /** Turns of shards, and the records that they write when nothing else comes. */
  const turn = (shards: readonly number[]): void => {
    for (let turns = 0; turns < 6; turns++) {
      for (const shard of shards) db.shard(shard).shard.turn();
      db.decide();
      nowMs += 5;
    }
  };
  const directory = `${DATABASE_PATH}/${shardDirectoryName(0)}`;

  send('second', [0, 1, 2]);
  send('first', [0, 1]);
  turn([0, 1]);
  const holed = state.commit.wal?.path as string;
  expect(await db.shard(0).client.get('first')).toBe('there');
  await expect(db.shard(0).shard.flush()).rejects.toThrow(NoSpaceError);
  turn([0, 1, 2]);
  expect(await db.shard(0).client.get('second')).toBe('there');
  expect(state.segments).toHaveLength(2);
  await db.abandon();
  // The second segment comes to the medium, and the end of the first, which was not synced, does not.
  const file = fs.open(state.commit.wal?.path as string, 'r+');
  file.sync();
  file.close();
  const bytes = logEnd(fs, holed);
  fs.crash('synced');
  expect(logEnd(fs, holed)).toBeLessThan(bytes);

  const found = await LocalDatabase.open(options);
  expect(fs.readdir(directory).filter((name) => name.endsWith('.wal'))).toHaveLength(2);
  await found.shard(1).client.put('later', 'x');
  await found.durability.runDue();
  expect(found.durability.log.decisions.size).toBe(0);
  found.durability.log.rotate();
  await found.abandon();
  fs.crash('all');

  const again = await LocalDatabase.open(options);
  for (const { client } of again.shards) expect(await client.get('second')).toBe('there');
  expect(await again.shard(0).client.get('first')).toBe('there');
});
