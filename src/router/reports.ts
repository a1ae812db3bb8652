/** What `stats` and `check` say about the whole database, from what its shards say. */

import type { CheckReport, CoordinatorStats, ShardStats } from '../coordinator/control-plane.js';
import type { Client } from './client.js';
import { QUEUE_BYTES_MAX } from './request-queue.js';
import { HANDLES_MAX } from './table-files.js';
import { type TransactionStats, transactionStats } from './transaction-tally.js';

export interface DatabaseStats {
  readonly shards: readonly ShardStats[];
  /** Sums over all shards. */
  readonly total: {
    readonly tables: number;
    readonly tableBytes: number;
    /** Versions of keys in tables, deletes included; memtables not counted. */
    readonly tableEntries: number;
    /** Tables that were found damaged; which and how is with their shards. */
    readonly damagedTables: number;
    readonly memtableBytes: number;
    readonly cacheBytes: number;
    readonly walBytes: number;
    /** Bytes of indexes and filters in memory. */
    readonly indexBytes: number;
    /** Since the database was opened: bytes of keys and values written. */
    readonly writtenBytes: number;
    /** Bytes of tables that flushes and compactions wrote for each of them; 0 before the first. */
    readonly writeAmplification: number;
    /** Milliseconds that writes were held up, over all shards. */
    readonly stalledMs: number;
    /** Bytes of tables that compactions have yet to read. */
    readonly pendingCompactionBytes: number;
    /** Share of the blocks that reads asked for and found in the cache; 0 before the first. */
    readonly cacheHitRate: number;
  };
  readonly lastSequence: number;
  readonly snapshots: {
    /** Snapshots and scans that are open, on all threads. */
    readonly open: number;
    /** How many sequence numbers the oldest of them lies back. */
    readonly oldestAge: number;
    /** Milliseconds since the one that has been open the longest was taken; 0 when there is none. */
    readonly oldestAgeMs: number;
  };
  /** Without counts and times when the database was opened with `enableStatistics: false`. */
  readonly transactions: TransactionStats;
  /** Threads that have the database open. */
  readonly clients: number;
  /** What the calling thread holds, for all shards together, and what it may hold for one of them. */
  readonly thread: {
    /** Requests that have no answer yet. */
    readonly pendingRequests: number;
    /** Of those, bytes that wait for room in a ring; beyond the bound, more are refused. */
    readonly queuedBytes: number;
    readonly queuedBytesMax: number;
    /** Files of tables, for reads of its own. */
    readonly openTables: number;
    readonly openTablesMax: number;
  };
  /** Jobs in the background. */
  readonly background: {
    readonly queued: number;
    readonly running: number;
    /**
     * Why the coordinator is out of service, when it died too often: there are no flushes, compactions
     * and commits over several shards any more.
     */
    readonly fencedReason?: string;
  };
}

export function databaseStats(
  { control, shards: connections }: Client,
  shards: readonly ShardStats[],
  background: Pick<CoordinatorStats, 'queued' | 'running'>,
): DatabaseStats {
  const runs = shards.flatMap((shard) => shard.runs);
  const lastSequence = control.lastSequence();
  const writtenBytes = sum(shards, ({ writes }) => writes.bytes);
  const hits = sum(shards, ({ reads }) => reads.cacheHits);
  const { open, oldest, oldestTakenMs } = control.openSnapshots();
  const fencedReason = control.coordinator.fencedReason();
  return {
    shards,
    total: {
      tables: sum(runs, (run) => run.tables),
      tableBytes: sum(runs, (run) => run.bytes),
      tableEntries: sum(runs, (run) => run.entries),
      damagedTables: sum(shards, (shard) => shard.damagedTables.length),
      memtableBytes: sum(shards, (shard) => shard.memtables.bytes),
      cacheBytes: sum(shards, (shard) => shard.cache.bytes),
      walBytes: sum(shards, (shard) => shard.wal.bytes),
      indexBytes: sum(shards, (shard) => shard.indexes.bytes),
      writtenBytes,
      writeAmplification: share(
        sum(shards, ({ writes }) => writes.bytes * writes.amplification),
        writtenBytes,
      ),
      stalledMs: sum(shards, ({ stalls }) => stalls.delayedMs),
      pendingCompactionBytes: sum(shards, (shard) => shard.pendingCompactionBytes),
      cacheHitRate: share(hits, hits + sum(shards, ({ reads }) => reads.cacheMisses)),
    },
    lastSequence,
    snapshots: {
      open,
      oldestAge: oldest === undefined ? 0 : lastSequence - oldest,
      oldestAgeMs: oldestTakenMs === undefined ? 0 : Math.max(0, Date.now() - oldestTakenMs),
    },
    transactions: transactionStats(control),
    clients: control.activeClients().length,
    thread: {
      pendingRequests: sum(connections, ({ pending }) => pending),
      queuedBytes: sum(connections, ({ queuedBytes }) => queuedBytes),
      queuedBytesMax: QUEUE_BYTES_MAX,
      openTables: sum(connections, ({ openFiles }) => openFiles),
      openTablesMax: HANDLES_MAX,
    },
    background: {
      queued: background.queued,
      running: background.running,
      ...(fencedReason === undefined ? {} : { fencedReason }),
    },
  };
}

/** What is said of a shard that nobody can be asked about. */
export function fencedStats(shard: number, reason: string): ShardStats {
  const job = { running: 0, done: 0, failed: 0, bytesRead: 0, bytesWritten: 0 };
  return {
    shard,
    fencedReason: reason,
    lastSequence: 0,
    memtables: { count: 0, bytes: 0, bytesMax: 0, keys: 0 },
    runs: [],
    damagedTables: [],
    blobs: { count: 0, bytes: 0 },
    cache: { bytes: 0, bytesMax: 0, inserts: 0, evictions: 0, promotions: 0, carried: 0 },
    wal: {
      segments: 0,
      bytes: 0,
      groups: 0,
      directGroups: 0,
      commits: 0,
      operations: 0,
      bytesWritten: 0,
      syncs: 0,
    },
    reads: {
      gets: 0,
      memtableHits: 0,
      filterChecks: 0,
      filterNegatives: 0,
      cacheHits: 0,
      cacheMisses: 0,
      scanned: 0,
      blocksRead: 0,
      bytesRead: 0,
    },
    flushes: job,
    compactions: job,
    writes: { bytes: 0, amplification: 0 },
    pendingCompactionBytes: 0,
    indexes: { bytes: 0, bytesMax: 0 },
    openTables: { count: 0, countMax: 0 },
    stalls: { delays: 0, stops: 0, delayedMs: 0 },
  };
}

export function joinReports(reports: readonly CheckReport[]): CheckReport {
  return {
    problems: reports.flatMap(({ problems }) => problems),
    tables: sum(reports, (report) => report.tables),
    blocks: sum(reports, (report) => report.blocks),
    entries: sum(reports, (report) => report.entries),
    bytes: sum(reports, (report) => report.bytes),
  };
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
