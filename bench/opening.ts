/**
 * `node dist/dev/opening.js [--records N] [--rounds N] [--shards N] [--cache MIB] [--directory DIR]`
 *
 * Loads records in bulk and closes the database; then opens it in one new process after the other, first
 * after a close, then after `kill -9` with a log of writes behind it, and prints how long `open` and the
 * first read took.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { lightningKind } from '../src/cli/bench/lightning-store.js';
import { ANY_VERSION, Records } from '../src/cli/bench/records.js';

const SEED = 1;
const MEMTABLE_BYTES = 32 << 20;
/** Written before a process kills itself. */
const WRITES = 50_000;

const { values: args } = parseArgs({
  options: {
    records: { type: 'string', default: '10000000' },
    rounds: { type: 'string', default: '7' },
    shards: { type: 'string', default: '2' },
    cache: { type: 'string', default: '1024' },
    directory: { type: 'string', default: tmpdir() },
    /** A process that opens the database there, and how it ends. */
    open: { type: 'string' },
    end: { type: 'string', default: 'close' },
  },
});

interface Opening {
  readonly openMs: number;
  readonly firstReadMs: number;
}

const records = new Records(Number(args.records), SEED);
const kind = lightningKind({
  shards: Number(args.shards),
  cacheBytes: Number(args.cache) * 2 ** 20,
  memtableBytes: MEMTABLE_BYTES,
});

async function openAndEnd(path: string): Promise<void> {
  const startedMs = performance.now();
  const store = await kind.open(path, 'async');
  const openedMs = performance.now();
  const id = records.shuffled(0);
  const found = store.getSync?.(records.key(id));
  const readMs = performance.now();
  if (found === undefined) throw new Error('A record is missing');
  records.verify(found, id, ANY_VERSION);
  const opening: Opening = { openMs: openedMs - startedMs, firstReadMs: readMs - openedMs };
  process.stdout.write(JSON.stringify(opening));
  if (args.end === 'close') return store.close();
  for (let i = 0; i < WRITES; i++) {
    await store.put(records.key(i % records.count), records.value(i % records.count, 1));
  }
  process.kill(process.pid, 'SIGKILL');
}

function openInNewProcess(path: string, end: string): Opening {
  const { records: count, shards, cache } = args;
  const options = ['--open', path, '--end', end];
  const same = ['--records', count, '--shards', shards, '--cache', cache];
  const entry = fileURLToPath(import.meta.url);
  const { stdout, stderr } = spawnSync(process.execPath, [entry, ...options, ...same], {
    encoding: 'utf8',
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

function summary(name: string, openings: readonly Opening[]): string {
  const spread = (of: (opening: Opening) => number): string => {
    const sorted = openings.map(of).sort((a, b) => a - b);
    const at = (index: number): string => (sorted[index] ?? 0).toFixed(1);
    return `${at(0)} / ${at(sorted.length >> 1)} / ${at(sorted.length - 1)} ms`;
  };
  return (
    `${name}: open ${spread(({ openMs }) => openMs)}, ` +
    `first read ${spread(({ firstReadMs }) => firstReadMs)}\n`
  );
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(args.directory, 'lightning-db-opening-'));
  const path = join(directory, 'db');
  const rounds = Number(args.rounds);
  try {
    await kind.bulkLoad?.(path, records);
    process.stdout.write(`${records.count} records; least / median / greatest of ${rounds}\n`);
    const closed = Array.from({ length: rounds }, () => openInNewProcess(path, 'close'));
    process.stdout.write(summary('after a close', closed));
    openInNewProcess(path, 'kill');
    const killed = Array.from({ length: rounds }, () => openInNewProcess(path, 'kill'));
    process.stdout.write(summary(`after kill -9, ${WRITES} writes in the log`, killed));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

await (args.open === undefined ? main() : openAndEnd(args.open));
