import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  RECORD_FLAG_MORE,
  RECORD_HEADER_BYTES,
  REQUEST_PAD,
  REQUEST_WRITE,
} from '../../src/kernel/assembly/layout.js';
import {
  type RingLocation,
  type RingMemory,
  recordPayloadBytesMax,
} from '../../src/ring/ring-location.js';
import { RingReader } from '../../src/ring/ring-reader.js';
import { FULL, RingWriter } from '../../src/ring/ring-writer.js';

interface Ring {
  readonly memory: RingMemory;
  readonly location: RingLocation;
  readonly writer: RingWriter;
  readonly reader: RingReader;
}

const BASE = 4096;

function newRing(bytes: number, position = 0): Ring {
  const buffer = new SharedArrayBuffer(BASE + bytes + 64);
  const memory = {
    bytes: Buffer.from(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
  };
  const location = { base: BASE, bytes, headWord: 16, tailWord: 32, blockedWord: 48 };
  memory.i32[location.headWord] = position;
  memory.i32[location.tailWord] = position;
  // What lies behind the ring must never change.
  memory.bytes.fill(0xee, BASE + bytes);
  return {
    memory,
    location,
    writer: new RingWriter(memory, location),
    reader: new RingReader(memory, location),
  };
}

function write({ memory, writer }: Ring, payload: Buffer, requestId: number): boolean {
  const address = writer.reserve(payload.length);
  if (address === FULL) return false;
  memory.bytes.set(payload, address);
  writer.commit(REQUEST_WRITE, RECORD_FLAG_MORE, requestId, payload.length * 3, payload.length);
  return true;
}

function read({ memory, reader }: Ring): { requestId: number; payload: Buffer } | undefined {
  if (!reader.next()) return undefined;
  expect(reader.kind).toBe(REQUEST_WRITE);
  expect(reader.flags).toBe(RECORD_FLAG_MORE);
  expect(reader.argument).toBe(reader.payloadBytes * 3);
  const { payload, payloadBytes, requestId } = reader;
  return {
    requestId,
    payload: Buffer.from(memory.bytes.subarray(payload, payload + payloadBytes)),
  };
}

describe('a ring', () => {
  it('shows nothing before it is published', () => {
    const ring = newRing(256);
    expect(write(ring, Buffer.from('one'), 1)).toBe(true);
    expect(ring.reader.next()).toBe(false);
    expect(ring.writer.publish()).toBe(true);
    expect(ring.writer.publish()).toBe(false);
    expect(read(ring)?.payload.toString()).toBe('one');
    expect(read(ring)).toBeUndefined();
  });

  it('forgets a reservation that is not committed', () => {
    const ring = newRing(256);
    ring.memory.bytes.fill(0x55, ring.writer.reserve(60), BASE + 80);
    write(ring, Buffer.from('kept'), 7);
    ring.writer.publish();
    expect(read(ring)).toEqual({ requestId: 7, payload: Buffer.from('kept') });
  });

  it('takes a record of half its size whatever stands in it, once it is empty', () => {
    for (let position = 0; position < 512; position += 8) {
      const ring = newRing(256, position);
      const payload = Buffer.alloc(recordPayloadBytesMax(256), position & 0xff);
      expect(write(ring, payload, position)).toBe(true);
      ring.writer.publish();
      expect(read(ring)).toEqual({ requestId: position, payload });
    }
  });

  it('is full until the consumer releases, and says so to the one who waits', () => {
    const ring = newRing(256);
    let written = 0;
    while (write(ring, Buffer.alloc(16, written), written)) written++;
    expect(written).toBe(8);
    ring.writer.publish();
    ring.writer.block();
    expect(ring.writer.reserve(16)).toBe(FULL);
    expect(read(ring)?.requestId).toBe(0);
    expect(ring.writer.reserve(16)).toBe(FULL);
    expect(ring.reader.release()).toBe(true);
    expect(ring.writer.reserve(16)).not.toBe(FULL);
    // The mark is taken once.
    expect(read(ring)?.requestId).toBe(1);
    expect(ring.reader.release()).toBe(false);
  });

  it('pads with 8 bytes when no more are left at its end', () => {
    const ring = newRing(256);
    // 24 + 24 + ... positions such that 8 bytes remain.
    for (let i = 0; i < 4; i++) write(ring, Buffer.alloc(40), i);
    write(ring, Buffer.alloc(8), 4);
    ring.writer.publish();
    for (let i = 0; i < 5; i++) read(ring);
    ring.reader.release();
    expect((ring.memory.i32[ring.location.headWord] as number) & 255).toBe(248);
    write(ring, Buffer.from('after the pad'), 5);
    ring.writer.publish();
    expect(ring.memory.u32[(BASE + 248 + 4) >>> 2]).toBe(REQUEST_PAD);
    expect(read(ring)?.payload.toString()).toBe('after the pad');
    ring.reader.release();
    expect(ring.writer.isDrained()).toBe(true);
  });

  it('hands over every record once, in order, at any size and any start (also past 2^32)', () => {
    const sizes = fc.array(fc.nat(recordPayloadBytesMax(512)), { minLength: 1, maxLength: 200 });
    const start = fc.constantFrom(0, 8, 248, 504, 0x7ffffff8 | 0, 0xfffffe00 | 0, 0xfffffff8 | 0);
    const bytes = fc.constantFrom(256, 512);
    fc.assert(
      fc.property(sizes, start, bytes, fc.nat(7), (lengths, position, ringBytes, burst) => {
        const ring = newRing(ringBytes, position);
        const max = recordPayloadBytesMax(ringBytes);
        const expected: { requestId: number; payload: Buffer }[] = [];
        const take = (): void => {
          for (let found = read(ring); found !== undefined; found = read(ring)) {
            expect(found).toEqual(expected.shift());
          }
          ring.reader.release();
        };
        lengths.forEach((length, requestId) => {
          const payload = Buffer.alloc(Math.min(length, max), requestId);
          if (!write(ring, payload, requestId)) {
            ring.writer.publish();
            take();
            expect(write(ring, payload, requestId)).toBe(true);
          }
          expected.push({ requestId, payload });
          if (requestId % (burst + 1) === 0) ring.writer.publish();
        });
        ring.writer.publish();
        take();
        expect(expected).toEqual([]);
        expect(ring.memory.bytes.subarray(BASE + ringBytes).every((byte) => byte === 0xee)).toBe(
          true,
        );
      }),
    );
  });

  it('refuses a record that would run over its end', () => {
    const ring = newRing(256);
    write(ring, Buffer.from('x'), 1);
    ring.writer.publish();
    ring.memory.u32[BASE >>> 2] = 256 - RECORD_HEADER_BYTES + 1;
    expect(() => ring.reader.next()).toThrow(/longer than the ring/);
  });

  it('lets either end be taken up anew', () => {
    const ring = newRing(256);
    write(ring, Buffer.from('lost'), 1);
    ring.writer.reload();
    write(ring, Buffer.from('one'), 1);
    ring.writer.publish();
    write(ring, Buffer.from('two'), 2);
    ring.writer.publish();
    expect(read(ring)?.payload.toString()).toBe('one');
    ring.reader.release();
    expect(read(ring)?.payload.toString()).toBe('two');
    ring.reader.reload();
    expect(read(ring)?.payload.toString()).toBe('two');
    expect(ring.reader.hasNext()).toBe(false);
    ring.reader.skipAll();
    expect(ring.writer.isDrained()).toBe(true);
  });
});
