/**
 * The control plane: what the main thread, the shard workers, the coordinator and attached threads
 * say to each other outside the rings. Everything here is plain data or a comlink interface (each
 * method's result is awaited by the caller; errors cross as `SerializedError`, see `Outcome`).
 *
 *   main → shard          ShardControl        on the shard worker's parentPort
 *   main → coordinator    CoordinatorControl  on the coordinator worker's parentPort
 *   shard ↔ coordinator   a MessagePort per shard; its interfaces belong to those two
 *   client ↔ coordinator  a MessagePort per attached thread: AttachControl and AttachedClient
 *
 * `workerData` of a shard worker is a `ShardInit`, of the coordinator a `CoordinatorInit`. A worker
 * exposes its interface first and does nothing until `start` is called.
 */

import type { MessagePort } from 'node:worker_threads';
import type { ResolvedConfig } from '../config.js';
import { deserializeError, type SerializedError, serializeError } from '../errors.js';
import type { LinkIntent } from '../version/link-intent.js';

/** A result that keeps its error's class and code across threads. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: SerializedError };

/** Callee's side: runs the call and packs what comes of it. */
export async function outcomeOf<T>(call: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await call() };
  } catch (error) {
    return { ok: false, error: serializeError(error) };
  }
}

/** Caller's side: the value, or the error thrown again. */
export function unwrap<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw deserializeError(outcome.error);
}

// ---- main and shard -----------------------------------------------------------------

export interface ShardInit {
  readonly shard: number;
  readonly databaseId: string;
  /** Directory of the database; the shard's own is below it. */
  readonly path: string;
  readonly config: ResolvedConfig;
  /** Random, the same for all shards, new at each open of the database. */
  readonly bootId: number;
  /** Of the running system, as the opening thread has found it. */
  readonly systemIdentity: Uint8Array;
  /** How often this shard's worker was started since the database was opened; the first is 1. */
  readonly generation: number;
  readonly memory: WebAssembly.Memory;
  /** Memories of this shard's dead workers: nothing is read from them any more once it serves. */
  readonly stale: readonly WebAssembly.Memory[];
  readonly module: WebAssembly.Module;
  readonly control: SharedArrayBuffer;
  /** To the coordinator. */
  readonly coordinator: MessagePort;
}

/** What the coordinator's log tells a shard that recovers. */
export interface RecoveredLog {
  /** The power failed: commits above it are dropped, on every shard. */
  readonly cutSequence?: number | undefined;
}

export interface ShardControl {
  /**
   * Recovers the shard and begins to serve. When it resolves, the control block says
   * SHARD_SERVING (or SHARD_READ_ONLY), its sequence, epoch and timestamp are raised to what the
   * shard has seen, and H_VISIBLE covers everything recovered. What a worker before this one had
   * allocated is settled then: the shard calls `sequencesApplied` before it serves.
   */
  start(recovered: RecoveredLog): Promise<Outcome<ShardStarted>>;
  stats(): Promise<Outcome<ShardStats>>;
  /** Writes the memtables to tables. Resolves when the tables are durable. */
  flush(): Promise<Outcome<void>>;
  /** Flushes, then merges everything into the bottom run. */
  compact(): Promise<Outcome<void>>;
  /** Verifies every byte of the shard's files. `board`: of a `CheckBoard`. */
  check(board?: SharedArrayBuffer): Promise<Outcome<CheckReport>>;
  /** Bulk load: takes file numbers for files that are written elsewhere; returns the first. */
  reserveFiles(count: number): Promise<Outcome<number>>;
  /** Bulk load: makes an intent's tables part of the shard, durably. Idempotent. */
  link(intent: LinkIntent): Promise<Outcome<void>>;
  /** A new coordinator has taken the place of one that died. */
  connectCoordinator(port: MessagePort): Promise<Outcome<void>>;
  /** There is no coordinator any more, for that reason; called before `start` where it is known then. */
  endCoordinator(reason: SerializedError): Promise<Outcome<void>>;
  /** A client's thread is gone, and there is no coordinator to say so: the shard lets go of its slot. */
  releaseClient(client: number): Promise<Outcome<void>>;
  /**
   * Takes no more requests, answers what has arrived, syncs and closes the files. True when all that
   * was acknowledged is durable. Idempotent.
   */
  close(): Promise<Outcome<boolean>>;
}

