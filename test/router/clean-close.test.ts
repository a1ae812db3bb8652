import { appendFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../src/file-system/node.js';
import { isLeftClean } from '../../src/router/clean-close.js';
import { readDatabaseFile } from '../../src/version/database-file.js';
import { linkIntentName } from '../../src/version/link-intent.js';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  directory.remove();
});

const SHARDS = 2;

async function closed(walSyncMode: 'async' | 'sync' = 'async'): Promise<string> {
  const db = await LightningDb.open(directory.path, { shards: SHARDS, walSyncMode });
  await Promise.all(Array.from({ length: 50 }, (_, i) => db.put(`key-${i}`, 'value')));
  await db.close();
  return directory.path;
}

function isClean(path: string, shards = SHARDS): boolean {
  const databaseId = readDatabaseFile(nodeFileSystem, path)?.id ?? '';
  return isLeftClean(nodeFileSystem, { path, databaseId, shards });
}

function fileIn(folder: string, ending: string): string {
  const name = readdirSync(folder).find((entry) => entry.endsWith(ending));
  if (name === undefined) throw new Error(`No ${ending} in ${folder}`);
  return join(folder, name);
}

const shardOf = (path: string): string => join(path, 'shard-001');
const coordinatorOf = (path: string): string => join(path, 'coordinator');

const CHANGES: [string, (path: string) => void][] = [
  ['with something in a log', (path) => appendFileSync(fileIn(shardOf(path), '.wal'), 'x')],
  ['with a log half made', (path) => truncateSync(fileIn(shardOf(path), '.wal'), 20)],
  ['without a log', (path) => rmSync(fileIn(shardOf(path), '.wal'))],
  ['without a shard', (path) => rmSync(shardOf(path), { recursive: true })],
  ['without a log of the coordinator', (path) => rmSync(fileIn(coordinatorOf(path), '.log'))],
  [
    'with a damaged log of the coordinator',
    (path) => writeFileSync(fileIn(coordinatorOf(path), '.log'), Buffer.alloc(100)),
  ],
  [
    'with a bulk load to be linked',
    (path) => writeFileSync(join(coordinatorOf(path), linkIntentName('some')), ''),
  ],
];

describe('a database', () => {
  it.each(['async', 'sync'] as const)('that was closed is clean (%s)', async (mode) => {
    expect(isClean(await closed(mode))).toBe(true);
  });

  it.each(CHANGES)('%s is not', async (_name, change) => {
    const path = await closed();
    change(path);
    expect(isClean(path)).toBe(false);
  });

  it('that is open, and has written, is not', async () => {
    const db = await LightningDb.open(directory.path, { shards: 1 });
    await db.put('key', 'value');
    expect(isClean(directory.path, 1)).toBe(false);
    await db.close();
  });
});
