/**
 * The log segment of a PREPARE is kept while one is that was written before the commit was applied: a
 * replay of that one alone would bring back what the commit has replaced.
 */

import { describe, expect, it } from 'vitest';
import { NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { KeptSegments } from '../../src/shard/kept-segments.js';
import {
  createPlace,
  LocalDatabase,
  type LocalDatabaseOptions,
  type TogetherCommit,
} from '../durability/local-database.js';
import { put, TestClient, testConfig } from '../shard/harness.js';

const FILLER_BYTES = 20_000;

function place(): LocalDatabaseOptions & { readonly fs: MemoryFileSystem } {
  const fs = new MemoryFileSystem(1);
  createPlace(fs, 2);
  return { fs, config: testConfig({ shards: 2, walSync: 'async' }) };
}

/** A client that does not wait for the batches of the first one. */
function otherClient(db: LocalDatabase): TestClient {
  const { shard, kernel } = db.shard(0);
  return new TestClient(shard, kernel, 2);
}

/** Prepared on shard 0, and on no other so far. */
function prepare(db: LocalDatabase): TogetherCommit {
  const operations = [put('key', 'newer')];
  const commit = db.commitTogether([0, 1].map((shard) => ({ shard, operations })));
  for (let turns = 0; turns < 5; turns++) db.shard(0).shard.turn();
  return commit;
}

async function complete(db: LocalDatabase, { requests }: TogetherCommit): Promise<void> {
  for (const { shard, id } of requests) expect(await db.wait(shard, id, 1000)).toBeGreaterThan(0);
  expect(await db.shard(0).client.get('key')).toBe('newer');
}

async function kill(
  db: LocalDatabase,
  options: LocalDatabaseOptions & { readonly fs: MemoryFileSystem },
): Promise<LocalDatabase> {
  await db.abandon();
  options.fs.crash('all');
  return LocalDatabase.open(options);
}

describe('a commit over several shards, and an older write that stands behind its PREPARE in the log', () => {
  it('come back in their order when a later commit goes on in another memtable', async () => {
    const options = place();
    const db = await LocalDatabase.open(options);
    const other = otherClient(db);
    await other.put('before', 'x');
    const commit = prepare(db);
    await db.shard(0).shard.flush();
    await other.put('key', 'older');
    await complete(db, commit);
    await other.commit(
      Array.from({ length: 30 }, (_, i) => put(`filler ${i}`, 'v'.repeat(FILLER_BYTES))),
    );
    await db.shard(0).settle();
    const { state } = db.shard(0).shard;
    expect(state.version.runs).toHaveLength(1);
    expect(state.memtables.isEmpty(state.memtables.active)).toBe(false);
    const again = await kill(db, options);
    expect(await again.shard(0).client.get('key')).toBe('newer');
  });

  it('come back in their order when memtables of a replay end within segments', async () => {
    let isFull = true;
    const plant = {
      name: 'there is no room for tables',
      beforeFlush: () => {
        if (isFull) throw new NoSpaceError('There is no room for a table');
      },
    };
    const options = { ...place(), plant };
    const db = await LocalDatabase.open(options);
    const other = otherClient(db);
    await other.put('before', 'v'.repeat(FILLER_BYTES));
    const commit = prepare(db);
    await expect(db.shard(0).shard.flush()).rejects.toThrow(NoSpaceError);
    await other.put('key', 'older');
    await complete(db, commit);
    for (let i = 0; i < 30; i++) await other.put(`filler ${i}`, 'v'.repeat(FILLER_BYTES));
    const replayed = await kill(db, options);
    isFull = false;
    await replayed.shard(0).settle();
    expect(replayed.shard(0).shard.state.version.runs.length).toBeGreaterThan(0);
    const again = await kill(replayed, options);
    expect(await again.shard(0).client.get('key')).toBe('newer');
  });

  it('are let go of by and by', async () => {
    const options = place();
    const db = await LocalDatabase.open(options);
    const other = otherClient(db);
    for (let round = 0; round < 5; round++) {
      const commit = prepare(db);
      await other.put('before', 'x');
      await db.shard(0).shard.flush();
      await complete(db, commit);
      await other.put('after', 'x');
    }
    await db.flush();
    expect(db.shard(0).shard.state.segments).toHaveLength(1);
  });
});

describe('KeptSegments', () => {
  it('follows what is needed for the sake of what is needed', () => {
    const kept = new KeptSegments();
    kept.applied(5, 8);
    kept.applied(2, 6);
    kept.applied(7, 7);
    expect(kept.from(9)).toBe(9);
    expect(kept.from(8)).toBe(2);
    expect(kept.from(6)).toBe(2);
    kept.forgetBelow(7);
    expect(kept.from(8)).toBe(5);
    expect(kept.from(7)).toBe(5);
  });
});
