/**
 * Writes operations (see `protocol/operations.ts`) from the key scratch and a value, straight to
 * where they go: a ring or a batch. One pass, no view, no intermediate string.
 */

import { OP_DELETE, OP_PUT } from '../kernel/assembly/layout.js';
import { OPERATION_HEAD_BYTES_MAX, varintBytes, writeVarint } from '../protocol/operations.js';
import type { KeyScratch } from './key-scratch.js';
import type { StringBuffer } from './string-buffer.js';

/** Memory that operations are written to; `view` covers it from its start. */
export interface OperationTarget {
  readonly bytes: StringBuffer;
  readonly view: DataView;
}

/** Most bytes that a put may take: UTF-8 has up to 3 bytes per UTF-16 unit. */
export function putBytesMax(keyBytes: number, value: string | Uint8Array): number {
  const valueBytesMax = typeof value === 'string' ? value.length * 3 : value.length;
  return OPERATION_HEAD_BYTES_MAX + keyBytes + valueBytesMax;
}

/** Writes a put at `at`, where there is room for `putBytesMax`; returns the address after it. */
export function writePut(
  target: OperationTarget,
  at: number,
  key: KeyScratch,
  value: string | Uint8Array,
): number {
  const { bytes, view } = target;
  bytes[at] = OP_PUT;
  const lengthAt = writeVarint(bytes, at + 1, key.length);
  // As if the text were ASCII; the value moves up when it is not and its length needs more room.
  const guess = varintBytes(value.length);
  const keyAt = lengthAt + guess;
  const valueAt = keyAt + key.length;
  key.copyTo(bytes, view, keyAt);
  if (typeof value !== 'string') {
    bytes.set(value, valueAt);
    writeVarint(bytes, lengthAt, value.length);
    return valueAt + value.length;
  }
  // The length is given: over more than 2 GiB of memory, Node's own default writes nothing.
  const valueBytes = value.length === 0 ? 0 : bytes.utf8Write(value, valueAt, value.length * 3);
  const shift = varintBytes(valueBytes) - guess;
  if (shift !== 0) bytes.copyWithin(keyAt + shift, keyAt, valueAt + valueBytes);
  writeVarint(bytes, lengthAt, valueBytes);
  return valueAt + shift + valueBytes;
}

/** Writes a delete; returns the address after it. */
export function writeDelete(target: OperationTarget, at: number, key: KeyScratch): number {
  const { bytes, view } = target;
  bytes[at] = OP_DELETE;
  const keyAt = writeVarint(bytes, at + 1, key.length);
  key.copyTo(bytes, view, keyAt);
  return keyAt + key.length;
}
