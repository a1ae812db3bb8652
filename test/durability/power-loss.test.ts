/** Power loss with several shards: what comes back is a prefix of all commits, over all shards. */

import { describe, expect, it } from 'vitest';
import type { ResolvedConfig } from '../../src/config.js';
import { listLogSegments } from '../../src/coordinator/log-reader.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { RECORD_FLAG_SYNC } from '../../src/kernel/assembly/layout.js';
import { put, testConfig } from '../shard/harness.js';
import { createPlace, DATABASE_PATH, LocalDatabase } from './local-database.js';

const SHARDS = 3;

const configOf = (changes: Partial<ResolvedConfig> = {}): ResolvedConfig =>
  testConfig({ shards: SHARDS, walSync: 'async', ...changes });

function place(changes: Partial<ResolvedConfig> = {}) {
  const fs = new MemoryFileSystem(7);
  createPlace(fs, changes.shards ?? SHARDS);
  return { fs, config: configOf(changes) };
}

/** Commit number `i` goes to shard `i % SHARDS`; its sequence numbers ascend. */
async function commit(db: LocalDatabase, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    await db.shard(i % db.shards.length).client.put(`key-${i}`, `${i}`);
  }
}

/** How many commits are there; fails when one is missing before one that is not. */
async function prefixLength(db: LocalDatabase, count: number): Promise<number> {
  let length = 0;
  for (let i = 0; i < count; i++) {
    const value = await db.shard(i % db.shards.length).client.get(`key-${i}`);
    if (value === undefined) continue;
    expect(value).toBe(`${i}`);
    expect(length, `commit ${i} is there, one before it is not`).toBe(i);
    length = i + 1;
  }
  return length;
}

describe('in async mode, a power loss', () => {
  it('leaves nothing of a shard beyond what all shards have', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 9);
    await db.durability.covering(db.control.lastSequence());
    await commit(db, 9, 30);
    // One shard's log gets to the medium, as the system likes.
    await db.shard(1).shard.syncLog();
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 30)).toBe(9);
    await commit(again, 9, 20);
    expect(await prefixLength(again, 30)).toBe(20);
    await again.close();
    const third = await LocalDatabase.open(at);
    expect(await prefixLength(third, 30)).toBe(20);
    await third.close();
  });

  it('keeps flushed tables, and so all that comes before them', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 20);
    await db.shard(1).shard.flush();
    expect(db.shard(1).shard.state.version.runs.length).toBe(1);
    await commit(db, 20, 30);
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 30)).toBe(20);
    await again.close();
  });

  it('keeps a write with sync when it was acknowledged, and so all that comes before it', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 20);
    await db.shard(2).client.commit([put('key-20', '20')], RECORD_FLAG_SYNC);
    await commit(db, 21, 25);
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 25)).toBe(21);
    await again.close();
  });

  it('keeps what an open has found, and what a close has left', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 20);
    await db.abandon();
    at.fs.crash('all');
    await LocalDatabase.open(at);
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 20)).toBe(20);
    await commit(again, 20, 30);
    await again.close();
    at.fs.crash('synced');
    const third = await LocalDatabase.open(at);
    expect(await prefixLength(third, 30)).toBe(30);
    await third.close();
  });

  it('is cut again when the power fails while it is cut', async () => {
    for (let k = 1; k < 150; k += 3) {
      const at = place();
      const db = await LocalDatabase.open(at);
      await commit(db, 0, 9);
      await db.durability.covering(db.control.lastSequence());
      await commit(db, 9, 30);
      for (const { shard } of db.shards.slice(1)) await shard.syncLog();
      at.fs.crash('synced');
      at.fs.crashAt(k);
      const interrupted = await LocalDatabase.open(at).catch((error: unknown) => {
        if (!at.fs.powerLost) throw error;
        return undefined;
      });
      at.fs.crash(k % 2 === 0 ? 'random' : 'all');
      const again = await LocalDatabase.open(at);
      expect(await prefixLength(again, 30), `power cut at call ${k}`).toBe(9);
      await again.close();
      if (interrupted !== undefined) return;
    }
    throw new Error('The open was never complete');
  });

  it('of a database with one shard leaves what its log has', async () => {
    const at = place({ shards: 1 });
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 10);
    await db.shard(0).client.commit([put('key-10', '10')], RECORD_FLAG_SYNC);
    await commit(db, 11, 20);
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 20)).toBe(11);
    await again.close();
  });
});

