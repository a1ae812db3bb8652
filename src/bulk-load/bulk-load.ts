/**
 * Bulk load: parse and sort in the pool, build tables outside WAL and memtable, link them at once.
 */

export type {
  BulkLoadEntry,
  BulkLoadFormat,
  BulkLoadOptions,
  BulkLoadPhase,
  BulkLoadProgress,
  BulkLoadReject,
  BulkLoadResult,
  BulkLoadSelector,
  BulkLoadShardResult,
  BulkLoadSource,
} from './options.js';
