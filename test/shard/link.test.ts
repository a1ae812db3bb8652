/** Tables of a bulk load become part of a shard: once, whole, and above what was there before. */

import { describe, expect, it } from 'vitest';
import { flushMemtable } from '../../src/compaction/flush-memtable.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { ControlBlock } from '../../src/router/control-block.js';
import type { LinkIntent } from '../../src/version/link-intent.js';
import { TestShard } from './harness.js';

const DIRECTORY = '/shard-000';

function place() {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return { fs, directory: DIRECTORY };
}

/** A table with some keys, made by another shard and put among this one's files. */
async function makeIntent(shard: TestShard, fs: MemoryFileSystem): Promise<LinkIntent> {
  const other = place();
  const source = await TestShard.open({ ...other, control: shard.control });
  for (let i = 0; i < 50; i++) await source.client.put(`key-${i}`, `loaded ${i}`);
  const { lastSequence } = source.shard.state.commit;
  const firstTableId = shard.shard.reserveFiles(4);
  const { tables } = flushMemtable(
    fs,
    new Kernel(source.module, source.kernel.memory),
    source.shard.state.memtables.active.arena,
    {
      directory: DIRECTORY,
      firstTableId,
      tableIds: 4,
      tableBytesMax: 1 << 20,
      blockBytes: 4096,
      compression: true,
      filterBitsPerKey: 10,
    },
    { horizon: lastSequence, snapshots: [], bottom: false },
  );
  fs.syncDirectory(DIRECTORY);
  await source.shard.close();
  return {
    id: 'load-1',
    sequence: lastSequence,
    timestampUs: 1_700_000_000_000_000,
    shards: [{ shard: 0, tables, nextFile: firstTableId + 4 }],
  };
}

describe('link', () => {
  it('puts loaded tables above what was there, once', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    await shard.client.put('key-1', 'before');
    await shard.client.put('mine', 'stays');
    const intent = await makeIntent(shard, at.fs);
    await shard.shard.link(intent);
    await shard.shard.link(intent);
    expect(await shard.client.getMany(['key-1', 'key-49', 'mine'])).toEqual([
      'loaded 1',
      'loaded 49',
      'stays',
    ]);
    expect(await shard.client.put('key-1', 'after')).toBeGreaterThan(intent.sequence);
    expect(await shard.client.get('key-1')).toBe('after');
    await shard.shard.compact();
    await shard.shard.link(intent);
    expect(await shard.client.get('key-1')).toBe('after');
    await shard.shard.close();
  });

  it('is completed at open when only the intent was there', async () => {
    const at = place();
    const shard = await TestShard.open(at);
    await shard.client.put('key-1', 'before');
    const intent = await makeIntent(shard, at.fs);
    // The process dies before the shard hears of it.
    at.fs.crash('all');
    const again = await TestShard.open({
      ...at,
      control: ControlBlock.create(1),
      intents: [intent],
    });
    expect(await again.client.getMany(['key-1', 'key-2'])).toEqual(['loaded 1', 'loaded 2']);
    await again.shard.close();
    const third = await TestShard.open({ ...at, intents: [intent] });
    expect(await third.client.get('key-2')).toBe('loaded 2');
    expect(third.shard.state.version.state.linked).toEqual(['load-1']);
    await third.shard.close();
  });
});
