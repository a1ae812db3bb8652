/** The public surface. */

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
} from './bulk-load/options.js';
export type { CheckProgress } from './compaction/check-board.js';
export type { LightningDbConfig, RingBytesConfig, WalSyncMode } from './config.js';
export type {
  CheckProblem,
  CheckReport,
  DamagedTable,
  JobStats,
  RunStats,
  ShardStats,
} from './coordinator/control-plane.js';
export {
  type Encoding,
  type EncodingInput,
  type EncodingName,
  type EncodingOption,
  type EncodingType,
  json,
} from './encoding/encoding.js';
export {
  ClosedError,
  ConflictError,
  CorruptionError,
  InvalidArgumentError,
  IoError,
  LightningError,
  type LightningErrorCode,
  type LightningErrorDetails,
  type LightningErrorOptions,
  LockedError,
  NoSpaceError,
  ParseError,
  ReadOnlyError,
  type SerializedError,
  ShardUnavailableError,
  serializeError,
  TooManyTransactionsError,
  TransactionFinishedError,
  TransactionTimeoutError,
} from './errors.js';
export { type AttachOptions, LightningDb, type PutOptions, VERSION } from './lightning-db.js';
export type { RepairProgress } from './repair/counted-reads.js';
export type { RepairLoss, RepairOptions, RepairProblem, RepairReport } from './repair/report.js';
export type { LightningDbHandle } from './router/attach.js';
export type { Batch, WriteOptions } from './router/batch.js';
export type { Readable, ReadOptions, ScanEntry } from './router/read-view.js';
export type { DatabaseStats } from './router/reports.js';
export type { CheckOptions } from './router/run-check.js';
export type { Scan, SyncScan } from './router/scan.js';
export type { ScanOptions } from './router/scan-query.js';
export type { Snapshot, SnapshotHandle } from './router/snapshot.js';
export type {
  AbortReason,
  LatencyHistogram,
  TransactionStats,
} from './router/transaction-tally.js';
export type { PutCondition, Versioned } from './transaction/conditional-write.js';
export type { Transaction, TransactionPutOptions } from './transaction/transaction.js';
export type { Savepoint } from './transaction/transaction-core.js';
export type {
  BeginOptions,
  Isolation,
  TransactionOptions,
} from './transaction/transaction-options.js';
