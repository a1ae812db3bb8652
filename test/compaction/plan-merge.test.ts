import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PlanOptions, planMerge, tableIdsFor } from '../../src/compaction/plan-merge.js';
import type { TableInfo } from '../../src/sstable/table-info.js';

const MIB = 1024 * 1024;

function table(
  id: number,
  first: number,
  last: number,
  changes: Partial<TableInfo> = {},
): TableInfo {
  return {
    id,
    bytes: 8 * MIB,
    entries: 1000,
    tombstones: 0,
    keys: 1000,
    smallest: Buffer.from([first]),
    largest: Buffer.from([last]),
    sequenceMin: 1,
    sequenceMax: 10,
    rawBytes: 16 * MIB,
    blobs: [],
    createdAtMs: 0,
    ...changes,
  };
}

const OPTIONS: PlanOptions = {
  bottom: false,
  isCollectable: () => true,
  tableBytesMax: 16 * MIB,
  parallelism: 1,
};
const ids = (tables: readonly TableInfo[]): number[] => tables.map(({ id }) => id);
const jobsOf = (runs: readonly (readonly TableInfo[])[], changes: Partial<PlanOptions> = {}) => {
  const { kept, parts } = planMerge(runs, { ...OPTIONS, ...changes });
  const jobs = parts.flatMap((part) => part.jobs);
  return { kept: ids(kept), jobs: jobs.map((job) => job.runs.map(ids)) };
};

