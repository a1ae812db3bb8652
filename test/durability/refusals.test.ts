/** Full disks, missing descriptors and broken disks: what they cost, and what goes on. */

import { describe, expect, it, vi } from 'vitest';
import type { ResolvedConfig } from '../../src/config.js';
import { LightningError, NoSpaceError } from '../../src/errors.js';
import { BALLAST_BYTES, BALLAST_NAME } from '../../src/file-system/ballast.js';
import { parseShardFileName } from '../../src/file-system/file-names.js';
import { type FaultyCalls, MemoryFileSystem } from '../../src/file-system/memory.js';
import { RECORD_FLAG_SYNC } from '../../src/kernel/assembly/layout.js';
import { put, testConfig } from '../shard/harness.js';
import { createPlace, DATABASE_PATH, LocalDatabase } from './local-database.js';

const VALUE = 'v'.repeat(2000);

function place(changes: Partial<ResolvedConfig> = {}) {
  const fs = new MemoryFileSystem(11);
  const config = testConfig({
    shards: 2,
    walSync: 'async',
    arenaBytes: 128 * 1024,
    memtableBytes: 256 * 1024,
    tableBytesMax: 64 * 1024,
    ...changes,
  });
  createPlace(fs, config.shards);
  return { fs, config };
}

/** Puts in turn to the shards; returns what was acknowledged, and the codes of what was refused. */
async function fill(db: LocalDatabase, from: number, to: number, state: Map<string, string>) {
  const refused: string[] = [];
  // Patience with a flush that fails is a matter of time, not of turns.
  for (const { client } of db.shards) client.turnsMax = 10_000_000;
  for (let i = from; i < to; i++) {
    try {
      await db.shard(i % db.shards.length).client.put(`key-${i % 50}`, `${i}:${VALUE}`);
      state.set(`${i % db.shards.length}/key-${i % 50}`, `${i}:${VALUE}`);
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      refused.push(error.code);
    }
  }
  return refused;
}

async function expectState(db: LocalDatabase, state: ReadonlyMap<string, string>): Promise<void> {
  for (const [place, value] of state) {
    const [shard, key] = place.split('/') as [string, string];
    expect((await db.shard(Number(shard)).client.get(key)) === value, place).toBe(true);
  }
}

async function settle(db: LocalDatabase): Promise<void> {
  for (const shard of db.shards) await shard.settle();
}

const refusals: [errno: string, calls: FaultyCalls][] = [
  ['ENOSPC', 'room'],
  ['EFBIG', 'write'],
  ['EMFILE', 'open'],
];

