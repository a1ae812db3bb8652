/** A client whose write waits behind an undecided batch of its own, and what it is like afterwards. */

import { expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { createPlace, LocalDatabase } from '../durability/local-database.js';
import { put, TestClient, testConfig } from '../shard/harness.js';

async function stalled() {
  const fs = new MemoryFileSystem(1);
  createPlace(fs, 2);
  const db = await LocalDatabase.open({ fs, config: testConfig({ shards: 2 }) });
  const { shard, kernel, client } = db.shard(0);
  const operations = [put('key', 'batch')];
  const batch = db.commitTogether([0, 1].map((at) => ({ shard: at, operations })));
  const write = client.write([put('key', 'write')]);
  while (shard.turn());
  expect(client.poll(write)).toBeUndefined();
  expect(shard.loop.hasRequests).toBe(false);
  return { db, shard, kernel, client, batch, write };
}

it('once the batch is decided, its requests are seen, and the shard is lent again', async () => {
  const { db, shard, client, batch, write } = await stalled();
  for (const { shard: at, id } of batch.requests) expect(await db.wait(at, id, 1000)).toBeDefined();
  await client.wait(write);
  while (shard.turn());
  expect(shard.loop.isPlain).toBe(true);
  const next = client.write([put('other', '2')]);
  expect(shard.loop.hasRequests).toBe(true);
  await client.wait(next);
  expect(await client.get('key')).toBe('write');
});

it('once it is gone, requests of the next in its slot are seen', async () => {
  const { db, shard, kernel, batch } = await stalled();
  db.control.transactions.abort(batch.slot, batch.word, 0);
  shard.releaseClient(1);
  const next = new TestClient(shard, kernel, 1);
  next.write([put('other', '1')]);
  expect(shard.loop.hasRequests).toBe(true);
});
