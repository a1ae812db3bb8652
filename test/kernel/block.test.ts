/** Hostile bytes: a block or index that passes validation is read without leaving it. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import * as layout from '../../src/kernel/assembly/layout.js';
import { decodeIndex, unpackedIndex } from '../sstable/index-model.js';
import { jobKernel, put, remove, tablePath, writeTables } from '../sstable/table-model.js';

const MEMORY_BYTES = 32 * 1024 * 1024;
const builder = jobKernel(MEMORY_BYTES);
const kernel = jobKernel(1024 * 1024);
const END = 1024 * 1024;
const META = 65536;
const KEY = 70_000;
const ENTRY = 140_000;

const entries = [
  ...Array.from({ length: 30 }, (_, i) => put(`user:${100 + i}`, 40 + i, `value ${i}`)),
  ...Array.from({ length: 9 }, (_, i) => put('user:200', 90 - i, 'v')),
  remove('user:300', 1),
];

/** Blocks and sections of an uncompressed table. */
function sections(blockBytes: number) {
  const fs = new MemoryFileSystem();
  writeTables(fs, builder, entries, { blockBytes, compression: false });
  const file = fs.readFile(tablePath(1));
  const footer = file.subarray(file.length - 80);
  const filterAt = Number(footer.readBigUInt64LE(8));
  const indexAt = Number(footer.readBigUInt64LE(24));
  return {
    block: file.subarray(0, (decodeIndex(file).offsets[1] as number) - 12),
    filter: file.subarray(filterAt, indexAt),
    index: unpackedIndex(file),
    packed: file.subarray(indexAt, indexAt + footer.readUInt32LE(20) - 8),
    fenceBytes: footer.readUInt32LE(52),
  };
}

const flipsArbitrary = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });

function damaged(bytes: Buffer, flips: readonly (readonly [number, number])[]): Buffer {
  const copy = Buffer.from(bytes);
  for (const [at, byte] of flips) copy[at % copy.length] = byte;
  return copy;
}

/** Places a block so that it ends where the memory does, but for what vector loads may touch. */
function place(block: Buffer): number {
  const address = END - 16 - block.length;
  kernel.bytes.set(block, address);
  return address;
}

function setKey(key: Uint8Array): number {
  kernel.bytes.set(key, KEY);
  return key.length;
}

/** Reads a block in every way; out of bounds, the kernel traps. */
function readEverything(address: number, bytes: number): void {
  const { exports, u32 } = kernel;
  const count = exports.blockCount(address);
  for (let i = 0; i < count; i++) {
    exports.blockEntry(address, i, ENTRY);
    const value = u32[(ENTRY + 8) >>> 2] as number;
    const valueBytes = u32[(ENTRY + 12) >>> 2] as number;
    expect(value).toBeGreaterThanOrEqual(address);
    expect(value + valueBytes).toBeLessThanOrEqual(address + bytes);
  }
  for (const key of ['', 'user:', 'user:115', 'user:200', 'zzz']) {
    const length = setKey(Buffer.from(key));
    const at = exports.blockSeek(address, KEY, length);
    expect(at).toBeGreaterThanOrEqual(0);
    expect(at).toBeLessThanOrEqual(count);
    for (let top = 0n; top < 256n; top += 5n) {
      exports.blockFind(address, KEY, length, top << 56n, 2n ** 60n);
    }
  }
}

/** The same block as it stands compressed: each offset less the one before it. */
function withDifferences(block: Buffer): Buffer {
  const stored = Buffer.from(block);
  const count = block.readUInt16LE(0);
  const width = (block.readUInt8(2) & 1) !== 0 ? 4 : 2;
  const offsetsAt = Math.ceil((16 + count) / 4) * 4;
  stored.writeUInt8(block.readUInt8(2) | 2, 2);
  for (let i = count - 1; i > 0; i--) {
    const at = offsetsAt + width * i;
    const difference = block.readUIntLE(at, width) - block.readUIntLE(at - width, width);
    stored.writeUIntLE(difference, at, width);
  }
  return stored;
}

/** A block with offsets of 32 bits. */
function wideBlock(): Buffer {
  const fs = new MemoryFileSystem();
  const versions = Array.from({ length: 40 }, (_, i) => put('key', 99 - i, Buffer.alloc(2000, i)));
  writeTables(fs, builder, versions, { compression: false });
  const file = fs.readFile(tablePath(1));
  return file.subarray(0, (decodeIndex(file).offsets[1] as number) - 12);
}

