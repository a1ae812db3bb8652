import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { escapeField, unescapeField } from '../../src/cli/text-escape.js';

describe('a field of a line', () => {
  it.each([
    ['plain text', Buffer.from('plain text')],
    ['наука 🗝', Buffer.from('наука 🗝')],
    ['a\\tb\\nc\\rd\\\\e', Buffer.from('a\tb\nc\rd\\e')],
    ['\\x00\\x1b\\x7f', Buffer.of(0, 27, 127)],
    ['a\\xffb\\xc3', Buffer.of(97, 255, 98, 0xc3)],
    ['é\\xe2\\x82x', Buffer.of(0xc3, 0xa9, 0xe2, 0x82, 120)],
    ['', Buffer.alloc(0)],
  ])('is written %s', (text, bytes) => {
    expect(escapeField(bytes)).toBe(text);
    expect(unescapeField(text)).toEqual(bytes);
  });

  it('reads back as the same bytes, stands on one line and holds no tab', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const text = escapeField(bytes);
        expect(text).not.toMatch(/[\t\n\r]/);
        expect(unescapeField(text)).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it.each(['\\', 'a\\q', '\\x1', '\\xzz'])('with the unknown escape %s is refused', (text) => {
    expect(() => unescapeField(text)).toThrow('Unknown escape');
  });
});
