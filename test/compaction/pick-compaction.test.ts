import { describe, expect, it } from 'vitest';
import { type PickRun, pickCompaction } from '../../src/compaction/pick-compaction.js';
import { seededRandom } from '../../src/file-system/memory.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import { SimulatedShard } from './simulated-shard.js';

const MIB = 1024 * 1024;
const FLOOR = 1000;

function table(smallest: string, largest: string, changes: Partial<TableInfo> = {}): TableInfo {
  return {
    id: 1,
    bytes: 8 * MIB,
    entries: 1000,
    tombstones: 0,
    smallest: Buffer.from(smallest),
    largest: Buffer.from(largest),
    sequenceMin: 1,
    sequenceMax: 10,
    rawBytes: 16 * MIB,
    blobs: [],
    createdAtMs: 0,
    ...changes,
  };
}

const run = (bytes: number): PickRun => ({ tables: [table('a', 'z', { bytes })] });
const pick = (...runs: PickRun[]) => pickCompaction({ runs, floor: FLOOR });

describe('pickCompaction', () => {
  it('picks nothing without upper runs', () => {
    expect(pick({ tables: [] })).toBeUndefined();
    expect(pick(run(100 * MIB))).toBeUndefined();
  });

  it('moves a run that shares no keys with the bottom run', () => {
    const upper = { tables: [table('m', 'n')] };
    expect(pick(upper, { tables: [] })).toEqual({ from: 0, to: 2, reason: 'move' });
    const bottom = { tables: [table('a', 'l'), table('o', 'z')] };
    expect(pick(run(MIB), upper, bottom)).toEqual({ from: 1, to: 3, reason: 'move' });
  });

  it('merges similar upper runs once there are enough', () => {
    const bottom = run(10_000 * MIB);
    expect(pick(run(8 * MIB), run(9 * MIB), run(7 * MIB), bottom)).toBeUndefined();
    expect(pick(run(8 * MIB), run(9 * MIB), run(7 * MIB), run(8 * MIB), bottom)).toEqual({
      from: 0,
      to: 4,
      reason: 'similar',
    });
    expect(
      pick(run(MIB), run(8 * MIB), run(9 * MIB), run(7 * MIB), run(8 * MIB), run(99 * MIB), bottom),
    ).toEqual({ from: 1, to: 5, reason: 'similar' });
  });

  it('merges everything into the bottom run when the upper runs outgrow their share', () => {
    expect(pick(run(70 * MIB), run(400 * MIB))).toBeUndefined();
    expect(pick(run(10 * MIB), run(95 * MIB), run(400 * MIB))).toEqual({
      from: 0,
      to: 3,
      reason: 'bottom',
    });
  });

  it('counts tombstones as the entries that they keep from being dropped', () => {
    const bottom = { tables: [table('a', 'z', { bytes: 400 * MIB, entries: 10_000 })] };
    const upper = (tombstones: number): PickRun => ({
      tables: [table('a', 'z', { bytes: 65 * MIB, entries: 9000, tombstones })],
    });
    expect(pick(upper(100), bottom)).toBeUndefined();
    expect(pick(upper(2000), bottom)?.reason).toBe('bottom');
  });

  it('leaves runs alone that are part of a running merge, and those older', () => {
    const runs = [8, 9, 7, 8].map((mib) => run(mib * MIB));
    const busy = { ...run(50 * MIB), busy: true };
    expect(pick(...runs, busy, run(1000 * MIB))).toEqual({ from: 0, to: 4, reason: 'similar' });
    expect(pick(busy, run(200 * MIB), run(300 * MIB))).toBeUndefined();
    expect(pick(...runs.slice(1), { ...run(300 * MIB), busy: true })).toBeUndefined();
  });

  it('merges what is newer and what is older than a damaged run, but not past it', () => {
    const four = [8, 9, 7, 8].map((mib) => run(mib * MIB));
    const damaged = { ...run(8 * MIB), damaged: true };
    expect(pick(...four, damaged, run(1000 * MIB))).toEqual({ from: 0, to: 4, reason: 'similar' });
    expect(pick(damaged, ...four, run(90 * MIB))).toEqual({ from: 1, to: 6, reason: 'bottom' });
    expect(pick(...four.slice(2), damaged, ...four.slice(2), run(1000 * MIB))).toBeUndefined();
    expect(pick(damaged, { ...damaged, tables: [] })).toBeUndefined();
    const bottom = { tables: [table('a', 'b')], damaged: true };
    expect(pick({ tables: [table('m', 'n')] }, bottom)).toBeUndefined();
  });

  it('bounds the number of upper runs around damaged ones, too', () => {
    const runs = Array.from({ length: 12 }, (_, i) => {
      return { ...run(3 ** (i % 3) * MIB), damaged: i % 3 === 2 };
    });
    expect(pick(...runs, run(1e9))?.reason).toBe('count');
  });

  it('bounds the number of upper runs', () => {
    const runs = Array.from({ length: 11 }, (_, i) => run(3 ** i * 1000));
    expect(pick(...runs, run(1e9))).toEqual({ from: 0, to: 4, reason: 'count' });
  });

  it('cleans tombstones out of the bottom run when no reader needs them', () => {
    const dirty = (sequenceMax: number): PickRun => ({
      tables: [table('a', 'm'), table('n', 'z', { tombstones: 500, sequenceMax })],
    });
    expect(pick(dirty(FLOOR))).toEqual({ from: 0, to: 1, reason: 'tombstones' });
    expect(pick(dirty(FLOOR + 1))).toBeUndefined();
  });
});

describe('the policy over 200 flushes', () => {
  it('bounds runs, writes and space for uniformly random keys', () => {
    const shard = new SimulatedShard();
    const random = seededRandom(1);
    for (let i = 0; i < 200; i++) {
      shard.flush(Array.from({ length: 256 }, () => Math.floor(random() * 30_000)));
    }
    expect(shard.upperRunsMax).toBeLessThanOrEqual(10);
    expect(shard.writeAmplification).toBeLessThan(8);
    expect(shard.spaceAmplificationMax).toBeLessThan(1.6);
  });

  it('bounds them for keys that are mostly new', () => {
    const shard = new SimulatedShard();
    const random = seededRandom(2);
    for (let i = 0; i < 200; i++) {
      shard.flush(Array.from({ length: 256 }, () => Math.floor(random() * 2 ** 40)));
    }
    expect(shard.upperRunsMax).toBeLessThanOrEqual(10);
    expect(shard.writeAmplification).toBeLessThan(8);
    expect(shard.spaceAmplificationMax).toBeLessThan(1.01);
  });

  it('only moves sequential keys', () => {
    const shard = new SimulatedShard();
    for (let i = 0; i < 200; i++) {
      shard.flush(Array.from({ length: 256 }, (_, j) => i * 256 + j));
    }
    expect(shard.writeAmplification).toBe(1);
    expect(shard.runs.length).toBe(1);
    expect([...shard.picks.keys()]).toEqual(['move']);
  });

  it('puts small neighbours together', () => {
    const shard = new SimulatedShard();
    for (let i = 0; i < 200; i++) {
      shard.flush(Array.from({ length: 4 }, (_, j) => i * 4 + j));
    }
    expect(shard.runs[0]?.length).toBeLessThan(60);
    expect(shard.writeAmplification).toBeLessThan(5);
  });
});
