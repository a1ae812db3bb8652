/**
 * Separated values (RFC 4180) straight from the bytes of a file to the entries of a chunk: no string
 * is made on the way. Key and value are lists of pieces: literals, fields, and fields as JSON strings,
 * so that a template or a whole record as JSON takes the same path as a plain column.
 *
 * A record that is not well-formed is reported, never guessed at; the cursor then stands behind the
 * next newline after the fault, so that the caller may leave the record out and go on.
 */

import { copyBytes } from './bytes';
import { KEY_BYTES_MAX } from './layout';
import {
  CHUNK_COUNT,
  CHUNK_TOP,
  CSV_BAD_AFTER_QUOTE,
  CSV_BAD_FIELD_COUNT,
  CSV_BAD_KEY_LONG,
  CSV_BAD_KEY_MISSING,
  CSV_BAD_QUOTE_IN_FIELD,
  CSV_BAD_UNTERMINATED,
  CSV_BAD_UTF8,
  CSV_BAD_VALUE_LONG,
  CSV_CHUNK,
  CSV_COLUMNS,
  CSV_CURSOR,
  CSV_DELIMITER,
  CSV_DONE,
  CSV_FIELDS,
  CSV_FIELD_BYTES,
  CSV_FIELD_ESCAPED,
  CSV_FIELD_FLAGS,
  CSV_FIELD_LENGTH,
  CSV_FIELD_QUOTED,
  CSV_FIELD_START,
  CSV_FINAL,
  CSV_FULL,
  CSV_KEY,
  CSV_KEY_PIECES,
  CSV_LARGE,
  CSV_LARGE_BYTES,
  CSV_MORE,
  CSV_PIECE_BYTES,
  CSV_PIECE_FIELD,
  CSV_PIECE_LITERAL,
  CSV_QUOTES,
  CSV_RECORD,
  CSV_RESULT_FIELDS,
  CSV_RESULT_KEY,
  CSV_RESULT_KEY_LENGTH,
  CSV_RESULT_VALUE_LENGTH,
  CSV_STOP,
  CSV_TEXT_END,
  CSV_VALUE,
  CSV_VALUE_BYTES_MAX,
  CSV_VALUE_LARGE,
  CSV_VALUE_PIECES,
} from './load-layout';
import { chunkAdd, chunkCommit, chunkRoom } from './sort';
import { textFind, utf8Valid } from './text';

const QUOTE: u8 = 0x22;
const NEWLINE: u8 = 0x0a;
const RETURN: u8 = 0x0d;
const BACKSLASH: u8 = 0x5c;

/** Records whose pieces could take more than this go through the large room instead of the chunk. */
const ENTRY_BYTES_DIRECT: u64 = 1 << 20;

/** Where the record that `splitRecord` split ends: address of the next one. */
let recordEnd: u32 = 0;
/** Its fields, those beyond CSV_COLUMNS included. */
let fieldCount: u32 = 0;

/** Parses records into the chunk until something needs the caller: one of CSV_*. */
export function csvParse(state: u32): u32 {
  const chunk = load<u32>(state + CSV_CHUNK);
  const stop = load<u32>(state + CSV_STOP);
  let status: u32 = 0;
  while (!status) {
    const start = skipBlankLines(state);
    if (start > stop) return CSV_DONE;
    if (start == load<u32>(state + CSV_TEXT_END)) {
      return load<u32>(state + CSV_FINAL) ? CSV_DONE : CSV_MORE;
    }
    status = splitRecord(state, start);
    if (!status) status = emit(state, chunk);
    if (status == CSV_MORE || status == CSV_FULL) return status;
    store<u32>(state + CSV_RECORD, start);
    store<u32>(state + CSV_CURSOR, recordEnd);
  }
  return status;
}

/** Splits one record, for a host that wants to see fields: 0, CSV_MORE or CSV_BAD_*. */
export function csvSplit(state: u32): u32 {
  const start = skipBlankLines(state);
  if (start == load<u32>(state + CSV_TEXT_END)) {
    return load<u32>(state + CSV_FINAL) ? CSV_DONE : CSV_MORE;
  }
  const status = splitRecord(state, start);
  if (status != CSV_MORE) {
    store<u32>(state + CSV_RECORD, start);
    store<u32>(state + CSV_RESULT_FIELDS, fieldCount);
    store<u32>(state + CSV_CURSOR, recordEnd);
  }
  return status;
}

