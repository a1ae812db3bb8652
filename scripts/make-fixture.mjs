/**
 * Writes test/fixtures/format-<version>.json.gz: a small database as this release leaves it when its
 * process is killed, with everything in it that the format knows. Run it once per format, when that is
 * final; what was released is never written again.
 *
 *   node scripts/build.mjs --fast && node scripts/make-fixture.mjs 1
 */

import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { LightningDb } from 'lightning-db';
import { LOADED, LOGGED, ROUNDS } from '../test/fixtures/contents.mjs';

const version = process.argv[2];
if (!/^\d+$/.test(version ?? '')) {
  process.stderr.write('Which format version is this? Give its number\n');
  process.exit(2);
}
const root = mkdtempSync(join(tmpdir(), 'lightning-db-fixture-'));
const path = join(root, 'db');
// Synced, so that another machine, where all of it looks like after a power loss, opens it whole.
const options = { shards: 2, memtableSize: 1 << 20, cacheSize: 16 << 20, walSyncMode: 'sync' };

async function write(db, entries) {
  const batch = db.batch();
  for (const [key, value] of entries) {
    if (value === null) batch.delete(key);
    else batch.put(key, value);
  }
  await batch.write();
}

await LightningDb.bulkLoad(path, LOADED, options);
const db = await LightningDb.open(path, options);
for (const round of ROUNDS) {
  await write(db, round);
  await db.flush();
}
for (const entries of LOGGED) await write(db, entries);
const killed = join(root, 'killed');
cpSync(path, killed, { recursive: true });
await db.close();

// Neither holds anything.
const isLeftOut = (name) => /(^|\/)(LOCK|BALLAST)$/.test(name);
const files = Object.fromEntries(
  readdirSync(killed, { recursive: true })
    .map(String)
    .filter((name) => statSync(join(killed, name)).isFile() && !isLeftOut(name))
    .sort()
    .map((name) => [name, readFileSync(join(killed, name)).toString('base64')]),
);
const target = fileURLToPath(
  new URL(`../test/fixtures/format-${version}.json.gz`, import.meta.url),
);
writeFileSync(target, gzipSync(JSON.stringify(files), { level: 9 }));
rmSync(root, { recursive: true });
process.stdout.write(
  `${target}: ${Object.keys(files).length} files, ${statSync(target).size} bytes\n`,
);
