import fc from 'fast-check';
import lz4 from 'lz4-napi';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/file-system/memory.js';
import { jobKernel } from '../sstable/table-model.js';

const MEMORY_BYTES = 8 * 1024 * 1024;
const { exports, bytes } = jobKernel(MEMORY_BYTES);
const TABLE = 65536;
const SOURCE = 1024 * 1024;
const TARGET = 3 * 1024 * 1024;
const GUARD = 0xee;
exports.lz4SetTable(TABLE);

/** Compressed bytes; undefined when they do not fit. */
function compress(
  data: Uint8Array,
  capacity = exports.lz4Bound(data.length),
  skipShift = 5,
): Buffer | undefined {
  bytes.set(data, SOURCE);
  bytes.fill(GUARD, TARGET + capacity, TARGET + capacity + 64);
  const length = exports.lz4Compress(SOURCE, data.length, TARGET, capacity, skipShift);
  expect(length).toBeLessThanOrEqual(capacity);
  expectGuard(TARGET + capacity);
  return length === 0 ? undefined : Buffer.from(bytes.subarray(TARGET, TARGET + length));
}

/** Decompressed bytes, or undefined; the source ends where the memory does. */
function decompress(data: Uint8Array, capacity: number): Buffer | undefined {
  const source = MEMORY_BYTES - data.length;
  bytes.set(data, source);
  bytes.fill(GUARD, TARGET - 64, TARGET);
  bytes.fill(GUARD, TARGET + capacity, TARGET + capacity + 64);
  const length = exports.lz4Decompress(source, data.length, TARGET, capacity);
  expectGuard(TARGET - 64);
  expectGuard(TARGET + capacity);
  expect(length).toBeLessThanOrEqual(capacity);
  return length < 0 ? undefined : Buffer.from(bytes.subarray(TARGET, TARGET + length));
}

function expectGuard(address: number): void {
  for (let i = 0; i < 64; i++) {
    if (bytes[address + i] !== GUARD) expect.fail(`Wrote ${i} bytes outside`);
  }
}

function toNapi(block: Buffer, rawBytes: number): Buffer {
  const prepended = Buffer.alloc(4 + block.length);
  prepended.writeUInt32LE(rawBytes);
  block.copy(prepended, 4);
  return prepended;
}

/** Pieces that repeat near and far, in all lengths around the format's limits. */
const dataArbitrary = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.tuple(fc.nat(255), fc.nat(600)).map(([byte, n]) => new Uint8Array(n).fill(byte)),
      fc.nat(70_000).map((n) => new Uint8Array(n)),
      fc
        .tuple(fc.integer({ min: 1, max: 40 }), fc.nat(300))
        .map(([period, n]) => Uint8Array.from({ length: n }, (_, i) => i % period)),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => Buffer.concat([...pieces, ...pieces.slice(0, 3)]));

describe('LZ4', () => {
  it('gives back what was compressed', () => {
    fc.assert(
      fc.property(dataArbitrary, fc.constantFrom(1, 4, 5, 31), (data, skipShift) => {
        const block = compress(data, undefined, skipShift);
        if (block === undefined) expect.fail('The bound is too small');
        expect(decompress(block, data.length)?.equals(data)).toBe(true);
        expect(decompress(block, data.length + 100)?.equals(data)).toBe(true);
        if (data.length > 0) expect(decompress(block, data.length - 1)).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });

  it('handles every length up to two kilobytes', () => {
    const random = seededRandom(1);
    for (let length = 0; length < 2048; length++) {
      const data = Buffer.alloc(length);
      for (let i = 0; i < length; i++) data[i] = random() * (length % 7 === 0 ? 256 : 3);
      const block = compress(data) ?? expect.fail('The bound is too small');
      expect(decompress(block, length)?.equals(data)).toBe(true);
    }
  });

  it('is understood by another implementation and understands it', () => {
    fc.assert(
      fc.property(dataArbitrary, (data) => {
        if (data.length === 0) return;
        const block = compress(data) ?? expect.fail('The bound is too small');
        expect(lz4.uncompressSync(toNapi(block, data.length)).equals(data)).toBe(true);
        const theirs = lz4.compressSync(data);
        expect(theirs.readUInt32LE(0)).toBe(data.length);
        expect(decompress(theirs.subarray(4), data.length)?.equals(data)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('never exceeds the capacity', () => {
    fc.assert(
      fc.property(dataArbitrary, fc.nat(100), (data, percent) => {
        const capacity = Math.floor((data.length * percent) / 100);
        const block = compress(data, capacity);
        if (block !== undefined) expect(decompress(block, data.length)?.equals(data)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('finds text compressible and noise not', () => {
    const text = Buffer.from('The quick brown fox jumps over the lazy dog. '.repeat(100));
    expect(compress(text)?.length).toBeLessThan(text.length / 10);
    const random = seededRandom(2);
    const noise = Buffer.from(Uint8Array.from({ length: 4096 }, () => random() * 256));
    expect(compress(noise, noise.length)).toBeUndefined();
  });

  it('does not depend on what was compressed before', () => {
    const data = Buffer.from('abcdefgh'.repeat(50));
    const first = compress(data);
    compress(Buffer.alloc(50_000, 'abcdefghijklmnop'));
    expect(compress(data)?.equals(first as Buffer)).toBe(true);
  });

  it('refuses bytes that are no block, within bounds', () => {
    expect(decompress(Buffer.alloc(0), 10)).toBeUndefined();
    expect(decompress(Buffer.from([0xf0]), 10)).toBeUndefined();
    expect(decompress(Buffer.from([0x10]), 10)).toBeUndefined();
    expect(decompress(Buffer.from([0x10, 65, 0, 0]), 10)).toBeUndefined();
    expect(decompress(Buffer.from([0x10, 65, 2, 0, 0x00]), 100)).toBeUndefined();
    expect(decompress(Buffer.from([0xf0, ...new Array(60).fill(255)]), 10)).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(400), (data, capacity) => {
        decompress(data, capacity);
      }),
      { numRuns: 2000 },
    );
  });

  it('stays within bounds for blocks with flipped bytes', () => {
    fc.assert(
      fc.property(
        dataArbitrary,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        (data, flips) => {
          const block = compress(data) ?? expect.fail('The bound is too small');
          for (const [at, byte] of flips) block[at % block.length] = byte;
          decompress(block, data.length);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
