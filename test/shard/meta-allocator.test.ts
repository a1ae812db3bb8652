import { describe, expect, it } from 'vitest';
import type { LightningError } from '../../src/errors.js';
import { seededRandom } from '../../src/file-system/memory.js';
import { MetaAllocator } from '../../src/shard/meta-allocator.js';
import { Retirement } from '../../src/shard/retirement.js';

describe('MetaAllocator', () => {
  it('gives aligned ranges that do not overlap, and joins what comes back', () => {
    const random = seededRandom(7);
    const allocator = new MetaAllocator(1000, 1 << 20);
    const live = new Map<number, number>();
    for (let i = 0; i < 5000; i++) {
      if (random() < 0.55 || live.size === 0) {
        const bytes = 1 + Math.floor(random() * 3000);
        let address: number;
        try {
          address = allocator.allocate(bytes);
        } catch (error) {
          expect((error as LightningError).code).toBe('LIGHTNING_LIMIT_EXCEEDED');
          continue;
        }
        expect(address % 64).toBe(0);
        expect(address).toBeGreaterThanOrEqual(1000);
        expect(address + bytes).toBeLessThanOrEqual(1000 + (1 << 20));
        live.set(address, bytes);
      } else {
        const address = [...live.keys()][Math.floor(random() * live.size)] as number;
        allocator.free(address);
        live.delete(address);
      }
    }
    const ranges = [...live].sort(([left], [right]) => left - right);
    for (let i = 1; i < ranges.length; i++) {
      const [before, bytes] = ranges[i - 1] as [number, number];
      expect(before + bytes).toBeLessThanOrEqual((ranges[i] as [number, number])[0]);
    }
    for (const address of live.keys()) allocator.free(address);
    expect(allocator.bytesUsed).toBe(0);
    expect(allocator.allocate(allocator.bytesTotal)).toBe(1024);
  });

  it('says what to do when it is full', () => {
    const allocator = new MetaAllocator(0, 640);
    allocator.allocate(640);
    expect(() => allocator.allocate(1)).toThrow(/use more shards/);
  });
});

describe('Retirement', () => {
  it('runs an action once its epoch is reached, in order', () => {
    let epoch = 1;
    let reached = 1;
    const retirement = new Retirement({
      retire: () => ++epoch,
      epochReached: (wanted) => (wanted <= reached ? 1 : 0),
    });
    const ran: string[] = [];
    retirement.after(() => ran.push('a'));
    retirement.after(() => ran.push('b'));
    expect(retirement.poll()).toBe(false);
    reached = 2;
    expect(retirement.poll()).toBe(true);
    expect(ran).toEqual(['a']);
    reached = 3;
    retirement.poll();
    expect(ran).toEqual(['a', 'b']);
    expect(retirement.isEmpty).toBe(true);
  });
});
