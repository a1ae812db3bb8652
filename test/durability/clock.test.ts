/** Clocks that jump, forward and back: order and intervals do not go by them, timestamps never run back. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ResolvedConfig } from '../../src/config.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { testConfig } from '../shard/harness.js';
import { createPlace, LocalDatabase } from './local-database.js';

const DAY_MS = 86_400_000;

function place(changes: Partial<ResolvedConfig> = {}) {
  const fs = new MemoryFileSystem(11);
  const config = testConfig({ shards: 2, walSync: 'async', ...changes });
  createPlace(fs, config.shards);
  return { fs, config };
}

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('a clock that jumps', () => {
  it('changes no order, forward or back', async () => {
    const at = place();
    let wallMs = 1_700_000_000_000;
    const clock = { nowMs: () => performance.now(), wallMs: () => wallMs };
    let db = await LocalDatabase.open({ ...at, clock });
    const timestamps: number[] = [];
    const jumps = [0, 1e9, -2e9, 5e9, -1e10, 1, -1];
    for (const [i, jump] of jumps.entries()) {
      wallMs += jump;
      const sequence = await db.shard(i % 2).client.put('key', `${i}`);
      expect(sequence).toBe(db.control.lastSequence());
      timestamps.push(db.control.lastTimestamp());
      expect(await db.shard(i % 2).client.get('key')).toBe(`${i}`);
      // No log tells the time after a flush; nobody has said goodbye after a death.
      if (i === 3) {
        await db.flush();
        await db.close();
      }
      if (i === 5) {
        await db.abandon();
        at.fs.crash('all');
      }
      if (i === 3 || i === 5) {
        db = await LocalDatabase.open({ ...at, clock });
        expect(await db.shard(i % 2).client.get('key')).toBe(`${i}`);
      }
    }
    expect(timestamps).toEqual([...new Set(timestamps)].sort((left, right) => left - right));
    await db.close();
  });

  it('back while a database is closed gives no timestamp again, also of a commit that was noted before', async () => {
    const at = place({ shards: 1 });
    let wallMs = 1_700_000_000_000;
    const clock = { nowMs: () => performance.now(), wallMs: () => wallMs };
    const db = await LocalDatabase.open({ ...at, clock });
    const { client } = db.shard(0);
    // Two threads took their numbers in one order, and their timestamps in the other.
    const next = vi.spyOn(db.control, 'nextTimestamp');
    const last = wallMs * 1000;
    for (const timestampUs of [last, last - 1]) {
      db.control.raiseTimestamp(timestampUs);
      next.mockReturnValueOnce(timestampUs);
      await client.put('key', `${timestampUs}`);
    }
    await db.flush();
    await db.close();
    wallMs -= DAY_MS;
    const again = await LocalDatabase.open({ ...at, clock });
    expect(again.control.lastTimestamp()).toBeGreaterThanOrEqual(last);
    await again.shard(0).client.put('key', 'after');
    expect(again.control.lastTimestamp()).toBeGreaterThan(last);
    await again.close();
  });

  it('holds up no durability mark', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const at = place({ walSync: 'periodic', walSyncIntervalMs: 5 });
    const db = await LocalDatabase.open(at);
    for (const jumpMs of [DAY_MS, -2 * DAY_MS, 3 * DAY_MS, -DAY_MS]) {
      vi.setSystemTime(Date.now() + jumpMs);
      await db.shard(0).client.put('key', `${jumpMs}`);
      const sequence = db.control.lastSequence();
      await expect.poll(() => db.durability.log.mark, { timeout: 8000 }).toBe(sequence);
    }
    await db.close();
  });
});
