/** COMMIT records are written late: until then the decision is what there is to know a commit by. */

import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { createPlace, LocalDatabase } from '../durability/local-database.js';
import { put, testConfig } from './harness.js';

const TURNS_MAX = 100;

/** One commit over two shards is answered, at a time that stands still. */
async function commit() {
  const fs = new MemoryFileSystem(5);
  createPlace(fs, 2);
  const config = testConfig({ shards: 2, walSync: 'async' });
  const time = { nowMs: 1000 };
  const clock = { nowMs: () => time.nowMs, wallMs: () => time.nowMs };
  const db = await LocalDatabase.open({ fs, config, clock });
  const { requests } = db.commitTogether([
    { shard: 0, operations: [put('left', 'both')] },
    { shard: 1, operations: [put('right', 'both')] },
  ]);
  for (const { shard, id } of requests) {
    expect(await db.wait(shard, id, TURNS_MAX)).toBeGreaterThan(0);
  }
  return { fs, config, time, db };
}

const valuesOf = async (db: LocalDatabase): Promise<(string | undefined)[]> => [
  await db.shard(0).client.get('left'),
  await db.shard(1).client.get('right'),
];

describe('a commit over several shards that is answered', () => {
  it('keeps its decision until its records are written, also when a barrier passes', async () => {
    const { db, time } = await commit();
    const { log } = db.durability;
    await db.passInterval();
    expect(log.decisions.size).toBe(1);
    for (const { shard } of db.shards) {
      expect(shard.state.commitRecords.isEmpty).toBe(false);
    }
    time.nowMs += 100;
    db.turn();
    for (const { shard } of db.shards) expect(shard.state.commitRecords.isEmpty).toBe(true);
    await db.passInterval();
    expect(log.decisions.size).toBe(0);
    await db.close();
  });

  it('keeps it while one of its shards has not written its record', async () => {
    const { db, time } = await commit();
    time.nowMs += 100;
    db.shard(0).shard.turn();
    await db.passInterval();
    expect(db.durability.log.decisions.size).toBe(1);
    await db.close();
  });

  it.each(['synced', 'all'] as const)(
    'comes back without its records, unsynced state: %s',
    async (unsynced) => {
      const { db, fs, config } = await commit();
      await db.passInterval();
      await db.abandon();
      fs.crash(unsynced);
      const again = await LocalDatabase.open({ fs, config });
      expect(await valuesOf(again)).toEqual(['both', 'both']);
      await again.close();
    },
  );

  it('has its records go with the next group', async () => {
    const { db } = await commit();
    const { commit: log, commitRecords } = db.shard(0).shard.state;
    const { groups } = log;
    await db.shard(0).client.put('next', 'one');
    expect(commitRecords.isEmpty).toBe(true);
    expect(log.groups).toBe(groups + 1);
    await db.close();
  });

  it('leaves records for later when the log has no room for them', async () => {
    const { db, fs, time } = await commit();
    const { commitRecords } = db.shard(0).shard.state;
    fs.limitRoom(0);
    time.nowMs += 100;
    db.turn();
    expect(commitRecords.isEmpty).toBe(false);
    fs.limitRoom(10_000_000);
    time.nowMs += 10_000;
    db.turn();
    expect(commitRecords.isEmpty).toBe(true);
    await db.close();
    expect(db.control.transactions.areDecisionsRetained).toBe(false);
  });

  it('has them written before the database closes', async () => {
    const { db, fs, config } = await commit();
    await db.close();
    expect(db.control.recordedUpTo(db.control.lastSequence())).toBe(db.control.lastSequence());
    const again = await LocalDatabase.open({ fs, config });
    expect(await valuesOf(again)).toEqual(['both', 'both']);
    await again.close();
  });
});
