import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ARENA_KEYS,
  ARENA_SEQUENCE_MAX,
  ARENA_SEQUENCE_MIN,
  ARENA_TOP,
  OP_DELETE,
  OP_PUT,
  OP_PUT_BLOB,
} from '../../src/kernel/assembly/layout.js';
import { MemtableModel } from './memtable-model.js';

const memtable = new MemtableModel(8 * 1024 * 1024);

const letters = fc.constantFrom('\x00', '\x01', 'a', 'b', '\x7f', '\x80', '\xff');
const shortKey = fc.array(letters, { maxLength: 7 }).map((bytes) => bytes.join(''));
/** Prefixes of each other, up to far more nodes deep than a cursor remembers. */
const chainKey = fc.integer({ min: 0, max: 700 }).map((length) => 'a'.repeat(length));
const sharedPrefix = fc.constantFrom(3, 11, 12, 13, 25, 300).map((length) => 'p'.repeat(length));
/** Common prefixes around the length that a node stores, and keys that leave them half way. */
const prefixedKey = fc.oneof(
  fc.tuple(sharedPrefix, shortKey).map(([prefix, rest]) => prefix + rest),
  fc
    .tuple(sharedPrefix, fc.nat(30), shortKey)
    .map(([prefix, cut, rest]) => prefix.slice(0, cut) + rest),
  fc.tuple(sharedPrefix, shortKey, sharedPrefix, shortKey).map((parts) => parts.join('')),
);
/** One byte that decides, for nodes of every size. */
const wideKey = fc
  .tuple(fc.constantFrom('', 'w', 'ww'), fc.nat(255), fc.constantFrom('', 'x', 'xy'))
  .map(([prefix, byte, rest]) => prefix + String.fromCharCode(byte) + rest);
const anyKey = fc.oneof(
  { weight: 4, arbitrary: shortKey },
  { weight: 2, arbitrary: chainKey },
  { weight: 4, arbitrary: prefixedKey },
  { weight: 6, arbitrary: wideKey },
);

