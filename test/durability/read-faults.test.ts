/**
 * An open that cannot read everything: it is refused, or serves what it can; it takes nothing for the
 * end of a log, and when everything can be read again, everything is there.
 */

import { describe, expect, it } from 'vitest';
import { IoError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { put, testConfig } from '../shard/harness.js';
import { createPlace, LocalDatabase } from './local-database.js';
import type { Mode } from './points.js';

const SHARDS = 2;
const KEYS = 12;

/** With zeros behind the log, and without. */
const MODES: readonly Mode[] = ['sync', 'async'];

function at(fs: MemoryFileSystem, walSync: Mode) {
  const config = testConfig({
    shards: SHARDS,
    walSync,
    arenaBytes: 96 * 1024,
    memtableBytes: 192 * 1024,
    tableBytesMax: 64 * 1024,
  });
  return { fs, config };
}

/** A database that was killed: it has tables, a log, a blob, and a commit that was never decided. */
async function leave(walSync: Mode): Promise<MemoryFileSystem> {
  const fs = new MemoryFileSystem(5);
  createPlace(fs, SHARDS);
  const db = await LocalDatabase.open(at(fs, walSync));
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < KEYS; i++) {
      await db.shard(i % SHARDS).client.put(`key-${i}`, `${round}:${'v'.repeat(500)}`);
    }
    if (round < 2) await db.flush();
  }
  await db.shard(0).client.putBlob('key-0', Buffer.alloc(130_000, 'b'));
  const parts = [0, 1].map((shard) => ({ shard, operations: [put('together', '1')] }));
  for (const { shard, id } of db.commitTogether(parts).requests) await db.wait(shard, id, 10_000);
  db.commitTogether(parts.map(({ shard }) => ({ shard, operations: [put('undecided', '1')] })));
  for (const { shard } of db.shards) shard.turn();
  await db.abandon();
  fs.crash('all');
  return fs;
}

async function contentsOf(db: LocalDatabase): Promise<string[]> {
  const found: string[] = [];
  const keys = Array.from({ length: KEYS }, (_, i) => `key-${i}`);
  for (const { client } of db.shards) {
    for (const key of [...keys, 'together', 'undecided']) {
      found.push(`${key} ${await client.get(key)}`);
    }
  }
  return found;
}

async function readBack(fs: MemoryFileSystem, walSync: Mode): Promise<string[]> {
  const db = await LocalDatabase.open(at(fs, walSync));
  const found = await contentsOf(db);
  await db.abandon();
  fs.crash('all');
  return found;
}

describe.each(MODES)('an open in mode %s', (walSync) => {
  it.each([
    ['once', 1],
    ['for good', 3],
  ])(
    'that cannot read, %s, loses nothing',
    async (times, step) => {
      const expected = await readBack(await leave(walSync), walSync);
      expect(expected.some((line) => line.startsWith('together 1'))).toBe(true);
      let refused = 0;
      for (let k = 1; ; k += step) {
        const fs = await leave(walSync);
        const before = fs.faultsHit;
        if (times === 'once') fs.failReadOnce(k, 'EIO');
        else fs.failReadsFrom(k, 'EIO');
        let isOpened = false;
        try {
          const db = await LocalDatabase.open(at(fs, walSync));
          isOpened = true;
          await db.abandon();
        } catch (error) {
          expect(error, `read ${k}`).toBeInstanceOf(IoError);
          refused++;
        }
        const isHit = fs.faultsHit > before;
        fs.crash('all');
        expect(await readBack(fs, walSync), `read ${k}`).toEqual(expected);
        if (isOpened && !isHit) break;
      }
      expect(refused).toBeGreaterThan(20 / step);
    },
    120_000,
  );

  it('that reads in pieces finds everything', async () => {
    const expected = await readBack(await leave(walSync), walSync);
    const fs = await leave(walSync);
    const before = fs.faultsHit;
    fs.failReadsFrom(1, 'SHORT');
    const db = await LocalDatabase.open(at(fs, walSync));
    expect(await contentsOf(db)).toEqual(expected);
    expect(fs.faultsHit).toBeGreaterThan(before + 100);
    await db.abandon();
  });
});