describe('want of room', () => {
  it.each(refusals)(
    '%s refuses writes with LIGHTNING_NO_SPACE, keeps reads going, and is over when it is over',
    async (errno, calls) => {
      const at = place();
      const db = await LocalDatabase.open(at);
      const state = new Map<string, string>();
      expect(await fill(db, 0, 100, state)).toEqual([]);
      at.fs.failFrom(1, errno, calls);
      // Without new files the memtables have to be full first.
      const count = errno === 'EMFILE' ? 700 : 100;
      const refused = await fill(db, 100, 100 + count, state);
      expect(new Set(refused)).toEqual(new Set(['LIGHTNING_NO_SPACE']));
      expect(refused.length).toBeGreaterThan(0);
      if (errno !== 'EMFILE') expect(refused.length).toBe(count);
      await expectState(db, state);
      at.fs.clearFaults();
      // Flushes that failed are tried again after a pause.
      await expect
        .poll(async () => (await fill(db, 800, 802, state)).length, { timeout: 8000 })
        .toBe(0);
      expect(await fill(db, 802, 900, state)).toEqual([]);
      await settle(db);
      await expectState(db, state);
      await db.close();
      at.fs.crash('synced');
      const again = await LocalDatabase.open(at);
      await expectState(again, state);
      await again.close();
    },
  );

  it('by a file that may not grow is got round by a new file', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    const { wal } = db.shard(0).shard.state.commit;
    const { segment } = wal ?? { segment: 0 };
    at.fs.failOnce(1, 'EFBIG', 'write');
    await expect(db.shard(0).client.put('a', '1')).rejects.toMatchObject({
      code: 'LIGHTNING_NO_SPACE',
    });
    await db.shard(0).client.put('a', '2');
    expect(wal?.segment).toBeGreaterThan(segment);
    await db.close();
  });

  it('by a file that may not grow leaves nothing behind that a power loss brings back', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const fs = new MemoryFileSystem(seed);
      const at = { ...place({ shards: 1, walSync: 'sync' }), fs };
      createPlace(fs, 1);
      const db = await LocalDatabase.open(at);
      const { client } = db.shard(0);
      await client.put('before', '1');
      fs.failOnce(1, 'EFBIG', 'write');
      await expect(client.put('refused', VALUE)).rejects.toMatchObject({
        code: 'LIGHTNING_NO_SPACE',
      });
      await client.put('after', '1');
      // Of what was not synced, the cut may be lost and the part of the write be there.
      fs.crash('random');
      const again = await LocalDatabase.open(at);
      expect(await again.shard(0).client.get('before')).toBe('1');
      expect(await again.shard(0).client.get('after')).toBe('1');
      expect(await again.shard(0).client.get('refused')).toBeUndefined();
      await again.close();
    }
  });

  it('has ballast thrown off for what makes room, which is taken on again', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    const state = new Map<string, string>();
    const directories = ['shard-000', 'shard-001', 'coordinator'];
    const ballast = () =>
      directories.filter((name) => at.fs.exists(`${DATABASE_PATH}/${name}/${BALLAST_NAME}`));
    await fill(db, 0, 20, state);
    await db.flush();
    expect(ballast()).toEqual(directories);
    expect(at.fs.fileSize(`${DATABASE_PATH}/shard-000/${BALLAST_NAME}`)).toBe(BALLAST_BYTES);
    at.fs.limitRoom(0);
    // A version edit without a table, as a compaction that removes everything writes it.
    const { state: shard } = db.shard(0).shard;
    shard.install({ nextOrder: shard.version.state.nextOrder });
    await db
      .shard(1)
      .client.put('x', 'y')
      .catch(() => undefined);
    expect(ballast()).toEqual(['shard-001', 'coordinator']);
    expect(shard.readOnlyReason).toBeUndefined();
    at.fs.limitRoom(1e9);
    shard.install({ nextOrder: shard.version.state.nextOrder });
    expect(ballast()).toEqual(directories);
    await db.close();
  });

  it('for a durability mark leaves a write with sync there, of unknown outcome', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    const failure = new NoSpaceError('Cannot write the mark: EFBIG');
    vi.spyOn(db.durability, 'covering').mockRejectedValue(failure);
    const unknown = { code: 'LIGHTNING_NO_SPACE', details: { outcome: 'unknown' } };
    const { client } = db.shard(0);
    await expect(client.commit([put('alone', '1')], RECORD_FLAG_SYNC)).rejects.toMatchObject(
      unknown,
    );
    const parts = [0, 1].map((shard) => ({ shard, operations: [put('together', '1')] }));
    for (const { shard, id } of db.commitTogether(parts, RECORD_FLAG_SYNC).requests) {
      await expect(db.wait(shard, id, 100_000)).rejects.toMatchObject(unknown);
      expect(await db.shard(shard).client.get('together')).toBe('1');
    }
    expect(await client.get('alone')).toBe('1');
    await db.close();
  });

  it('is no reason to hold back a durability mark, as long as there is ballast', async () => {
    const at = place();
    const db = await LocalDatabase.open(at);
    const state = new Map<string, string>();
    await fill(db, 0, 20, state);
    await db.durability.covering(db.control.lastSequence());
    await fill(db, 20, 21, state);
    at.fs.limitRoom(0);
    await db.durability.covering(db.control.lastSequence());
    at.fs.crash('synced');
    at.fs.limitRoom(1e9);
    const again = await LocalDatabase.open(at);
    await expectState(again, state);
    await again.close();
  });
});

