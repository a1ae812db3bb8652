/** The memory for keys that prepared commits hold: as much as they need, and given back. */

import { beforeEach, describe, expect, it } from 'vitest';
import { H_META_BASE, H_META_BYTES } from '../../src/kernel/assembly/layout.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { LockTable } from '../../src/shard/lock-table.js';
import { MetaAllocator } from '../../src/shard/meta-allocator.js';
import type { PreparedCommit } from '../../src/shard/prepared-commit.js';
import { encode, put } from '../kernel/commit-shard.js';
import { shardKernel } from '../kernel/instantiate.js';

const MIB = 1 << 20;

let kernel: Kernel;
let allocator: MetaAllocator;
let holders: PreparedCommit[];
let locks: LockTable;

function start(metaBytes: number): void {
  kernel = shardKernel({ metaBytes }) as unknown as Kernel;
  const { u32 } = kernel;
  allocator = new MetaAllocator(u32[H_META_BASE >>> 2] ?? 0, u32[H_META_BYTES >>> 2] ?? 0);
  holders = [];
  locks = new LockTable(kernel, allocator, () => holders);
}

/** A commit that writes keys `name-0…`, and holds nothing yet. */
function commit(slot: number, name: string, count: number, valueBytes: number): PreparedCommit {
  const value = 'v'.repeat(valueBytes);
  const operations = encode(Array.from({ length: count }, (_, i) => put(`${name}-${i}`, value)));
  const lockAt = allocator.allocate(operations.length);
  kernel.bytes.set(operations, lockAt);
  const keys = { keysAt: 0, keyBytes: 0, lockAt, lockBytes: operations.length };
  return { slot, isEntered: false, ...keys } as PreparedCommit;
}

/** Which of the holders a write of the key meets. */
function holdersOf(key: string): number[] {
  const operation = encode([put(key, '')]);
  const at = allocator.allocate(operation.length);
  kernel.bytes.set(operation, at);
  kernel.exports.locksHit(at, operation.length, locks.bitmap);
  allocator.free(at);
  return holders.filter(({ slot }) => locks.isHit(slot)).map(({ slot }) => slot);
}

function enter(one: PreparedCommit): boolean {
  holders.push(one);
  return locks.enter(one);
}

describe('the lock table', () => {
  beforeEach(() => start(64 * MIB));

  it('takes memory for the keys of a commit, however long its values', () => {
    const large = commit(3, 'large', 3000, 10_000);
    const before = allocator.bytesUsed;
    expect(enter(large)).toBe(true);
    expect(allocator.bytesUsed - before).toBeLessThan(MIB);
    expect(holdersOf('large-2999')).toEqual([3]);
    expect(holdersOf('large-3000')).toEqual([]);
  });

  it('keeps what is held while it becomes larger, and is small again when nothing is', () => {
    const small = commit(1, 'small', 10, 3);
    const many = commit(2, 'many', 100_000, 3);
    const before = allocator.bytesUsed;
    expect(enter(small)).toBe(true);
    const least = allocator.bytesUsed - before;
    expect(enter(many)).toBe(true);
    expect(allocator.bytesUsed - before).toBeGreaterThan(100_000 * 2 * 16);
    expect(holdersOf('small-9')).toEqual([1]);
    expect(holdersOf('many-99999')).toEqual([2]);
    locks.leave(many);
    expect(holdersOf('many-99999')).toEqual([]);
    expect(holdersOf('small-9')).toEqual([1]);
    locks.leave(small);
    expect(allocator.bytesUsed - before).toBe(least);
    expect(holdersOf('small-9')).toEqual([]);
  });

  it('says so when there is no memory, and stays what it was', () => {
    start(8 * MIB);
    const small = commit(1, 'small', 10, 3);
    expect(enter(small)).toBe(true);
    const many = commit(2, 'many', 200_000, 3);
    expect(locks.makeRoom(many)).toBe(false);
    expect(enter(many)).toBe(false);
    expect(many.isEntered).toBe(false);
    expect(holdersOf('small-0')).toEqual([1]);
    expect(holdersOf('many-0')).toEqual([]);
  });
});