export interface ShardStarted {
  readonly lastSequence: number;
  readonly recoveredCommits: number;
  readonly recoveryMs: number;
}

export interface RunStats {
  readonly tables: number;
  readonly bytes: number;
  readonly entries: number;
}

export interface DamagedTable extends CheckProblem {
  /**
   * What is out of reach: nothing, reads are only slower (`filter`); some blocks (`blocks`); all of
   * it (`table`), at the latest when the database is opened again.
   */
  readonly extent: 'filter' | 'blocks' | 'table';
}

export interface ShardStats {
  readonly shard: number;
  /** Why the shard takes no writes, when it does not. */
  readonly readOnlyReason?: string;
  /** Why the shard is out of service, when its worker died too often: all counters are 0 then. */
  readonly fencedReason?: string;
  readonly lastSequence: number;
  readonly memtables: {
    readonly count: number;
    readonly bytes: number;
    /** Writes wait when all memtables together are as large. */
    readonly bytesMax: number;
    readonly keys: number;
  };
  /** Newest first; the last is the bottom run. */
  readonly runs: readonly RunStats[];
  /**
   * Tables that opening, reads, merges or a check found not to be what was written, or unreadable:
   * reads that need what is bad there fail.
   */
  readonly damagedTables: readonly DamagedTable[];
  readonly blobs: { readonly count: number; readonly bytes: number };
  readonly cache: {
    readonly bytes: number;
    readonly bytesMax: number;
    readonly inserts: number;
    readonly evictions: number;
    readonly promotions: number;
    /** Blocks of new tables that were read because those they replaced were cached. */
    readonly carried: number;
  };
  readonly wal: {
    readonly segments: number;
    readonly bytes: number;
    readonly groups: number;
    /** Groups that client threads committed themselves, while the shard's worker slept. */
    readonly directGroups: number;
    readonly commits: number;
    readonly operations: number;
    readonly bytesWritten: number;
    readonly syncs: number;
  };
  readonly reads: {
    readonly gets: number;
    readonly memtableHits: number;
    readonly filterChecks: number;
    readonly filterNegatives: number;
    readonly cacheHits: number;
    readonly cacheMisses: number;
    readonly scanned: number;
    readonly blocksRead: number;
    readonly bytesRead: number;
  };
  readonly flushes: JobStats;
  readonly compactions: JobStats;
  readonly stalls: {
    readonly delays: number;
    readonly stops: number;
    /** Milliseconds that groups of writes were held up, delays and stops together. */
    readonly delayedMs: number;
  };
  /** Since the shard was opened. */
  readonly writes: {
    /** Bytes of keys and values that were written. */
    readonly bytes: number;
    /** Bytes of tables that flushes and compactions wrote for each of them; 0 before the first. */
    readonly amplification: number;
  };
  /** Bytes of tables that compactions under way, and the next one, have yet to read. */
  readonly pendingCompactionBytes: number;
  /** Indexes and filters of all tables, which stay in memory beside the cache. */
  readonly indexes: { readonly bytes: number; readonly bytesMax: number };
  /** Files of tables that the worker keeps open for reads. */
  readonly openTables: { readonly count: number; readonly countMax: number };
}

