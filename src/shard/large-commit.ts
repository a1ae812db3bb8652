/**
 * Turns a WRITE request that the kernel does not take as it is (in pieces, larger than a group, or
 * with values too large for a memtable) into operations that can be logged and applied.
 */

import { type BlobReference, encodeBlobReference } from '../blob/blob-file.js';
import { InvalidArgumentError } from '../errors.js';
import {
  BLOB_REFERENCE_BYTES,
  KEY_BYTES_MAX,
  OP_PUT,
  OP_PUT_BLOB,
} from '../kernel/assembly/layout.js';
import { OPERATION_HEAD_BYTES_MAX, OperationReader, writeVarint } from '../protocol/operations.js';
import type { BlobStore } from './blob-store.js';

export interface PreparedOperations {
  readonly operations: Uint8Array;
  readonly blobs: readonly number[];
}

/**
 * Checks the operations and moves values longer than `inlineBytesMax` to blob files, which are
 * durable when this returns. On an error no blob file is left behind.
 */
export function prepareOperations(
  bytes: Buffer,
  count: number,
  inlineBytesMax: number,
  blobStore: BlobStore,
): PreparedOperations {
  if (!checkOperations(bytes, count, inlineBytesMax)) return { operations: bytes, blobs: [] };
  const pieces: Uint8Array[] = [];
  const blobs: number[] = [];
  let copied = 0;
  const reader = new OperationReader(bytes, 0, bytes.length);
  try {
    for (let start = 0; reader.next(); start = reader.position) {
      if (reader.type !== OP_PUT || reader.valueBytes <= inlineBytesMax) continue;
      const value = bytes.subarray(reader.valueStart, reader.valueStart + reader.valueBytes);
      const reference = blobStore.put(value);
      blobs.push(reference.blob);
      const key = bytes.subarray(reader.keyStart, reader.keyStart + reader.keyBytes);
      pieces.push(bytes.subarray(copied, start), encodePutBlob(key, reference));
      copied = reader.position;
    }
  } catch (error) {
    for (const blob of blobs) blobStore.delete(blob);
    throw error;
  }
  pieces.push(bytes.subarray(copied));
  return { operations: Buffer.concat(pieces), blobs };
}

/** Whether operations hold a value longer than `inlineBytesMax`. Malformed ones do, to be looked at. */
export function hasLongValue(
  bytes: Uint8Array,
  start: number,
  end: number,
  inlineBytesMax: number,
): boolean {
  if (end - start <= inlineBytesMax) return false;
  try {
    const reader = new OperationReader(bytes, start, end);
    while (reader.next()) {
      if (reader.type === OP_PUT && reader.valueBytes > inlineBytesMax) return true;
    }
    return false;
  } catch (error) {
    if (error instanceof RangeError) return true;
    throw error;
  }
}

/** Throws `InvalidArgumentError`; true when some value is longer than `inlineBytesMax`. */
function checkOperations(bytes: Buffer, count: number, inlineBytesMax: number): boolean {
  let hasLarge = false;
  let found = 0;
  try {
    const reader = new OperationReader(bytes, 0, bytes.length);
    while (reader.next()) {
      found++;
      if (reader.keyBytes > KEY_BYTES_MAX) throw new RangeError('Key is too long');
      if (reader.type === OP_PUT_BLOB && reader.valueBytes !== BLOB_REFERENCE_BYTES) {
        throw new RangeError('Blob reference has a wrong length');
      }
      if (reader.type === OP_PUT && reader.valueBytes > inlineBytesMax) hasLarge = true;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InvalidArgumentError(`Cannot commit a malformed write: ${error.message}`);
  }
  if (found === count) return hasLarge;
  throw new InvalidArgumentError(
    `Cannot commit a malformed write: it says ${count} operations and has ${found}`,
  );
}

/** The operation that puts a value which stands in a blob file. */
export function encodePutBlob(key: Uint8Array, reference: BlobReference): Buffer {
  const head = Buffer.alloc(OPERATION_HEAD_BYTES_MAX);
  head[0] = OP_PUT_BLOB;
  const end = writeVarint(head, writeVarint(head, 1, key.length), BLOB_REFERENCE_BYTES);
  return Buffer.concat([head.subarray(0, end), key, encodeBlobReference(reference)]);
}
