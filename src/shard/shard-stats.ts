/** A shard's statistics, gathered from where they are counted. */
import type { ShardStats } from '../coordinator/control-plane.js';
import {
  COUNTER_BYTES_APPLIED,
  COUNTER_CACHE_CARRIED,
  COUNTER_CACHE_EVICTIONS,
  COUNTER_CACHE_INSERTS,
  COUNTER_CACHE_PROMOTIONS,
  H_CACHE_BYTES,
  H_COUNTERS,
  READER_BYTES,
  READER_CACHE_HITS,
  READER_CACHE_MISSES,
  READER_COUNT,
  READER_FILTER_CHECKS,
  READER_FILTER_NEGATIVES,
  READER_GETS,
  READER_MEMTABLE_HITS,
  READER_SCANNED,
  READERS,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo } from '../sstable/table-info.js';
import { BOTTOM_ORDER } from '../version/version.js';
import type { JobCounters } from './flusher.js';
import { HANDLES_MAX } from './open-tables.js';
import type { Shard } from './shard.js';

export function shardStats(shard: Shard): ShardStats {
  const { state, loop, reads } = shard;
  const { kernel, memtables, commit } = state;
  const reason = state.readOnlyReason?.message;
  const all = [memtables.active, ...memtables.immutables];
  const runs = state.version.runs.map(({ tables }) => runStats(tables));
  // The last is the bottom run, also while there is nothing in it.
  if (state.version.runs.at(-1)?.order !== BOTTOM_ORDER) runs.push(runStats([]));
  const written = counter(kernel, COUNTER_BYTES_APPLIED);
  const tableBytesWritten =
    shard.flusher.counters.bytesWritten + shard.compactor.counters.bytesWritten;
  return {
    shard: state.options.shard,
    ...(reason === undefined ? {} : { readOnlyReason: reason }),
    lastSequence: commit.lastSequence,
    memtables: {
      count: all.length,
      bytes: sum(all, (memtable) => memtables.bytesUsed(memtable)),
      bytesMax: memtables.bytesMax,
      keys: sum(all, (memtable) => memtables.keys(memtable)),
    },
    runs,
    damagedTables: state.tables.damage.map(({ error, extent, table }) => ({
      code: error.code === 'LIGHTNING_IO' ? error.code : 'LIGHTNING_CORRUPTION',
      file: state.tables.path(table),
      offset: Number(error.details['offset'] ?? 0),
      message: error.message,
      extent,
    })),
    blobs: { count: state.blobs.count, bytes: state.blobs.bytes },
    cache: {
      bytes: kernel.exports.cacheUsedBytes(),
      bytesMax: kernel.u32[H_CACHE_BYTES >>> 2] as number,
      inserts: counter(kernel, COUNTER_CACHE_INSERTS),
      evictions: counter(kernel, COUNTER_CACHE_EVICTIONS),
      promotions: counter(kernel, COUNTER_CACHE_PROMOTIONS),
      carried: counter(kernel, COUNTER_CACHE_CARRIED),
    },
    wal: {
      segments: commit.wal?.segmentCount ?? 0,
      bytes: commit.wal?.bytesTotal ?? 0,
      groups: commit.groups,
      directGroups: commit.lentGroups,
      commits: commit.commits,
      operations: commit.operations,
      bytesWritten: commit.bytesWritten,
      syncs: commit.wal?.syncs ?? 0,
    },
    reads: {
      gets: readerTotal(kernel, READER_GETS),
      memtableHits: readerTotal(kernel, READER_MEMTABLE_HITS),
      filterChecks: readerTotal(kernel, READER_FILTER_CHECKS),
      filterNegatives: readerTotal(kernel, READER_FILTER_NEGATIVES),
      cacheHits: readerTotal(kernel, READER_CACHE_HITS),
      cacheMisses: readerTotal(kernel, READER_CACHE_MISSES),
      scanned: readerTotal(kernel, READER_SCANNED),
      blocksRead: reads.blocksRead,
      bytesRead: reads.bytesRead,
    },
    flushes: jobStats(shard.flusher.counters),
    compactions: jobStats(shard.compactor.counters),
    writes: {
      bytes: written,
      amplification: written === 0 ? 0 : tableBytesWritten / written,
    },
    pendingCompactionBytes: shard.compactor.pendingBytes,
    indexes: { bytes: state.allocator.bytesUsed, bytesMax: state.allocator.bytesTotal },
    openTables: { count: state.tables.openFiles, countMax: HANDLES_MAX },
    stalls: {
      delays: loop.stalls.delays,
      stops: loop.stalls.stops,
      delayedMs: Math.round(loop.stalls.delayedMs),
    },
  };
}

function runStats(tables: readonly TableInfo[]): ShardStats['runs'][number] {
  return {
    tables: tables.length,
    bytes: sum(tables, ({ bytes }) => bytes),
    entries: sum(tables, ({ entries }) => entries),
  };
}

function jobStats({ running, done, failed, bytesRead, bytesWritten }: JobCounters) {
  return { running, done, failed, bytesRead, bytesWritten };
}

function counter(kernel: Kernel, which: number): number {
  return Number(kernel.u64[(H_COUNTERS >>> 3) + which]);
}

function readerTotal(kernel: Kernel, field: number): number {
  let total = 0;
  for (let slot = 0; slot < READER_COUNT; slot++) {
    total += Number(kernel.u64[(READERS + slot * READER_BYTES + field) >>> 3]);
  }
  return total;
}

function sum<Item>(items: readonly Item[], amount: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += amount(item);
  return total;
}