describe('planMerge', () => {
  it('rewrites only tables that overlap', () => {
    const newer = [table(1, 0, 9), table(2, 20, 29), table(3, 40, 49)];
    const older = [table(4, 5, 12), table(5, 30, 39), table(6, 49, 60)];
    expect(jobsOf([newer, older])).toEqual({
      kept: [2, 5],
      jobs: [
        [[1], [4]],
        [[3], [6]],
      ],
    });
  });

  it('joins tables that overlap through others', () => {
    const runs = [
      [table(1, 0, 50)],
      [table(2, 0, 10), table(3, 20, 30), table(4, 45, 70)],
      [table(5, 70, 80)],
    ];
    expect(jobsOf(runs)).toEqual({ kept: [], jobs: [[[1], [2, 3, 4], [5]]] });
  });

  it('rewrites a lone table with tombstones only where they can go', () => {
    const tombstones = { tombstones: 5 };
    const runs = [[table(1, 0, 1, tombstones)], [table(2, 5, 6, tombstones)]];
    expect(jobsOf(runs).kept).toEqual([1, 2]);
    expect(jobsOf(runs, { bottom: true })).toEqual({ kept: [], jobs: [[[1]], [[2]]] });
    expect(jobsOf(runs, { bottom: true, isCollectable: () => false }).kept).toEqual([1, 2]);
  });

  it('puts four small neighbours together, but not three', () => {
    const small = (count: number) =>
      Array.from({ length: count }, (_, i) => table(i, i, i, { bytes: MIB }));
    expect(jobsOf([small(3), [table(9, 100, 101)]]).kept).toEqual([0, 1, 2, 9]);
    expect(jobsOf([small(4), [table(9, 100, 101)]])).toEqual({ kept: [9], jobs: [[[0, 1, 2, 3]]] });
  });

  it('cuts a large cluster at table boundaries into jobs that cover it once', () => {
    const bottom = Array.from({ length: 40 }, (_, i) => table(100 + i, i * 5, i * 5 + 4));
    const upper = Array.from({ length: 10 }, (_, i) => table(i, i * 20 + 1, i * 20 + 20));
    const { parts } = planMerge([upper, bottom], { ...OPTIONS, jobBytesMax: 100 * MIB });
    expect(parts.length).toBe(1);
    const { jobs, replaced } = parts[0] as (typeof parts)[number];
    expect(jobs.length).toBeGreaterThan(3);
    expect(replaced.length).toBe(50);
    for (const job of jobs) expect(job.bytes).toBeLessThan(130 * MIB);
    expect(jobs[0]?.start).toBeUndefined();
    expect(jobs[jobs.length - 1]?.end).toBeUndefined();
    for (let i = 1; i < jobs.length; i++) expect(jobs[i]?.start).toEqual(jobs[i - 1]?.end);
    const parallel = planMerge([upper, bottom], { ...OPTIONS, parallelism: 4 });
    expect(parallel.parts[0]?.jobs.length).toBeGreaterThanOrEqual(4);
  });

  it('divides a merge without inner table boundaries at its cuts', () => {
    const runs = [[table(1, 0, 250)], [table(2, 0, 250)]];
    const cuts = Array.from({ length: 9 }, (_, i) => Buffer.from([(i + 1) * 20]));
    const { parts } = planMerge(runs, { ...OPTIONS, cuts, jobBytesMax: 5 * MIB });
    const jobs = parts.flatMap((part) => part.jobs);
    expect(jobs.map(({ start }) => start?.[0])).toEqual([undefined, 60, 100, 140]);
    expect(jobs.map((job) => job.cuts.map((cut) => cut[0]))).toEqual([
      [20, 40],
      [80],
      [120],
      [160, 180],
    ]);
  });

  it('plans for the named tables and what overlaps them alone', () => {
    const runs = [
      [table(1, 0, 9), table(2, 20, 29)],
      [table(3, 5, 6), table(4, 40, 50)],
    ];
    expect(jobsOf(runs, { only: new Set([3]) })).toEqual({ kept: [], jobs: [[[1], [3]]] });
    expect(jobsOf(runs, { only: new Set([4]) })).toEqual({ kept: [], jobs: [[[4]]] });
  });

  it('looks for old versions in tables that it would only move when it is thorough', () => {
    const runs = [[table(1, 0, 9, { keys: 900 }), table(2, 20, 29)]];
    expect(jobsOf(runs)).toEqual({ kept: [1, 2], jobs: [] });
    expect(jobsOf(runs, { thorough: true })).toEqual({ kept: [2], jobs: [[[1]]] });
  });

  it('accounts for every table and every key of it, whatever the runs', () => {
    const runArbitrary = fc
      .array(fc.tuple(fc.nat(4), fc.nat(6), fc.nat(16)), { maxLength: 12 })
      .map((shapes) => {
        let next = 0;
        return shapes.map(([gap, width, mib]) => {
          const first = next + gap;
          next = first + width + 1;
          return table(0, first, first + width, { bytes: (mib + 1) * MIB });
        });
      });
    fc.assert(
      fc.property(fc.array(runArbitrary, { maxLength: 5 }), fc.nat(60), (shapes, jobMib) => {
        let id = 0;
        const runs = shapes.map((run) => run.map((info) => ({ ...info, id: id++ })));
        const { kept: keptTables, parts } = planMerge(runs, {
          ...OPTIONS,
          jobBytesMax: (jobMib + 1) * MIB,
        });
        const plan = {
          kept: keptTables,
          replaced: parts.flatMap((part) => part.replaced),
          jobs: parts.flatMap((part) => part.jobs),
        };
        expect(ids([...plan.kept, ...plan.replaced]).sort()).toEqual(ids(runs.flat()).sort());
        const covers = (job: (typeof plan.jobs)[number], key: number): boolean =>
          (job.start === undefined || Buffer.compare(Buffer.from([key]), job.start) >= 0) &&
          (job.end === undefined || Buffer.compare(Buffer.from([key]), job.end) < 0);
        for (const { id: wanted, smallest, largest } of plan.replaced) {
          for (let key = smallest[0] as number; key <= (largest[0] as number); key++) {
            const readers = plan.jobs.filter(
              (job) => covers(job, key) && ids(job.runs.flat()).includes(wanted),
            );
            expect(readers.length).toBe(1);
          }
        }
        // What stays is apart from what is rewritten.
        for (const kept of plan.kept) {
          for (const other of plan.replaced) {
            const apart =
              Buffer.compare(kept.largest, other.smallest) < 0 ||
              Buffer.compare(other.largest, kept.smallest) < 0;
            expect(apart).toBe(true);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('tableIdsFor', () => {
  it('grows with what can end a table', () => {
    expect(tableIdsFor({ rawBytes: 0, entries: 0, blobs: 0 }, 16 * MIB)).toBe(4);
    expect(tableIdsFor({ rawBytes: 64 * MIB, entries: 0, blobs: 0 }, 64 * 1024)).toBe(1284);
  });
});
