/**
 * Options of a database: what a user may say (`LightningDbConfig`), and what the engine works with
 * after every check and every default (`ResolvedConfig`).
 *
 * A `ResolvedConfig` is plain data: it travels to workers by structured clone. Encodings are
 * functions and stay on the thread that uses them; see `resolveEncoding`.
 */

import { availableParallelism, totalmem } from 'node:os';
import { type EncodingName, type EncodingOption, resolveEncoding } from './encoding/encoding.js';
import { InvalidArgumentError } from './errors.js';
import { cacheBytesMax } from './kernel/shard-memory.js';
import * as limits from './limits.js';
import { booleanOption, checkOptionNames, integerOption, invalidOption } from './options.js';

/**
 * When a write is acknowledged.
 * - `'async'`: when the operating system has it. Survives a crash of the process; after power loss
 *   a tail of the newest commits may be gone, never a part of one.
 * - `'sync'`: when it is on the medium (fdatasync, shared by all writes under way).
 * - `{ periodic: { intervalMs } }`: as async, and the medium is at most `intervalMs` behind.
 */
export type WalSyncMode = 'async' | 'sync' | { readonly periodic: { readonly intervalMs: number } };

/** Options of `LightningDb.open`. All are optional. */
export interface LightningDbConfig<
  K extends EncodingOption = EncodingOption,
  V extends EncodingOption = EncodingOption,
> {
  /**
   * Shards, each with its own worker thread; 1 to 64. Fixed when the database is created: an
   * existing database keeps its number. Default: the cores this process may use.
   */
  readonly shards?: number | undefined;
  /**
   * Bytes, over all shards, for cached blocks and records, and for indexes and filters of tables, which
   * may take three quarters of it before they go beyond. Default: a quarter of the memory, 1 GiB at most.
   */
  readonly cacheSize?: number | undefined;
  /**
   * Bytes of writes a shard collects before it writes a table, 256 KiB to 1 GiB. A shard takes
   * at most twice as much for memtables. Default: 32 MiB.
   */
  readonly memtableSize?: number | undefined;
  /** Whether blocks of tables are compressed (LZ4). Default: true. */
  readonly compressionEnabled?: boolean | undefined;
  /** When a write is acknowledged. Default: `'async'`. */
  readonly walSyncMode?: WalSyncMode | undefined;
  /** Most operations that one group commit takes together, 1 to 1,000,000. Default: 1000. */
  readonly writeBatchSize?: number | undefined;
  /**
   * Transactions that may be active at one time, on all threads together, 1 to 1,000,000; another is
   * refused with `LIGHTNING_TOO_MANY_TRANSACTIONS`. Default: 1000.
   */
  readonly maxActiveTransactions?: number | undefined;
  /**
   * Whether transactions are counted and timed for `stats()`. What shards count anyway is there in
   * either case. Default: true.
   */
  readonly enableStatistics?: boolean | undefined;
  /** How keys become bytes. Keys are ordered by these bytes. Default: `'utf8'`. */
  readonly keyEncoding?: K | undefined;
  /** How values become bytes. Default: `'utf8'`. */
  readonly valueEncoding?: V | undefined;
  /** Whether to create the database when there is none. Default: true, false when `readOnly`. */
  readonly createIfMissing?: boolean | undefined;
  /** Whether to refuse a database that exists. Default: false. */
  readonly errorIfExists?: boolean | undefined;
  /** Whether writes are refused. Nothing on disk is changed then. Default: false. */
  readonly readOnly?: boolean | undefined;
  /** Blocks a scan reads ahead, 0 to 1024; `false` is 0, `true` the default. Default: 64. */
  readonly prefetch?: number | boolean | undefined;

  /**
   * Advanced. Bytes of the rings between one client thread and one shard; each a power of two,
   * 256 bytes to 16 MiB. Default: 1 MiB each way.
   */
  readonly ringBytes?: RingBytesConfig | undefined;
  /**
   * Advanced. Whether a thread that writes may commit on its own for a shard whose worker sleeps, which
   * takes a third of the time of waking it. The thread is then held up by the `write` to the log,
   * some microseconds as a rule; `false` for a log on a file system that takes long. Never done in
   * mode `'sync'`. Default: true.
   */
  readonly directCommits?: boolean | undefined;
  /**
   * Advanced. Directory with the package's worker files and kernel, for bundled applications
   * (a path or a `file:` URL). Default: beside the library.
   */
  readonly workerDirectory?: string | URL | undefined;
  /** Advanced. Raw bytes of a block of a table, 256 to 65,536. Default: 4096. */
  readonly blockBytes?: number | undefined;
  /** Advanced. Bytes after which a compaction starts the next table, 64 KiB to 1 GiB. Default: 16 MiB. */
  readonly tableBytesMax?: number | undefined;
  /** Advanced. Bits of Bloom filter per key, 2 to 32. Default: 10 (about 1 % false positives). */
  readonly filterBitsPerKey?: number | undefined;
  /**
   * Advanced. Threads for flushes, compactions and other background jobs, 1 to 64.
   * Default: the cores this process may use, at least 2 and at most 16.
   */
  readonly compactionThreads?: number | undefined;
  /**
   * Advanced. Most bytes that compactions of all shards together write per second, 1 MiB or more; a
   * lower rate leaves the disk to others. Flushes are not held up. A rate below what the writes
   * need (some four times their bytes) slows writes in the end. Default: no limit.
   */
  readonly compactionBytesPerSecondMax?: number | undefined;
}

