/**
 * Ranges that were read stay as they were: no room is overbooked under serializable isolation, and
 * snapshot isolation, which validates no ranges, lets it happen.
 */

import { LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { bookRooms } from './phantom-workload.js';

const SHARDS = 4;
const ROOMS = 40;
const ATTEMPTS = 80;

const placements = [
  { placement: 'one shard', onlyShard: 2 },
  { placement: 'several shards', onlyShard: undefined },
];

describe.each(placements)('range reads, keys on $placement', ({ onlyShard }) => {
  it('of serializable transactions have no phantoms', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, {
      shards: SHARDS,
      cacheSize: SHARDS * (8 << 20),
    });
    const { overbooked, guests, conflicts } = await bookRooms(db, {
      isolation: 'serializable',
      rooms: ROOMS,
      attempts: ATTEMPTS,
      shards: SHARDS,
      onlyShard,
    });
    expect(overbooked).toEqual([]);
    expect(guests).toBeGreaterThan(ROOMS);
    expect(conflicts).toBeGreaterThan(0);
    await db.close();
    directory.remove();
  }, 120_000);

  it('of snapshot transactions have', async () => {
    const directory = temporaryDirectory();
    const db = await LightningDb.open(directory.path, {
      shards: SHARDS,
      cacheSize: SHARDS * (8 << 20),
    });
    const overbooked: string[] = [];
    for (let round = 0; round < 20 && overbooked.length === 0; round++) {
      const bookings = await bookRooms(db, {
        isolation: 'snapshot',
        rooms: ROOMS,
        attempts: ATTEMPTS / 2,
        shards: SHARDS,
        onlyShard,
      });
      overbooked.push(...bookings.overbooked);
      const rooms = db.batch();
      for await (const key of db.scan({ prefix: 'room:', values: false })) rooms.delete(key);
      await rooms.write();
    }
    expect(overbooked).not.toEqual([]);
    await db.close();
    directory.remove();
  }, 120_000);
});
