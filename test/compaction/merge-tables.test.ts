import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MergeInput, mergeTables } from '../../src/compaction/merge-tables.js';
import type { Retention } from '../../src/compaction/retention.js';
import { verifyTable } from '../../src/compaction/verify-table.js';
import { CorruptionError } from '../../src/errors.js';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import type { TableInfo, TableRef } from '../../src/sstable/table-info.js';
import type { TableTarget } from '../../src/sstable/table-writer.js';
import {
  compareEntries,
  decodeTable,
  type Entry,
  jobKernel,
  put,
  putBlob,
  remove,
  show,
  tablePath,
  target,
  writeTables,
} from '../sstable/table-model.js';
import { retained, seen } from './retention-model.js';

const kernel = jobKernel(128 * 1024 * 1024);
const ALL: Retention = { horizon: 0, snapshots: [], bottom: false };
const NEWEST: Retention = { horizon: 2 ** 50, snapshots: [], bottom: false };

/** Runs of tables on a file system of their own. */
class Runs {
  readonly fs = new MemoryFileSystem();
  readonly refs: TableRef[][] = [];
  nextId = 1;

  constructor(runs: readonly (readonly Entry[])[], changes: Partial<TableTarget> = {}) {
    this.fs.mkdir('/db');
    for (const entries of runs) {
      const sorted = [...entries].sort(compareEntries);
      const infos = writeTables(this.fs, kernel, sorted, { ...changes, firstTableId: this.nextId });
      this.refs.push(this.#refs(infos));
    }
  }

  merge(
    retention: Retention,
    range: Omit<MergeInput, 'runs'> = {},
    changes: Partial<TableTarget> = {},
  ) {
    const result = mergeTables(
      this.fs,
      kernel,
      { runs: this.refs, ...range },
      target({ ...changes, firstTableId: this.nextId }),
      retention,
    );
    const refs = this.#refs(result.tables);
    for (const ref of refs) expect(verifyTable(this.fs, kernel, ref).problems).toEqual([]);
    const entries = refs.flatMap(({ path, id }) => decodeTable(this.fs.readFile(path), id).entries);
    return { ...result, entries };
  }

  #refs(infos: readonly TableInfo[]): TableRef[] {
    this.nextId += infos.length;
    return infos.map(({ id }) => ({ id, path: tablePath(id) }));
  }
}

const keyArbitrary = fc.oneof(
  fc.nat(12).map((n) => Buffer.from(`user:profile:${100 + n}`)),
  fc.string({ maxLength: 3, unit: fc.constantFrom('a', 'b', '\0') }).map((s) => Buffer.from(s)),
);

/** Versions whose sequence numbers fall from run to run, as they do in a shard. */
const runsArbitrary = fc
  .array(
    fc.array(
      fc.record({
        key: keyArbitrary,
        type: fc.constantFrom(1, 1, 2, 3),
        gap: fc.nat(3),
        long: fc.nat(40),
      }),
      { minLength: 1, maxLength: 40 },
    ),
    { minLength: 1, maxLength: 6 },
  )
  .map((shapes) => {
    let sequence = 0;
    let blob = 0;
    const oldestFirst = shapes.map((entries) => {
      sequence += 5;
      return entries.map(({ key, type, gap, long }) => {
        sequence += gap;
        if (type === 2) return remove(key, sequence);
        if (type === 3) return putBlob(key, sequence, ++blob);
        return put(key, sequence, `${sequence} `.repeat(long));
      });
    });
    const unique = oldestFirst.map((entries) =>
      entries.filter(
        (entry, i) => !entries.slice(0, i).some((other) => compareEntries(other, entry) === 0),
      ),
    );
    return { runs: unique.reverse(), sequenceMax: sequence };
  });

