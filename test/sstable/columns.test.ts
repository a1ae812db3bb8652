/** Blocks that are stored as columns: what goes in comes out, hostile ones do no harm, and they are small. */

import fc from 'fast-check';
import lz4 from 'lz4-napi';
import { describe, expect, it } from 'vitest';
import { Permutation, Records } from '../../src/cli/bench/records.js';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import * as layout from '../../src/kernel/assembly/layout.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import {
  compareEntries,
  decodeTable,
  type Entry,
  jobKernel,
  put,
  putBlob,
  remove,
  show,
  storedBlocks,
  tablePath,
  writeTables,
} from './table-model.js';
import { TableView } from './table-view.js';

const MIB = 1024 * 1024;
const kernel = jobKernel();
const viewKernel = jobKernel();
const { exports, bytes: memory } = kernel;
const ROOM = 30 * MIB;
const RAW = 34 * MIB;
const SOURCE = 38 * MIB;
const ENTRY = 40 * MIB;
const GUARD = 0xa5;
const GUARD_BYTES = 64;

function write(entries: readonly Entry[], blockBytes = 4096): Buffer {
  const fs = new MemoryFileSystem();
  const [info] = writeTables(fs, kernel, entries, { blockBytes });
  const view = new TableView(fs, viewKernel, tablePath(1), (info as TableInfo).id);
  expect(view.all().map(show)).toEqual(entries.map(show));
  return fs.readFile(tablePath(1));
}

/** Unpacked columns of all blocks of the entries' table. */
function columnsOf(
  entries: readonly Entry[],
  blockBytes?: number,
): { columns: Buffer; rawBytes: number }[] {
  const file = write(entries, blockBytes);
  expect(decodeTable(file, 1).entries.map(show)).toEqual(entries.map(show));
  return storedBlocks(file).map(({ bytes }) => {
    const word = bytes.readUInt32LE(bytes.length - layout.BLOCK_TRAILER_BYTES);
    expect(word).toBeGreaterThan(layout.STORED_COLUMNS);
    const prepended = Buffer.alloc(4 + bytes.length - layout.BLOCK_TRAILER_BYTES);
    prepended.writeUInt32LE(65_535);
    bytes.copy(prepended, 4);
    return {
      columns: lz4.uncompressSync(prepended),
      rawBytes: (word - layout.STORED_COLUMNS) >>> 1,
    };
  });
}

const text = (n: number): string => 'some text '.repeat(Math.ceil(n / 10)).slice(0, n);
const key = (i: number): string => `record ${String(i).padStart(8, '0')}`;

/** Entries, in order, of keys that are distinct or have versions. */
function entriesOf(list: readonly Entry[]): Entry[] {
  const sorted = [...list].sort(compareEntries);
  return sorted.filter(
    (entry, i) => i === 0 || compareEntries(sorted[i - 1] as Entry, entry) !== 0,
  );
}

const sequenceArbitrary = fc.oneof(fc.nat(200), fc.nat(2 ** 24), fc.maxSafeNat());
const lengthArbitrary = fc.oneof(fc.constant(60), fc.nat(1), fc.nat(300), fc.constant(5000));
const anyEntry: fc.Arbitrary<Entry> = fc
  .tuple(fc.nat(60), sequenceArbitrary, lengthArbitrary, fc.nat(9), fc.nat(3))
  .map(([i, sequence, length, kind, keyKind]) => {
    const name = keyKind === 0 ? '' : keyKind === 1 ? text(i) : key(i);
    if (kind === 0) return remove(name, sequence);
    if (kind === 1) return putBlob(name, sequence, i);
    return put(name, sequence, text(length));
  });