export interface JobStats {
  readonly running: number;
  readonly done: number;
  readonly failed: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface CheckProblem {
  /** `LIGHTNING_IO`: the system refuses to read what is there. */
  readonly code: 'LIGHTNING_CORRUPTION' | 'LIGHTNING_IO';
  readonly file: string;
  readonly offset: number;
  readonly message: string;
}

/** What `check` found. No problems: every checksum, order, filter and index holds. */
export interface CheckReport {
  readonly problems: readonly CheckProblem[];
  readonly tables: number;
  readonly blocks: number;
  readonly entries: number;
  readonly bytes: number;
}

// ---- main and coordinator -----------------------------------------------------------

export interface CoordinatorInit {
  readonly databaseId: string;
  readonly path: string;
  readonly config: ResolvedConfig;
  readonly bootId: number;
  /** Of the running system, as the opening thread has found it. */
  readonly systemIdentity: Uint8Array;
  /** The shards' present memories, in order; newer ones come with `shardRestarted`. */
  readonly memories: readonly WebAssembly.Memory[];
  /**
   * Their generations. Not those of the control block: a shard that is just being restarted has the next
   * one there already, and threads would take the old memory for the new one.
   */
  readonly generations: readonly number[];
  readonly module: WebAssembly.Module;
  readonly control: SharedArrayBuffer;
  /** To each shard, in order. */
  readonly shards: readonly MessagePort[];
  /** `file:` URL of the pool's worker. */
  readonly jobWorker: string;
  /** The thread that opened the database: it lives as long as the database is open. */
  readonly openerThread: number;
}

export interface CoordinatorControl {
  /**
   * Opens the decision log and the pool. Called before the shards' `start`, which are given the
   * result; when it resolves, the coordinator listens for attaching threads. `isClean`: the shards' logs
   * are empty (router/clean-close.ts), and they may be starting already.
   */
  start(isClean: boolean): Promise<Outcome<RecoveredLog>>;
  /** Every shard has recovered: called before anything is served. */
  settle(): Promise<Outcome<void>>;
  stats(): Promise<Outcome<CoordinatorStats>>;
  /** Verifies what belongs to no shard. `board`: of a `CheckBoard`. */
  check(board?: SharedArrayBuffer): Promise<Outcome<CheckReport>>;
  /** A shard's worker is gone: end its jobs. */
  shardDown(shard: number): Promise<Outcome<void>>;
  /** A shard has a new worker and memory: connect to it, tell the attached threads. */
  shardRestarted(restart: ShardRestart, port: MessagePort): Promise<Outcome<void>>;
  /** The database closes: tell the attached threads, take no more jobs. Idempotent. */
  beginClose(): Promise<Outcome<void>>;
  /** After the shards are closed (`isDurable`: all of them durably): ends the pool, closes the log. */
  close(isDurable: boolean): Promise<Outcome<void>>;
}

export interface ShardRestart {
  readonly shard: number;
  readonly generation: number;
  readonly memory: WebAssembly.Memory;
}

export interface CoordinatorStats {
  readonly queued: number;
  readonly running: number;
  readonly attachedClients: number;
}

// ---- attached threads and coordinator ------------------------------------------------

export const ATTACH_MESSAGE = 'lightning-db:attach';

/**
 * Sent by a coordinator to threads whose slots it has not heard of: that it arrives is the answer. An
 * attached thread listens to it for as long as it has a slot, so that not arriving means that the
 * thread is gone.
 */
export const ALIVE_MESSAGE = 'lightning-db:alive';

/**
 * Sent with `postMessageToThread` by a thread that has claimed `client` in the control block. The
 * coordinator checks `databaseId`, exposes an `AttachControl` on the port and wraps the client's
 * `AttachedClient`. The port's 'close' means that the thread has detached or died: the coordinator
 * then calls `retireClient`, has every shard let go of the slot (epoch, rings, partial requests),
 * and calls `freeClient`. When the coordinator died, the thread sends the same to the next one.
 */
export interface AttachRequest {
  readonly kind: typeof ATTACH_MESSAGE;
  readonly databaseId: string;
  readonly client: number;
  readonly port: MessagePort;
}

/** What an attached thread may ask the coordinator. */
export interface AttachControl {
  /** The shards' present memories, in order. */
  hello(): Promise<Outcome<readonly ShardRestart[]>>;
  flush(): Promise<Outcome<void>>;
  compact(): Promise<Outcome<void>>;
  check(board?: SharedArrayBuffer): Promise<Outcome<CheckReport>>;
  stats(): Promise<Outcome<AttachStats>>;
}

export interface AttachStats {
  readonly shards: readonly ShardStats[];
  readonly background: CoordinatorStats;
}

/** What the coordinator tells an attached thread. */
export interface AttachedClient {
  shardRestarted(restart: ShardRestart): void;
  /** The database closes; what is in flight still gets its answers. */
  databaseClosing(): void;
}
