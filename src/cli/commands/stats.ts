import type { Command } from 'commander';
import type { DatabaseStats } from '../../index.js';
import { formatBytes, formatCount, formatPlural, formatSeconds } from '../number-format.js';
import { table } from '../terminal.js';
import {
  type CommandContext,
  type CommonOptions,
  newCommand,
  openForReading,
  withDatabase,
} from './command.js';

export function statsCommand({ output }: CommandContext): Command {
  return newCommand(
    'stats',
    'Print what the database consists of. Counters begin when it is opened: here, those of opening it. ' +
      'With --json: all counters of all shards.',
    'lightning-db stats --path ./data',
  ).action(async (options: CommonOptions) => {
    const stats = await withDatabase(openForReading(options), async (db) => db.stats());
    if (options.json) await output.json(stats);
    else await output.line(statsText(stats));
  });
}

function noteOf(readOnlyReason: string | undefined, fencedReason: string | undefined): string {
  if (fencedReason !== undefined) return `out of service: ${fencedReason}`;
  return readOnlyReason === undefined ? '' : `no writes: ${readOnlyReason}`;
}

const DAMAGE: Readonly<Record<'filter' | 'blocks' | 'table', string>> = {
  filter: 'a filter',
  blocks: 'parts of a table',
  table: 'a table',
};

/** The database was opened for this command: what has been counted since is opening it. */
const SINCE_OPEN = 'since it was opened';

function stallsText(shards: DatabaseStats['shards'], stalledMs: number): string {
  const delays = shards.reduce((sum, { stalls }) => sum + stalls.delays, 0);
  const stops = shards.reduce((sum, { stalls }) => sum + stalls.stops, 0);
  if (delays + stops === 0) return `no write was held up ${SINCE_OPEN}`;
  const held = `${formatPlural(delays, 'delay')}, ${formatPlural(stops, 'stop')}`;
  return `${held}, ${formatSeconds(stalledMs / 1000)} in all ${SINCE_OPEN}`;
}

function hitRateText(shards: DatabaseStats['shards'], hitRate: number): string {
  const reads = shards.reduce(
    (sum, shard) => sum + shard.reads.cacheHits + shard.reads.cacheMisses,
    0,
  );
  if (reads === 0) return `no block was asked for ${SINCE_OPEN}`;
  return `${(hitRate * 100).toFixed(1)} % of ${formatPlural(reads, 'block')} were in the cache ${SINCE_OPEN}`;
}

function amplificationText(writtenBytes: number, amplification: number): string {
  if (writtenBytes === 0) return `nothing was written ${SINCE_OPEN}`;
  const factor = amplification.toFixed(2);
  return `${factor} bytes of tables for each of ${formatBytes(writtenBytes)} written ${SINCE_OPEN}`;
}

function statsText({ shards, total, lastSequence }: DatabaseStats): string {
  const blobs = shards.reduce((sum, shard) => sum + shard.blobs.count, 0);
  const blobBytes = shards.reduce((sum, shard) => sum + shard.blobs.bytes, 0);
  const lines = [
    `shards         ${shards.length}`,
    `tables         ${formatCount(total.tables)}, ${formatBytes(total.tableBytes)}`,
    `entries        ${formatCount(total.tableEntries)} in tables, old versions and deletes included`,
    `large values   ${formatCount(blobs)}, ${formatBytes(blobBytes)}`,
    ...shards.flatMap(({ damagedTables }) =>
      damagedTables.map(({ extent, message }) => `damaged        ${DAMAGE[extent]}: ${message}`),
    ),
    `log            ${formatBytes(total.walBytes)}`,
    `indexes        ${formatBytes(total.indexBytes)} in memory, filters included`,
    `compaction     ${formatBytes(total.pendingCompactionBytes)} to be merged`,
    `amplification  ${amplificationText(total.writtenBytes, total.writeAmplification)}`,
    `cache          ${formatBytes(total.cacheBytes)}; ${hitRateText(shards, total.cacheHitRate)}`,
    `stalls         ${stallsText(shards, total.stalledMs)}`,
    `last sequence  ${formatCount(lastSequence)}`,
  ];
  const rows = shards.map(({ shard, runs, memtables, wal, readOnlyReason, fencedReason }) => [
    String(shard),
    String(runs.length),
    formatCount(runs.reduce((sum, run) => sum + run.tables, 0)),
    formatBytes(runs.reduce((sum, run) => sum + run.bytes, 0)),
    formatCount(runs.reduce((sum, run) => sum + run.entries, 0)),
    formatBytes(memtables.bytes),
    formatBytes(wal.bytes),
    noteOf(readOnlyReason, fencedReason),
  ]);
  const header = ['shard', 'runs', 'tables', 'bytes', 'entries', 'memtables', 'log', ''];
  const runRows = shards.flatMap(({ shard, runs }) =>
    runs.map(({ tables, bytes, entries }, i) => [
      String(shard),
      i === runs.length - 1 ? 'bottom' : String(i),
      formatCount(tables),
      formatBytes(bytes),
      formatCount(entries),
      '',
    ]),
  );
  const runHeader = ['shard', 'run', 'tables', 'bytes', 'entries', ''];
  return [...lines, '', ...table([header, ...rows]), '', ...table([runHeader, ...runRows])].join(
    '\n',
  );
}
