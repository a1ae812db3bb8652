import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flushMemtable } from '../../src/compaction/flush-memtable.js';
import type { Retention } from '../../src/compaction/retention.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import * as layout from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createShardMemory } from '../../src/kernel/shard-memory.js';
import type { TableTarget } from '../../src/sstable/table-writer.js';
import {
  compareEntries,
  decodeTable,
  type Entry,
  kernelModule,
  put,
  putBlob,
  remove,
  show,
  tablePath,
  target,
} from '../sstable/table-model.js';
import { retained } from './retention-model.js';

const ARENA_BYTES = 16 * 1024 * 1024;
const kernel = new Kernel(
  kernelModule,
  createShardMemory({
    shard: 0,
    cacheBytes: 1024 * 1024,
    arenaBytes: ARENA_BYTES,
    arenaCount: 1,
    requestRingBytes: 4096,
    responseRingBytes: 4096,
    metaBytes: 1024 * 1024,
  }),
);
const memtable = kernel.u32[layout.H_ARENA_BASE >>> 2] as number;
const staging = kernel.u32[layout.H_STAGING_BASE >>> 2] as number;

interface MemtableExports {
  memtableInit(arena: number, bytes: number): void;
  memtablePut(
    arena: number,
    key: number,
    keyBytes: number,
    type: number,
    value: number,
    valueBytes: number,
    sequence: bigint,
  ): number;
}

function fill(entries: readonly Entry[]): void {
  const exports = kernel.exports as unknown as MemtableExports;
  exports.memtableInit(memtable, ARENA_BYTES);
  for (const { key, type, sequence, value } of entries) {
    kernel.bytes.set(key, staging);
    const at = staging + key.length;
    kernel.bytes.set(value, at);
    const status = exports.memtablePut(
      memtable,
      staging,
      key.length,
      type,
      at,
      value.length,
      BigInt(sequence),
    );
    expect(status).toBe(0);
  }
}

function flush(retention: Retention, changes: Partial<TableTarget> = {}) {
  const fs = new MemoryFileSystem();
  fs.mkdir('/db');
  const result = flushMemtable(fs, kernel, memtable, target(changes), retention);
  const entries = result.tables.flatMap(
    ({ id }) => decodeTable(fs.readFile(tablePath(id)), id).entries,
  );
  return { fs, ...result, entries };
}

const ALL: Retention = { horizon: 0, snapshots: [], bottom: false };

const writesArbitrary = fc
  .array(
    fc.record({
      key: fc.oneof(
        fc.nat(30).map((n) => Buffer.from(`user:${n}`)),
        fc.uint8Array({ maxLength: 2 }).map((bytes) => Buffer.from(bytes)),
      ),
      type: fc.constantFrom(1, 1, 2, 3),
      long: fc.nat(60),
    }),
    { maxLength: 300, size: 'max' },
  )
  .map((writes) =>
    writes.map(({ key, type, long }, i) => {
      if (type === 2) return remove(key, i + 1);
      if (type === 3) return putBlob(key, i + 1, i);
      return put(key, i + 1, `${i} `.repeat(long));
    }),
  );

describe('flushMemtable', () => {
  it('writes what the snapshots, the horizon and the runs below need', () => {
    fc.assert(
      fc.property(
        writesArbitrary,
        fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 3 }),
        fc.nat(310),
        fc.boolean(),
        fc.constantFrom(500, 1 << 30),
        (writes, points, horizon, bottom, tableBytesMax) => {
          fill(writes);
          const snapshots = [...new Set(points)].sort((left, right) => left - right);
          const retention = { horizon, snapshots, bottom };
          const { entries, entriesIn, entriesOut } = flush(retention, { tableBytesMax });
          expect(entries.map(show)).toEqual(retained([writes], retention).map(show));
          expect([entriesIn, entriesOut]).toEqual([writes.length, entries.length]);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('writes nothing for an empty memtable', () => {
    fill([]);
    const { tables, fs, bytesWritten } = flush(ALL);
    expect(tables).toEqual([]);
    expect(fs.readdir('/db')).toEqual([]);
    expect(bytesWritten).toBe(0);
  });

  it('writes a full arena in several large pieces', () => {
    const writes = Array.from({ length: 12_000 }, (_, i) =>
      put(`key ${(i * 7919) % 12_000}`, i + 1, Buffer.alloc(750, `${i}`)),
    );
    fill(writes);
    const { entries, tables } = flush(ALL, { compression: false, tableBytesMax: 3_000_000 });
    expect(tables.length).toBe(4);
    expect(entries.map(show)).toEqual([...writes].sort(compareEntries).map(show));
  });

  it('keeps megabytes of versions of one key', () => {
    const writes = Array.from({ length: 15 }, (_, i) =>
      put('hot', i + 1, Buffer.alloc(500_000, `${i}`)),
    );
    fill(writes);
    expect(flush(ALL).entries.map(show)).toEqual([...writes].reverse().map(show));
    expect(flush({ ...ALL, horizon: 15 }).entries.map(show)).toEqual([show(writes[14])]);
  });
});
