/**
 * Flushes memtables, oldest first, one at a time: the job builds tables, then they are installed.
 *
 * A flush that fails is tried again, to new files and with growing pauses, for as long as the shard
 * takes writes; its memtable stays readable and its log segments stay on disk meanwhile. When the
 * disk refuses again and again, other than for want of room, the shard takes no more writes.
 */
import type { BuildResult } from '../compaction/jobs.js';
import { tableIdsFor } from '../compaction/plan-merge.js';
import { deserializeError, LightningError, serializeError } from '../errors.js';
import type { TableTarget } from '../sstable/table-writer.js';
import { Backoff } from './backoff.js';
import { DiskFailures } from './disk-failures.js';
import type { Memtable } from './memtables.js';
import type { ShardState } from './shard-state.js';

/** Writes that find no memtable wait this long for flushes to succeed again. */
const PATIENCE_MS = 1000;

/** Counters of one kind of job, for statistics. */
export class JobCounters {
  running = 0;
  done = 0;
  failed = 0;
  bytesRead = 0;
  bytesWritten = 0;

  add(result: BuildResult): void {
    this.done++;
    this.bytesRead += result.bytesRead;
    this.bytesWritten += result.bytesWritten;
  }
}

interface Waiter {
  readonly memtable: Memtable;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Flusher {
  readonly #state: ShardState;
  readonly #onFlushed: () => void;
  readonly counters = new JobCounters();
  readonly #backoff = new Backoff();
  readonly #diskFailures: DiskFailures;
  #waiters: Waiter[] = [];
  #running: Promise<void> | undefined;
  #isClosed = false;
  #failure: LightningError | undefined;
  #failingSinceMs = 0;
  /** Bytes of memtable flushed per millisecond, lately. */
  #bytesPerMs = 0;

  constructor(state: ShardState, onFlushed: () => void) {
    this.#state = state;
    this.#onFlushed = onFlushed;
    this.#diskFailures = new DiskFailures(state);
  }

  get bytesPerMs(): number {
    return this.#bytesPerMs;
  }

  /** Why attempts have failed for a while now: reason to refuse writes instead of holding them up. */
  get failure(): LightningError | undefined {
    if (this.#failure === undefined) return undefined;
    const failingMs = this.#state.options.clock.nowMs() - this.#failingSinceMs;
    return failingMs > PATIENCE_MS ? this.#failure : undefined;
  }

  /**
   * Starts the flush of the oldest full memtable, unless one is running. There are no more once the shard
   * takes no writes: whoever waits for one is told.
   */
  maybeSchedule(): void {
    if (this.#running !== undefined || this.#isClosed) return;
    const { readOnlyReason } = this.#state;
    if (readOnlyReason !== undefined) this.#rejectWaiters(readOnlyReason);
    const memtable = this.#state.memtables.oldestImmutable;
    if (memtable === undefined || readOnlyReason !== undefined || this.#backoff.isWaiting) return;
    this.counters.running = 1;
    this.#running = this.#flush(memtable).then(
      () => this.#ended(undefined),
      (error: unknown) => this.#ended(error),
    );
  }

  /** Resolves when the memtable is in durable tables; rejects when an attempt at it fails. */
  flushed(memtable: Memtable): Promise<void> {
    if (!this.#state.memtables.immutables.includes(memtable)) return Promise.resolve();
    if (this.#state.readOnlyReason !== undefined) {
      return Promise.reject(this.#state.readOnlyReason);
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ memtable, resolve, reject });
      this.maybeSchedule();
    });
  }

  /** Resolves when no flush is running. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** No more flushes are started; waits for one that is running. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#backoff.cancel();
    await this.#running;
    this.#rejectWaiters(new LightningError('LIGHTNING_ABORTED', 'The flush was given up'));
  }

  #ended(error: unknown): void {
    this.#running = undefined;
    this.counters.running = 0;
    if (error === undefined) {
      this.#failure = undefined;
      this.#backoff.succeed();
      this.#diskFailures.succeed();
      this.#settleWaiters();
    } else {
      this.counters.failed++;
      if (this.#failure === undefined) this.#failingSinceMs = this.#state.options.clock.nowMs();
      this.#failure = asLightningError(error);
      this.#rejectWaiters(this.#failure);
      this.#diskFailures.note(this.#failure);
      if (!this.#isClosed) this.#backoff.retry(() => this.maybeSchedule());
    }
    this.#onFlushed();
    this.maybeSchedule();
  }

  async #flush(memtable: Memtable): Promise<void> {
    const state = this.#state;
    const { clock, control, jobs, shard } = state.options;
    const startMs = clock.nowMs();
    const target = reserveTables(state, this.#tableIds(memtable));
    // Nothing lies below, not even a run that a merge is about to make.
    const bottom = state.version.runs.length === 0;
    const retention = { ...control.liveSnapshots(), bottom };
    const result = await jobs.flush({
      kind: 'flush',
      shard,
      memtable: memtable.arena,
      target,
      retention,
    });
    await this.#cover(memtable, result);
    this.#install(memtable, result, target);
    state.kept.note(result.tables, retention);
    this.counters.add(result);
    const tookMs = Math.max(clock.nowMs() - startMs, 0.1);
    const rate = state.memtables.bytesUsed(memtable) / tookMs;
    this.#bytesPerMs = this.#bytesPerMs === 0 ? rate : this.#bytesPerMs * 0.7 + rate * 0.3;
  }

  /**
   * Tables that become part of the shard survive a power loss, so every commit before theirs must.
   */
  async #cover(memtable: Memtable, { tables }: BuildResult): Promise<void> {
    const state = this.#state;
    try {
      await state.options.durability?.covering(state.memtables.sequenceMax(memtable));
    } catch (error) {
      deleteTables(
        state,
        tables.map(({ id }) => id),
      );
      throw error;
    }
  }

  #tableIds(memtable: Memtable): number {
    const { memtables, options } = this.#state;
    const rawBytes = memtables.bytesUsed(memtable);
    const entries = memtables.versions(memtable);
    const blobs = memtable.blobs.size;
    return tableIdsFor({ rawBytes, entries, blobs }, options.config.tableBytesMax);
  }

