import { describe, expect, it } from 'vitest';
import { H_EPOCH, READER_BYTES, READER_COUNT, READERS } from '../../src/kernel/assembly/layout.js';
import { shardKernel } from './instantiate.js';

describe('epochs', () => {
  it('are reached at once while nobody reads', () => {
    const { exports } = shardKernel();
    const epoch = exports.retire();
    expect(epoch).toBe(2);
    expect(exports.epochReached(epoch)).toBe(1);
  });

  it('wait for a reader that entered before, in every slot', () => {
    const { exports } = shardKernel();
    for (let slot = 0; slot < READER_COUNT; slot++) {
      exports.readerEnter(slot);
      const epoch = exports.retire();
      expect(exports.epochReached(epoch)).toBe(0);
      exports.readerLeave(slot);
      expect(exports.epochReached(epoch)).toBe(1);
    }
  });

  it('do not wait for a reader that entered after', () => {
    const { exports } = shardKernel();
    const epoch = exports.retire();
    exports.readerEnter(5);
    expect(exports.epochReached(epoch)).toBe(1);
    expect(exports.epochReached(exports.retire())).toBe(0);
  });

  it('wait for each retirement on its own', () => {
    const { exports } = shardKernel();
    exports.readerEnter(1);
    const first = exports.retire();
    exports.readerEnter(2);
    const second = exports.retire();
    exports.readerLeave(1);
    expect(exports.epochReached(first)).toBe(1);
    expect(exports.epochReached(second)).toBe(0);
    exports.readerLeave(2);
    expect(exports.epochReached(second)).toBe(1);
  });

  it('do not wait for a dead reader that was taken out', () => {
    const { exports } = shardKernel();
    exports.readerEnter(63);
    const epoch = exports.retire();
    expect(exports.epochReached(epoch)).toBe(0);
    exports.readerForceLeave(63);
    expect(exports.epochReached(epoch)).toBe(1);
  });

  it('are told from a slow announcement of an epoch long past', () => {
    const { exports, view } = shardKernel();
    for (let i = 0; i < 10; i++) exports.retire();
    view.setBigUint64(READERS + 3 * READER_BYTES, 4n, true);
    expect(exports.epochReached(4)).toBe(1);
    expect(exports.epochReached(5)).toBe(0);
    expect(view.getBigUint64(H_EPOCH, true)).toBe(11n);
  });
});
