/**
 * Encodings: how an application's keys and values become bytes and come back.
 *
 * The database orders keys by their *encoded bytes*, so the key encoding decides what "less than"
 * means:
 * - `utf8`: by code point. That is JavaScript's own string order except that characters outside
 *   the Basic Multilingual Plane (emoji) come after U+E000..U+FFFF instead of before. A lone
 *   surrogate cannot be encoded; it becomes U+FFFD, as everywhere in UTF-8.
 * - `buffer`: by byte, unsigned.
 * - `json`: by the bytes of the JSON text, which is rarely what a person means: 10 sorts before 9,
 *   and every string after every number's sign. Good for values; as a key encoding, for exact
 *   look-ups.
 */

import { invalidOption } from '../options.js';

/** Turns values of `T` into bytes and back. `decode(encode(x))` must equal `x`. */
export interface Encoding<T> {
  /** The bytes of a value. The same value must always give the same bytes when used for keys. */
  encode(value: T): Uint8Array;
  /** The value of some bytes. The bytes are the decoder's to keep. */
  decode(bytes: Uint8Array): T;
}

export type EncodingName = 'utf8' | 'buffer' | 'json';

/** What `keyEncoding` and `valueEncoding` take: a name, or an `Encoding` of any type. */
export type EncodingOption = EncodingName | AnyEncoding;

/** Every `Encoding<T>` is one of these. */
export interface AnyEncoding {
  encode(value: never): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

/** The application's type for an encoding: `string` for 'utf8', `Buffer` for 'buffer', … */
export type EncodingType<E> = E extends 'utf8'
  ? string
  : E extends 'buffer'
    ? Buffer
    : E extends 'json'
      ? unknown
      : E extends { decode(bytes: Uint8Array): infer T }
        ? T
        : never;

/** What may be handed in for an encoding: a 'buffer' takes any Uint8Array and gives Buffers. */
export type EncodingInput<T> = T extends Buffer ? Uint8Array : T;

/** An encoding with its kind, so that hot paths can take a shortcut for the built-in ones. */
export interface ResolvedEncoding<T> extends Encoding<T> {
  readonly kind: EncodingName | 'custom';
}

export const utf8Encoding: ResolvedEncoding<string> = {
  kind: 'utf8',
  encode: (value) => Buffer.from(value, 'utf8'),
  decode: (bytes) => asBuffer(bytes).toString('utf8'),
};

export const bufferEncoding: ResolvedEncoding<Uint8Array> = {
  kind: 'buffer',
  encode: (value) => value,
  decode: asBuffer,
};

export const jsonEncoding: ResolvedEncoding<unknown> = {
  kind: 'json',
  encode: (value) => {
    const text: string | undefined = JSON.stringify(value);
    if (text === undefined) throw invalidOption('value', value, 'something JSON can express');
    return Buffer.from(text, 'utf8');
  },
  decode: (bytes) => JSON.parse(asBuffer(bytes).toString('utf8')),
};

/** JSON for one type of the application: `valueEncoding: json<User>()`. The shape is not checked. */
export function json<T>(): Encoding<T> {
  return jsonEncoding as ResolvedEncoding<T>;
}

/** The encoding an option stands for. Throws `InvalidArgumentError` naming `option`. */
export function resolveEncoding(option: string, value: unknown): ResolvedEncoding<unknown> {
  switch (value) {
    case undefined:
    case 'utf8':
      return utf8Encoding as ResolvedEncoding<unknown>;
    case 'buffer':
      return bufferEncoding as ResolvedEncoding<unknown>;
    case 'json':
    case jsonEncoding:
      return jsonEncoding;
  }
  if (!isEncoding(value)) {
    throw invalidOption(option, value, "'utf8', 'buffer', 'json' or { encode, decode }");
  }
  return {
    kind: 'custom',
    encode: (input) => value.encode(input),
    decode: (bytes) => value.decode(bytes),
  };
}

function isEncoding(value: unknown): value is Encoding<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    'encode' in value &&
    typeof value.encode === 'function' &&
    'decode' in value &&
    typeof value.decode === 'function'
  );
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