describe('a broken disk', () => {
  /** Files by kind, to see that nothing is left behind. */
  const tables = (fs: MemoryFileSystem): number =>
    fs
      .readdir(`${DATABASE_PATH}/shard-000`)
      .filter((name) => parseShardFileName(name)?.kind === 'table' || name.endsWith('.tmp')).length;
  const blobs = (fs: MemoryFileSystem): number =>
    fs
      .readdir(`${DATABASE_PATH}/shard-000`)
      .filter((name) => parseShardFileName(name)?.kind === 'blob').length;

  it('under a flush costs an attempt, and no file is left of it', async () => {
    const at = place({ shards: 1 });
    const db = await LocalDatabase.open(at);
    const state = new Map<string, string>();
    await fill(db, 0, 20, state);
    const { flusher } = db.shard(0).shard;
    const before = tables(at.fs);
    at.fs.failFrom(2, 'EIO', 'open');
    const flushed = db.flush();
    await expect(flushed).rejects.toMatchObject({ code: 'LIGHTNING_IO' });
    expect(tables(at.fs)).toBe(before);
    await expectState(db, state);
    at.fs.clearFaults();
    await expect.poll(() => flusher.counters.done).toBe(1);
    expect(tables(at.fs)).toBe(before + 1);
    await expectState(db, state);
    await db.close();
  });

  it('under every flush ends writing, and not reading', async () => {
    const at = place({ shards: 1 });
    const db = await LocalDatabase.open({ ...at });
    const state = new Map<string, string>();
    await fill(db, 0, 20, state);
    db.shard(0).jobs.before = async () => {
      throw new LightningError('LIGHTNING_IO', 'Cannot write "table": EIO');
    };
    for (let attempt = 0; attempt < 5; attempt++) {
      await db.flush().catch(() => undefined);
      const { flusher } = db.shard(0).shard;
      await expect.poll(() => flusher.counters.failed, { timeout: 8000 }).toBeGreaterThan(attempt);
    }
    await expect(db.shard(0).client.put('a', '1')).rejects.toMatchObject({
      code: 'LIGHTNING_READ_ONLY',
    });
    await expectState(db, state);
    await db.close();
    const again = await LocalDatabase.open(at);
    await expectState(again, state);
    expect(await fill(again, 20, 30, state)).toEqual([]);
    await again.close();
  });

  it('that ends writing ends the wait for a flush, too', async () => {
    const at = place({ shards: 1 });
    const db = await LocalDatabase.open(at);
    const { client, shard, jobs } = db.shard(0);
    await client.put('a', '1');
    jobs.before = async () => {
      throw new LightningError('LIGHTNING_IO', 'Cannot write "table": EIO');
    };
    await expect(shard.flush()).rejects.toMatchObject({ code: 'LIGHTNING_IO' });
    // Until the next attempt there is a pause.
    const { flusher, state } = shard;
    const waiting = Promise.allSettled([shard.flush(), shard.compact()]);
    expect(flusher.counters.running).toBe(0);
    state.becomeReadOnly(new Error('The medium is gone'));
    for (const outcome of await waiting) {
      expect(outcome).toMatchObject({ reason: { code: 'LIGHTNING_READ_ONLY' } });
    }
    await expect(shard.flush()).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    expect(await client.get('a')).toBe('1');
    await db.close();
  });

  it('under a merge leaves its inputs as they are, and a later one succeeds', async () => {
    const at = place({ shards: 1 });
    const db = await LocalDatabase.open(at);
    const state = new Map<string, string>();
    for (let round = 0; round < 3; round++) {
      await fill(db, round * 50, round * 50 + 50, state);
      await db.flush();
    }
    const { shard } = db.shard(0);
    const before = tables(at.fs);
    at.fs.failFrom(1, 'EIO', 'open');
    await expect(shard.compact()).rejects.toMatchObject({ code: 'LIGHTNING_IO' });
    at.fs.clearFaults();
    expect(tables(at.fs)).toBe(before);
    await expectState(db, state);
    await shard.compact();
    await expectState(db, state);
    expect(shard.state.version.runs.length).toBe(1);
    await db.close();
  });

  it('under a large value refuses it, also when it cannot be removed again', async () => {
    const at = place({ shards: 1 });
    const db = await LocalDatabase.open(at);
    const { client } = db.shard(0);
    await client.put('before', '1');
    at.fs.failFrom(1, 'EIO', 'name');
    await expect(client.putBlob('large', Buffer.alloc(130_000, 1))).rejects.toMatchObject({
      code: 'LIGHTNING_IO',
    });
    expect(blobs(at.fs)).toBe(1);
    // What else was to be named in that directory is unknown, too.
    await expect(client.put('after', '1')).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    expect(await client.get('before')).toBe('1');
    at.fs.clearFaults();
    await db.close();
    const again = await LocalDatabase.open(at);
    expect(blobs(at.fs)).toBe(0);
    await again.shard(0).client.putBlob('large', Buffer.alloc(130_000, 2));
    expect(await again.shard(0).client.get('large')).toBe('\u0002'.repeat(130_000));
    expect(await again.shard(0).client.get('before')).toBe('1');
    await again.close();
  });

  it('under a sync of the log acknowledges nothing of its group, and nothing is written any more', async () => {
    const at = place({ walSync: 'sync' });
    const db = await LocalDatabase.open(at);
    await db.shard(0).client.put('before', '1');
    at.fs.failOnce(1, 'EIO', 'sync');
    const { client } = db.shard(0);
    const ids = Array.from({ length: 5 }, (_, i) =>
      client.write([{ type: 'put', key: `key-${i}`, value: 'x' }]),
    );
    for (const id of ids) {
      await expect(client.wait(id)).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    }
    const { syncs } = at.fs;
    await expect(client.put('after', '1')).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    expect(at.fs.syncs).toBe(syncs);
    expect(await client.get('before')).toBe('1');
    for (let i = 0; i < 5; i++) expect(await client.get(`key-${i}`)).toBeUndefined();
    await db.shard(1).client.put('other', '1');
    await db.close();
    at.fs.crash('synced');
    const again = await LocalDatabase.open(at);
    expect(await again.shard(0).client.get('before')).toBe('1');
    expect(await again.shard(1).client.get('other')).toBe('1');
    await again.close();
  });
});
