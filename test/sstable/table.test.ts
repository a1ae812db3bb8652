/** Tables as a whole: what the builder writes, another decoder and the kernel's readers find. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CorruptionError, NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import type { TableTarget } from '../../src/sstable/table-writer.js';
import {
  compareEntries,
  decodeTable,
  type Entry,
  jobKernel,
  OP_DELETE,
  put,
  putBlob,
  remove,
  show,
  tablePath,
  writeTables,
} from './table-model.js';
import { TableView } from './table-view.js';

const kernel = jobKernel();
const viewKernel = jobKernel();

function build(entries: readonly Entry[], changes: Partial<TableTarget> = {}) {
  const fs = new MemoryFileSystem();
  const tables = writeTables(fs, kernel, entries, changes);
  const view = (info: TableInfo): TableView =>
    new TableView(fs, viewKernel, tablePath(info.id), info.id);
  return { fs, tables, view };
}

/** Keys that share long stretches, are prefixes of each other, or are empty. */
const keyArbitrary = fc.oneof(
  fc
    .string({ minLength: 0, maxLength: 3, unit: fc.constantFrom('a', 'b', '\0', '\xff') })
    .map((s) => Buffer.from(s, 'latin1')),
  fc.nat(300).map((n) => Buffer.from(`user:profile:${String(n).padStart(12, '0')}`)),
  fc.tuple(fc.nat(3), fc.nat(40)).map(([c, n]) => Buffer.alloc(n, 97 + c)),
  fc.nat(20).map((n) => Buffer.alloc(3000 + n, 'long')),
);

const entryArbitrary: fc.Arbitrary<Entry> = fc
  .record({
    key: keyArbitrary,
    sequence: fc.oneof(fc.nat(50), fc.maxSafeNat()),
    type: fc.constantFrom(1, 1, 1, 2, 3),
    value: fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.nat(6000).map((n) => Buffer.alloc(n, 'v')),
    ),
  })
  .map(({ key, sequence, type, value }) => {
    if (type === OP_DELETE) return remove(key, sequence);
    return type === 3 ? putBlob(key, sequence, 7) : put(key, sequence, Buffer.from(value));
  });

const entriesArbitrary = fc
  .array(entryArbitrary, { minLength: 1, maxLength: 200, size: 'max' })
  .map((entries) => {
    entries.sort(compareEntries);
    return entries.filter(
      (entry, i) => i === 0 || compareEntries(entries[i - 1] as Entry, entry) !== 0,
    );
  });