describe('in any mode, the death of the process', () => {
  it('cuts nothing, though no mark covers it', async () => {
    for (const walSync of ['async', 'periodic', 'sync'] as const) {
      const at = place({ walSync, walSyncIntervalMs: 1_000_000 });
      const db = await LocalDatabase.open(at);
      await commit(db, 0, 30);
      await db.abandon();
      at.fs.crash('all');
      const again = await LocalDatabase.open(at);
      expect(await prefixLength(again, 30)).toBe(30);
      await again.close();
    }
  });
});

describe('in periodic mode, a power loss', () => {
  it('costs what came after the last interval at most', async () => {
    const at = place({ walSync: 'periodic', walSyncIntervalMs: 1_000_000 });
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 10);
    await db.passInterval();
    await commit(db, 10, 20);
    await db.passInterval();
    await commit(db, 20, 30);
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 30)).toBe(20);
    await again.close();
  });

  it('syncs nothing when nothing was written', async () => {
    const at = place({ walSync: 'periodic', walSyncIntervalMs: 1_000_000 });
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 1);
    const before = at.fs.syncs;
    await db.passInterval();
    // The one shard that was written to, and the mark.
    expect(at.fs.syncs - before).toBe(2);
    await db.passInterval();
    expect(at.fs.syncs - before).toBe(2);
    await db.close();
  });
});

describe('in sync mode, a power loss', () => {
  it('costs nothing that was acknowledged, and no barrier is run', async () => {
    const at = place({ walSync: 'sync' });
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 30);
    await db.flush();
    await commit(db, 30, 40);
    expect(db.durability.barriers).toBe(0);
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await prefixLength(again, 40)).toBe(40);
    await again.close();
  });
});

describe('a read-only open after a power loss', () => {
  it('shows what an open would leave, and changes nothing', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 9);
    await db.durability.covering(db.control.lastSequence());
    await commit(db, 9, 30);
    await db.shard(1).shard.syncLog();
    at.fs.crash('synced');
    const { calls } = at.fs;
    const reader = await LocalDatabase.open({ ...at, config: configOf({ readOnly: true }) });
    expect(await prefixLength(reader, 30)).toBe(9);
    await reader.close();
    expect(at.fs.calls).toBe(calls);
    expect(listLogSegments(at.fs, `${DATABASE_PATH}/coordinator`).length).toBe(1);
  });
});

describe('barriers', () => {
  it('that are asked for together are shared', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 30);
    const last = db.control.lastSequence();
    await Promise.all(Array.from({ length: 20 }, () => db.durability.covering(last)));
    expect(db.durability.barriers).toBe(1);
    await db.durability.covering(last);
    expect(db.durability.barriers).toBe(1);
    await db.close();
  });

  it('that fail for want of room are tried again; after anything else nothing is written', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    await commit(db, 0, 30);
    at.fs.failFrom(1, 'ENOSPC', 'room');
    await expect(db.durability.covering(db.control.lastSequence())).rejects.toThrow(/ENOSPC/);
    at.fs.clearFaults();
    await db.durability.covering(db.control.lastSequence());
    await commit(db, 30, 31);
    at.fs.failFrom(1, 'EIO', 'sync');
    await expect(db.durability.covering(db.control.lastSequence())).rejects.toThrow(/EIO/);
    at.fs.clearFaults();
    for (const { client } of db.shards) {
      await expect(client.put('x', 'y')).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    }
    expect(await prefixLength(db, 31)).toBe(31);
    await db.close();
  });
});
