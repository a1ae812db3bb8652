/** Ranges that were read stay as they were: no room is overbooked under serializable isolation. */

import { LightningDb } from 'lightning-db';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { bookRooms } from './phantom-workload.js';

const ROOMS = 60;
const ATTEMPTS = 120;

describe('range reads', () => {
  it.each([1, 4])(
    'of serializable transactions have no phantoms, over %i shards',
    async (shards) => {
      const directory = temporaryDirectory();
      const db = await LightningDb.open(directory.path, { shards, cacheSize: shards * (8 << 20) });
      const { overbooked, guests, conflicts } = await bookRooms(
        db,
        'serializable',
        ROOMS,
        ATTEMPTS,
      );
      expect(overbooked).toEqual([]);
      expect(guests).toBeGreaterThan(ROOMS);
      expect(conflicts).toBeGreaterThan(0);
      await db.close();
      directory.remove();
    },
  );
});
