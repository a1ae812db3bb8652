/**
 * `node dist/dev/steady-writes.js [--seconds N] [--keys N] [--memtable BYTES] [--shards N] [--quiet]`
 *
 * Writes random keys without a pause and prints how many each second took, with what the shards were
 * doing meanwhile. At the end: the least second in parts of the median one, which says whether
 * writes are ever held up abruptly. The first and the last second, which are not whole, do not count.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type DatabaseStats, LightningDb } from 'lightning-db';
import { Random } from '../src/cli/bench/records.js';

const { values: args } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    keys: { type: 'string', default: '100000000' },
    memtable: { type: 'string', default: String(32 << 20) },
    shards: { type: 'string', default: '2' },
    directory: { type: 'string', default: tmpdir() },
    rate: { type: 'string' },
    quiet: { type: 'boolean', default: false },
  },
});

const BATCH = 1000;
/** 50 bytes: ordered by id. */
const keyOf = (id: number): string => `key:${String(id).padStart(46, '0')}`;
const seconds = Number(args.seconds);
const keys = Number(args.keys);
const directory = mkdtempSync(join(args.directory, 'lightning-db-steady-'));

interface Second {
  readonly operations: number;
  readonly stats: DatabaseStats;
}

const total = (stats: DatabaseStats, of: (shard: DatabaseStats['shards'][number]) => number) =>
  stats.shards.reduce((sum, shard) => sum + of(shard), 0);

function print(second: number, { operations, stats }: Second, before: DatabaseStats): void {
  const change = (of: (shard: DatabaseStats['shards'][number]) => number): string =>
    (total(stats, of) - total(before, of)).toFixed(0).padStart(6);
  const runs = stats.shards.map((shard) => shard.runs.length - 1).join('/');
  process.stdout.write(
    `${String(second).padStart(4)} ${operations.toLocaleString('en').padStart(9)}/s  ` +
      `upper runs ${runs.padEnd(6)} memtables ${total(stats, (s) => s.memtables.count)}  ` +
      `held up ${change((s) => s.stalls.delayedMs)} ms ${change((s) => s.stalls.stops)} stops  ` +
      `flushed ${change((s) => s.flushes.bytesWritten / 1e6)} MB merged ` +
      `${change((s) => s.compactions.bytesWritten / 1e6)} MB  ` +
      `to merge ${(stats.total.pendingCompactionBytes / 1e6).toFixed(0)} MB\n`,
  );
}

const db = await LightningDb.open(join(directory, 'db'), {
  shards: Number(args.shards),
  memtableSize: Number(args.memtable),
  ...(args.rate === undefined ? {} : { compactionBytesPerSecondMax: Number(args.rate) }),
});
try {
  const random = new Random(1);
  const half = Array.from({ length: 64 }, () => {
    let text = '';
    for (let i = 0; i < 100; i++) text += (random.next() % 36).toString(36);
    return text;
  });
  const values = half.map((text) => text + text);
  let written = 0;
  const rows: Second[] = [];
  let before = await db.stats();
  let counted = 0;
  let printing: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    const operations = written - counted;
    counted = written;
    printing = printing.then(async () => {
      const stats = await db.stats();
      rows.push({ operations, stats });
      if (!args.quiet) print(rows.length, { operations, stats }, before);
      before = stats;
    });
  }, 1000);
  const startedMs = performance.now();
  let pending: Promise<void> = Promise.resolve();
  while (performance.now() - startedMs < seconds * 1000) {
    const batch = db.batch();
    for (let i = 0; i < BATCH; i++) {
      batch.put(keyOf(random.below(keys)), values[i & 63] as string);
    }
    const write = batch.write();
    await pending;
    written += BATCH;
    pending = write;
  }
  await pending;
  clearInterval(timer);
  await printing;
  const rates = rows.slice(1, -1).map(({ operations }) => operations);
  const sorted = [...rates].sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1] ?? 0;
  const least = sorted[0] ?? 0;
  const stats = await db.stats();
  process.stdout.write(
    `median ${median.toLocaleString('en')}/s, least ${least.toLocaleString('en')}/s ` +
      `(${(least / median).toFixed(2)} of the median), ` +
      `below half: ${rates.filter((rate) => rate < median / 2).length} of ${rates.length} seconds; ` +
      `${written.toLocaleString('en')} writes, write amplification ` +
      `${stats.total.writeAmplification.toFixed(2)}, held up ${stats.total.stalledMs} ms\n`,
  );
} finally {
  await db.close();
  rmSync(directory, { recursive: true, force: true });
}
