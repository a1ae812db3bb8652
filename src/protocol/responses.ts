/**
 * Responses: what the shard worker writes and the client reads. Every request gets exactly one
 * response (in pieces where it is long: same kind and request id, all but the last marked MORE).
 *
 *   OK       sequence f64 (0 when there is none); to WRITE, BLOB_BEGIN, LOAD_BLOCKS
 *   VALUE    value bytes; the first piece's argument is the total length; to GET
 *   MISSING  empty; to GET
 *   VALUES   per key: length u32 (VALUE_MISSING: there is none), bytes; to GET_MANY. The first
 *            piece's argument is the total length
 *   ERROR    JSON of a SerializedError, UTF-8; to any request
 */

import { deserializeError, LightningError, type SerializedError } from '../errors.js';

export const VALUE_MISSING = 0xffffffff;

export function encodeError(error: SerializedError): Buffer {
  return Buffer.from(JSON.stringify(error));
}

/** Always an error to throw: of bytes that cannot be read, one that says so. */
export function decodeError(payload: Buffer): LightningError {
  try {
    const error: unknown = JSON.parse(payload.toString());
    if (isSerializedError(error)) return deserializeError(error);
  } catch {
    // Said below.
  }
  return new LightningError(
    'LIGHTNING_IO',
    'A shard refused a request for a reason that is no text',
  );
}

function isSerializedError(error: unknown): error is SerializedError {
  if (typeof error !== 'object' || error === null) return false;
  const { code, message, details } = error as Record<string, unknown>;
  return (
    typeof code === 'string' &&
    typeof message === 'string' &&
    typeof details === 'object' &&
    details !== null
  );
}

export function encodeValues(values: readonly (Uint8Array | undefined)[]): Buffer {
  let total = 0;
  for (const value of values) total += 4 + (value?.length ?? 0);
  const payload = Buffer.allocUnsafe(total);
  let at = 0;
  for (const value of values) {
    at = payload.writeUInt32LE(value === undefined ? VALUE_MISSING : value.length, at);
    if (value === undefined) continue;
    payload.set(value, at);
    at += value.length;
  }
  return payload;
}

/** The values are views of `payload`. */
export function decodeValues(payload: Buffer, count: number): (Buffer | undefined)[] {
  const values: (Buffer | undefined)[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const length = payload.readUInt32LE(at);
    at += 4;
    if (length === VALUE_MISSING) {
      values.push(undefined);
      continue;
    }
    if (at + length > payload.length) throw new RangeError('Cannot read values: a length is wrong');
    values.push(payload.subarray(at, at + length));
    at += length;
  }
  return values;
}
