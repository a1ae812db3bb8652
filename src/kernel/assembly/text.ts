/**
 * Scanning text 16 bytes at a time: counting and finding bytes, checking UTF-8, finding where the
 * elements of a JSON array end.
 *
 * Loads may touch up to 15 bytes behind a range; what they find there is never taken into account.
 */

import {
  JSON_CLOSED,
  JSON_CURSOR,
  JSON_DEPTH,
  JSON_ELEMENT,
  JSON_ELEMENTS,
  JSON_ELEMENTS_MAX,
  JSON_END,
  JSON_IN_STRING,
  JSON_OUT,
} from './load-layout';

const QUOTE: u8 = 0x22;
const NEWLINE: u8 = 0x0a;
const BACKSLASH: u8 = 0x5c;

/** How often a byte occurs in `length` bytes. */
export function textCount(ptr: u32, length: u32, byte: u32): u32 {
  const wanted = i8x16.splat(<i8>byte);
  const end = ptr + length;
  let count: u32 = 0;
  let p = ptr;
  for (; p + 16 <= end; p += 16) {
    count += popcnt<u32>(<u32>i8x16.bitmask(i8x16.eq(v128.load(p), wanted)));
  }
  for (; p < end; p++) count += <u32>(load<u8>(p) == <u8>byte);
  return count;
}

/** Address of the first such byte at or after `ptr`, or `end`. */
export function textFind(ptr: u32, end: u32, byte: u32): u32 {
  const wanted = i8x16.splat(<i8>byte);
  for (let p = ptr; p < end; p += 16) {
    const found = <u32>i8x16.bitmask(i8x16.eq(v128.load(p), wanted));
    if (found) return min(p + ctz<u32>(found), end);
  }
  return end;
}

/** Address behind the first newline that is not between quotation marks, or 0 when there is none. */
export function textFindRecord(ptr: u32, end: u32, inQuotes: u32): u32 {
  let quoted = inQuotes != 0;
  let p = ptr;
  while (p < end) {
    if (quoted) {
      p = textFind(p, end, QUOTE) + 1;
      quoted = false;
      continue;
    }
    const quote = textFind(p, end, QUOTE);
    const newline = textFind(p, quote, NEWLINE);
    if (newline < quote) return newline + 1;
    p = quote + 1;
    quoted = true;
  }
  return 0;
}

/** Whether the bytes are UTF-8 as Unicode defines it (no overlong forms, surrogates or numbers past U+10FFFF). */
export function utf8Valid(ptr: u32, length: u32): bool {
  const end = ptr + length;
  let p = ptr;
  while (p < end) {
    if (p + 16 <= end && !i8x16.bitmask(v128.load(p))) {
      p += 16;
      continue;
    }
    const lead = load<u8>(p);
    if (lead < 0x80) {
      p++;
      continue;
    }
    let more: u32;
    let low: u8 = 0x80;
    let high: u8 = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
      more = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      more = 2;
      if (lead == 0xe0) low = 0xa0;
      if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      more = 3;
      if (lead == 0xf0) low = 0x90;
      if (lead == 0xf4) high = 0x8f;
    } else {
      return false;
    }
    if (end - p <= more) return false;
    const second = load<u8>(p + 1);
    if (second < low || second > high) return false;
    for (let i: u32 = 2; i <= more; i++) if ((load<u8>(p + i) & 0xc0) != 0x80) return false;
    p += more + 1;
  }
  return true;
}

/**
 * Goes on scanning a JSON array from JSON_CURSOR to JSON_END and lists the elements that end there:
 * address and length each, up to JSON_ELEMENTS_MAX of them; with no JSON_OUT they are only counted. JSON_ELEMENT is where the element not
 * yet ended begins: a place where the text can be cut. JSON_CLOSED becomes the address behind the
 * array's end. Only strings and brackets are understood; whether an element is JSON is not checked.
 */
export function jsonScan(state: u32): void {
  const end = load<u32>(state + JSON_END);
  const max = load<u32>(state + JSON_ELEMENTS_MAX);
  const out = load<u32>(state + JSON_OUT);
  let depth = load<u32>(state + JSON_DEPTH);
  let inString = load<u32>(state + JSON_IN_STRING) != 0;
  let element = load<u32>(state + JSON_ELEMENT);
  let count: u32 = 0;
  let p = load<u32>(state + JSON_CURSOR);
  const quotes = i8x16.splat(<i8>QUOTE);
  const backslashes = i8x16.splat(<i8>BACKSLASH);
  while (p < end && count < max) {
    if (inString) {
      const bytes = v128.load(p);
      const found = <u32>(
        i8x16.bitmask(v128.or(i8x16.eq(bytes, quotes), i8x16.eq(bytes, backslashes)))
      );
      if (!found) {
        p += 16;
        continue;
      }
      p += ctz<u32>(found);
      if (p >= end) break;
      if (load<u8>(p) == QUOTE) {
        inString = false;
        p++;
      } else {
        // A backslash and what it escapes stay together: the caller sees the cursor and may wait.
        if (p + 1 >= end) break;
        p += 2;
      }
      continue;
    }
    const byte = load<u8>(p);
    p++;
    if (byte == QUOTE) {
      inString = true;
    } else if (byte == 0x5b || byte == 0x7b) {
      depth++;
      if (depth == 1) element = p;
    } else if (byte == 0x5d || byte == 0x7d) {
      if (depth == 1) {
        if (out) storeElement(out, count, element, p - 1);
        count++;
        element = p;
        store<u32>(state + JSON_CLOSED, p);
        depth = 0;
        break;
      }
      if (depth) depth--;
    } else if (byte == 0x2c && depth == 1) {
      if (out) storeElement(out, count, element, p - 1);
      count++;
      element = p;
    }
  }
  store<u32>(state + JSON_CURSOR, min(p, end));
  store<u32>(state + JSON_DEPTH, depth);
  store<u32>(state + JSON_IN_STRING, <u32>inString);
  store<u32>(state + JSON_ELEMENT, element);
  store<u32>(state + JSON_ELEMENTS, count);
}

// @ts-ignore: decorator
@inline
function storeElement(out: u32, index: u32, start: u32, end: u32): void {
  store<u32>(out + (index << 3), start);
  store<u32>(out + (index << 3) + 4, end - start);
}
