/**
 * One shard: recovered from its files, then driven turn by turn by the shard worker's loop.
 *
 * `turn` is synchronous and never waits. Everything that takes long (flushes, merges, checks) runs
 * elsewhere and comes back through the event loop, on the same thread: nothing here is concurrent.
 */
import { ClosedError, LightningError, ReadOnlyError } from '../errors.js';
import { faultPoint } from '../faults.js';
import { H_ARENA_BYTES, H_VISIBLE } from '../kernel/assembly/layout.js';
import { valueInlineBytesMax } from '../kernel/shard-memory.js';
import {
  SHARD_CLOSED,
  SHARD_READ_ONLY,
  SHARD_SERVING,
  SHARD_STARTING,
} from '../router/control-block.js';
import { type LinkIntent, linkEdit } from '../version/link-intent.js';
import { BarrierWait } from './barrier-wait.js';
import { CommitLoop } from './commit-loop.js';
import { Compactor } from './compactor.js';
import { Flusher } from './flusher.js';
import { ShardLending } from './lending.js';
import { RUNS_MAX } from './published-version.js';
import { RangeInTables } from './range-in-tables.js';
import { RecordIntake } from './record-intake.js';
import { type RecoveryResult, recoverShard } from './recovery.js';
import { RequestHandler } from './request-handler.js';
import type { ShardOptions } from './shard-options.js';
import { ShardState } from './shard-state.js';
import { StalledReaders } from './stalled-readers.js';
import { TableReads } from './table-reads.js';
import { Validation } from './validation.js';
import type { CommitOutcome } from './wal-replay.js';
import { isStopped, RunsLately, type WritePressure, writeDelayMs } from './write-throttle.js';

/** Runs from which on writes are slowed, and at which they stop: a scan must be able to open all. */
const RUNS_SLOW = 17;
const RUNS_STOP = RUNS_MAX - 4;

/** Segments found at open from which on the log is made shorter. */
const SEGMENTS_FOUND_MAX = 8;

/** Tables that nobody has asked for are loaded for so long at a time, and so far apart: others want the cores. */
const LOAD_MS = 1;
const LOAD_PAUSE_MS = 4;
/** A slow disk takes long for one: pauses are at least so many times what the loads before them took. */
const LOAD_PAUSES = 4;

/** How long requests that keep coming, or commits without room, may hold up a close. */
const DRAIN_MS_MAX = 10_000;

export class Shard {
  readonly state: ShardState;
  readonly loop: CommitLoop;
  readonly lending: ShardLending;
  readonly flusher: Flusher;
  readonly compactor: Compactor;
  readonly reads: TableReads;
  readonly #stalled: StalledReaders;
  readonly #options: ShardOptions;
  #recovered: RecoveryResult | undefined;
  /** Until a turn has seen that no table is left to be loaded. */
  readonly #lately = new RunsLately();
  #isLoading = true;
  #loadsAtMs = Number.NEGATIVE_INFINITY;
  #isEnding = false;
  #isClosing = false;
  #isAbandoned = false;

