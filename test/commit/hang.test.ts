/** A participant that hangs holds up neither the commits it takes part in nor anybody else. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LightningDb } from 'lightning-db';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const COMMITTER = fileURLToPath(new URL('./committer.mjs', import.meta.url));

it('a commit with a participant that hangs is given up, and its keys are free again', async () => {
  const directory = temporaryDirectory();
  const path = join(directory.path, 'db');
  const child = spawn(process.execPath, [COMMITTER, path, 'hang'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // The shard gets the prepare of the second commit, and goes no further.
    env: { ...process.env, LIGHTNING_DB_FAULT: 'hang:prepare-received#1*2' },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  await new Promise((resolve) => child.on('close', resolve));
  expect(text.trim().split('\n')).toEqual([
    'refused LIGHTNING_TIMEOUT none',
    'at once LIGHTNING_TIMEOUT none',
    'released',
    'first',
  ]);
  const db = await LightningDb.open(path, { cacheSize: 16 << 20 });
  const entries = await db.scan().toArray();
  expect(new Set(entries.map(([, value]) => value))).toEqual(new Set(['first']));
  await db.close();
  directory.remove();
}, 90_000);
