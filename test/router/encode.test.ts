/** Keys, values and operations on their way into bytes. */

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { bufferEncoding, jsonEncoding, utf8Encoding } from '../../src/encoding/encoding.js';
import { InvalidArgumentError } from '../../src/errors.js';
import { OP_DELETE, OP_PUT } from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createJobMemory } from '../../src/kernel/shard-memory.js';
import { KEY_BYTES_MAX } from '../../src/limits.js';
import {
  deleteBytes,
  OperationReader,
  putBytes,
  varintBytes,
  writeVarint,
} from '../../src/protocol/operations.js';
import { BatchPart } from '../../src/router/batch-part.js';
import { type Codec, decode, encodeKey, encodeValue } from '../../src/router/codec.js';
import { KeyScratch } from '../../src/router/key-scratch.js';
import { murmur3, shardOf } from '../../src/router/murmur3.js';
import { allocateStringBuffer, asStringBuffer } from '../../src/router/string-buffer.js';

const utf8 = utf8Encoding as Codec;
const bytes = bufferEncoding as Codec;

const texts = fc.oneof(
  fc.string({ maxLength: 300 }),
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.constantFrom(
    '',
    'a',
    '\u0000',
    'ÿ',
    '\ud800',
    'x'.repeat(127),
    'é'.repeat(64),
    '⚡'.repeat(5462),
  ),
);

describe('the hash that chooses a shard', () => {
  let kernel: Kernel;
  beforeAll(async () => {
    const wasm = readFileSync(new URL('../../dist/kernel.wasm', import.meta.url));
    kernel = new Kernel(await WebAssembly.compile(wasm), createJobMemory(1 << 20));
  });

  it('is MurmurHash3 x86_32', () => {
    const scratch = new KeyScratch();
    const hashOf = (key: string): number => {
      scratch.setText(key);
      return scratch.hash;
    };
    // Published test vectors for seed 0.
    expect(hashOf('')).toBe(0);
    expect(hashOf('a')).toBe(0x3c2569b2);

    expect(hashOf('hello')).toBe(0x248bfa47);
    expect(hashOf('hello, world')).toBe(0x149bbb7f);
    expect(hashOf('The quick brown fox jumps over the lazy dog')).toBe(0x2e4ff723);
  });

  it("is the kernel's, for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (key) => {
        const scratch = new KeyScratch();
        scratch.bytes.fill(0xff);
        scratch.setBytes(key);
        kernel.bytes.set(key, 4096);
        expect(scratch.hash).toBe(kernel.exports.murmur32(4096, key.length) >>> 0);
      }),
    );
  });

  it('spreads over every number of shards', () => {
    const scratch = new KeyScratch();
    for (const shards of [1, 2, 3, 7, 64]) {
      const counts = new Array(shards).fill(0);
      for (let i = 0; i < 1000 * shards; i++) {
        scratch.setText(`key-${i}`);
        counts[shardOf(scratch.hash, shards)]++;
      }
      expect(Math.min(...counts)).toBeGreaterThan(800);
    }
    expect(shardOf(0xffffffff, 64)).toBe(63);
    expect(murmur3(new Int32Array(1), new Uint8Array(4), 0)).toBe(0);
  });
});

describe('keys', () => {
  it('are what Buffer makes of them, and are copied whole, anywhere', () => {
    fc.assert(
      fc.property(texts, fc.nat(9), (key, at) => {
        const scratch = new KeyScratch();
        scratch.setText(key);
        const expected = Buffer.from(key);
        expect(scratch.toBuffer()).toEqual(expected);
        const target = Buffer.alloc(expected.length + 40, 0xaa);
        const plain = Buffer.from(new ArrayBuffer(target.length)).fill(0xaa);
        scratch.copyTo(plain, new DataView(plain.buffer), at);
        expected.copy(target, at);
        expect(plain).toEqual(target);
        const words = new Int32Array((expected.length >>> 2) + 8);
        scratch.copyToWords(words, 3);
        expect(Buffer.from(words.buffer, 12, expected.length)).toEqual(expected);
      }),
    );
  });

  it('may have 64 KiB and not a byte more', () => {
    const scratch = new KeyScratch();
    scratch.setText('x'.repeat(KEY_BYTES_MAX));
    expect(scratch.length).toBe(KEY_BYTES_MAX);
    scratch.setBytes(new Uint8Array(KEY_BYTES_MAX));
    for (const key of ['x'.repeat(KEY_BYTES_MAX + 1), '⚡'.repeat(30000), 'x'.repeat(1 << 20)]) {
      expect(() => scratch.setText(key)).toThrow(`it has ${Buffer.byteLength(key)}`);
    }
    expect(() => scratch.setBytes(new Uint8Array(KEY_BYTES_MAX + 1))).toThrow(InvalidArgumentError);
  });

  it('of a wrong type are refused by name', () => {
    const scratch = new KeyScratch();
    expect(() => encodeKey(scratch, utf8, 5)).toThrow(
      'Parameter "key" must be a string, but it is 5',
    );
    expect(() => encodeKey(scratch, utf8, undefined, 'gte')).toThrow('Parameter "gte"');
    expect(() => encodeKey(scratch, bytes, 'text')).toThrow('a Buffer or Uint8Array');
  });
});

