/** What an ES module application does, in short. Runs against the packed package. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LightningDb, LightningError } from 'lightning-db';

const directory = mkdtempSync(join(tmpdir(), 'lightning-db-smoke-'));
try {
  const path = join(directory, 'db');
  const db = await LightningDb.open(path, { shards: 2, cacheSize: 32 << 20 });
  const batch = db.batch();
  for (let i = 0; i < 1000; i++) batch.put(`key:${String(i).padStart(4, '0')}`, `value ${i}`);
  await batch.write();
  await db.put('ключ', 'значение');
  assert.equal(db.getSync('key:0500'), 'value 500');
  assert.equal(await db.get('missing'), undefined);
  await db.flush();
  await db.close();

  const again = await LightningDb.open(path);
  const keys = [];
  for await (const [key] of again.scan({ prefix: 'key:', reverse: true, limit: 3 })) keys.push(key);
  assert.deepEqual(keys, ['key:0999', 'key:0998', 'key:0997']);
  assert.equal(await again.get('ключ'), 'значение');
  await again.close();
  await assert.rejects(LightningDb.open(path, { shard: 1 }), LightningError);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(`node ${process.versions.node}: ESM consumer ok`);