  #install(memtable: Memtable, result: BuildResult, target: TableTarget): void {
    const state = this.#state;
    const { tables, droppedBlobs } = result;
    const ids = tables.map(({ id }) => id);
    const { firstTableId, tableIds } = target;
    state.files.giveBack(
      Math.max(firstTableId, ...ids.map((id) => id + 1)),
      firstTableId + tableIds,
    );
    const { nextOrder } = state.version.state;
    try {
      if (tables.length > 0) state.syncDirectory();
      state.install(
        {
          ...(tables.length > 0 ? { added: [{ order: nextOrder, tables }] } : {}),
          nextOrder: nextOrder + 1,
          lastSequence: state.memtables.sequenceMax(memtable),
          lastTimestampUs: memtable.lastTimestampUs,
          lastEpoch: memtable.lastEpoch,
        },
        { flushed: memtable, droppedBlobs },
      );
    } catch (error) {
      // A manifest that failed may name them after all: then recovery decides.
      if (state.readOnlyReason === undefined) deleteTables(state, ids);
      throw error;
    }
  }

  #settleWaiters(): void {
    const { immutables } = this.#state.memtables;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (immutables.includes(waiter.memtable)) this.#waiters.push(waiter);
      else waiter.resolve();
    }
  }

  #rejectWaiters(error: unknown): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }
}

/** Reserves `tableIds` file numbers for the tables of a job, and says how they are to be made. */
export function reserveTables(state: ShardState, tableIds: number): TableTarget {
  const { config } = state.options;
  return {
    directory: state.directory,
    firstTableId: state.files.allocate(tableIds),
    tableIds,
    tableBytesMax: config.tableBytesMax,
    blockBytes: config.blockBytes,
    compression: config.compression,
    filterBitsPerKey: config.filterBitsPerKey,
  };
}

/** Deletes tables that no Version names. */
export function deleteTables(state: ShardState, tables: readonly number[]): void {
  for (const table of tables) {
    try {
      state.fs.unlink(state.tables.path(table));
    } catch (error) {
      // It stays for now: opening the database deletes it.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}

function asLightningError(error: unknown): LightningError {
  if (error instanceof LightningError) return error;
  return deserializeError(serializeError(error));
}
