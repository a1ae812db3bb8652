/** Readers that stay inside a read while the shard needs the memory that they may be looking at. */

import { expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { systemThreadId } from '../../src/file-system/system-thread.js';
import { put, TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';
/** No system gives a thread this number. */
const NO_THREAD = 0x7fff_ffff;

async function openShard(): Promise<TestShard> {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const config = testConfig({ arenaBytes: 128 * 1024 });
  const shard = await TestShard.open({ fs, directory: DIRECTORY, config });
  shard.client.turnsMax = Number.POSITIVE_INFINITY;
  return shard;
}

/** More than all memtables together. */
async function fill({ client }: TestShard): Promise<void> {
  for (let i = 0; i < 1000; i++) await client.commit([put(`key-${i}`, 'v'.repeat(1000))]);
}

it.runIf(systemThreadId() !== 0)(
  'one whose thread is gone is taken out of its read, whoever else has noticed',
  async () => {
    const shard = await openShard();
    const slot = shard.control.claimClient(987_654, NO_THREAD);
    shard.kernel.exports.readerEnter(slot);
    await fill(shard);
    expect(shard.control.isClientActive(slot)).toBe(true);
    await shard.shard.close();
  },
);

it('one whose thread lives is named to those who are refused', async () => {
  const shard = await openShard();
  const slot = shard.control.claimClient(987_654, systemThreadId());
  shard.kernel.exports.readerEnter(slot);
  await expect(fill(shard)).rejects.toMatchObject({
    code: 'LIGHTNING_LIMIT_EXCEEDED',
    message: expect.stringContaining('thread 987654 stays inside a read'),
    details: { client: slot, thread: 987_654 },
  });
  shard.kernel.exports.readerLeave(slot);
  await shard.settle();
  await fill(shard);
  await shard.shard.close();
});