/**
 * A line with nothing on it is no record, not even one with an empty field. Lines of the next range are
 * left to it.
 */
function skipBlankLines(state: u32): u32 {
  const textEnd = load<u32>(state + CSV_TEXT_END);
  const end = min(textEnd, load<u32>(state + CSV_STOP) + 1);
  let p = load<u32>(state + CSV_CURSOR);
  while (p < end) {
    const byte = load<u8>(p);
    if (byte == NEWLINE) p++;
    else if (byte == RETURN && p + 1 < textEnd && load<u8>(p + 1) == NEWLINE) p += 2;
    else break;
  }
  store<u32>(state + CSV_CURSOR, p);
  return p;
}

/** Fills the field table from the record at `start` and sets `recordEnd`: 0, CSV_MORE or CSV_BAD_*. */
function splitRecord(state: u32, start: u32): u32 {
  const end = load<u32>(state + CSV_TEXT_END);
  const final = load<u32>(state + CSV_FINAL) != 0;
  const quotes = load<u32>(state + CSV_QUOTES) != 0;
  const delimiter = <u8>load<u32>(state + CSV_DELIMITER);
  const columns = load<u32>(state + CSV_COLUMNS);
  const delimiters = i8x16.splat(<i8>delimiter);
  const newlines = i8x16.splat(<i8>NEWLINE);
  const quoteMarks = i8x16.splat(<i8>(quotes ? QUOTE : NEWLINE));
  let field = load<u32>(state + CSV_FIELDS);
  let p = start;
  fieldCount = 0;
  for (;;) {
    let flags: u32 = 0;
    let from = p;
    let length: u32;
    if (quotes && p < end && load<u8>(p) == QUOTE) {
      flags = CSV_FIELD_QUOTED;
      from = p + 1;
      p = from;
      for (;;) {
        p = textFind(p, end, QUOTE);
        // The mark that closes must be told from the first of two.
        if (p + 1 >= end && !final) return CSV_MORE;
        if (p >= end) {
          recordEnd = afterNewline(start, end, final);
          return recordEnd ? CSV_BAD_UNTERMINATED : CSV_MORE;
        }
        if (p + 1 >= end || load<u8>(p + 1) != QUOTE) break;
        flags |= CSV_FIELD_ESCAPED;
        p += 2;
      }
      length = p - from;
      p++;
      if (p < end && load<u8>(p) == RETURN) {
        if (p + 1 >= end && !final) return CSV_MORE;
        if (p + 1 >= end || load<u8>(p + 1) == NEWLINE) p++;
      }
      if (p < end && load<u8>(p) != delimiter && load<u8>(p) != NEWLINE) {
        recordEnd = afterNewline(p, end, final);
        return recordEnd ? CSV_BAD_AFTER_QUOTE : CSV_MORE;
      }
    } else {
      for (;;) {
        if (p >= end) break;
        const bytes = v128.load(p);
        const found = <u32>(
          i8x16.bitmask(
            v128.or(
              v128.or(i8x16.eq(bytes, delimiters), i8x16.eq(bytes, newlines)),
              i8x16.eq(bytes, quoteMarks),
            ),
          )
        );
        if (found) {
          p += ctz<u32>(found);
          break;
        }
        p += 16;
      }
      if (p >= end) {
        if (!final) return CSV_MORE;
        p = end;
      } else if (quotes && load<u8>(p) == QUOTE) {
        recordEnd = afterNewline(p, end, final);
        return recordEnd ? CSV_BAD_QUOTE_IN_FIELD : CSV_MORE;
      }
      length = p - from;
      const ends = p == end || load<u8>(p) == NEWLINE;
      if (ends && length && load<u8>(p - 1) == RETURN) length--;
    }
    if (p == end && !final) return CSV_MORE;
    if (fieldCount < columns) {
      store<u32>(field + CSV_FIELD_START, from);
      store<u32>(field + CSV_FIELD_LENGTH, length);
      store<u32>(field + CSV_FIELD_FLAGS, flags);
      field += CSV_FIELD_BYTES;
    }
    fieldCount++;
    if (p >= end || load<u8>(p) == NEWLINE) break;
    p++;
  }
  recordEnd = p < end ? p + 1 : end;
  return utf8Valid(start, p - start) ? 0 : CSV_BAD_UTF8;
}

