import { describe, expect, it } from 'vitest';
import { type PickRun, pickCompaction } from '../../src/compaction/pick-compaction.js';
import { seededRandom } from '../../src/file-system/memory.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import { SimulatedShard } from './simulated-shard.js';

const MIB = 1024 * 1024;
const FLOOR = 1000;
const isCollectable = ({ sequenceMax }: TableInfo): boolean => sequenceMax <= FLOOR;

function table(smallest: string, largest: string, changes: Partial<TableInfo> = {}): TableInfo {
  return {
    id: 1,
    bytes: 8 * MIB,
    entries: 1000,
    tombstones: 0,
    keys: 1000,
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
const pick = (...runs: PickRun[]) => pickCompaction({ runs, isCollectable });
const runsOf = (count: number, mib: number): PickRun[] =>
  Array.from({ length: count }, () => run(mib * MIB));

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
    expect(pick(...runsOf(5, 8), bottom)).toBeUndefined();
    const six = [run(9 * MIB), ...runsOf(4, 8), run(7 * MIB)];
    expect(pick(...six, bottom)).toEqual({ from: 0, to: 6, reason: 'similar' });
    expect(pick(run(MIB), ...six, run(99 * MIB), bottom)).toEqual({
      from: 1,
      to: 7,
      reason: 'similar',
    });
  });

  it('lets more upper runs gather while the whole shard is small', () => {
    expect(pick(...runsOf(11, 7), run(7 * MIB))).toBeUndefined();
    expect(pick(...runsOf(12, 7), run(7 * MIB))?.reason).toBe('bottom');
    expect(pick(...runsOf(9, 11), run(7 * MIB))?.reason).toBe('bottom');
    expect(pick(...runsOf(6, 1), run(95 * MIB))).toBeUndefined();
    expect(pick(...runsOf(6, 1), run(96 * MIB))?.reason).toBe('similar');
    const deletes = { tables: [table('a', 'z', { bytes: MIB, entries: 300, tombstones: 300 })] };
    expect(pick(deletes, run(7 * MIB))?.reason).toBe('bottom');
  });

  it('merges everything into the bottom run when the upper runs outgrow their share', () => {
    expect(pick(run(70 * MIB), run(400 * MIB))).toBeUndefined();
    expect(pick(run(10 * MIB), run(75 * MIB), run(100 * MIB))).toEqual({
      from: 0,
      to: 3,
      reason: 'bottom',
    });
  });

  it('lets upper runs grow on while what they hold is new', () => {
    const runs = [run(10 * MIB), run(75 * MIB), run(100 * MIB)];
    expect(pickCompaction({ runs, replacing: 0.1, isCollectable })).toBeUndefined();
    expect(pickCompaction({ runs, replacing: 0.3, isCollectable })?.reason).toBe('bottom');
    const more = [run(10 * MIB), run(95 * MIB), run(100 * MIB)];
    expect(pickCompaction({ runs: more, replacing: 0, isCollectable })?.reason).toBe('bottom');
  });

  it('makes upper runs end where ranges do before it rewrites a large bottom run', () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz';
    const bottom = {
      tables: [...letters].map((x) => table(`${x}0`, `${x}9`, { bytes: 64 * MIB })),
    };
    const ranges = {
      tables: [...letters].map((x) => table(`${x}1`, `${x}8`, { bytes: 8 * MIB })),
    };
    const flushed = run(300 * MIB);
    expect(pick(flushed, run(200 * MIB), bottom)).toEqual({
      from: 0,
      to: 2,
      reason: 'align',
      only: new Set([1]),
    });
    expect(pick(flushed, ranges, run(90 * MIB), bottom)?.reason).toBe('align');
    expect(pick(run(90 * MIB), ranges, ranges, bottom)).toEqual({
      from: 1,
      to: 4,
      reason: 'bottom',
    });
  });

  it('counts tombstones as the entries that they keep from being dropped', () => {
    const bottom = {
      tables: [table('a', 'z', { bytes: 400 * MIB, entries: 10_000, keys: 10_000 })],
    };
    const upper = (tombstones: number): PickRun => ({
      tables: [table('a', 'z', { bytes: 65 * MIB, entries: 9000, keys: 9000, tombstones })],
    });
    expect(pick(upper(100), bottom)).toBeUndefined();
    expect(pick(upper(2000), bottom)?.reason).toBe('bottom');
    // A few bytes of them are reason enough.
    const deletes = { tables: [table('a', 'z', { bytes: MIB, entries: 5000, tombstones: 5000 })] };
    expect(pick(deletes, bottom)?.reason).toBe('bottom');
  });

  it('leaves runs alone that are part of a running merge, and those older', () => {
    const runs = runsOf(6, 8);
    const busy = { ...run(50 * MIB), busy: true };
    expect(pick(...runs, busy, run(1000 * MIB))).toEqual({ from: 0, to: 6, reason: 'similar' });
    expect(pick(busy, run(200 * MIB), run(300 * MIB))).toBeUndefined();
    expect(pick(...runs.slice(1), { ...run(300 * MIB), busy: true })).toBeUndefined();
  });

  it('merges what is newer and what is older than a damaged run, but not past it', () => {
    const six = runsOf(6, 8);
    const damaged = { ...run(8 * MIB), damaged: true };
    expect(pick(...six, damaged, run(1000 * MIB))).toEqual({ from: 0, to: 6, reason: 'similar' });
    expect(pick(damaged, ...six, run(100 * MIB))).toEqual({ from: 1, to: 8, reason: 'bottom' });
    expect(pick(...six.slice(2), damaged, ...six.slice(2), run(1000 * MIB))).toBeUndefined();
    expect(pick(damaged, { ...damaged, tables: [] })).toBeUndefined();
    const bottom = { tables: [table('a', 'b')], damaged: true };
    expect(pick({ tables: [table('m', 'n')] }, bottom)).toBeUndefined();
  });

  it('bounds the number of upper runs around damaged ones, too', () => {
    const runs = Array.from({ length: 15 }, (_, i) => {
      return { ...run(3 ** (i % 3) * MIB), damaged: i % 3 === 2 };
    });
    expect(pick(...runs, run(1e9))?.reason).toBe('count');
  });

  it('bounds the number of upper runs', () => {
    const runs = Array.from({ length: 15 }, (_, i) => run(3 ** i * 1000));
    expect(pick(...runs, run(1e12))).toEqual({ from: 0, to: 6, reason: 'count' });
  });

  it('cleans tombstones out of the bottom run when no reader needs them', () => {
    const dirty = (sequenceMax: number): PickRun => ({
      tables: [table('a', 'm'), table('n', 'z', { id: 7, tombstones: 500, sequenceMax })],
    });
    const only = new Set([7]);
    expect(pick(dirty(FLOOR))).toEqual({ from: 0, to: 1, reason: 'garbage', only });
    expect(pick(dirty(FLOOR + 1))).toBeUndefined();
  });

  it('cleans old versions out of any run when no reader needs them', () => {
    const dirty = { tables: [table('a', 'm'), table('n', 'z', { id: 7, keys: 800 })] };
    const only = new Set([7]);
    expect(pick(dirty)).toEqual({ from: 0, to: 1, reason: 'garbage', only });
    expect(pick(dirty, run(400 * MIB))).toEqual({ from: 0, to: 1, reason: 'garbage', only });
    expect(pick({ ...dirty, busy: true }, run(400 * MIB))).toBeUndefined();
    // The tombstones of an upper run are still needed.
    const deleted = { tables: [table('a', 'm', { tombstones: 100 })] };
    expect(pick(deleted, run(400 * MIB))).toBeUndefined();
  });

  it('rewrites ranges of which much is deleted, however small they are', () => {
    const bottom = {
      tables: Array.from({ length: 26 }, (_, i) =>
        table(`${String.fromCharCode(97 + i)}0`, `${String.fromCharCode(97 + i)}9`, {
          bytes: 16 * MIB,
        }),
      ),
    };
    const deletes = (tombstones: number): PickRun => ({
      tables: [
        table('a0', 'c9', { id: 5, entries: tombstones, tombstones }),
        table('x0', 'x9', { id: 6, tombstones: 10 }),
      ],
    });
    const pickOf = (tombstones: number) => pick(deletes(tombstones), bottom);
    expect(pickOf(1000)).toEqual({ from: 0, to: 2, reason: 'deleted', only: new Set([5]) });
    expect(pickOf(500)).toBeUndefined();
  });
});

describe('the policy over 200 flushes', () => {
  it('bounds runs, writes and space for uniformly random keys', () => {
    const shard = new SimulatedShard();
    const random = seededRandom(1);
    for (let i = 0; i < 200; i++) {
      shard.flush(Array.from({ length: 256 }, () => Math.floor(random() * 30_000)));
    }
    expect(shard.upperRunsMax).toBeLessThanOrEqual(14);
    expect(shard.writeAmplification).toBeLessThan(8);
    expect(shard.spaceAmplificationMax).toBeLessThan(1.6);
  });

  it('bounds them for keys that are mostly new', () => {
    const shard = new SimulatedShard();
    const random = seededRandom(2);
    for (let i = 0; i < 200; i++) {
      shard.flush(Array.from({ length: 256 }, () => Math.floor(random() * 2 ** 40)));
    }
    expect(shard.upperRunsMax).toBeLessThanOrEqual(14);
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