export interface RingBytesConfig {
  readonly request?: number | undefined;
  readonly response?: number | undefined;
}

/** Every option, checked and filled in. Plain data. */
export interface ResolvedConfig {
  readonly shards: number;
  /** What the user asked for; undefined when the default was taken. */
  readonly shardsRequested: number | undefined;
  readonly cacheBytes: number;
  readonly cacheBytesPerShard: number;
  readonly memtableBytes: number;
  readonly arenaBytes: number;
  readonly arenaCount: number;
  readonly compression: boolean;
  readonly walSync: 'async' | 'sync' | 'periodic';
  /** Milliseconds between syncs; 0 unless `walSync` is 'periodic'. */
  readonly walSyncIntervalMs: number;
  /** Most operations of one group commit. */
  readonly groupOpsMax: number;
  readonly transactionsMax: number;
  /** Whether transactions are counted and timed. */
  readonly statistics: boolean;
  readonly keyEncoding: EncodingName | 'custom';
  readonly valueEncoding: EncodingName | 'custom';
  readonly createIfMissing: boolean;
  readonly errorIfExists: boolean;
  readonly readOnly: boolean;
  readonly prefetchBlocks: number;
  readonly requestRingBytes: number;
  readonly responseRingBytes: number;
  /** Whether client threads may commit for shards whose workers sleep. */
  readonly directCommits: boolean;
  /** A `file:` URL that ends in a slash, or a path; undefined: beside the library. */
  readonly workerDirectory: string | undefined;
  readonly blockBytes: number;
  readonly tableBytesMax: number;
  readonly filterBitsPerKey: number;
  readonly compactionThreads: number;
  readonly compactionBytesPerSecondMax: number | undefined;
}

const OPTION_NAMES = Object.keys({
  shards: true,
  cacheSize: true,
  memtableSize: true,
  compressionEnabled: true,
  walSyncMode: true,
  writeBatchSize: true,
  maxActiveTransactions: true,
  enableStatistics: true,
  keyEncoding: true,
  valueEncoding: true,
  createIfMissing: true,
  errorIfExists: true,
  readOnly: true,
  prefetch: true,
  ringBytes: true,
  directCommits: true,
  workerDirectory: true,
  blockBytes: true,
  tableBytesMax: true,
  filterBitsPerKey: true,
  compactionThreads: true,
  compactionBytesPerSecondMax: true,
} satisfies Record<keyof LightningDbConfig, true>);

