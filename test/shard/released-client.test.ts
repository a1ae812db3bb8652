/** A client's thread that died, and the next one in its slot: neither memory nor answers are left over. */

import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { put, TestClient, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';

async function openShard(): Promise<TestShard> {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return TestShard.open({ fs, directory: DIRECTORY, config: testConfig() });
}

describe('a slot that another client takes', () => {
  it('has no answers in it that the one before had not read', async () => {
    const shard = await openShard();
    await shard.client.put('key', 'value');
    const gone = new TestClient(shard.shard, shard.kernel, 7);
    gone.write([put('a', '1')]);
    gone.write([put('b', '2')]);
    while (shard.shard.turn());
    shard.shard.releaseClient(7);
    const next = new TestClient(shard.shard, shard.kernel, 7);
    expect(await next.get('key')).toBe('value');
    expect(await next.get('b')).toBe('2');
    await shard.shard.close();
  });
});

describe('a reader that dies inside of an epoch', () => {
  it('holds memory back until its slot is released, and holds up nobody', async () => {
    const shard = await openShard();
    const { state } = shard.shard;
    shard.kernel.exports.readerEnter(9);
    for (let i = 0; i < 3; i++) {
      await shard.client.put(`key-${i}`, 'v'.repeat(1000));
      await shard.shard.flush();
      // Others read and write meanwhile.
      expect(await shard.client.get(`key-${i}`)).toBe('v'.repeat(1000));
      if (state.memtables.freeCount === 0) break;
    }
    const held = state.memtables.freeCount;
    await shard.settle();
    expect(state.memtables.freeCount).toBe(held);
    expect(state.retirement.isEmpty).toBe(false);
    shard.shard.releaseClient(9);
    await shard.settle();
    expect(state.retirement.isEmpty).toBe(true);
    expect(state.memtables.freeCount).toBeGreaterThan(held);
    await shard.shard.close();
  });
});
