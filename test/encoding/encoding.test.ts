import { describe, expect, it } from 'vitest';
import { json, resolveEncoding } from '../../src/encoding/encoding.js';

const orderOf = (texts: readonly string[]): string[] =>
  texts
    .map((text) => resolveEncoding('keyEncoding', 'utf8').encode(text))
    .sort(Buffer.compare)
    .map((bytes) => String(resolveEncoding('keyEncoding', 'utf8').decode(bytes)));

describe('encodings', () => {
  it.each([
    ['utf8', ['', 'a', 'é', '漢字', '🗝', '\u0000']],
    ['json', [null, 0, -1.5, 'text', [1, 'two'], { a: { b: [] } }]],
    ['buffer', [Buffer.alloc(0), Buffer.of(0, 255)]],
  ])('%s gives back what it was given', (name, values) => {
    const encoding = resolveEncoding('valueEncoding', name);
    for (const value of values) expect(encoding.decode(encoding.encode(value))).toEqual(value);
  });

  it('take custom functions, with their this', () => {
    const custom = {
      offset: 1,
      encode(value: number): Uint8Array {
        return Buffer.of(value + this.offset);
      },
      decode(bytes: Uint8Array): number {
        return (bytes[0] ?? 0) - this.offset;
      },
    };
    const encoding = resolveEncoding('keyEncoding', custom);
    expect(encoding.kind).toBe('custom');
    expect(encoding.decode(encoding.encode(41))).toBe(41);
  });

  it('recognize typed JSON as JSON', () => {
    expect(resolveEncoding('valueEncoding', json<{ name: string }>()).kind).toBe('json');
  });

  it('refuse a value that JSON cannot express', () => {
    const encoding = resolveEncoding('valueEncoding', 'json');
    expect(() => encoding.encode(undefined)).toThrow('something JSON can express');
  });

  it('order UTF-8 keys by code point, unlike JavaScript', () => {
    const texts = ['b', 'a', '\uffee', '🗝', 'B'];
    expect(orderOf(texts)).toEqual(['B', 'a', 'b', '\uffee', '🗝']);
    expect([...texts].sort()).toEqual(['B', 'a', 'b', '🗝', '\uffee']);
  });
});