describe('a table', () => {
  it('holds what was put into it, for the decoder of the format and for the kernel', () => {
    fc.assert(
      fc.property(
        entriesArbitrary,
        fc.constantFrom(256, 512, 4096, 65536),
        fc.boolean(),
        fc.constantFrom(2, 10, 20),
        (entries, blockBytes, compression, filterBitsPerKey) => {
          const { fs, tables, view } = build(entries, {
            blockBytes,
            compression,
            filterBitsPerKey,
          });
          expect(tables.length).toBe(1);
          const info = tables[0] as TableInfo;
          const decoded = decodeTable(fs.readFile(tablePath(1)), 1);
          expect(decoded.entries.map(show)).toEqual(entries.map(show));
          expect(view(info).all().map(show)).toEqual(entries.map(show));
          expect(info).toMatchObject({
            bytes: fs.fileSize(tablePath(1)),
            entries: entries.length,
            tombstones: entries.filter(({ type }) => type === OP_DELETE).length,
            sequenceMin: Math.min(...entries.map(({ sequence }) => sequence)),
            sequenceMax: Math.max(...entries.map(({ sequence }) => sequence)),
            blobs: entries.filter(({ type }) => type === 3).map(() => 7),
          });
        },
      ),
      { numRuns: 100 },
    );
  });

  it('finds the version that a snapshot sees, and the first entry from any key on', () => {
    fc.assert(
      fc.property(
        entriesArbitrary,
        fc.array(keyArbitrary, { minLength: 1, maxLength: 30 }),
        fc.constantFrom(256, 4096),
        (entries, others, blockBytes) => {
          const { tables, view } = build(entries, { blockBytes });
          const table = view(tables[0] as TableInfo);
          const neighbours = entries.flatMap(({ key }) => [
            key,
            Buffer.concat([key, Buffer.alloc(1)]),
            key.subarray(0, -1),
          ]);
          for (const key of [...others, ...neighbours]) {
            const versions = entries.filter((entry) => entry.key.equals(key));
            const snapshots = versions.flatMap(({ sequence }) => [sequence, sequence - 1]);
            for (const snapshot of [...snapshots, Number.MAX_SAFE_INTEGER]) {
              if (snapshot < 0) continue;
              const seen = versions.find(({ sequence }) => sequence <= snapshot);
              expect(show(table.find(key, snapshot))).toEqual(show(seen));
            }
            const next = entries.find((entry) => Buffer.compare(entry.key, key) >= 0);
            expect(show(table.seek(key))).toEqual(show(next));
          }
        },
      ),
      { numRuns: 15 },
    );
  });

  it('takes the longest keys and values of every length', () => {
    const value = Buffer.alloc(500 * 1024);
    for (let i = 0; i < value.length; i++) value[i] = (i * i) >>> 8;
    const key = Buffer.alloc(65536, 'k');
    const entries = [
      put('', 9, ''),
      put('', 4, value),
      put(key.subarray(0, 65535), 1, value),
      put(key, 3, value),
      put(key, 2, 'x'),
      remove('l', 5),
    ];
    for (const compression of [true, false]) {
      const { fs, tables, view } = build(entries, { compression });
      expect(decodeTable(fs.readFile(tablePath(1)), 1).entries.map(show)).toEqual(
        entries.map(show),
      );
      const table = view(tables[0] as TableInfo);
      expect(table.all().map(show)).toEqual(entries.map(show));
      for (const entry of entries)
        expect(show(table.find(entry.key, entry.sequence))).toEqual(show(entry));
    }
  });

  it('fills blocks up to the wanted size, whatever of the keys is in common', () => {
    const fs = new MemoryFileSystem();
    const long = Array.from({ length: 2000 }, (_, i) =>
      put(`a/long/prefix/for/all:${String(i).padStart(20, '0')}`, i, Buffer.alloc(200, i)),
    );
    for (const compression of [true, false]) {
      const [info] = writeTables(fs, kernel, long, { blockBytes: 4096, compression });
      const { blocks } = decodeTable(fs.readFile(tablePath(1)), 1);
      // All but the last, and what the last entry of a block leaves free.
      expect((info as TableInfo).rawBytes / (blocks - 1)).toBeGreaterThan(4096 - 260);
      expect((info as TableInfo).rawBytes / blocks).toBeLessThanOrEqual(4096);
    }
  });

  it('puts thousands of versions of a key into a block of its own', () => {
    const entries = [
      put('a', 1, 'x'),
      ...Array.from({ length: 30_000 }, (_, i) => put('counter', 60_000 - i, `${i}`)),
      put('d', 2, 'y'),
    ];
    const { fs, tables, view } = build(entries);
    const decoded = decodeTable(fs.readFile(tablePath(1)), 1);
    expect(decoded.entries.map(show)).toEqual(entries.map(show));
    expect(decoded.fences.map(String)).toEqual(['', 'c', 'd']);
    const table = view(tables[0] as TableInfo);
    for (const i of [1, 2, 15_000, 30_000]) {
      expect(show(table.find(Buffer.from('counter'), 60_001 - i))).toEqual(show(entries[i]));
    }
    expect(table.find(Buffer.from('counter'), 30_000)).toBeUndefined();
  });

  it('refuses more versions of a key than a block can count', () => {
    const entries = Array.from({ length: 65_536 }, (_, i) => put('counter', 70_000 - i, ''));
    expect(() => build(entries)).toThrow('builderAdd gives -1');
  });

  it('leaves blocks as they are that would not shrink by an eighth', () => {
    const random = seededRandom(3);
    const noise = (n: number) => Buffer.from(Array.from({ length: n }, () => random() * 256));
    const entries = Array.from({ length: 100 }, (_, i) => put(`${1000 + i}`, 1, noise(100)));
    const { fs } = build(entries, { blockBytes: 4096 });
    const decoded = decodeTable(fs.readFile(tablePath(1)), 1);
    expect(decoded.entries.map(show)).toEqual(entries.map(show));
    expect(decoded.compressedBlocks).toBe(0);
    const text = build(entries.map(({ key }) => put(key, 1, 'text '.repeat(20))));
    const { blocks, compressedBlocks } = decodeTable(text.fs.readFile(tablePath(1)), 1);
    expect(compressedBlocks).toBe(blocks);
  });

  it('denies most keys that it does not have', () => {
    const entries = Array.from({ length: 20_000 }, (_, i) => put(`key ${1e6 + i}`, 1, ''));
    const { tables, view } = build(entries);
    const table = view(tables[0] as TableInfo);
    let passed = 0;
    for (let i = 0; i < 20_000; i++) if (table.mayContain(Buffer.from(`other ${i}`))) passed++;
    expect(passed / 20_000).toBeLessThan(0.02);
  });

  it('refuses entries that are out of order or not well formed', () => {
    const refused = 'builderAdd gives -2';
    expect(() => build([put('b', 1, ''), put('a', 1, '')])).toThrow(refused);
    expect(() => build([put('a', 1, ''), put('a', 1, '')])).toThrow(refused);
    expect(() => build([put('a', 1, ''), put('a', 2, '')])).toThrow(refused);
    expect(() => build([{ ...put('a', 1, ''), type: 4 }])).toThrow(refused);
    expect(() => build([{ ...put('a', 1, 'x'), type: OP_DELETE }])).toThrow(refused);
    expect(() => build([put(Buffer.alloc(65537), 1, '')])).toThrow(refused);
  });
});

