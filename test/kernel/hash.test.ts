import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import { murmur3 } from '../../src/router/murmur3.js';
import { jobKernel } from '../sstable/table-model.js';

const { exports, bytes } = jobKernel(1024 * 1024);
const AT = 65536;

function hashOf(data: Uint8Array, seed: bigint): bigint {
  bytes.set(data, AT);
  exports.checksum(AT, data.length, Number(seed & 0xffff_ffffn), Number(seed >> 32n));
  return result();
}

function result(): bigint {
  return (BigInt(exports.checksumHigh() >>> 0) << 32n) | BigInt(exports.checksumLow() >>> 0);
}

describe('checksum', () => {
  it('is XXH64 as published', () => {
    expect(hashOf(Buffer.from(''), 0n)).toBe(0xef46db3751d8e999n);
    expect(hashOf(Buffer.from('a'), 0n)).toBe(0xd24ec4f1a98c6e5bn);
    expect(hashOf(Buffer.from('Nobody inspects the spammish repetition'), 0n)).toBe(
      0xfbcea83c8a378bf1n,
    );
  });

  it('agrees with the host for every length and seed', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.bigInt(0n, 2n ** 64n - 1n),
        (data, seed) => {
          expect(hashOf(data, seed)).toBe(xxh64(data, seed));
        },
      ),
    );
  });

  it('depends on file and offset when it is placed', () => {
    const data = Buffer.from('some block');
    for (const [file, offset] of [
      [0, 0],
      [7, 4096],
      [2 ** 40, 2 ** 41],
    ] as const) {
      bytes.set(data, AT);
      exports.checksumPlaced(AT, data.length, file, offset);
      expect(result()).toBe(xxh64(data, placementSeed(file, offset)));
      exports.checksumWrite(AT, data.length, file, offset);
      expect(bytes.readBigUInt64LE(AT + data.length)).toBe(result());
      expect(exports.checksumVerify(AT, data.length, file, offset)).toBe(1);
      expect(exports.checksumVerify(AT, data.length, file, offset + 1)).toBe(0);
      expect(exports.checksumVerify(AT, data.length, file + 1, offset)).toBe(0);
    }
  });
});

describe('murmur32', () => {
  it('agrees with the router for every length', () => {
    for (let length = 0; length < 70; length++) {
      const words = new Int32Array(20);
      const data = new Uint8Array(words.buffer);
      for (let i = 0; i < length; i++) data[i] = (i * 73 + length) & 0xff;
      bytes.set(data, AT);
      expect(exports.murmur32(AT, length) >>> 0).toBe(murmur3(words, data, length) >>> 0);
    }
  });
});
