import { describe, expect, it } from 'vitest';
import { bufferEncoding, jsonEncoding, utf8Encoding } from '../../src/encoding/encoding.js';
import { InvalidArgumentError } from '../../src/errors.js';
import type { Codec } from '../../src/router/codec.js';
import { KeyScratch } from '../../src/router/key-scratch.js';
import { type ScanQuery, scanQuery } from '../../src/router/scan-query.js';

const query = (options: unknown, codec = utf8Encoding as Codec): ScanQuery =>
  scanQuery(options, codec, new KeyScratch(), 64);

const bounds = (options: unknown, codec?: Codec): string => {
  const { lower, upper } = query(options, codec);
  const low = lower ? `${lower.inclusive ? '[' : '('}${lower.key.toString('latin1')}` : '(';
  const high = upper ? `${upper.key.toString('latin1')}${upper.inclusive ? ']' : ')'}` : ')';
  return `${low},${high}`;
};

describe('the bounds of a scan', () => {
  it('are those that are given', () => {
    expect(bounds(undefined)).toBe('(,)');
    expect(bounds({})).toBe('(,)');
    expect(bounds({ gte: 'a', lt: 'b' })).toBe('[a,b)');
    expect(bounds({ gt: 'a', lte: 'b' })).toBe('(a,b]');
    expect(bounds({ gte: '' })).toBe('[,)');
  });

  it('of several, the tighter hold', () => {
    expect(bounds({ gt: 'a', gte: 'b' })).toBe('[b,)');
    expect(bounds({ gt: 'b', gte: 'b', lt: 'x', lte: 'x' })).toBe('(b,x)');
    expect(bounds({ lt: 'y', lte: 'x' })).toBe('(,x]');
    expect(bounds({ prefix: 'k', gte: 'kb', lt: 'z' })).toBe('[kb,l)');
    expect(bounds({ prefix: 'k', gte: 'a', lt: 'kz' })).toBe('[k,kz)');
  });

  it('of a prefix end where no key can begin with it', () => {
    expect(bounds({ prefix: 'user:' })).toBe('[user:,user;)');
    expect(bounds({ prefix: '' })).toBe('(,)');
    const codec = bufferEncoding as Codec;
    expect(bounds({ prefix: Buffer.from([7, 255, 255]) }, codec)).toBe(
      '[\u0007\u00ff\u00ff,\u0008)',
    );
    expect(bounds({ prefix: Buffer.from([255]) }, codec)).toBe('[\u00ff,)');
    expect(() => query({ prefix: 'x' }, jsonEncoding as Codec)).toThrow(InvalidArgumentError);
    expect(bounds({ prefix: Buffer.from('"x') }, jsonEncoding as Codec)).toBe('["x,"y)');
  });

  it('between which nothing lies are known to be empty', () => {
    for (const options of [
      { gte: 'b', lt: 'a' },
      { gt: 'a', lt: 'a' },
      { gte: 'a', lt: 'a' },
      { gt: 'a', lte: 'a' },
      { prefix: 'k', gt: 'l' },
      { limit: 0 },
    ]) {
      expect(query(options).empty, JSON.stringify(options)).toBe(true);
    }
    expect(query({ gte: 'a', lte: 'a' }).empty).toBe(false);
  });
});

describe('the options of a scan', () => {
  it('are checked by name and type', () => {
    for (const options of [
      { from: 'a' },
      { gte: 1 },
      { limit: -1 },
      { limit: 1.5 },
      { reverse: 1 },
      { keys: false, values: false },
      { keys: 'no' },
      { prefetch: 5000 },
      { prefix: 7 },
      [],
      'all',
      null,
    ]) {
      expect(() => query(options), JSON.stringify(options)).toThrow(InvalidArgumentError);
    }
    expect(() => query({ gte: 1 })).toThrow('"gte"');
    expect(() => query({ limt: 1 })).toThrow('did you mean "limit"');
  });

  it('choose what is handed out', () => {
    expect(query({}).select).toBe('entries');
    expect(query({ values: false }).select).toBe('keys');
    expect(query({ keys: false }).select).toBe('values');
    expect(query({ prefetch: 3 }).prefetchBlocks).toBe(3);
    expect(query({}).prefetchBlocks).toBe(64);
    expect(query({}).limit).toBe(Number.POSITIVE_INFINITY);
  });
});