describe('a table writer', () => {
  const entries = Array.from({ length: 3000 }, (_, i) =>
    put(`key ${10_000 + i}`, 1, Buffer.alloc(100, i)),
  );

  it('goes on to the next table at the wanted size', () => {
    const { fs, tables, view } = build(entries, { tableBytesMax: 30_000, compression: false });
    expect(tables.length).toBeGreaterThan(10);
    for (const { bytes } of tables.slice(0, -1)) {
      expect(bytes).toBeGreaterThan(30_000);
      expect(bytes).toBeLessThan(36_000);
    }
    const decoded = tables.flatMap(({ id }) => decodeTable(fs.readFile(tablePath(id)), id).entries);
    expect(decoded.map(show)).toEqual(entries.map(show));
    expect(tables.map(({ id }) => id)).toEqual(tables.map((_, i) => i + 1));
    expect(tables.flatMap((info) => view(info).all().map(show))).toEqual(entries.map(show));
  });

  it('ends a table when its list of blobs is half full', () => {
    const many = Array.from({ length: 5000 }, (_, i) => putBlob(`${10_000 + i}`, 1, i));
    const { tables } = build(many);
    expect(tables.map(({ blobs }) => blobs.length)).toEqual([4096, 904]);
    expect(tables.flatMap(({ blobs }) => blobs)).toEqual(many.map((_, i) => i));
  });

  it('ends a table when the room for fences runs out', () => {
    const long = Array.from({ length: 60 }, (_, i) =>
      put(Buffer.concat([Buffer.alloc(65_000, 'x'), Buffer.from(`${100 + i}`)]), 1, ''),
    );
    const { fs, tables } = build(long);
    expect(tables.length).toBeGreaterThan(1);
    const decoded = tables.flatMap(({ id }) => decodeTable(fs.readFile(tablePath(id)), id).entries);
    expect(decoded.map(show)).toEqual(long.map(show));
  });

  it('ends tables between keys whose blocks are all cut at an old version', () => {
    // The old version of a key opens a block, the new one of the next still goes into it.
    const pairs = (count: number, prefix: string, oldBytes: number): Entry[] =>
      Array.from({ length: count }, (_, i) => {
        const key = `${prefix}${1000 + i}`;
        return [put(key, 2, 'new'), put(key, 1, Buffer.alloc(oldBytes, i))];
      }).flat();
    const large = { list: pairs(200, 'key ', 2400), blockBytes: 4096, tableBytesMax: 30_000 };
    const long = { list: pairs(200, 'x'.repeat(20_000), 30_000), blockBytes: 65_536 };
    for (const { list, ...changes } of [large, long]) {
      const { fs, tables } = build(list, { compression: false, ...changes });
      expect(tables.length).toBeGreaterThan(1);
      if (list === large.list) for (const { bytes } of tables) expect(bytes).toBeLessThan(40_000);
      const decoded = tables.flatMap(
        ({ id }) => decodeTable(fs.readFile(tablePath(id)), id).entries,
      );
      expect(decoded.map(show)).toEqual(list.map(show));
    }
  });

  it('leaves no file behind when there is no room, no number left, or nothing to write', () => {
    let failures = 0;
    for (let call = 1; call < 40; call++) {
      const fs = new MemoryFileSystem();
      fs.mkdir('/db');
      fs.failAt(call, 'ENOSPC');
      try {
        writeTables(fs, kernel, entries, { tableBytesMax: 30_000 });
      } catch (error) {
        expect(error).toBeInstanceOf(NoSpaceError);
        expect(fs.readdir('/db')).toEqual([]);
        failures++;
      }
    }
    expect(failures).toBeGreaterThan(10);
    const fs = new MemoryFileSystem();
    expect(() => writeTables(fs, kernel, entries, { tableBytesMax: 10_000, tableIds: 2 })).toThrow(
      'reserve more file numbers',
    );
    const empty = build([]);
    expect(empty.tables).toEqual([]);
    expect(empty.fs.readdir('/db')).toEqual([]);
  });

  it('has a table under its name only when it is durable', () => {
    const { fs, tables } = build(entries);
    fs.syncDirectory('/');
    fs.syncDirectory('/db');
    fs.crash('synced');
    expect(fs.readdir('/db')).toEqual(['0000000001.table']);
    expect(decodeTable(fs.readFile(tablePath(1)), 1).entries.map(show)).toEqual(entries.map(show));
    expect(tables.length).toBe(1);
  });

  it('does not sync a table that need not be durable', () => {
    const { fs } = build(entries, { durable: false });
    expect(decodeTable(fs.readFile(tablePath(1)), 1).entries.map(show)).toEqual(entries.map(show));
    fs.syncDirectory('/');
    fs.syncDirectory('/db');
    fs.crash('synced');
    expect(fs.readFile(tablePath(1)).length).toBe(0);
  });
});

