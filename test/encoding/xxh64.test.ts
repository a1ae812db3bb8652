import { describe, expect, it } from 'vitest';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';

describe('xxh64', () => {
  it('gives the published values', () => {
    expect(xxh64(Buffer.from(''))).toBe(0xef46db3751d8e999n);
    expect(xxh64(Buffer.from('a'))).toBe(0xd24ec4f1a98c6e5bn);
    expect(xxh64(Buffer.from('abc'))).toBe(0x44bc2cf5ad770999n);
    expect(xxh64(Buffer.from('Nobody inspects the spammish repetition'))).toBe(0xfbcea83c8a378bf1n);
  });

  it('depends on the seed', () => {
    expect(xxh64(Buffer.from('abc'), 1n)).not.toBe(xxh64(Buffer.from('abc')));
  });

  it('reads a view at its own offset', () => {
    const bytes = Buffer.from('..0123456789abcdef0123456789abcdef0123');
    expect(xxh64(bytes.subarray(2))).toBe(xxh64(Buffer.from(bytes.subarray(2))));
  });
});

describe('placementSeed', () => {
  it('differs between files and between offsets', () => {
    const seeds = [placementSeed(1, 0), placementSeed(1, 64), placementSeed(2, 0)];
    expect(new Set(seeds).size).toBe(3);
    expect(placementSeed(1, 64)).toBe(0x9e3779b97f4a7c15n + 64n);
  });
});