describe('blocks as columns', () => {
  it('give back entries that are alike, or not at all', () => {
    let columnBlocks = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(anyEntry, { minLength: 1, maxLength: 150, size: 'max' }),
          fc
            .array(sequenceArbitrary, { minLength: 1, maxLength: 150, size: 'max' })
            .map((numbers) => numbers.map((sequence, i) => put(key(i), sequence, text(60)))),
          fc
            .array(fc.maxSafeNat(), { minLength: 1, maxLength: 90, size: 'max' })
            .map((numbers) =>
              numbers.map((sequence) => put(key(1), sequence, text(sequence % 50))),
            ),
        ),
        fc.constantFrom(200, 4096, 60_000),
        (list, blockBytes) => {
          const entries = entriesOf(list);
          const decoded = decodeTable(write(entries, blockBytes), 1);
          expect(decoded.entries.map(show)).toEqual(entries.map(show));
          columnBlocks += decoded.columnBlocks;
        },
      ),
      { numRuns: 200 },
    );
    expect(columnBlocks).toBeGreaterThan(100);
  });

  it('say nothing of what all entries have in common', () => {
    const entries = Array.from({ length: 12 }, (_, i) => put(key(10 + i), 7, text(100)));
    const [block] = columnsOf(entries);
    const prefix = 'record 0000000'.length;
    // Head, fingerprints, prefix, no column, suffixes and values.
    expect(block?.columns.length).toBe(
      layout.COLUMNS_HEAD_BYTES + 12 + prefix - 1 + 12 * (3 - 1 + 100),
    );
  });

  it('hold sequence numbers in as many bits as the block needs', () => {
    const sizeWith = (sequence: (i: number) => number): number => {
      const list = Array.from({ length: 16 }, (_, i) => put(key(10 + i), sequence(i), text(80)));
      return columnsOf(list)[0]?.columns.length as number;
    };
    const none = sizeWith(() => 1e9);
    expect(sizeWith((i) => 1e9 + i) - none).toBe((16 * 4) / 8);
    expect(sizeWith((i) => 1e9 + ((i * 7919) % 16) * 65_535) - none).toBe((16 * 20) / 8);
    // One that is far away does not make all others as long.
    expect(sizeWith((i) => (i === 5 ? 1e9 : 3)) - sizeWith(() => 3)).toBe(15 + 5);
  });

  it('hold lengths of which one stands out, and deletes among values of one length', () => {
    const lengths = Array.from({ length: 30 }, (_, i) =>
      put(key(10 + i), 7, text(i === 9 ? 3000 : 8)),
    );
    const [block] = columnsOf(lengths);
    const alike = Array.from({ length: 30 }, (_, i) => put(key(10 + i), 7, text(8)));
    const [other] = columnsOf(alike);
    expect(block?.columns.length).toBe((other?.columns.length as number) + 2992 + 29 + 2);
    const deletes = alike.map((entry, i) => (i % 3 === 0 ? remove(entry.key, 7) : entry));
    const [third] = columnsOf(deletes);
    expect(third?.columns.length).toBe(
      (other?.columns.length as number) - 10 * 8 + Math.ceil(30 / 8),
    );
  });

  it('keep a table of records that are half random below 121.5 bytes for each of 250', () => {
    const count = 20_000;
    const records = new Records(count, 5);
    const order = new Permutation(1 << 20, 3);
    const entries = Array.from({ length: count }, (_, id) =>
      put(Buffer.from(records.key(id)), order.at(id), Buffer.from(records.value(id, 0))),
    );
    expect(write(entries).length / count).toBeLessThan(121.5);
  });
});