  private constructor(options: ShardOptions) {
    this.#options = options;
    const { kernel, control, clock, config } = options;
    const state = new ShardState(options);
    this.state = state;
    this.flusher = new Flusher(state, () => this.#onBackground());
    state.onMemtableQueued = () => this.flusher.maybeSchedule();
    state.onReadOnly = () => this.flusher.maybeSchedule();
    const { staging, tables } = state;
    this.reads = new TableReads({
      kernel,
      staging,
      tables,
      version: () => state.version,
      releases: control.transactions,
    });
    state.newestSequence = (key) => this.reads.newestSequence(key);
    this.compactor = new Compactor(state, this.reads, () => this.#onBackground());
    const nowMs = (): number => clock.nowMs();
    this.#stalled = new StalledReaders({ kernel, control, nowMs });
    const refusal = (): LightningError | undefined => this.#refusal();
    const inlineBytesMax = valueInlineBytesMax(kernel.u32[H_ARENA_BYTES >>> 2] as number);
    const handler = new RequestHandler({
      kernel,
      reads: this.reads,
      blobs: state.blobs,
      inlineBytesMax,
      refusal,
      stalled: () => this.#stalled.failure,
      checkPrepare: (session, head, bytes) => intake.checkPrepare(session, head, bytes),
      refusePrepare: (session, requestId, head, error) =>
        intake.refusePrepare(session, requestId, head, error),
    });
    const { prepared } = state;
    const ranged = { kernel, tables, reads: this.reads, version: () => state.version };
    const validation = new Validation({
      kernel,
      control,
      allocator: state.allocator,
      prepared,
      tablesSequence: () => state.tablesSequence,
      newestSequence: (key) => state.newestSequence(key),
      rangesInTables: (snapshot) => new RangeInTables(ranged, snapshot),
    });
    state.onUnlock = (commit) => validation.letGo(commit);
    const intake = new RecordIntake({
      kernel,
      prepared,
      blocks: state.preparedBlocks,
      validation,
      control,
      inlineBytesMax,
    });
    state.onAnswered = (session) => this.loop.touch(session);
    this.loop = new CommitLoop({
      kernel,
      control,
      memtables: state.memtables,
      commit: state.commit,
      handler,
      barrier: new BarrierWait({ durability: options.durability, wake: options.wake }),
      prepared,
      records: state.commitRecords,
      intake,
      groupOpsMax: config.groupOpsMax,
      inlineBytesMax,
      nowMs,
      refusal,
      flushFailure: () => this.#noMemtable(),
      switchMemtable: () => state.switchMemtable(),
      delayMs: (groupBytes) => this.#delayMs(groupBytes),
      deleteBlobs: (blobs) => state.deleteBlobs(blobs),
      afterCommit: () => state.afterCommit(),
    });
    this.lending = new ShardLending({
      shard: options.shard,
      kernel,
      control,
      commit: state.commit,
      memtables: state.memtables,
      isEnabled: config.directCommits && config.walSync !== 'sync' && !config.readOnly,
      groupOpsMax: config.groupOpsMax,
      isPlain: () => this.#isPlain(),
      adoptPrepared: (prepare, caller, segment) => {
        const session = caller && this.loop.session(caller.client);
        intake.adopt(prepare, session, caller?.requestId ?? 0, segment);
      },
      adoptApplied: ({ slot, word }, sequence) => state.prepared.adoptApplied(slot, word, sequence),
      adoptRecord: (record) => state.commitRecords.adopt(record),
    });
  }

  /** Recovers the shard from its directory, or makes an empty one there; then it serves. */
  static async open(options: ShardOptions): Promise<Shard> {
    const { control, shard, kernel, config } = options;
    control.setShardState(shard, SHARD_STARTING);
    const opened = new Shard(options);
    try {
      const recovered = await recoverShard(opened.state, {
        makeRoom: () => opened.#makeRoom(),
        resolve: (id) => opened.#resolve(id),
      });
      opened.#recovered = recovered;
      control.raiseSequence(recovered.lastSequence);
      control.raiseTimestamp(recovered.lastTimestampUs);
      control.raiseEpoch(recovered.lastEpoch);
      Atomics.store(kernel.u64, H_VISIBLE >>> 3, BigInt(recovered.lastSequence));
      for (const intent of options.intents ?? []) await opened.link(intent);
      faultPoint('resolved', shard);
      // Nobody may read the old memory any more once commits that it has not seen become visible.
      options.beforeServing?.();
      // What became of everything is written down by now.
      control.setUnrecordedMin(shard, 0);
      await opened.state.prepared.outcomes.letGoOfAll();
      // A worker that died may have left numbers pending: what of them was written is applied now.
      control.sequencesApplied(shard);
      const isReadOnly = config.readOnly || opened.state.readOnlyReason !== undefined;
      control.setShardState(shard, isReadOnly ? SHARD_READ_ONLY : SHARD_SERVING);
      if (!isReadOnly) await opened.#shortenLog();
      opened.flusher.maybeSchedule();
      opened.compactor.maybeSchedule();
      return opened;
    } catch (error) {
      await opened.#abandon();
      throw error;
    }
  }

  /**
   * Processes that end without `close` leave a segment each, and every open reads them all: after some
   * of those, what the log holds goes to a table. At once: this process may end as soon as they did.
   */
  async #shortenLog(): Promise<void> {
    if (this.state.segmentsFound.length < SEGMENTS_FOUND_MAX) return;
    try {
      await this.flush();
    } catch (error) {
      // The log stays as it is; flushes are tried again.
      if (!(error instanceof LightningError)) throw error;
    }
  }

  /** What became of a commit that was in doubt: presumed aborted when nobody says otherwise. */
  async #resolve(id: number): Promise<CommitOutcome | undefined> {
    const { control, decisions } = this.#options;
    control.transactions.countInDoubt();
    faultPoint('resolving', this.#options.shard);
    const known = await this.state.prepared.outcomes.of(id);
    if (known === 'aborted') return undefined;
    return known ?? decisions?.().get(id);
  }

  get recovered(): RecoveryResult {
    if (this.#recovered === undefined) throw new ClosedError('The shard is not open');
    return this.#recovered;
  }

  /** Takes and answers requests; true when there was something to do. */
  turn(): boolean {
    const retired = this.state.retirement.poll();
    this.#stalled.poll();
    const worked = this.loop.turn();
    this.compactor.poll();
    return this.#loadTables() || worked || retired;
  }

  /** Loads some of the tables that have yet to be loaded, if it is time for that. */
  #loadTables(): boolean {
    const { tables } = this.state;
    if (!this.#isLoading || this.#isEnding) return false;
    if (!tables.isLoading) {
      this.#isLoading = false;
      this.compactor.maybeSchedule();
      return false;
    }
    const { clock, mayLoadTables } = this.#options;
    const startMs = clock.nowMs();
    if (startMs < this.#loadsAtMs || mayLoadTables?.() === false) return false;
    do tables.loadNext();
    while (tables.isLoading && clock.nowMs() - startMs < LOAD_MS);
    const endMs = clock.nowMs();
    this.#loadsAtMs = endMs + Math.max(LOAD_PAUSE_MS, LOAD_PAUSES * (endMs - startMs));
    return true;
  }

  /** Resolves when no table is left to be loaded: then all is known that an open finds out about them. */
  async loadTables(): Promise<void> {
    const { tables } = this.state;
    while (tables.isLoading) {
      tables.loadNext();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Whether a turn has left something that the next one goes on with at once. */
  get hasMoreToDo(): boolean {
    return this.loop.isBusy || this.loop.hasUnsent || !this.state.retirement.isEmpty;
  }

  /** Milliseconds until there is something to do without a request; undefined: never. */
  wakesInMs(): number | undefined {
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    const times: number[] = [];
    const resumes = this.loop.resumesInMs(nowMs);
    if (resumes !== undefined) times.push(resumes);
    const polls = this.compactor.pollsInMs(nowMs);
    if (polls !== undefined) times.push(polls);
    if (!this.state.retirement.isEmpty || this.loop.hasUnsent) times.push(5);
    if (this.#isLoading) times.push(LOAD_PAUSE_MS);
    if (this.loop.isBusy) times.push(10);
    // No sooner than a wait ends anyway (shard-driver.ts): until then reads ask the transaction table.
    if (this.state.prepared.hasUnreleased) times.push(5);
    const records = this.state.commitRecords.dueInMs(nowMs);
    if (records !== undefined) times.push(Math.max(records, 5));
    return times.length === 0 ? undefined : Math.min(...times);
  }

  // ---- writes held up or refused --------------------------------------------------------

  #refusal(): LightningError | undefined {
    if (this.#options.config.readOnly) {
      return new ReadOnlyError('The database is open read-only: open it without "readOnly"');
    }
    if (this.#isClosing) return new ClosedError();
    return this.state.readOnlyReason ?? this.#poisoned() ?? this.#stuck();
  }

  /**
   * Whether commits depend on nothing but memory and log: nothing is under way, prepared, held up or
   * refused.
   */
  #isPlain(): boolean {
    const { prepared } = this.state;
    if (!this.loop.isPlain || !prepared.isEmpty) return false;
    if (this.#refusal() !== undefined || this.flusher.failure !== undefined) return false;
    return this.#delayMs(1) === 0;
  }

  /** Writes have stopped for a compaction that does not succeed: refusing is better than waiting. */
  #stuck(): LightningError | undefined {
    const { runs } = this.state.version;
    return runs.length >= RUNS_STOP ? this.compactor.failure : undefined;
  }

  /** The log failed within a commit: the first to notice makes it known. */
  #poisoned(): LightningError | undefined {
    const { poison } = this.state.commit;
    if (poison === undefined) return undefined;
    this.state.becomeReadOnly(poison);
    return this.state.readOnlyReason;
  }

  #delayMs(groupBytes: number): number {
    const { memtables, version } = this.state;
    const runs = version.runs.length;
    const pressure: WritePressure = {
      groupBytes,
      memtableFill: memtables.fill,
      flushBytesPerMs: this.flusher.bytesPerMs,
      runs: this.#lately.runs(runs, this.#options.clock.nowMs()),
      runsSlow: RUNS_SLOW,
      runsStop: RUNS_STOP,
    };
    const isHalted = isStopped({ runs, runsStop: RUNS_STOP });
    return isHalted ? Number.POSITIVE_INFINITY : writeDelayMs(pressure);
  }

  // ---- durability ---------------------------------------------------------------------

  /**
   * Makes everything written so far durable, without holding up the thread. A failure makes the
   * shard read-only.
   */
  async syncLog(): Promise<void> {
    if (this.#isAbandoned) throw new ClosedError('The shard is closed');
    try {
      await this.state.commit.syncLater();
    } catch (error) {
      this.state.becomeReadOnly(error);
      throw error;
    }
  }

  // ---- background ---------------------------------------------------------------------

  #onBackground(): void {
    this.compactor.maybeSchedule();
    this.#options.wake();
  }

  async #makeRoom(): Promise<void> {
    const oldest = this.state.memtables.oldestImmutable;
    if (oldest !== undefined) await this.flusher.flushed(oldest);
    // Nobody reads yet, so the epoch passes at once.
    this.state.retirement.poll();
  }

  /** Writes everything applied so far to durable tables. */
  async flush(): Promise<void> {
    const { memtables } = this.state;
    if (this.#options.config.readOnly) return;
    const { active } = memtables;
    if (memtables.isEmpty(active)) {
      const [newest] = memtables.immutables;
      if (newest !== undefined) await this.flusher.flushed(newest);
      return;
    }
    while (memtables.active === active && !this.state.switchMemtable()) {
      const failure = this.#noMemtable();
      if (failure !== undefined) throw failure;
      await this.#freeMemtable();
    }
    await this.flusher.flushed(active);
  }

  /** Why no memtable becomes free; undefined: one does, or soon may. */
  #noMemtable(): LightningError | undefined {
    const { failure } = this.flusher;
    if (failure !== undefined || this.state.retirement.isEmpty) return failure;
    return this.#stalled.failure;
  }

  /** Waits until an arena may have become free. */
  async #freeMemtable(): Promise<void> {
    const oldest = this.state.memtables.oldestImmutable;
    if (oldest !== undefined) await this.flusher.flushed(oldest);
    if (!this.state.retirement.poll()) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** Flushes, then merges everything into one bottom run. */
  async compact(): Promise<void> {
    await this.flush();
    if (this.#options.config.readOnly) return;
    await this.loadTables();
    await this.compactor.compactAll();
  }

  // ---- bulk load ----------------------------------------------------------------------

  /** Takes `count` file numbers in a row for files that are written elsewhere; returns the first. */
  reserveFiles(count: number): number {
    return this.state.files.allocate(count);
  }

  /**
   * Makes the tables of a bulk load part of the shard, as its newest run. They stand in the shard's
   * directory under their final names, durably. Doing it again for the same intent changes nothing.
   */
  async link(intent: LinkIntent): Promise<void> {
    const { state } = this;
    const { kernel, control, shard } = this.#options;
    if (linkEdit(state.version, intent, shard) === undefined) return;
    if (this.#options.config.readOnly) {
      throw new ReadOnlyError(
        'A bulk load has yet to be completed: open the database once without "readOnly"',
      );
    }
    do {
      // What is in memory is older than the load, and must not stand above its run.
      await this.flush();
      await this.flusher.idle();
    } while (!state.memtables.isEmpty(state.memtables.active) || state.commit.isApplying);
    const edit = linkEdit(state.version, intent, shard);
    if (edit === undefined) return;
    state.files.raise(edit.nextFile ?? 0);
    state.install(edit, { damaged: true });
    for (const { tables } of edit.added ?? []) {
      for (const blob of tables.flatMap(({ blobs }) => blobs)) state.blobs.adopt(blob);
    }
    const visible = Atomics.load(kernel.u64, H_VISIBLE >>> 3);
    if (intent.sequence > visible) {
      Atomics.store(kernel.u64, H_VISIBLE >>> 3, BigInt(intent.sequence));
    }
    control.raiseSequence(intent.sequence);
    control.raiseTimestamp(intent.timestampUs);
    this.compactor.maybeSchedule();
  }

  // ---- the end ------------------------------------------------------------------------

  /** A client's thread is gone: lets go of its slot. */
  releaseClient(client: number): void {
    this.#options.kernel.exports.readerForceLeave(client);
    this.loop.releaseClient(client);
  }

  /**
   * Answers what has arrived, flushes, syncs and closes the files, so that the next open replays
   * nothing. `turn` is not called any more afterwards.
   */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isEnding = true;
    const { clock } = this.#options;
    const deadlineMs = clock.nowMs() + DRAIN_MS_MAX;
    const { prepared, commitRecords } = this.state;
    commitRecords.drain();
    while (
      (this.turn() || this.loop.isCommitting || prepared.count > 0 || !commitRecords.isEmpty) &&
      clock.nowMs() < deadlineMs
    ) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#isClosing = true;
    // Refuses what is still held up for want of room.
    this.turn();
    this.loop.refuseAll(new ClosedError());
    try {
      if (this.state.readOnlyReason === undefined) await this.#leaveClean();
    } finally {
      await this.#abandon();
    }
  }

  /** What is not in tables is at least in the durable log. */
  async #leaveClean(): Promise<void> {
    try {
      await this.flush();
    } catch (error) {
      // Replayed at the next open instead.
      if (!(error instanceof LightningError)) throw error;
    }
    this.state.commit.sync();
  }

  async #abandon(): Promise<void> {
    const { control, shard } = this.#options;
    this.#isClosing = true;
    this.compactor.close();
    await this.flusher.close();
    this.#isAbandoned = true;
    this.state.close();
    control.setShardState(shard, SHARD_CLOSED);
  }
}
