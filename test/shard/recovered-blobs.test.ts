/** Blob files that only the log knew, and what a recovery leaves of them. */

import { expect, it } from 'vitest';
import { NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { TestShard, testConfig } from './harness.js';

const DIRECTORY = '/shard-000';

it('a large value that a recovery replaces while it flushes leaves no file', async () => {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const config = testConfig();
  const at = { fs, directory: DIRECTORY };
  const first = await TestShard.open({
    ...at,
    config,
    before: async () => {
      throw new NoSpaceError('There is no room for a table');
    },
  });
  await first.client.putBlob('key', Buffer.alloc(100_000, 'older'));
  await first.client.putBlob('key', Buffer.alloc(100_000, 'newer'));
  for (let i = 0; i < 60; i++) await first.client.put(`filler ${i}`, 'v'.repeat(10_000));
  first.shard.compactor.close();
  await first.shard.flusher.close();
  fs.crash('all');

  // Another shard has recovered before.
  const control = ControlBlock.create(1);
  control.raiseSequence(1000);
  const again = await TestShard.open({
    ...at,
    control,
    config: { ...config, arenaBytes: config.arenaBytes / 4 },
  });
  expect(again.shard.state.version.runs.length).toBeGreaterThan(0);
  expect(fs.readdir(DIRECTORY).filter((name) => name.endsWith('.blob'))).toHaveLength(1);
  expect(await again.client.getBytes('key')).toEqual(Buffer.alloc(100_000, 'newer'));
});
