/** What a transaction depends on stands in a table that cannot be read: it is told so, alone. */

import { expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { REQUEST_PREPARE } from '../../src/kernel/assembly/layout.js';
import {
  encodePrepareHead,
  newPrepareHead,
  PREPARE_ALONE,
  PREPARE_HEAD_BYTES,
  PREPARE_VALIDATE_WRITES,
} from '../../src/protocol/prepare.js';
import { encodeOperations, put, TestShard } from './harness.js';

const DIRECTORY = '/shard';

function makePlace(): { fs: MemoryFileSystem; directory: string } {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return { fs, directory: DIRECTORY };
}

/** Commits on one shard, if nobody has written the key since the snapshot. */
async function commitSince({ client }: TestShard, snapshot: number, value: Buffer): Promise<void> {
  const head = Buffer.alloc(PREPARE_HEAD_BYTES);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const flags = PREPARE_VALIDATE_WRITES;
  encodePrepareHead({ ...newPrepareHead(), slot: PREPARE_ALONE, snapshot, flags }, view, 0);
  const payload = Buffer.concat([head, encodeOperations([put('key', value)])]);
  await client.wait(client.send(REQUEST_PREPARE, 1, payload));
}

it.each([
  ['in one record', 100],
  ['in pieces', 100_000],
])('a transaction %s that cannot be validated is refused, and nobody else', async (_, bytes) => {
  const place = makePlace();
  const value = Buffer.alloc(bytes, 'x');
  const before = await TestShard.open(place);
  const sequence = await before.client.put('key', '1');
  await before.client.put('other', '1');
  await before.shard.flush();
  await before.shard.close();
  const shard = await TestShard.open(place);
  await shard.shard.loadTables();
  place.fs.failReads('.table', 'EIO');
  await expect(commitSince(shard, sequence, value)).rejects.toMatchObject({
    code: 'LIGHTNING_IO',
  });
  await shard.client.put('another', '1');
  expect(await shard.client.get('another')).toBe('1');
  place.fs.clearFaults();
  expect(await shard.client.get('key')).toBe('1');
  await commitSince(shard, sequence, value);
  expect(await shard.client.getBytes('key')).toEqual(value);
  await shard.shard.close();
});
