/** A plain write meets a transaction that has prepared: it goes on, and the transaction is told why. */

import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { PREPARE_VALIDATE_WRITES } from '../../src/protocol/prepare.js';
import { createPlace, LocalDatabase } from '../durability/local-database.js';
import { put, TestClient, testConfig } from './harness.js';

describe('a prepared transaction that a plain write wounds', () => {
  it('is told the key, by the shard where it happened', async () => {
    const fs = new MemoryFileSystem(3);
    createPlace(fs, 2);
    const config = testConfig({ shards: 2, walSync: 'async' });
    const db = await LocalDatabase.open({ fs, config });
    const { shard, kernel, client } = db.shard(0);
    const { requests } = db.commitTogether(
      [
        { shard: 0, operations: [put('first', 'decided'), put('second', 'decided')] },
        { shard: 1, operations: [put('other', 'decided')] },
      ],
      0,
      { flags: PREPARE_VALIDATE_WRITES, snapshot: db.control.lastSequence() },
    );
    // The shards vote; nobody decides.
    for (let turn = 0; turn < 10; turn++) {
      client.poll(0);
      for (const one of db.shards) one.shard.turn();
    }
    const stranger = new TestClient(shard, kernel, 2);
    await stranger.put('third', 'plain');
    await stranger.put('second', 'plain');
    const [first, second] = requests.map(({ shard: at, id }) =>
      db.wait(at, id, 1000).catch((error: unknown) => error),
    );
    expect(await first).toMatchObject({
      code: 'LIGHTNING_CONFLICT',
      details: { reason: 'wounded', key: 'second' },
    });
    expect(await second).toMatchObject({
      code: 'LIGHTNING_CONFLICT',
      details: { reason: 'wounded' },
    });
    expect(await client.get('second')).toBe('plain');
    expect(await client.get('first')).toBeUndefined();
    await db.close();
  });
});
