/**
 * `npm run bench -- [--records N] [--rounds N] [--shards N] [--only a,b] [--json FILE]`
 *
 * Runs the engine's workloads on a fresh database per round and prints the medians with the
 * first-step targets beside them.
 */

import { once } from 'node:events';
import { createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LightningDb } from 'lightning-db';
import { DataSet } from './data-set.js';
import { type Measurement, measure, median, residentBytes } from './measure.js';
import * as workloads from './workloads.js';

const { values: args } = parseArgs({
  options: {
    records: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '3' },
    shards: { type: 'string', default: '2' },
    only: { type: 'string' },
    json: { type: 'string' },
    directory: { type: 'string', default: tmpdir() },
  },
});

const records = Number(args.records);
const rounds = Number(args.rounds);
const shards = Number(args.shards);
const only = args.only?.split(',');

/** Operations (or bytes) per second that the first release sets out to reach. */
const TARGETS: Readonly<Record<string, number>> = {
  fillrandom: 400_000,
  'readrandom sync': 1_000_000,
  'readrandom awaited, 256 in flight': 600_000,
  'readrandom awaited alone': 400_000,
  'multireadrandom (getMany 256)': 1_000_000,
  'readseq sync iterator': 1_500_000,
  'bulkload iterable': 600_000,
  'bulkload csv (bytes)': 100_000_000,
};

const CACHE_BYTES = 1 << 30;
const MEMTABLE_BYTES = 32 << 20;

/** Resident set before the first database was opened; later rounds start with what V8 kept. */
let baseBytes: number | undefined;

async function round(data: DataSet, csv: string, results: Measurement[][]): Promise<void> {
  const directory = mkdtempSync(join(args.directory, 'lightning-db-bench-'));
  const row: Measurement[] = [];
  const add = async (name: string, work: () => number | Promise<number>): Promise<void> => {
    if (only !== undefined && !only.some((o) => name.startsWith(o))) return;
    row.push(await measure(name, work));
  };
  const config = {
    shards,
    cacheSize: CACHE_BYTES,
    memtableSize: MEMTABLE_BYTES,
    walSyncMode: 'async',
  } as const;
  try {
    baseBytes ??= residentBytes();
    const db = await LightningDb.open(join(directory, 'db'), config);
    // The first fill makes the data; it is timed whatever is asked for.
    row.push(await measure('fillrandom', () => workloads.fillRandom(db, data)));
    await add('compaction drained', async () => {
      await db.flush();
      await db.compact();
      return records;
    });
    // Warm: every block into the cache.
    for await (const entries of db.scan().batches()) if (entries.length === 0) break;
    await add('readrandom sync', () => workloads.readRandomSync(db, data, records));
    await add('readmissing sync', () => workloads.readMissingSync(db, data, records));
    await add('readrandom awaited, 256 in flight', () =>
      workloads.readRandomAwaited(db, data, records - (records % 256), 256),
    );
    await add('readrandom awaited alone', () =>
      workloads.readRandomAwaited(db, data, Math.min(records, 400_000), 1),
    );
    await add('multireadrandom (getMany 256)', () =>
      workloads.multiReadRandom(db, data, records - (records % 256)),
    );
    await add('readseq sync iterator', () => workloads.readSequential(db));
    await add('readseq async batches', () => workloads.readSequentialBatches(db));
    await add('seekrandom', () => workloads.seekRandom(db, data, Math.min(records, 100_000)));
    await add('put awaited, 64 in flight', () =>
      workloads.putAwaited(db, data, Math.min(records, 200_000), 64, 1),
    );
    await add('put awaited alone', () =>
      workloads.putAwaited(db, data, Math.min(records, 20_000), 1, 2),
    );
    await add('overwrite', () => workloads.fillRandom(db, data, 3));
    const resident = residentBytes() - baseBytes;
    const bound = CACHE_BYTES + 2 * MEMTABLE_BYTES * shards + 150 * 1024 * 1024;
    process.stdout.write(
      `  resident: ${mebibytes(resident)} over the keys and values of the benchmark itself ` +
        `(bound: cache + 2 × memtables + 150 MB = ${mebibytes(bound)})\n`,
    );
    await db.close();
    await add('bulkload iterable', async () => {
      const result = await LightningDb.bulkLoad(join(directory, 'bulk'), entriesOf(data), config);
      return result.records;
    });
    await add('bulkload csv (bytes)', async () => {
      await LightningDb.bulkLoad(join(directory, 'csv'), csv, {
        ...config,
        key: 'key',
        value: 'value',
      });
      return statSync(csv).size;
    });
    for (const name of ['bulk', 'csv']) {
      if (only !== undefined && !only.some((o) => 'bulkload'.startsWith(o))) continue;
      const loaded = await LightningDb.open(join(directory, name), config);
      workloads.readRandomSync(loaded, data, Math.min(20_000, records));
      if (workloads.readSequential(loaded) !== records) throw new Error('Entries are missing');
      await loaded.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  results.push(row);
}

function* entriesOf(data: DataSet): Generator<[string, string]> {
  for (let i = 0; i < data.count; i++) yield [data.keys[i] as string, data.value(i)];
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

async function writeCsv(data: DataSet, path: string): Promise<void> {
  const stream = createWriteStream(path);
  stream.write('key,value\n');
  for (let i = 0; i < data.count; ) {
    let part = '';
    for (let end = Math.min(i + 5000, data.count); i < end; i++) {
      part += `${data.keys[i]},${data.value(i)}\n`;
    }
    if (!stream.write(part)) await once(stream, 'drain');
  }
  await new Promise<void>((resolve, reject) => {
    stream.end((error?: Error | null) => (error ? reject(error) : resolve()));
  });
}

async function main(): Promise<void> {
  const data = new DataSet(records);
  const csvDirectory = mkdtempSync(join(args.directory, 'lightning-db-csv-'));
  const csv = join(csvDirectory, 'records.csv');
  await writeCsv(data, csv);
  process.stdout.write(
    `${records.toLocaleString('en')} records of 250 bytes, ${shards} shards, async WAL, Node ${process.version}, ` +
      `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}, median of ${rounds}\n`,
  );
  const results: Measurement[][] = [];
  try {
    for (let n = 0; n < rounds; n++) await round(data, csv, results);
  } finally {
    rmSync(csvDirectory, { recursive: true, force: true });
  }
  const medians = (results[0] ?? []).map((first) =>
    median(results.flatMap((row) => row.filter((m) => m.name === first.name))),
  );
  for (const m of medians) {
    const target = TARGETS[m.name];
    const nanoseconds = (m.seconds / m.operations) * 1e9;
    process.stdout.write(
      `${m.name.padEnd(36)} ${Math.round(m.operationsPerSecond).toLocaleString('en').padStart(13)}/s ` +
        `${nanoseconds.toFixed(0).padStart(7)} ns  cpu ${(m.cpuSeconds / m.seconds).toFixed(2)}` +
        `${target === undefined ? '' : `  target ${target.toLocaleString('en')}/s: ${(m.operationsPerSecond / target).toFixed(2)} ×`}\n`,
    );
  }
  if (args.json !== undefined) {
    writeFileSync(
      args.json,
      `${JSON.stringify({ records, shards, rounds, node: process.version, medians, results }, null, 2)}\n`,
    );
  }
}

await main();
