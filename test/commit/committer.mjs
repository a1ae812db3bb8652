/**
 * Commits two batches over all shards, the second of which may meet a fault (LIGHTNING_DB_FAULT), and
 * says what it sees. Each batch writes one version to every key.
 */

import { writeSync } from 'node:fs';
import { LightningDb } from 'lightning-db';

const [path, mode] = process.argv.slice(2);
const say = (line) => writeSync(1, `${line}\n`);
const KEYS = Array.from({ length: 8 }, (_, i) => `key-${i}`);

async function write(db, version) {
  const batch = db.batch();
  for (const key of KEYS) batch.put(key, version);
  await batch.write();
}

/** What the keys hold, once every shard is there. */
async function versions(db) {
  for (;;) {
    try {
      const values = await Promise.all(KEYS.map((key) => db.get(key)));
      const entries = await db.scan().toArray();
      return [...new Set([...values, ...entries.map(([, value]) => value)])].join(' ');
    } catch (error) {
      if (error.code !== 'LIGHTNING_SHARD_UNAVAILABLE') throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

const db = await LightningDb.open(path, { shards: 2, cacheSize: 16 << 20 });
if (mode === 'write') {
  await write(db, 'first');
  const outcome = await write(db, 'second').then(
    () => 'committed',
    (error) => `refused ${error.code}`,
  );
  say(outcome);
}
say(await versions(db));
await db.close();