/** Where to go on after a fault: behind the next newline; 0 when that is not in memory yet. */
function afterNewline(p: u32, end: u32, final: bool): u32 {
  const newline = textFind(p, end, NEWLINE);
  if (newline < end) return newline + 1;
  return final ? end : 0;
}

/** Makes the entry of the record in the field table: 0, CSV_FULL, CSV_VALUE_LARGE or CSV_BAD_*. */
function emit(state: u32, chunk: u32): u32 {
  if (fieldCount != load<u32>(state + CSV_COLUMNS)) {
    store<u32>(state + CSV_RESULT_FIELDS, fieldCount);
    return CSV_BAD_FIELD_COUNT;
  }
  const fields = load<u32>(state + CSV_FIELDS);
  const key = load<u32>(state + CSV_KEY);
  const keyPieces = load<u32>(state + CSV_KEY_PIECES);
  const value = load<u32>(state + CSV_VALUE);
  const valuePieces = load<u32>(state + CSV_VALUE_PIECES);
  if (isKeyMissing(key, keyPieces, fields)) return CSV_BAD_KEY_MISSING;

  const bytesMax = piecesBytesMax(key, keyPieces, fields) + piecesBytesMax(value, valuePieces, fields);
  let to: u32;
  const direct = bytesMax <= ENTRY_BYTES_DIRECT;
  if (direct) {
    if (bytesMax > <u64>chunkRoom(chunk)) {
      if (load<u32>(chunk + CHUNK_COUNT)) return CSV_FULL;
    }
    to = load<u32>(chunk + CHUNK_TOP);
  } else {
    const bytes = piecesBytes(key, keyPieces, fields) + piecesBytes(value, valuePieces, fields);
    if (bytes > <u64>load<u32>(state + CSV_LARGE_BYTES)) return CSV_BAD_VALUE_LONG;
    to = load<u32>(state + CSV_LARGE);
  }
  const valueStart = writePieces(to, key, keyPieces, fields);
  const keyLength = valueStart - to;
  if (keyLength > KEY_BYTES_MAX) return CSV_BAD_KEY_LONG;
  const valueLength = writePieces(valueStart, value, valuePieces, fields) - valueStart;
  if (valueLength > load<u32>(state + CSV_VALUE_BYTES_MAX)) {
    store<u32>(state + CSV_RESULT_KEY, to);
    store<u32>(state + CSV_RESULT_KEY_LENGTH, keyLength);
    store<u32>(state + CSV_RESULT_VALUE_LENGTH, valueLength);
    return CSV_VALUE_LARGE;
  }
  if (direct) {
    chunkCommit(chunk, keyLength, valueLength);
    return 0;
  }
  return chunkAdd(chunk, to, keyLength, valueStart, valueLength) ? CSV_FULL : 0;
}

/** A key made from a field that is empty and not quoted is no key; a quoted empty field is one. */
function isKeyMissing(pieces: u32, count: u32, fields: u32): bool {
  for (let i: u32 = 0; i < count; i++) {
    const piece = pieces + i * CSV_PIECE_BYTES;
    if (load<u32>(piece) == CSV_PIECE_LITERAL) continue;
    const field = fields + load<u32>(piece + 4) * CSV_FIELD_BYTES;
    if (!load<u32>(field + CSV_FIELD_LENGTH) && !load<u32>(field + CSV_FIELD_FLAGS)) return true;
  }
  return false;
}

function piecesBytesMax(pieces: u32, count: u32, fields: u32): u64 {
  let bytes: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const piece = pieces + i * CSV_PIECE_BYTES;
    const kind = load<u32>(piece);
    if (kind == CSV_PIECE_LITERAL) {
      bytes += load<u32>(piece + 8);
    } else {
      const length = <u64>load<u32>(fields + load<u32>(piece + 4) * CSV_FIELD_BYTES + CSV_FIELD_LENGTH);
      bytes += kind == CSV_PIECE_FIELD ? length : length * 6 + 2;
    }
  }
  return bytes;
}

function piecesBytes(pieces: u32, count: u32, fields: u32): u64 {
  let bytes: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const piece = pieces + i * CSV_PIECE_BYTES;
    const kind = load<u32>(piece);
    if (kind == CSV_PIECE_LITERAL) {
      bytes += load<u32>(piece + 8);
      continue;
    }
    const field = fields + load<u32>(piece + 4) * CSV_FIELD_BYTES;
    const length = load<u32>(field + CSV_FIELD_LENGTH);
    bytes += length;
    if (kind == CSV_PIECE_FIELD) continue;
    bytes += 2;
    const from = load<u32>(field + CSV_FIELD_START);
    for (let j: u32 = 0; j < length; j++) bytes += escapeBytes(load<u8>(from + j)) - 1;
  }
  return bytes;
}