/** Checks every option and fills in what is not given. Throws `InvalidArgumentError`. */
export function resolveConfig(config: LightningDbConfig = {}): ResolvedConfig {
  checkOptionNames(config, OPTION_NAMES, 'the database options');
  const options: LightningDbConfig = config;
  const shardsRequested = integerOption('shards', options.shards, {
    min: 1,
    max: limits.SHARDS_MAX,
  });
  const memtableBytes =
    integerOption('memtableSize', options.memtableSize, {
      min: limits.MEMTABLE_BYTES_MIN,
      max: limits.MEMTABLE_BYTES_MAX,
      unit: 'bytes',
    }) ?? limits.MEMTABLE_BYTES_DEFAULT;
  const cacheBytes = integerOption('cacheSize', options.cacheSize, {
    min: limits.CACHE_BYTES_PER_SHARD_MIN,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes',
  });
  const resolved: Omit<ResolvedConfig, 'shards' | 'cacheBytes' | 'cacheBytesPerShard'> = {
    shardsRequested,
    memtableBytes,
    // Arenas start on pages; half a page less or more does not matter to anyone.
    arenaBytes: Math.floor(memtableBytes / 2 / 4096) * 4096,
    arenaCount: limits.ARENA_COUNT,
    compression: booleanOption('compressionEnabled', options.compressionEnabled) ?? true,
    ...resolveWalSync(options.walSyncMode),
    groupOpsMax:
      integerOption('writeBatchSize', options.writeBatchSize, {
        min: 1,
        max: limits.WRITE_BATCH_SIZE_MAX,
      }) ?? limits.WRITE_BATCH_SIZE_DEFAULT,
    transactionsMax:
      integerOption('maxActiveTransactions', options.maxActiveTransactions, {
        min: 1,
        max: limits.TRANSACTIONS_ACTIVE_MAX,
      }) ?? limits.TRANSACTIONS_ACTIVE_DEFAULT,
    statistics: booleanOption('enableStatistics', options.enableStatistics) ?? true,
    keyEncoding: resolveEncoding('keyEncoding', options.keyEncoding).kind,
    valueEncoding: resolveEncoding('valueEncoding', options.valueEncoding).kind,
    ...resolveExistence(options),
    prefetchBlocks: resolvePrefetch(options.prefetch),
    ...resolveRings(options.ringBytes),
    directCommits: booleanOption('directCommits', options.directCommits) ?? true,
    workerDirectory: resolveWorkerDirectory(options.workerDirectory),
    ...resolveTables(options),
  };
  const shards = shardsRequested ?? clamp(availableParallelism(), 1, limits.SHARDS_MAX);
  return divideCache(resolved, shards, cacheBytes);
}

/** The same options for a database that has `shards` shards already. */
export function withShards(config: ResolvedConfig, shards: number): ResolvedConfig {
  return divideCache(config, shards, config.cacheBytes);
}

function divideCache(
  config: Omit<ResolvedConfig, 'shards' | 'cacheBytes' | 'cacheBytesPerShard'>,
  shards: number,
  cacheBytesRequested: number | undefined,
): ResolvedConfig {
  const perShardMax = cacheBytesMax({ shard: 0, ...config });
  if (perShardMax < limits.CACHE_BYTES_PER_SHARD_MIN) {
    throw new InvalidArgumentError(
      `Options "memtableSize" and "ringBytes" leave no room for a cache in a shard's 4 GiB: make them smaller`,
      { details: { option: 'memtableSize' } },
    );
  }
  const min = shards * limits.CACHE_BYTES_PER_SHARD_MIN;
  const max = shards * (Math.floor(perShardMax / 65536) * 65536);
  if (
    cacheBytesRequested !== undefined &&
    (cacheBytesRequested < min || cacheBytesRequested > max)
  ) {
    throw invalidOption(
      'cacheSize',
      cacheBytesRequested,
      `from ${min} to ${max} bytes with ${shards} ${shards === 1 ? 'shard' : 'shards'}`,
    );
  }
  const cacheBytes =
    cacheBytesRequested ??
    clamp(Math.floor(memoryBytes() / 4), min, Math.min(max, limits.CACHE_BYTES_DEFAULT_MAX));
  return {
    ...config,
    shards,
    cacheBytes,
    cacheBytesPerShard: Math.floor(cacheBytes / shards / 4096) * 4096,
  };
}

