/**
 * Between the application's keys and values and bytes, with shortcuts for the built-in encodings:
 * what is in shared memory becomes a string without a view or a copy in between.
 */

import type { ResolvedEncoding } from '../encoding/encoding.js';
import { InvalidArgumentError, LightningError } from '../errors.js';
import { VALUE_BYTES_MAX } from '../limits.js';
import { type KeyScratch, wrongType } from './key-scratch.js';
import type { StringBuffer } from './string-buffer.js';

/** An encoding of values or keys that this thread uses. */
export type Codec = ResolvedEncoding<unknown>;

/** Puts a key into the scratch. Throws `InvalidArgumentError` naming `parameter`. */
export function encodeKey(
  scratch: KeyScratch,
  codec: Codec,
  key: unknown,
  parameter = 'key',
): void {
  if (codec.kind === 'utf8') {
    if (typeof key !== 'string') throw wrongType(parameter, 'a string', key);
    scratch.setText(key);
    return;
  }
  const bytes = encodeBytes(codec, key, parameter);
  if (typeof bytes === 'string') scratch.setText(bytes);
  else scratch.setBytes(bytes);
}

/**
 * The value as text (to be written as UTF-8) or bytes; runs the application's code where there is
 * any. Bytes may be the caller's own: they are copied before the call returns.
 */
export function encodeValue(codec: Codec, value: unknown): string | Uint8Array {
  if (codec.kind === 'utf8') {
    if (typeof value !== 'string') throw wrongType('value', 'a string', value);
    return value;
  }
  return encodeBytes(codec, value, 'value');
}

function encodeBytes(codec: Codec, input: unknown, parameter: string): string | Uint8Array {
  switch (codec.kind) {
    case 'utf8':
      if (typeof input !== 'string') throw wrongType(parameter, 'a string', input);
      return input;
    case 'buffer':
      if (!(input instanceof Uint8Array))
        throw wrongType(parameter, 'a Buffer or Uint8Array', input);
      return input;
    case 'json':
      return jsonText(input, parameter);
    case 'custom': {
      const bytes: unknown = customEncode(codec, input, parameter);
      if (!(bytes instanceof Uint8Array)) {
        throw wrongType(parameter, 'something its encoding turns into a Uint8Array', input);
      }
      return bytes;
    }
  }
}

function jsonText(input: unknown, parameter: string): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(input);
  } catch (cause) {
    throw new InvalidArgumentError(`Cannot encode parameter "${parameter}" as JSON`, {
      cause,
      details: { parameter },
    });
  }
  if (text === undefined) throw wrongType(parameter, 'something JSON can express', input);
  return text;
}

function customEncode(codec: Codec, input: unknown, parameter: string): Uint8Array {
  try {
    return codec.encode(input);
  } catch (cause) {
    if (cause instanceof LightningError) throw cause;
    throw new InvalidArgumentError(
      `Cannot encode parameter "${parameter}": its encoding refuses it`,
      { cause, details: { parameter } },
    );
  }
}

/** The key or value in `bytes[start, end)`. `ascii`: no byte is above 127. */
export function decode(
  codec: Codec,
  bytes: StringBuffer,
  start: number,
  end: number,
  ascii: boolean,
): unknown {
  switch (codec.kind) {
    case 'utf8':
      return ascii ? bytes.latin1Slice(start, end) : bytes.utf8Slice(start, end);
    case 'json':
      return JSON.parse(ascii ? bytes.latin1Slice(start, end) : bytes.utf8Slice(start, end));
    case 'buffer':
      return copyOf(bytes, start, end);
    case 'custom':
      return codec.decode(copyOf(bytes, start, end));
  }
}

/** Private bytes: what user code gets must not change under it, nor be shared. */
export function copyOf(bytes: Buffer, start: number, end: number): StringBuffer {
  const copy = Buffer.allocUnsafe(end - start);
  if (end > start) copy.set(bytes.subarray(start, end));
  return copy as StringBuffer;
}

/** Refuses values above the limit. */
export function checkValueBytes(bytes: number): void {
  if (bytes <= VALUE_BYTES_MAX) return;
  throw new InvalidArgumentError(
    `Parameter "value" must be at most ${VALUE_BYTES_MAX} bytes long when encoded, but it has ${bytes}`,
    { details: { parameter: 'value', bytes } },
  );
}
