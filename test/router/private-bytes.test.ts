import { MessageChannel } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { PrivateParts, PrivateSequence, privateCopy } from '../../src/router/private-bytes.js';

function pattern(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff));
}

describe('a private copy', () => {
  it('is a Buffer that is nobody else’s, whatever its length', () => {
    const made: { copy: Buffer; wanted: Buffer }[] = [];
    for (const length of [0, 1, 7, 8, 200, 2047, 2048, 2049, 5000, 70_000]) {
      for (let seed = 0; seed < 40; seed++) {
        const source = pattern(length, seed);
        made.push({ copy: privateCopy(source), wanted: Buffer.from(source) });
        source.fill(0xee);
      }
    }
    for (const { copy, wanted } of made) {
      expect(Buffer.isBuffer(copy)).toBe(true);
      expect(copy.equals(wanted)).toBe(true);
    }
    // Nor do they lie on one another.
    for (const { copy } of made) copy.fill(0x11);
    for (const [index, { copy, wanted }] of made.entries()) {
      copy.set(wanted);
      expect(made[index + 1]?.copy.every((byte) => byte === 0x11) ?? true).toBe(true);
    }
  });

  it('is of private memory when its source is shared', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(64)).fill(3);
    const copy = privateCopy(shared);
    shared.fill(4);
    expect(copy.buffer).toBeInstanceOf(ArrayBuffer);
    expect(copy.every((byte) => byte === 3)).toBe(true);
  });
});

describe('memory that several share', () => {
  /** Sends the memory away as far as that is possible; a message may refuse it or copy it. */
  function giveAway(memory: ArrayBufferLike): void {
    const { port1, port2 } = new MessageChannel();
    try {
      port1.postMessage(memory, [memory as ArrayBuffer]);
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    } finally {
      port1.close();
      port2.close();
    }
  }

  it('cannot be given away by one of them', () => {
    const [kept, given] = [privateCopy(pattern(100, 1)), privateCopy(pattern(100, 2))];
    giveAway(given.buffer);
    expect(kept.equals(pattern(100, 1))).toBe(true);
    expect(privateCopy(pattern(100, 3)).equals(pattern(100, 3))).toBe(true);
    const source = pattern(1000, 4);
    const parts = new PrivateParts(source);
    parts.of(source, source.length);
    const first = parts.take(0, 100);
    giveAway(first.buffer);
    expect(first.equals(source.subarray(0, 100))).toBe(true);
    expect(parts.take(100, 200).equals(source.subarray(100, 200))).toBe(true);
  });

  // Node 20 has no way to do that.
  it.skipIf(!('transfer' in ArrayBuffer.prototype))(
    'is left when it was taken away by force',
    () => {
      const transfer = (memory: ArrayBufferLike): void => {
        (memory as ArrayBuffer & { transfer: () => ArrayBuffer }).transfer();
      };
      transfer(privateCopy(pattern(100, 1)).buffer);
      expect(privateCopy(pattern(100, 3)).equals(pattern(100, 3))).toBe(true);
      const source = pattern(1000, 4);
      const parts = new PrivateParts(source);
      parts.of(source, source.length);
      transfer(parts.take(0, 100).buffer);
      expect(parts.take(100, 200).equals(source.subarray(100, 200))).toBe(true);
      const sequence = new PrivateSequence();
      for (const length of [100, 0, 100]) {
        sequence.of(source, 0, source.length);
        const part = sequence.take(0, length);
        expect(part.equals(source.subarray(0, length))).toBe(true);
        transfer(part.buffer);
      }
    },
  );
});

describe('private parts', () => {
  it('are what stands there, across the ends of what is copied at once, and stay so', () => {
    const source = pattern(100_000, 1);
    const wanted = Buffer.from(source);
    const parts = new PrivateParts(source);
    parts.of(source, source.length);
    const taken: { part: Buffer; start: number; end: number }[] = [];
    for (let start = 0, n = 0; start < source.length; n++) {
      const length = [50, 200, 0, 1, 3000, 17, 20_000][n % 7] as number;
      const end = Math.min(source.length, start + length);
      taken.push({ part: parts.take(start, end), start, end });
      start = end;
    }
    source.fill(0xee);
    for (const { part, start, end } of taken) {
      expect(Buffer.isBuffer(part)).toBe(true);
      expect(part.equals(wanted.subarray(start, end))).toBe(true);
    }
  });

  it('forget what they copied when the source has other contents', () => {
    const source = pattern(1000, 2);
    const parts = new PrivateParts(source);
    parts.of(source, 1000);
    const before = parts.take(0, 100);
    const wanted = Buffer.from(before);
    source.fill(9);
    parts.of(source, 500);
    expect(parts.take(0, 100).every((byte) => byte === 9)).toBe(true);
    expect(parts.take(400, 500)).toHaveLength(100);
    expect(before.equals(wanted)).toBe(true);
  });

  it('may be taken again from further ahead', () => {
    const source = pattern(40_000, 3);
    const parts = new PrivateParts(source);
    parts.of(source, source.length);
    parts.take(30_000, 30_100);
    expect(parts.take(10, 60).equals(source.subarray(10, 60))).toBe(true);
  });
});

describe('a private sequence', () => {
  it('is what stood there, whatever the lengths, beside other copies', () => {
    const source = pattern(300_000, 5);
    const wanted = Buffer.from(source);
    const sequence = new PrivateSequence();
    const taken: { part: Buffer; start: number; length: number }[] = [];
    const others: { copy: Buffer; seed: number }[] = [];
    for (let n = 0, end = 8; end + 20_000 < source.length; ) {
      const base = end;
      sequence.of(source, base, 20_000);
      for (let start = 0; start < 17_000; n++) {
        const length = [50, 200, 0, 1, 2048, 2049, 7][n % 7] as number;
        taken.push({ part: sequence.take(start, length), start: base + start, length });
        start = (start + length + 7) & ~7;
        end = base + start;
        if (n % 5 === 0) others.push({ copy: privateCopy(pattern(100, n)), seed: n });
      }
    }
    source.fill(0xee);
    for (const { part, start, length } of taken) {
      expect(Buffer.isBuffer(part)).toBe(true);
      expect(part.buffer).toBeInstanceOf(ArrayBuffer);
      expect(part.equals(wanted.subarray(start, start + length))).toBe(true);
    }
    for (const { copy, seed } of others) expect(copy.equals(pattern(100, seed))).toBe(true);
    // Nor do they lie on one another.
    for (const { part } of taken) part.fill(0x11);
    for (const { copy, seed } of others) expect(copy.equals(pattern(100, seed))).toBe(true);
    for (const [index, { part, start, length }] of taken.entries()) {
      part.set(wanted.subarray(start, start + length));
      expect(taken[index + 1]?.part.every((byte) => byte === 0x11) ?? true).toBe(true);
    }
  });
});