describe('blockValidate', () => {
  const { block } = sections(4096);

  it('makes offsets of differences', () => {
    for (const plain of [block, wideBlock()]) {
      const stored = withDifferences(plain);
      const address = place(stored);
      expect(kernel.exports.blockValidate(address, stored.length)).toBe(1);
      expect(plain.equals(kernel.bytes.subarray(address, address + plain.length))).toBe(true);
    }
    expect(wideBlock().readUInt8(2)).toBe(1);
  });

  it('accepts no wrong difference', () => {
    const stored = withDifferences(block);
    const count = block.readUInt16LE(0);
    const offsetsAt = Math.ceil((16 + count) / 4) * 4;
    for (let i = 0; i < count; i++) {
      const bytes = Buffer.from(stored);
      bytes.writeUInt16LE(bytes.readUInt16LE(offsetsAt + 2 * i) ^ 1, offsetsAt + 2 * i);
      expect(kernel.exports.blockValidate(place(bytes), bytes.length)).toBe(0);
    }
  });

  it('accepts what the builder made', () => {
    expect(kernel.exports.blockValidate(place(block), block.length)).toBe(1);
    readEverything(place(block), block.length);
  });

  it('accepts no damaged block that is not safe to read', () => {
    fc.assert(
      fc.property(flipsArbitrary, fc.boolean(), (flips, differences) => {
        const bytes = damaged(differences ? withDifferences(block) : block, flips);
        const address = place(bytes);
        if (kernel.exports.blockValidate(address, bytes.length) === 1) {
          readEverything(address, bytes.length);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('accepts no other bytes either', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(3), (bytes, count) => {
        if (bytes.length > 8) bytes.set([count, 0, 0, 0, 0, 0, 0, 0]);
        const address = place(Buffer.from(bytes));
        if (kernel.exports.blockValidate(address, bytes.length) === 1) {
          readEverything(address, bytes.length);
        }
      }),
      { numRuns: 3000 },
    );
    for (let length = 0; length < block.length; length++) {
      expect(kernel.exports.blockValidate(place(block.subarray(0, length)), length)).toBe(0);
    }
  });
});

describe('tableMetaInit', () => {
  const { index, filter } = sections(160);

  function init(indexBytes: Buffer, filterBytes: Buffer): number {
    const indexAt = Math.floor((END - indexBytes.length) / 8) * 8;
    const filterAt = Math.floor((indexAt - filterBytes.length) / 64) * 64;
    kernel.bytes.set(indexBytes, indexAt);
    kernel.bytes.set(filterBytes, filterAt);
    const { exports } = kernel;
    return exports.tableMetaInit(META, indexAt, indexBytes.length, filterAt, filterBytes.length, 0);
  }

  const blocks = (): number => kernel.u32[(META + layout.T_BLOCKS) >>> 2] as number;

  it('accepts what the builder made', () => {
    expect(init(index, filter)).toBe(0);
    expect(blocks()).toBeGreaterThan(5);
  });

  it('accepts no damaged index that is not safe to search', () => {
    fc.assert(
      fc.property(flipsArbitrary, fc.uint8Array({ maxLength: 20 }), (flips, random) => {
        if (init(damaged(index, flips), filter) !== 0) return;
        for (const key of [random, ...entries.map((entry) => entry.key)]) {
          const found = kernel.exports.tableFindBlock(META, KEY, setKey(key));
          expect(found).toBeGreaterThanOrEqual(0);
          expect(found).toBeLessThan(blocks());
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('refuses sections of the wrong length', () => {
    for (let length = 0; length < index.length; length++) {
      expect(init(index.subarray(0, length), filter)).toBe(-2);
    }
    for (let length = 0; length < filter.length; length++) {
      expect(init(index, filter.subarray(0, length))).toBe(-1);
    }
  });
});

describe('indexUnpack', () => {
  const { index, packed, fenceBytes } = sections(160);
  const count = index.readUInt32LE(0);
  const PACKED = 300_000;
  const INDEX = 400_000;
  const GUARD = 0xa5;

  /** The index in memory, without a checksum; undefined when it is refused. */
  function unpack(bytes: Buffer, blocks = count, fences = fenceBytes): Buffer | undefined {
    const length = 64 + 16 * blocks + 8 + fences;
    kernel.bytes.set(bytes, PACKED);
    kernel.bytes.fill(GUARD, INDEX - 64, INDEX + length + 64);
    const isGood = kernel.exports.indexUnpack(PACKED, bytes.length, blocks, fences, INDEX) !== 0;
    for (let i = 0; i < 64; i++) {
      const isWhole =
        kernel.bytes[INDEX - 1 - i] === GUARD && kernel.bytes[INDEX + length + i] === GUARD;
      if (!isWhole) expect.fail('Wrote outside of the index');
    }
    return isGood ? Buffer.from(kernel.bytes.subarray(INDEX, INDEX + length)) : undefined;
  }

  it('gives the index that the format says', () => {
    expect(unpack(packed)?.equals(index.subarray(0, -8))).toBe(true);
  });

  it('refuses sections that are cut short or go on, or have another number of blocks or bytes', () => {
    for (let length = 0; length < packed.length; length++) {
      expect(unpack(packed.subarray(0, length))).toBeUndefined();
    }
    expect(unpack(Buffer.concat([packed, Buffer.alloc(1)]))).toBeUndefined();
    for (const blocks of [0, 1, count - 1, count + 1, 1000]) {
      expect(unpack(packed, blocks)).toBeUndefined();
    }
    for (const bytes of [0, 1, fenceBytes - 1, fenceBytes + 1, 1000]) {
      expect(unpack(packed, count, bytes)).toBeUndefined();
    }
  });

  it('stays inside of its memory, whatever the bytes', () => {
    let accepted = 0;
    fc.assert(
      fc.property(flipsArbitrary, (flips) => {
        if (unpack(damaged(packed, flips)) !== undefined) accepted++;
      }),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(0);
  });
});