describe('mergeTables', () => {
  it('keeps exactly what the snapshots, the horizon and the runs below need', () => {
    fc.assert(
      fc.property(
        runsArbitrary,
        fc.array(fc.nat(100), { maxLength: 4 }),
        fc.nat(120),
        fc.boolean(),
        ({ runs, sequenceMax }, points, horizonPoint, bottom) => {
          const scale = (point: number): number => Math.floor((point * sequenceMax) / 100);
          const snapshots = [...new Set(points.map(scale))].sort((left, right) => left - right);
          const retention = { horizon: scale(horizonPoint), snapshots, bottom };
          const { entries, tables, ...result } = new Runs(runs).merge(
            retention,
            {},
            { tableBytesMax: 2000 },
          );
          expect(entries.map(show)).toEqual(retained(runs, retention).map(show));
          const input = runs.flat();
          expect(result.entriesIn).toBe(input.length);
          expect(result.entriesOut).toBe(entries.length);
          for (const at of [...snapshots, retention.horizon, sequenceMax]) {
            for (const { key } of input) {
              if (at < retention.horizon && !snapshots.includes(at)) continue;
              expect(seen(entries, key, at)).toEqual(seen(input, key, at));
            }
          }
          const blobsOf = (list: readonly Entry[]): number[] =>
            list.filter(({ type }) => type === 3).map(({ value }) => value.readDoubleLE(0));
          const kept = new Set(blobsOf(entries));
          const dropped = blobsOf(input).filter((blob) => !kept.has(blob));
          expect([...result.droppedBlobs].sort()).toEqual(dropped.sort());
          expect(tables.flatMap(({ blobs }) => blobs)).toEqual(blobsOf(entries));
        },
      ),
      { numRuns: 120 },
    );
  });

  it('merges parts of the key range that together are the whole', () => {
    fc.assert(
      fc.property(runsArbitrary, keyArbitrary, ({ runs }, bound) => {
        const shard = new Runs(runs, { blockBytes: 256, tableBytesMax: 600 });
        const below = shard.merge(NEWEST, { end: bound });
        const above = shard.merge(NEWEST, { start: bound });
        expect([...below.entries, ...above.entries].map(show)).toEqual(
          retained(runs, NEWEST).map(show),
        );
        for (const { key } of below.entries) expect(Buffer.compare(key, bound)).toBeLessThan(0);
        for (const { key } of above.entries)
          expect(Buffer.compare(key, bound)).toBeGreaterThanOrEqual(0);
        const nothing = shard.merge(NEWEST, { start: bound, end: bound });
        expect(nothing.tables).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it('takes bounds that lie apart from all keys', () => {
    const shard = new Runs([[put('key 1', 1, ''), put('key 2', 1, '')]]);
    const count = (start: string, end: string): number =>
      shard.merge(ALL, { start: Buffer.from(start), end: Buffer.from(end) }).entries.length;
    expect(count('a', 'b')).toBe(0);
    expect(count('', 'key')).toBe(0);
    expect(count('', 'key ')).toBe(0);
    expect(count('', 'key 2')).toBe(1);
    expect(count('', 'l')).toBe(2);
    expect(count('k', 'key 9')).toBe(2);
    expect(count('key 2', 'z')).toBe(1);
    expect(count('m', 'z')).toBe(0);
  });

  it('merges many runs of many tables and reads each byte once', () => {
    const random = seededRandom(5);
    const runs = Array.from({ length: 20 }, (_, run) =>
      Array.from({ length: 400 }, (_, i) =>
        put(`key ${Math.floor(random() * 1e9)}`, (20 - run) * 1000 + i, Buffer.alloc(200, i)),
      ),
    );
    const shard = new Runs(runs, { tableBytesMax: 10_000 });
    const bytes = shard.refs.flat().reduce((total, { path }) => total + shard.fs.fileSize(path), 0);
    const { entries, bytesRead, bytesWritten } = shard.merge(ALL);
    expect(entries.map(show)).toEqual(retained(runs, ALL).map(show));
    expect(bytesRead).toBeLessThan(bytes);
    expect(bytesRead).toBeGreaterThan(bytes * 0.7);
    expect(bytesWritten).toBeLessThan(bytes);
  });

  it('takes long keys, long values and one-byte blocks', () => {
    const key = (n: number): Buffer =>
      Buffer.concat([Buffer.alloc(65_533, 'k'), Buffer.from(`${100 + n}`)]);
    const runs = [
      [put(key(2), 30, Buffer.alloc(500_000, 'new')), put('', 31, 'empty')],
      [put(key(1), 20, 'x'), put(key(2), 21, Buffer.alloc(500_000, 'old')), remove('', 22)],
    ];
    for (const compression of [true, false]) {
      const shard = new Runs(runs, { compression, blockBytes: 1 });
      const result = shard.merge(ALL, {}, { compression, blockBytes: 1 });
      expect(result.entries.map(show)).toEqual(retained(runs, ALL).map(show));
      const newest = shard.merge({ ...NEWEST, bottom: true });
      expect(newest.entries.map(({ sequence }) => sequence)).toEqual([31, 20, 30]);
    }
  });

  it('keeps the blob of a write that is in two runs', () => {
    const again = new Runs([
      [putBlob('a', 9, 4), putBlob('b', 8, 5), putBlob('c', 7, 6)],
      [putBlob('a', 9, 4), putBlob('b', 0, 5), putBlob('c', 3, 2)],
    ]);
    const { entries, droppedBlobs } = again.merge({ ...NEWEST, bottom: true });
    expect(entries.length).toBe(3);
    expect(droppedBlobs).toEqual([2]);
  });

  it('hands over more dropped blobs than its list holds', () => {
    const shard = new Runs([
      Array.from({ length: 9000 }, (_, i) => put(`${10_000 + i}`, 2, '')),
      Array.from({ length: 9000 }, (_, i) => putBlob(`${10_000 + i}`, 1, i + 1)),
    ]);
    expect(shard.merge(NEWEST).droppedBlobs).toEqual(Array.from({ length: 9000 }, (_, i) => i + 1));
  });

  it('gives no tables when nothing is kept', () => {
    const shard = new Runs([[remove('a', 2)], [put('a', 1, 'x')]]);
    const { tables, entriesIn, entriesOut } = shard.merge({ ...NEWEST, bottom: true });
    expect({ tables, entriesIn, entriesOut }).toEqual({ tables: [], entriesIn: 2, entriesOut: 0 });
    expect(shard.fs.readdir('/db').length).toBe(2);
    expect(new Runs([]).merge(NEWEST).tables).toEqual([]);
  });

  it('reports a damaged block with its place and leaves nothing behind', () => {
    const entries = Array.from({ length: 200 }, (_, i) =>
      put(`key ${100 + i}`, i + 1, 'v'.repeat(50)),
    );
    const shard = new Runs([entries, entries.map(({ key }) => put(key, 0, 'old'))]);
    const path = tablePath(1);
    const names = shard.fs.readdir('/db');
    const file = shard.fs.open(path, 'r+');
    const bytes = shard.fs.readFile(path);
    file.write(Buffer.from([(bytes[700] as number) ^ 4]), 700);
    let error: unknown;
    try {
      shard.merge(ALL, {}, { tableBytesMax: 300 });
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(CorruptionError);
    const { file: named, offset } = (error as CorruptionError).details;
    expect(named).toBe(path);
    expect(offset).toBeLessThanOrEqual(700);
    expect(offset).toBeGreaterThan(300);
    expect(shard.fs.readdir('/db')).toEqual(names);
  });

  it('reports a run whose tables are out of order', () => {
    const shard = new Runs([[put('a', 1, '')], [put('b', 1, '')]]);
    shard.refs.splice(0, 2, [shard.refs[1] as TableRef[], shard.refs[0] as TableRef[]].flat());
    expect(() => shard.merge(ALL)).toThrow('out of order');
  });

  it('leaves nothing behind when a write fails', () => {
    const entries = Array.from({ length: 300 }, (_, i) =>
      put(`key ${100 + i}`, i + 1, 'v'.repeat(50)),
    );
    const shard = new Runs([entries]);
    const names = shard.fs.readdir('/db');
    for (let call = 1; call < 30; call++) {
      shard.fs.failAt(call, 'EIO');
      expect(() => shard.merge(ALL, {}, { tableBytesMax: 300 })).toThrow('EIO');
      expect(shard.fs.readdir('/db')).toEqual(names);
    }
  });
});
