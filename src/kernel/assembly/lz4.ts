/**
 * LZ4 block format (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md).
 *
 * The compressor is the greedy one-pass method with a small hash table of positions; on data that
 * does not compress it takes longer and longer steps. The decompressor takes hostile bytes: it
 * never reads outside the source nor writes outside the target.
 */

import { copyBytes } from './bytes';

const TABLE_BITS: u32 = 13;
/** Bytes that the compressor's table needs at the address given to `lz4SetTable`. */
export const LZ4_TABLE_BYTES: u32 = 4 << TABLE_BITS;

/** A compressed byte never gives more than this many. */
export const LZ4_RATIO_MAX: u32 = 255;

const MATCH_BYTES_MIN: u32 = 4;
/** The last match starts at least this far before the end, and the last bytes are literals. */
const MATCH_LIMIT: u32 = 12;
const LITERALS_LAST: u32 = 5;
const DISTANCE_MAX: u32 = 65535;
/** A length in a token that goes on in the bytes behind it. */
const TOKEN_MAX: u32 = 15;
/** What wild copies may write behind their end, token and distance included. */
const SLACK_BYTES: u32 = 32;
const SOURCE_BYTES_MAX: u32 = 0x7e000000;

let table: u32 = 0;
/**
 * Position of the source's first byte in the table. It moves on by more than DISTANCE_MAX after
 * each call, so that what earlier calls left there is too far away to match: no clearing per call.
 */
let base: u32 = 0;

/** Gives this instance's compressor its table: LZ4_TABLE_BYTES, 16-byte aligned. */
export function lz4SetTable(address: u32): void {
  table = address;
  clearTable();
}

function clearTable(): void {
  memory.fill(table, 0, LZ4_TABLE_BYTES);
  base = DISTANCE_MAX + 1;
}

/** A capacity that `lz4Compress` never finds too small for `length` bytes. */
export function lz4Bound(length: u32): u32 {
  return length + length / 255 + 16 + SLACK_BYTES;
}

/** Table slot of the sequence at a position: its low five bytes spread better than four. */
// @ts-ignore: decorator
@inline
function slotOf(sequence: u64): u32 {
  return table + (<u32>(((sequence << 24) * 889523592379) >> (64 - TABLE_BITS)) << 2);
}

/** Copies up to `end`, 16 bytes at a time: writes up to 15 bytes more. Distance 16 or more. */
// @ts-ignore: decorator
@inline
function copyWild(target: u32, from: u32, end: u32): void {
  do {
    v128.store(target, v128.load(from));
    target += 16;
    from += 16;
  } while (target < end);
}

/** The rest of a length beyond its four bits in the token. Returns the address behind it. */
function putLength(p: u32, length: u32): u32 {
  while (length >= 255) {
    store<u8>(p++, 255);
    length -= 255;
  }
  store<u8>(p, length);
  return p + 1;
}

/** Bytes that are the same at `p` and `candidate`, up to `limit`. */
// @ts-ignore: decorator
@inline
function commonBytes(p: u32, candidate: u32, limit: u32): u32 {
  const start = p;
  while (p + 8 <= limit) {
    const difference = load<u64>(p) ^ load<u64>(candidate);
    if (difference) return p - start + (<u32>ctz(difference) >> 3);
    p += 8;
    candidate += 8;
  }
  while (p < limit && load<u8>(p) == load<u8>(candidate)) {
    p++;
    candidate++;
  }
  return p - start;
}

/**
 * Compresses into at most `capacity` bytes. Returns how many it took, or 0 when they do not fit or
 * would come within SLACK_BYTES of the capacity. Reads up to 3 bytes behind the source. The step
 * grows by one after each 2^`skipShift` bytes without a match: the less, the faster, and the more matches
 * are passed over.
 */