describe('reading a damaged table', () => {
  const entries = [
    ...Array.from({ length: 12 }, (_, i) => put(`key ${100 + i}`, i + 1, `value ${i}`.repeat(4))),
    remove('kez', 20),
  ];

  function readAll(bytes: Buffer): (string | undefined)[] | CorruptionError {
    const fs = new MemoryFileSystem();
    fs.mkdir('/db');
    fs.open(tablePath(1), 'create').write(bytes, 0);
    try {
      const view = new TableView(fs, viewKernel, tablePath(1), 1);
      const found = entries.map(({ key }) => view.find(key, Number.MAX_SAFE_INTEGER));
      expect(found.map(show)).toEqual(entries.map(show));
      return view.all().map(show);
    } catch (error) {
      if (error instanceof CorruptionError) return error;
      throw error;
    }
  }

  it.each([true, false])(
    'gives the right values or an error for every flipped bit (%s)',
    (compression) => {
      const { fs } = build(entries, { blockBytes: 256, compression });
      const file = fs.readFile(tablePath(1));
      expect(readAll(file)).toEqual(entries.map(show));
      for (let at = 0; at < file.length; at++) {
        for (const bit of [0, 7]) {
          const damaged = Buffer.from(file);
          damaged[at] = (damaged[at] as number) ^ (1 << bit);
          expect(readAll(damaged), `byte ${at}`).toBeInstanceOf(CorruptionError);
        }
      }
    },
  );

  it('reports every truncation and extension', () => {
    const { fs } = build(entries, { blockBytes: 256 });
    const file = fs.readFile(tablePath(1));
    for (let length = 0; length < file.length; length++) {
      expect(readAll(file.subarray(0, length)), `length ${length}`).toBeInstanceOf(CorruptionError);
    }
    expect(readAll(Buffer.concat([file, Buffer.alloc(1)]))).toBeInstanceOf(CorruptionError);
  });

  it('refuses a table under another number', () => {
    const { fs } = build(entries);
    fs.rename(tablePath(1), tablePath(2));
    expect(() => new TableView(fs, viewKernel, tablePath(2), 2)).toThrow(CorruptionError);
  });
});
