import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  RECORD_HEADER_BYTES,
  RING_CONTROL_BYTES,
  RING_REQUEST_HEAD,
  RING_REQUEST_TAIL,
  RINGS,
} from '../../src/kernel/assembly/layout.js';
import { requestRing } from '../../src/ring/ring-location.js';
import { Client, commitGroup, exports, kernel, put, staging, start } from './commit-shard.js';

beforeEach(() => start());

describe('the rings', () => {
  it('pass every record whole, whatever their sizes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(60), fc.nat(3)), { minLength: 1, maxLength: 300 }),
        (steps) => {
          start({ requestRingBytes: 256, responseRingBytes: 256 });
          const client = new Client(1);
          let next = 0;
          let expected = 0;
          const drain = (): void => {
            exports.groupBegin();
            expect(exports.groupCollect(1, 1000)).toBe(0);
            for (let i = 0; i < exports.groupCommits(); i++) {
              expect(exports.groupRequestId(i)).toBe(expected++);
            }
            const first = expected - exports.groupCommits() + 1;
            expect(commitGroup(first)).toBe(0);
            for (const [requestId, sequence] of client.answers()) {
              expect(sequence).toBe(requestId + 1);
            }
          };
          for (const [bytes, turns] of steps) {
            const operations = bytes < 4 ? [] : [put('k', 'v'.repeat(bytes))];
            if (client.write(next, operations)) next++;
            else drain();
            if (turns === 0) drain();
          }
          drain();
          expect(expected).toBe(next);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('carry responses of the host between acknowledgements', () => {
    start({ responseRingBytes: 256 });
    const client = new Client(9);
    kernel.bytes.write('payload', staging, 'latin1');
    expect(exports.ringPushResponse(9, 2, 4, 77, 5, staging, 7)).toBe(0);
    expect(client.responses.next()).toBe(true);
    const { kind, flags, requestId, argument, payload, payloadBytes } = client.responses;
    expect([kind, flags, requestId, argument, payloadBytes]).toEqual([2, 4, 77, 5, 7]);
    expect(kernel.bytes.toString('latin1', payload, payload + 7)).toBe('payload');
    client.responses.release();
    expect(exports.ringPushResponse(9, 2, 0, 1, 0, staging, 112)).toBe(0);
    expect(exports.ringPushResponse(9, 2, 0, 1, 0, staging, 112)).toBe(1);
    expect(exports.ringPushResponse(9, 2, 0, 1, 0, staging, 113)).toBe(-1);
    client.responses.next();
    client.responses.release();
    expect(exports.ringPushResponse(9, 2, 0, 2, 0, staging, 112)).toBe(0);
    expect(client.responses.next()).toBe(true);
    expect(client.responses.requestId).toBe(2);
  });

  it('survive a client that publishes anything at all', () => {
    start({ requestRingBytes: 1024, responseRingBytes: 256 });
    const ring = requestRing(kernel, 1);
    const control = RINGS + RING_CONTROL_BYTES;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1024, maxLength: 1024 }),
        fc.array(fc.tuple(fc.nat(127), fc.nat(1100), fc.nat(5), fc.nat(3)), { maxLength: 20 }),
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.oneof(fc.nat(1200), fc.integer({ min: 0, max: 0xffffffff })),
        (noise, headers, tail, published) => {
          kernel.bytes.set(noise, ring.base);
          for (const [at, length, kind, flags] of headers) {
            kernel.view.setUint32(ring.base + at * 8, length, true);
            if (at < 127) kernel.view.setUint32(ring.base + at * 8 + 4, kind | (flags << 8), true);
          }
          kernel.u32[(control + RING_REQUEST_TAIL) >>> 2] = tail & ~7;
          kernel.u32[(control + RING_REQUEST_HEAD) >>> 2] = (tail & ~7) + published;
          for (let i = 0; i < 200; i++) {
            exports.groupBegin();
            const result = exports.groupCollect(1, 1000);
            expect(result).toBeGreaterThanOrEqual(-1);
            expect(exports.groupCommits()).toBeLessThanOrEqual(64);
            if (result === 0) break;
            const record = exports.ringPeek(1) >>> 0;
            if (record === 0 || record === 0xffffffff) break;
            const end = record + RECORD_HEADER_BYTES + (kernel.u32[record >>> 2] as number);
            expect(record).toBeGreaterThanOrEqual(ring.base);
            expect(end).toBeLessThanOrEqual(ring.base + ring.bytes);
            exports.ringPop(1);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
