/** What a CommonJS application does, in short. Runs against the packed package. */
const assert = require('node:assert/strict');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { LightningDb } = require('lightning-db');

async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'lightning-db-smoke-'));
  try {
    const db = await LightningDb.open(join(directory, 'db'), { shards: 1, cacheSize: 32 << 20 });
    await db.put('a', '1');
    assert.equal(await db.get('a'), '1');
    assert.equal(db.getSync('a'), '1');
    await db.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  console.log(`node ${process.versions.node}: CommonJS consumer ok`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