describe('hostile columns', () => {
  const random = seededRandom(11);
  const samples = [
    columnsOf(Array.from({ length: 9 }, (_, i) => put(key(i), i * 31, text(i * 3)))),
    columnsOf(Array.from({ length: 30 }, (_, i) => put(key(i), 40, text(4)))),
    columnsOf(
      Array.from({ length: 8 }, (_, i) =>
        i % 3 ? put(text(i), 9 - i, text(i)) : remove(text(i), 2 ** 50 + i),
      ),
    ),
    columnsOf(Array.from({ length: 12 }, (_, i) => put('one key', 2 ** (40 - i), text(20)))),
    columnsOf([putBlob('a', 1, 7), put('b', 5, text(90)), putBlob('c', 2, 9)]),
    columnsOf(
      Array.from({ length: 20 }, (_, i) =>
        put(key(i), i === 3 ? 2 ** 45 : 1, text(i === 7 ? 900 : 2)),
      ),
    ),
  ].flat();

  /** What becomes of columns: null, or the entries of a block, which is well formed. */
  function expand(columns: Buffer, rawBytes: number): string | null {
    memory.fill(GUARD, ROOM, ROOM + columns.length + GUARD_BYTES);
    memory.set(columns, ROOM);
    memory.fill(GUARD, RAW - GUARD_BYTES, RAW + rawBytes + GUARD_BYTES);
    const isBlock = exports.columnsExpand(ROOM, columns.length, RAW, rawBytes) !== 0;
    return outcomeOf(isBlock, rawBytes);
  }

  function outcomeOf(isBlock: boolean, rawBytes: number): string | null {
    for (let i = 0; i < GUARD_BYTES; i++) {
      const isWhole = memory[RAW - 1 - i] === GUARD && memory[RAW + rawBytes + i] === GUARD;
      if (!isWhole) expect.fail('Wrote outside of the target');
    }
    if (!isBlock) return null;
    expect(exports.blockValidate(RAW, rawBytes)).not.toBe(0);
    for (let i = 0; i < exports.blockCount(RAW); i++) exports.blockEntry(RAW, i, ENTRY);
    return memory.toString('latin1', RAW, RAW + rawBytes);
  }

  it('are refused, or make another well-formed block, whatever byte is changed', () => {
    let refused = 0;
    for (const { columns, rawBytes } of samples) {
      expect(expand(columns, rawBytes)).not.toBeNull();
      for (let at = 0; at < columns.length; at++) {
        for (const change of [1, 0x80, 0xff, 1 + Math.floor(random() * 255)]) {
          const damaged = Buffer.from(columns);
          damaged[at] = (damaged[at] as number) ^ change;
          if (expand(damaged, rawBytes) === null) refused++;
        }
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });

  it('are refused when they are cut short or go on, or are of a block of another size', () => {
    for (const { columns, rawBytes } of samples) {
      for (let length = 0; length < columns.length; length++) {
        expect(expand(columns.subarray(0, length), rawBytes)).toBeNull();
      }
      expect(expand(Buffer.concat([columns, Buffer.alloc(1)]), rawBytes)).toBeNull();
      for (const other of [0, 1, 15, rawBytes - 1, rawBytes + 1, 65_535, 65_536]) {
        expect(expand(columns, other)).toBeNull();
      }
    }
  });

  it('do no harm as they are stored, when their checksum is made right', () => {
    const file = write(
      Array.from({ length: 40 }, (_, i) => put(key(i * 7), (i * 7919) % 1000, text(30 + (i % 3)))),
      1000,
    );
    let accepted = 0;
    for (const { bytes } of storedBlocks(file)) {
      for (let at = 0; at < bytes.length - 8; at++) {
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] as number) ^ (1 + Math.floor(random() * 255));
        memory.set(damaged, SOURCE);
        if (exports.storedIsPossible(SOURCE, bytes.length) === 0) continue;
        const rawBytes = exports.storedRawBytes(SOURCE, bytes.length) >>> 0;
        if (rawBytes > MIB) continue;
        memory.fill(GUARD, RAW - GUARD_BYTES, RAW + rawBytes + GUARD_BYTES);
        const isBlock = exports.storedUnpack(SOURCE, bytes.length, RAW, ROOM) !== 0;
        if (outcomeOf(isBlock, rawBytes) !== null) accepted++;
      }
    }
    expect(accepted).toBeGreaterThan(0);
  });
});