export function lz4Compress(
  source: u32,
  length: u32,
  target: u32,
  capacity: u32,
  skipShift: u32,
): u32 {
  if (length > SOURCE_BYTES_MAX || capacity <= SLACK_BYTES) return 0;
  if (base > 0x80000000) clearTable();
  const bias = base - source;
  base += length + DISTANCE_MAX + 1;

  const end = source + length;
  const targetEnd = target + capacity - SLACK_BYTES;
  let anchor = source;
  let out = target;

  if (length > MATCH_LIMIT) {
    const startLimit = end - MATCH_LIMIT;
    const matchLimit = end - LITERALS_LAST;
    let p = source;
    store<u32>(slotOf(load<u64>(p)), p + bias);
    p++;
    while (p <= startLimit) {
      const sequence = load<u64>(p);
      const slot = slotOf(sequence);
      const position = p + bias;
      const entry = load<u32>(slot);
      store<u32>(slot, position);
      // One branch that is easily foreseen, in place of two of which one is not.
      const isNear = position - entry <= DISTANCE_MAX;
      let candidate = select<u32>(entry - bias, source, isNear);
      if (<u32>!isNear | (load<u32>(candidate) ^ <u32>sequence)) {
        p += 1 + ((p - anchor) >> skipShift);
        continue;
      }
      const matched = p;
      while (p > anchor && candidate > source && load<u8>(p - 1) == load<u8>(candidate - 1)) {
        p--;
        candidate--;
      }
      const distance = p - candidate;
      const literals = p - anchor;
      const found = matched + MATCH_BYTES_MIN;
      const rest = found - p - MATCH_BYTES_MIN + commonBytes(found, found - distance, matchLimit);
      if (out + literals + (literals + rest) / 255 > targetEnd) return 0;
      const token = out++;
      if (literals >= TOKEN_MAX) {
        out = putLength(out, literals - TOKEN_MAX);
        store<u8>(token, (TOKEN_MAX << 4) | min(rest, TOKEN_MAX));
      } else {
        store<u8>(token, (literals << 4) | min(rest, TOKEN_MAX));
      }
      copyWild(out, anchor, out + literals);
      out += literals;
      store<u16>(out, distance);
      out += 2;
      if (rest >= TOKEN_MAX) out = putLength(out, rest - TOKEN_MAX);
      p += rest + MATCH_BYTES_MIN;
      anchor = p;
      if (p > startLimit) break;
      store<u32>(slotOf(load<u64>(p - 2)), p - 2 + bias);
    }
  }

  const literals = end - anchor;
  if (out + literals + literals / 255 > targetEnd) return 0;
  store<u8>(out++, min(literals, TOKEN_MAX) << 4);
  if (literals >= TOKEN_MAX) out = putLength(out, literals - TOKEN_MAX);
  copyBytes(out, anchor, literals);
  return out + literals - target;
}

/** Where the last extended length ended; 0 when it was cut short or too large. */
let cursor: u32 = 0;

/** Adds the bytes of an extended length at `p` to TOKEN_MAX. */
function longLength(p: u32, end: u32, most: u32): u32 {
  let length: u32 = TOKEN_MAX;
  while (p < end && length <= most) {
    const byte = <u32>load<u8>(p++);
    length += byte;
    if (byte != 255) {
      cursor = p;
      return length;
    }
  }
  cursor = 0;
  return 0;
}

/** Copies a match that may overlap itself; writes up to 15 bytes behind its end. */
// @ts-ignore: decorator
@inline
function copyMatchWild(out: u32, distance: u32, length: u32): void {
  const end = out + length;
  if (distance >= 16) {
    copyWild(out, out - distance, end);
    return;
  }
  if (distance < 8) {
    // Lay down one stretch of 8 bytes, then copy from a multiple of the distance that is 8 or more.
    const from = out - distance;
    for (let i: u32 = 0; i < 8; i++) store<u8>(out + i, load<u8>(from + i));
    out += 8;
    distance *= (7 + distance) / distance;
  }
  while (out < end) {
    store<u64>(out, load<u64>(out - distance));
    out += 8;
  }
}

/**
 * Decompresses at most `capacity` bytes. Returns how many there were, or -1 when the source is not
 * LZ4 or does not fit. Safe on any bytes.
 */
export function lz4Decompress(source: u32, length: u32, target: u32, capacity: u32): i32 {
  const end = source + length;
  const targetEnd = target + capacity;
  let p = source;
  let out = target;
  while (p < end) {
    const token = <u32>load<u8>(p++);
    let literals = token >> 4;
    if (literals == TOKEN_MAX) {
      literals = longLength(p, end, targetEnd - out);
      if (!cursor) return -1;
      p = cursor;
    }
    const sourceLeft = end - p;
    const room = targetEnd - out;
    if (literals > sourceLeft || literals > room) return -1;
    if (literals + 16 <= sourceLeft && literals + 16 <= room) copyWild(out, p, out + literals);
    else copyBytes(out, p, literals);
    p += literals;
    out += literals;
    if (p == end) return <i32>(out - target);

    if (end - p < 2) return -1;
    const distance = <u32>load<u16>(p);
    p += 2;
    if (distance == 0 || distance > out - target) return -1;
    let rest = token & TOKEN_MAX;
    if (rest == TOKEN_MAX) {
      rest = longLength(p, end, targetEnd - out);
      if (!cursor) return -1;
      p = cursor;
    }
    rest += MATCH_BYTES_MIN;
    if (rest > targetEnd - out) return -1;
    const matchEnd = out + rest;
    if (matchEnd + 16 <= targetEnd) {
      copyMatchWild(out, distance, rest);
    } else {
      if (out + 32 < targetEnd) {
        copyMatchWild(out, distance, targetEnd - 16 - out);
        out = targetEnd - 16;
      }
      for (; out < matchEnd; out++) store<u8>(out, load<u8>(out - distance));
    }
    out = matchEnd;
  }
  return -1;
}
