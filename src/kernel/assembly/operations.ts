/**
 * Operations, as they come in WRITE requests and stand in WAL groups:
 *
 *   type u8, key length varint, value length varint (not for deletes), key, value
 *
 * The bytes may be anything: every length is checked against the end before it is used.
 */

import {
  BLOB_REFERENCE_BYTES,
  KEY_BYTES_MAX,
  OP_DELETE,
  OP_PUT,
  OP_PUT_BLOB,
  VERSION_LENGTH_MASK,
} from './layout';

/** The operation that `nextOperation` read. */
export let operationType: u32 = 0;
export let operationKey: u32 = 0;
export let operationKeyLength: u32 = 0;
export let operationValue: u32 = 0;
export let operationValueLength: u32 = 0;

/** Set by `varint`: the address after it, or 0 when there is none of 32 bits before the end. */
let varintEnd: u32 = 0;

function longVarint(at: u32, end: u32): u32 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 35 && at < end; shift += 7) {
    const byte = <u64>load<u8>(at++);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      varintEnd = value <= 0xffffffff ? at : 0;
      return <u32>value;
    }
  }
  varintEnd = 0;
  return 0;
}

// @ts-ignore: decorator
@inline
function varint(at: u32, end: u32): u32 {
  if (at < end) {
    const byte = <u32>load<u8>(at);
    if (byte < 0x80) {
      varintEnd = at + 1;
      return byte;
    }
  }
  return longVarint(at, end);
}

/** Reads the operation at `at`, which ends by `end`. Returns the address after it; 0: malformed. */
export function nextOperation(at: u32, end: u32): u32 {
  if (at >= end) return 0;
  const type = <u32>load<u8>(at);
  if (type < OP_PUT || type > OP_PUT_BLOB) return 0;
  const keyLength = varint(at + 1, end);
  at = varintEnd;
  if (!at || keyLength > KEY_BYTES_MAX) return 0;
  let valueLength: u32 = 0;
  if (type != OP_DELETE) {
    valueLength = varint(at, end);
    at = varintEnd;
    if (!at || valueLength > VERSION_LENGTH_MASK) return 0;
    if (type == OP_PUT_BLOB && valueLength != BLOB_REFERENCE_BYTES) return 0;
  }
  // Cannot overflow: both lengths are far below 2^31.
  if (keyLength + valueLength > end - at) return 0;
  operationType = type;
  operationKey = at;
  operationKeyLength = keyLength;
  operationValue = at + keyLength;
  operationValueLength = valueLength;
  return at + keyLength + valueLength;
}

/** True when [at, end) is exactly `count` operations. */
export function areOperations(at: u32, end: u32, count: u32): bool {
  while (at < end) {
    if (!count) return false;
    at = nextOperation(at, end);
    if (!at) return false;
    count--;
  }
  return count == 0;
}