function writePieces(to: u32, pieces: u32, count: u32, fields: u32): u32 {
  for (let i: u32 = 0; i < count; i++) {
    const piece = pieces + i * CSV_PIECE_BYTES;
    const kind = load<u32>(piece);
    if (kind == CSV_PIECE_LITERAL) {
      const length = load<u32>(piece + 8);
      copyBytes(to, load<u32>(piece + 4), length);
      to += length;
      continue;
    }
    const field = fields + load<u32>(piece + 4) * CSV_FIELD_BYTES;
    const from = load<u32>(field + CSV_FIELD_START);
    const length = load<u32>(field + CSV_FIELD_LENGTH);
    const escaped = (load<u32>(field + CSV_FIELD_FLAGS) & CSV_FIELD_ESCAPED) != 0;
    if (kind == CSV_PIECE_FIELD) to = writeField(to, from, length, escaped);
    else to = writeJson(to, from, length, escaped);
  }
  return to;
}

/** Copies a field; of two quotation marks in an escaped one, only the first. */
function writeField(to: u32, from: u32, length: u32, escaped: bool): u32 {
  if (!escaped) {
    copyBytes(to, from, length);
    return to + length;
  }
  const end = from + length;
  while (from < end) {
    const mark = textFind(from, end, QUOTE);
    const through = mark < end ? mark + 1 : end;
    memory.copy(to, from, through - from);
    to += through - from;
    from = mark + 2;
  }
  return to;
}

/** Writes a field as a JSON string (RFC 8259), its marks included. */
function writeJson(to: u32, from: u32, length: u32, escaped: bool): u32 {
  const end = from + length;
  store<u8>(to, QUOTE);
  to++;
  const quoteMarks = i8x16.splat(<i8>QUOTE);
  const backslashes = i8x16.splat(<i8>BACKSLASH);
  const blanks = i8x16.splat(0x20);
  while (from < end) {
    if (from + 16 <= end) {
      const bytes = v128.load(from);
      const special = v128.or(
        v128.or(i8x16.eq(bytes, quoteMarks), i8x16.eq(bytes, backslashes)),
        u8x16_lt(bytes, blanks),
      );
      if (!v128.any_true(special)) {
        v128.store(to, bytes);
        to += 16;
        from += 16;
        continue;
      }
    }
    const byte = load<u8>(from);
    from++;
    if (byte >= 0x20 && byte != QUOTE && byte != BACKSLASH) {
      store<u8>(to, byte);
      to++;
      continue;
    }
    to = writeEscape(to, byte);
    if (escaped && byte == QUOTE) from++;
  }
  store<u8>(to, QUOTE);
  return to + 1;
}

// @ts-ignore: decorator
@inline
function u8x16_lt(a: v128, b: v128): v128 {
  return i8x16.lt_u(a, b);
}

function writeEscape(to: u32, byte: u8): u32 {
  store<u8>(to, BACKSLASH);
  const short = shortEscape(byte);
  if (short) {
    store<u8>(to + 1, short);
    return to + 2;
  }
  store<u8>(to + 1, 0x75); // u
  store<u8>(to + 2, 0x30);
  store<u8>(to + 3, 0x30);
  store<u8>(to + 4, 0x30 + (byte >> 4));
  const low = byte & 15;
  store<u8>(to + 5, low < 10 ? 0x30 + low : 0x57 + low);
  return to + 6;
}

/** The letter behind the backslash for bytes that have one. */
function shortEscape(byte: u8): u8 {
  switch (byte) {
    case QUOTE:
    case BACKSLASH:
      return byte;
    case 8:
      return 0x62; // b
    case 9:
      return 0x74; // t
    case 10:
      return 0x6e; // n
    case 12:
      return 0x66; // f
    case 13:
      return 0x72; // r
    default:
      return 0;
  }
}

function escapeBytes(byte: u8): u32 {
  if (byte >= 0x20 && byte != QUOTE && byte != BACKSLASH) return 1;
  return shortEscape(byte) ? 2 : 6;
}