describe('values', () => {
  it('come back as they were, in every encoding', () => {
    const roundTrip = (codec: Codec, value: unknown): unknown => {
      const encoded = encodeValue(codec, value);
      const buffer = asStringBuffer(Buffer.from(encoded as string));
      const ascii = buffer.every((byte) => byte < 128);
      return decode(codec, buffer, 0, buffer.length, ascii);
    };
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => roundTrip(utf8, text) === text),
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(roundTrip(jsonEncoding as Codec, JSON.parse(text))).toEqual(JSON.parse(text));
      }),
    );
    expect(roundTrip(bytes, new Uint8Array([0, 255, 7]))).toEqual(Buffer.from([0, 255, 7]));
    const custom: Codec = {
      kind: 'custom',
      encode: (value) => Buffer.from(String(value), 'hex'),
      decode: (found) => Buffer.from(found).toString('hex'),
    };
    expect(roundTrip(custom, 'c0ffee')).toBe('c0ffee');
  });

  it('that cannot be encoded are refused, with the cause', () => {
    const failing: Codec = {
      kind: 'custom',
      encode: () => {
        throw new RangeError('no');
      },
      decode: () => undefined,
    };
    expect(() => encodeValue(failing, 1)).toThrow(InvalidArgumentError);
    expect(() => encodeValue(jsonEncoding as Codec, undefined)).toThrow('Parameter "value"');
    expect(() => encodeValue(jsonEncoding as Codec, 1n)).toThrow('as JSON');
    expect(() => encodeValue({ ...failing, encode: () => 'text' as never }, 1)).toThrow(
      'its encoding turns into',
    );
  });

  it('that are decoded do not share memory', () => {
    const buffer = asStringBuffer(Buffer.from('abc'));
    const value = decode(bytes, buffer, 0, 3, true) as Buffer;
    buffer.fill(0);
    expect(value.toString()).toBe('abc');
  });
});

describe('operations', () => {
  it('have varints of the length that is said', () => {
    for (const value of [0, 127, 128, 16383, 16384, 2097151, 2097152, 2 ** 28, 2 ** 32 - 1]) {
      const target = new Uint8Array(8);
      expect(writeVarint(target, 1, value)).toBe(1 + varintBytes(value));
    }
  });

  it('in a batch are read back as they were put, whatever their lengths', () => {
    const operation = fc.tuple(
      texts,
      fc.option(fc.oneof(texts, fc.uint8Array({ maxLength: 300 }))),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
        const part = new BatchPart();
        const key = new KeyScratch();
        let exact = 0;
        for (const [text, value] of operations) {
          key.setText(text);
          if (value === null) part.delete(key);
          else part.put(key, value);
          exact +=
            value === null
              ? deleteBytes(key.length)
              : putBytes(key.length, Buffer.from(value as string).length);
        }
        expect(part.count).toBe(operations.length);
        expect(part.length).toBe(exact);
        const reader = new OperationReader(part.bytes, 0, part.length);
        for (const [text, value] of operations) {
          expect(reader.next()).toBe(true);
          expect(reader.type).toBe(value === null ? OP_DELETE : OP_PUT);
          const { keyStart, keyBytes, valueStart, valueBytes } = reader;
          expect(part.bytes.subarray(keyStart, keyStart + keyBytes)).toEqual(Buffer.from(text));
          if (value === null) continue;
          const found = part.bytes.subarray(valueStart, valueStart + valueBytes);
          expect(found).toEqual(Buffer.from(value as string));
        }
        expect(reader.next()).toBe(false);
      }),
    );
  });

  it('that are no operations are refused', () => {
    const read = (...found: number[]): unknown =>
      new OperationReader(Buffer.from(found), 0, found.length).next();
    expect(() => read(9, 1, 65)).toThrow('unknown type');
    expect(() => read(OP_PUT, 1)).toThrow('varint');
    expect(() => read(OP_PUT, 200, 1, 65)).toThrow('past the end');
    expect(() => read(OP_DELETE, 0xff, 0xff, 0xff, 0xff, 0xff, 1)).toThrow('varint');
  });

  it('that are lent stay as they were when the batch goes on', () => {
    const part = new BatchPart();
    const key = new KeyScratch();
    key.setText('first');
    part.put(key, '1');
    const lent = part.lend();
    const before = Buffer.from(lent);
    part.put(key, '2');
    part.clear();
    key.setText('other');
    part.put(key, 'x'.repeat(20));
    expect(Buffer.from(lent)).toEqual(before);
    expect(part.count).toBe(1);
    expect(allocateStringBuffer(0).length).toBe(0);
  });
});
