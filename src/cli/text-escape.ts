/**
 * Keys and values as one field of a line of text, and back.
 *
 * A line is `key TAB value`. Tab, newline, carriage return and backslash are written `\t`, `\n`,
 * `\r`, `\\`; other control characters, and bytes that are not UTF-8, as `\xNN`. What is written
 * reads back as the same bytes.
 */

import { isUtf8 } from 'node:buffer';
import { InvalidArgumentError } from '../index.js';

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must be escaped
const SPECIAL = /[\u0000-\u001f\\\u007f]/g;

/** One field of a line. */
export function escapeField(bytes: Uint8Array): string {
  if (isUtf8(bytes))
    return escapeText(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
  let text = '';
  let from = 0;
  // Runs of valid UTF-8 stay readable between the bytes that are not.
  while (from < bytes.length) {
    const length = validLength(bytes, from);
    if (length === 0) {
      text += hexEscape(bytes[from] ?? 0);
      from++;
    } else {
      text += escapeText(Buffer.from(bytes.subarray(from, from + length)).toString());
      from += length;
    }
  }
  return text;
}

/** The bytes of a field. Throws `InvalidArgumentError` for an escape it does not know. */
export function unescapeField(text: string): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  while (from < text.length) {
    const backslash = text.indexOf('\\', from);
    if (backslash === -1) {
      parts.push(Buffer.from(text.slice(from)));
      break;
    }
    if (backslash > from) parts.push(Buffer.from(text.slice(from, backslash)));
    const [byte, length] = readEscape(text, backslash);
    parts.push(Buffer.of(byte));
    from = backslash + length;
  }
  return Buffer.concat(parts);
}

function readEscape(text: string, at: number): [byte: number, length: number] {
  switch (text[at + 1]) {
    case 't':
      return [9, 2];
    case 'n':
      return [10, 2];
    case 'r':
      return [13, 2];
    case '\\':
      return [92, 2];
    case 'x': {
      const digits = text.slice(at + 2, at + 4);
      if (/^[0-9a-fA-F]{2}$/.test(digits)) return [Number.parseInt(digits, 16), 4];
    }
  }
  throw new InvalidArgumentError(
    `Unknown escape "${text.slice(at, at + 4)}" at character ${at + 1}: use \\t, \\n, \\r, \\\\ or \\xNN`,
  );
}

function escapeText(text: string): string {
  return text.replace(SPECIAL, (character) => {
    switch (character) {
      case '\t':
        return '\\t';
      case '\n':
        return '\\n';
      case '\r':
        return '\\r';
      case '\\':
        return '\\\\';
      default:
        return hexEscape(character.charCodeAt(0));
    }
  });
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`;
}

/** Bytes of the valid UTF-8 that starts at `from`; 0 when its first byte already is not. */
function validLength(bytes: Uint8Array, from: number): number {
  let length = 0;
  while (from + length < bytes.length) {
    const lead = bytes[from + length] ?? 0;
    const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const end = from + length + size;
    if (end > bytes.length || !isUtf8(bytes.subarray(from + length, end))) break;
    length += size;
  }
  return length;
}