describe('a memtable', () => {
  it('agrees with a map of versions at every snapshot and in both orders', () => {
    const put = fc.record({
      key: anyKey,
      value: fc.string({ unit: 'binary-ascii', maxLength: 20 }),
      type: fc.constantFrom(OP_PUT, OP_PUT, OP_DELETE, OP_PUT_BLOB),
    });
    fc.assert(
      fc.property(
        fc.array(put, { maxLength: 150 }),
        fc.array(anyKey, { maxLength: 20 }),
        fc.array(fc.boolean(), { maxLength: 12 }),
        (puts, probes, moves) => {
          memtable.reset();
          puts.forEach(({ key, value, type }, i) => {
            expect(memtable.put(key, value, i + 1, type)).toBe(0);
          });
          memtable.expectSame();
          const some = puts.filter((_, i) => i % 5 === 0).map(({ key }) => key);
          for (const key of [...probes, ...some]) {
            for (const snapshot of [0, 1, puts.length >> 1, puts.length, 2 ** 53 - 1]) {
              memtable.expectFind(key, snapshot);
            }
            memtable.expectSeek(key, moves);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('finds and orders keys under nodes of all sizes', () => {
    memtable.reset();
    for (let i = 0; i < 256; i++) {
      // A permutation of the bytes, so that small nodes hold them unsorted.
      const byte = String.fromCharCode((i * 167 + 13) & 0xff);
      expect(memtable.put(`node${byte}`, `${i}`, i + 1)).toBe(0);
      if ([3, 4, 5, 15, 16, 17, 47, 48, 49, 255].includes(i)) {
        memtable.expectSame();
        for (let b = 0; b < 256; b += 3) {
          memtable.expectFind(`node${String.fromCharCode(b)}`, 2 ** 53);
          memtable.expectSeek(`node${String.fromCharCode(b)}`, [true, true, false, false, false]);
        }
      }
    }
    memtable.put('node', 'the end leaf of a node of 256', 300);
    memtable.expectSame();
    memtable.expectSeek('node', [true, false, false]);
  });

  it('is empty at first, and holds an empty key', () => {
    memtable.reset();
    memtable.expectSame();
    memtable.expectSeek('');
    memtable.expectSeek('a');
    expect(memtable.find('', 10)).toBeUndefined();
    memtable.put('', 'empty', 1);
    memtable.expectSame();
    memtable.expectFind('', 1);
    memtable.expectSeek('', [true]);
    memtable.put('a', 'b', 2);
    memtable.put('', 'again', 3);
    memtable.expectSame();
    memtable.expectSeek('', [true, true]);
  });

  it('takes keys of 64 KiB that part at their last byte, or in the middle', () => {
    memtable.reset();
    const long = 'z'.repeat(65535);
    const keys = [
      `${long}a`,
      `${long}b`,
      long,
      'z'.repeat(65534),
      `${'z'.repeat(32768)}y${'z'.repeat(32767)}`,
      'z'.repeat(20),
      `${'z'.repeat(10)}x`,
    ];
    keys.forEach((key, i) => {
      expect(memtable.put(key, `${i}`, i + 1)).toBe(0);
      memtable.expectSame();
    });
    for (const key of [
      ...keys,
      `${long}c`,
      `${long}A`,
      'z'.repeat(65536),
      'z'.repeat(32768),
      'y',
    ]) {
      memtable.expectFind(key, 100);
      memtable.expectSeek(key, [true, true, false, false]);
    }
  });

  it('walks keys that are prefixes of each other, deeper than a cursor remembers', () => {
    memtable.reset();
    const depths = [...Array(1500).keys()];
    depths.forEach((depth, i) => {
      expect(memtable.put('k'.repeat((depth * 701) % 1500), 'v', i + 1)).toBe(0);
    });
    memtable.expectSame();
    // Siblings half way: where a walk ends up after it lost its way.
    memtable.put(`${'k'.repeat(40)}z`, 'sibling', 2000);
    memtable.put(`${'k'.repeat(700)}z`, 'sibling', 2001);
    memtable.put(`${'k'.repeat(700)}a`, 'sibling', 2002);
    memtable.expectSame();
    const back = Array<boolean>(900).fill(false);
    const forth = Array<boolean>(900).fill(true);
    memtable.expectSeek('k'.repeat(1499), [true, true]);
    memtable.expectSeek('k'.repeat(1400), [...back, ...forth]);
    memtable.expectSeek(`${'k'.repeat(1300)}z`, [true, false, true]);
    memtable.expectSeek(`${'k'.repeat(1300)}a`, back);
    memtable.expectSeek('k'.repeat(5), forth);
  });

  it('keeps the last of several operations on a key in one commit', () => {
    memtable.reset();
    memtable.put('k', 'old', 1);
    memtable.put('k', 'first', 2);
    memtable.put('k', 'second', 2);
    memtable.put('k', '', 2, OP_DELETE);
    memtable.put('k', 'third', 2);
    memtable.expectSame();
    expect(memtable.find('k', 2)).toEqual({ sequence: 2, type: OP_PUT, value: 'third' });
    expect(memtable.find('k', 1)).toEqual({ sequence: 1, type: OP_PUT, value: 'old' });
  });

  it('stays the same when a log is applied a second time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(shortKey, fc.string({ unit: 'binary-ascii', maxLength: 8 })), {
          maxLength: 60,
        }),
        fc.nat(60),
        (puts, from) => {
          memtable.reset();
          puts.forEach(([key, value], i) => {
            memtable.put(key, value, (i >> 1) + 1);
          });
          // A commit is replayed whole.
          const start = from & ~1;
          puts.slice(start).forEach(([key, value], i) => {
            memtable.put(key, value, ((start + i) >> 1) + 1);
          });
          memtable.expectSame();
        },
      ),
      { numRuns: 200 },
    );
  });

  it('keeps the range of its sequence numbers', () => {
    memtable.reset();
    const { view } = memtable.kernel;
    const range = (): bigint[] => [
      view.getBigUint64(memtable.arena + ARENA_SEQUENCE_MIN, true),
      view.getBigUint64(memtable.arena + ARENA_SEQUENCE_MAX, true),
    ];
    expect(range()).toEqual([0n, 0n]);
    memtable.put('a', 'x', 77);
    memtable.put('b', 'x', 2 ** 53 - 1);
    memtable.put('a', 'x', 78);
    expect(range()).toEqual([77n, BigInt(2 ** 53 - 1)]);
  });

  it('refuses what might not fit and is unchanged then', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 64, max: 6000 }),
        fc.array(fc.tuple(anyKey, fc.nat(900)), { minLength: 1, maxLength: 60 }),
        (arenaBytes, puts) => {
          memtable.reset(arenaBytes);
          const { bytes, view } = memtable.kernel;
          const guard = memtable.arena + (arenaBytes & ~7);
          bytes.fill(0x5a, guard, guard + 64);
          let refused = 0;
          puts.forEach(([key, valueBytes], i) => {
            const before = Buffer.from(bytes.subarray(memtable.arena, guard));
            const full = memtable.put(key, 'v'.repeat(valueBytes), i + 1);
            if (full === 0) return;
            refused++;
            expect(full).toBe(1);
            expect(before.equals(bytes.subarray(memtable.arena, guard))).toBe(true);
          });
          memtable.expectSame();
          expect(view.getUint32(memtable.arena + ARENA_TOP, true)).toBeLessThanOrEqual(guard);
          expect(bytes.subarray(guard, guard + 64).every((byte) => byte === 0x5a)).toBe(true);
          expect(view.getUint32(memtable.arena + ARENA_KEYS, true) + refused).toBeGreaterThan(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('may be read by a cursor while other keys are put', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(anyKey, { minLength: 1, maxLength: 60 }),
        fc.array(anyKey, { maxLength: 120 }),
        fc.boolean(),
        (before, during, forward) => {
          memtable.reset();
          before.forEach((key, i) => {
            memtable.put(key, 'old', i + 1);
          });
          const { exports, bytes } = memtable.kernel;
          const cursor = 0x60000;
          const seen: string[] = [];
          const keyOf = (leaf: number): string =>
            bytes.toString(
              'latin1',
              leaf + 8,
              leaf + 8 + memtable.kernel.view.getUint32(leaf, true),
            );
          let leaf = forward
            ? exports.memtableFirst(cursor, memtable.arena)
            : exports.memtableLast(cursor, memtable.arena);
          let next = 0;
          while (leaf !== 0) {
            seen.push(keyOf(leaf));
            expect(seen.length).toBeLessThanOrEqual(before.length + during.length);
            for (const key of during.slice(next, next + 3)) memtable.put(key, 'new', 1000 + next);
            next += 3;
            leaf = forward ? exports.memtableNext(cursor) : exports.memtablePrev(cursor);
          }
          for (let i = 1; i < seen.length; i++) {
            const ascending = (seen[i - 1] as string) < (seen[i] as string);
            expect(ascending).toBe(forward);
          }
          const visited = new Set(seen);
          expect(before.every((key) => visited.has(key))).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});