/** Memory this process may use: the machine's, or less inside a container. */
function memoryBytes(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

function resolveWalSync(
  mode: WalSyncMode | undefined,
): Pick<ResolvedConfig, 'walSync' | 'walSyncIntervalMs'> {
  if (mode === undefined || mode === 'async') return { walSync: 'async', walSyncIntervalMs: 0 };
  if (mode === 'sync') return { walSync: 'sync', walSyncIntervalMs: 0 };
  if (typeof mode !== 'object' || mode === null || !('periodic' in mode)) {
    throw invalidOption(
      'walSyncMode',
      mode,
      "'async', 'sync' or { periodic: { intervalMs: number } }",
    );
  }
  checkOptionNames(mode, ['periodic'], 'walSyncMode');
  const periodic: unknown = mode.periodic;
  checkOptionNames(periodic, ['intervalMs'], 'walSyncMode.periodic');
  const range = { min: 1, max: limits.SYNC_INTERVAL_MS_MAX, unit: 'ms' };
  const name = 'walSyncMode.periodic.intervalMs';
  const intervalMs = integerOption(name, periodic['intervalMs'], range);
  if (intervalMs === undefined) throw invalidOption(name, undefined, 'a number of milliseconds');
  return { walSync: 'periodic', walSyncIntervalMs: intervalMs };
}

function resolveExistence(
  options: LightningDbConfig,
): Pick<ResolvedConfig, 'createIfMissing' | 'errorIfExists' | 'readOnly'> {
  const readOnly = booleanOption('readOnly', options.readOnly) ?? false;
  const createIfMissing = booleanOption('createIfMissing', options.createIfMissing) ?? !readOnly;
  const errorIfExists = booleanOption('errorIfExists', options.errorIfExists) ?? false;
  if (readOnly && createIfMissing) {
    throw new InvalidArgumentError(
      'Option "createIfMissing" cannot be true with "readOnly": nothing may be written',
      { details: { option: 'createIfMissing' } },
    );
  }
  if (errorIfExists && !createIfMissing) {
    throw new InvalidArgumentError(
      'Option "errorIfExists" cannot be true when nothing may be created: no database would do',
      { details: { option: 'errorIfExists' } },
    );
  }
  return { createIfMissing, errorIfExists, readOnly };
}

function resolvePrefetch(prefetch: number | boolean | undefined): number {
  if (prefetch === false) return 0;
  if (prefetch === undefined || prefetch === true) return limits.PREFETCH_BLOCKS_DEFAULT;
  const range = { min: 0, max: limits.PREFETCH_BLOCKS_MAX, unit: 'blocks, or a boolean' };
  return integerOption('prefetch', prefetch, range) ?? limits.PREFETCH_BLOCKS_DEFAULT;
}

function resolveRings(
  rings: RingBytesConfig | undefined,
): Pick<ResolvedConfig, 'requestRingBytes' | 'responseRingBytes'> {
  const { request, response } = rings ?? {};
  if (rings !== undefined) checkOptionNames(rings, ['request', 'response'], 'ringBytes');
  return {
    requestRingBytes: ringBytes('ringBytes.request', request),
    responseRingBytes: ringBytes('ringBytes.response', response),
  };
}

function ringBytes(name: string, value: unknown): number {
  const range = { min: limits.RING_BYTES_MIN, max: limits.RING_BYTES_MAX, unit: 'bytes' };
  const bytes = integerOption(name, value, range) ?? limits.RING_BYTES_DEFAULT;
  if ((bytes & (bytes - 1)) !== 0) throw invalidOption(name, value, 'a power of two');
  return bytes;
}

function resolveWorkerDirectory(directory: unknown): string | undefined {
  if (directory === undefined) return undefined;
  if (directory instanceof URL && directory.protocol === 'file:') return directory.href;
  if (typeof directory === 'string' && directory !== '') return directory;
  throw invalidOption('workerDirectory', directory, 'a path or a file: URL');
}

function resolveTables(
  options: LightningDbConfig,
): Pick<
  ResolvedConfig,
  | 'blockBytes'
  | 'tableBytesMax'
  | 'filterBitsPerKey'
  | 'compactionThreads'
  | 'compactionBytesPerSecondMax'
> {
  return {
    blockBytes:
      integerOption('blockBytes', options.blockBytes, {
        min: limits.BLOCK_BYTES_MIN,
        max: limits.BLOCK_BYTES_MAX,
        unit: 'bytes',
      }) ?? limits.BLOCK_BYTES_DEFAULT,
    tableBytesMax:
      integerOption('tableBytesMax', options.tableBytesMax, {
        min: limits.TABLE_BYTES_MIN,
        max: limits.TABLE_BYTES_MAX,
        unit: 'bytes',
      }) ?? limits.TABLE_BYTES_DEFAULT,
    filterBitsPerKey:
      integerOption('filterBitsPerKey', options.filterBitsPerKey, {
        min: limits.FILTER_BITS_PER_KEY_MIN,
        max: limits.FILTER_BITS_PER_KEY_MAX,
        unit: 'bits',
      }) ?? limits.FILTER_BITS_PER_KEY_DEFAULT,
    compactionThreads:
      integerOption('compactionThreads', options.compactionThreads, {
        min: 1,
        max: limits.COMPACTION_THREADS_MAX,
        unit: 'threads',
      }) ??
      clamp(
        availableParallelism(),
        limits.COMPACTION_THREADS_DEFAULT_MIN,
        limits.COMPACTION_THREADS_DEFAULT_MAX,
      ),
    compactionBytesPerSecondMax: integerOption(
      'compactionBytesPerSecondMax',
      options.compactionBytesPerSecondMax,
      { min: limits.COMPACTION_RATE_MIN, max: Number.MAX_SAFE_INTEGER, unit: 'bytes' },
    ),
  };
}

function clamp(value: number, min: number, max: number): number {
  return Math.max(min, Math.min(max, value));
}
