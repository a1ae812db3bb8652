/**
 * The control block: one small SharedArrayBuffer per open database, mapped by every thread that
 * takes part. It holds what is global (sequence numbers, epoch, time, states) and the doorbells of
 * the clients; everything that belongs to one shard lives in that shard's own memory.
 *
 *      0  HEADER      magic, layout version, shards
 *    128  GLOBALS     a line each: last sequence, stable floor, epoch, timestamp, states, applied
 *   1024  CLIENTS     CLIENT_COUNT lines
 *         SHARDS      one line per shard
 *         SNAPSHOTS   SNAPSHOT_COUNT slots
 *         COUNTS      of the clients' transactions: client-counts.ts
 *         TRANSACTIONS  commits over several shards: transaction-table.ts
 *         REASONS     why a shard, or the coordinator, is out of service: fence-reasons.ts
 *
 * Who writes: shard workers allocate sequences and write their own line; a client writes its own
 * line (the doorbell is everybody's) and its snapshot slots; the main thread writes states; the
 * coordinator allocates the numbers of commits over several shards.
 * Every access is atomic and sequentially consistent.
 *
 * Invariants:
 * 1. A sequence number is handed out once, and only after its shard's `pendingMin` says that it, or
 *    a smaller one, is under way. So: load `last`, then every `pendingMin`; what lies below all of
 *    them is applied. The numbers of commits over several shards are handed out under `decidingMin`,
 *    until the transaction table tells of them.
 * 2. `stableSequence` never runs backwards, for any thread: what one thread saw is kept in the
 *    stable floor. A shard that is slow between publishing `pendingMin` and adding can make the
 *    computed number dip, the floor does not.
 * 3. A snapshot's slot names the client that is taking it before its sequence is computed. Who looks
 *    for live snapshots computes its horizon first and reads the slots second: a slot that looked
 *    free then belongs to a snapshot that is not below the horizon.
 *    A snapshot that is taken over from another (`adoptSnapshot`) gets a slot behind it: whoever
 *    reads the slots in order and misses the first, because it was freed, comes to the second later.
 * 4. The owner of a client or snapshot slot is written down in it: a dead thread's are taken back.
 */

import { isWeakened } from '../faults.js';
import { READER_COUNT } from '../kernel/assembly/layout.js';
import { raise } from './atomic-raise.js';
import { ClientCounts } from './client-counts.js';
import type { ClientDoorbell } from './client-doorbell.js';
import { COORDINATOR_SYSTEM_THREAD, CoordinatorPlace } from './coordinator-place.js';
import { REASON_BYTES, readReason, writeReason } from './fence-reasons.js';
import { SystemThreads } from './system-threads.js';
import { TransactionTable } from './transaction-table.js';

/** Client slots; slot 0 of a shard's readers is the shard worker itself, so clients start at 1. */
export const CLIENT_COUNT = READER_COUNT;
export const CLIENT_FIRST = 1;

export const SNAPSHOT_COUNT = 1024;

/**
 * The first sequence number that is ever handed out. Smaller numbers in a snapshot slot say that
 * the client of that number is just taking it.
 */
export const SEQUENCE_FIRST = CLIENT_COUNT + 1;

const MAGIC = 0x4c444b43;
const LAYOUT_VERSION = 1;
const LINE_BYTES = 128;

const MAGIC_WORD = 0;
const VERSION_WORD = 1;
const SHARDS_WORD = 2;
/** f64: random, new for each block. */
const IDENTITY_WORD = 2;

const GLOBALS = 128;
const LAST = GLOBALS;
const STABLE_FLOOR = GLOBALS + LINE_BYTES;
const EPOCH = GLOBALS + 2 * LINE_BYTES;
const TIMESTAMP = GLOBALS + 3 * LINE_BYTES;
const DATABASE_STATE = GLOBALS + 4 * LINE_BYTES;
/** Of a `CoordinatorPlace`. */
const COORDINATOR = DATABASE_STATE + 8;
/** Bumped when a shard has applied a group while somebody waits for it, and the count of those. */
const APPLIED = GLOBALS + 5 * LINE_BYTES;
const APPLIED_WAITERS = APPLIED + 64;
/** As a shard's `pendingMin`: for numbers that the transaction table does not tell of yet. */
const DECIDING_MIN = GLOBALS + 6 * LINE_BYTES;

const CLIENTS = 1024;
/** 0: free; thread id + 1: in use; the same, negative: its thread has left, or died. */
const CLIENT_OWNER = 0;
/** i64: `owner`, and the system's number of the thread (system-threads.ts). */
const CLIENT_SYSTEM_THREAD = 8;
/** A line of its own: shard workers write it. */
const CLIENT_DOORBELL = 64;
const CLIENT_WAITING = 68;

const SHARDS = CLIENTS + CLIENT_COUNT * LINE_BYTES;
const SHARD_PENDING_MIN = 0;
/** Lowest number of a commit over several shards whose COMMIT record is not written; 0: none. */
const SHARD_UNRECORDED_MIN = 8;
const SHARD_STATE = 64;
const SHARD_GENERATION = 68;
/** The system's number of the worker's thread (file-system/system-thread.ts). */
const SHARD_SYSTEM_THREAD = 72;

const SNAPSHOT_BYTES = 32;
const SNAPSHOT_OWNER = 8;
/** f64: when it was taken, milliseconds of the wall clock. */
const SNAPSHOT_TAKEN = 16;
/** A client looks for a free slot from a place of its own, so that clients do not share lines. */
const SNAPSHOT_HOME_SLOTS = SNAPSHOT_COUNT / CLIENT_COUNT;

export const DATABASE_OPENING = 0;
export const DATABASE_SERVING = 1;
export const DATABASE_CLOSING = 2;
export const DATABASE_CLOSED = 3;
export type DatabaseState = 0 | 1 | 2 | 3;

export const SHARD_STARTING = 0;
export const SHARD_SERVING = 1;
/** Its worker is gone; it may come back with a new generation and a new memory. */
export const SHARD_DOWN = 2;
/** It answers reads and refuses writes. */
export const SHARD_READ_ONLY = 3;
export const SHARD_CLOSED = 4;
/** Its worker died too often; it does not come back. */
export const SHARD_FENCED = 5;
export type ShardState = 0 | 1 | 2 | 3 | 4 | 5;

export interface AcquiredSnapshot {
  readonly slot: number;
  readonly sequence: number;
}

export interface OpenSnapshots {
  readonly open: number;
  readonly oldest: number | undefined;
  readonly oldestTakenMs: number | undefined;
}

export interface LiveSnapshots {
  /** Versions shadowed at or below this sequence are needed by no snapshot but the listed ones. */
  readonly horizon: number;
  /** Sequences of live snapshots, ascending, without duplicates. */
  readonly snapshots: readonly number[];
}

export class ControlBlock {
  readonly buffer: SharedArrayBuffer;
  readonly shards: number;
  readonly transactions: TransactionTable;
  readonly counts: ClientCounts;
  readonly systemThreads: SystemThreads;
  readonly coordinator: CoordinatorPlace;
  readonly #i32: Int32Array;
  readonly #i64: BigInt64Array;
  readonly #f64: Float64Array;
  /** Index of the first snapshot slot in `#i64`. */
  readonly #snapshots: number;

  /** Maps a block that `create` made, here or on another thread. */
  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#i32 = new Int32Array(buffer);
    this.#i64 = new BigInt64Array(buffer);
    this.#f64 = new Float64Array(buffer);
    if (this.#i32[MAGIC_WORD] !== MAGIC || this.#i32[VERSION_WORD] !== LAYOUT_VERSION) {
      throw new TypeError('Cannot map the control block: the buffer holds something else');
    }
    this.shards = this.#i32[SHARDS_WORD] as number;
    this.#snapshots = (SHARDS + this.shards * LINE_BYTES) >>> 3;
    this.transactions = new TransactionTable(buffer, transactionsAt(this.shards));
    this.counts = new ClientCounts(buffer, countsAt(this.shards), CLIENT_COUNT);
    this.coordinator = new CoordinatorPlace(buffer, COORDINATOR, this.#reasonAt(this.shards));
    this.systemThreads = new SystemThreads(buffer, {
      coordinator: (COORDINATOR + COORDINATOR_SYSTEM_THREAD) >>> 2,
      shard: (shard) => this.#shardWord32(shard, SHARD_SYSTEM_THREAD),
      client: (slot) => this.#clientWord(slot, CLIENT_SYSTEM_THREAD) >>> 1,
    });
  }

  static create(shards: number): ControlBlock {
    const bytes = transactionsAt(shards) + TransactionTable.BYTES + (shards + 1) * REASON_BYTES;
    const buffer = new SharedArrayBuffer(bytes);
    const words = new Int32Array(buffer);
    words[MAGIC_WORD] = MAGIC;
    words[VERSION_WORD] = LAYOUT_VERSION;
    words[SHARDS_WORD] = shards;
    new Float64Array(buffer)[IDENTITY_WORD] = Math.random();
    const block = new ControlBlock(buffer);
    block.raiseSequence(SEQUENCE_FIRST - 1);
    return block;
  }

  /** Tells this opening of the database from all others. */
  identity(): number {
    return this.#f64[IDENTITY_WORD] as number;
  }

  // ---- sequence numbers ---------------------------------------------------------

  /** The highest sequence number handed out. */
  lastSequence(): number {
    return Number(Atomics.load(this.#i64, LAST >>> 3));
  }

  /** Recovery: no sequence at or below `sequence` is handed out from now on. */
  raiseSequence(sequence: number): void {
    raise(this.#i64, LAST >>> 3, BigInt(sequence));
  }

  /**
   * Hands `count` consecutive sequence numbers to a shard and returns the first. They count as
   * under way until `sequencesApplied`; a shard has one allocation under way at a time.
   */
  allocateSequences(shard: number, count: number): number {
    const last = Atomics.load(this.#i64, LAST >>> 3);
    Atomics.store(this.#i64, this.#shardWord64(shard, SHARD_PENDING_MIN), last + 1n);
    return Number(Atomics.add(this.#i64, LAST >>> 3, BigInt(count))) + 1;
  }

  /** The shard's allocation is applied and H_VISIBLE published (or given up before anyone saw it). */
  sequencesApplied(shard: number): void {
    Atomics.store(this.#i64, this.#shardWord64(shard, SHARD_PENDING_MIN), 0n);
    this.#tellAppliedWaiters();
  }

  #tellAppliedWaiters(): void {
    if (Atomics.load(this.#i32, APPLIED_WAITERS >>> 2) === 0) return;
    Atomics.add(this.#i32, APPLIED >>> 2, 1);
    Atomics.notify(this.#i32, APPLIED >>> 2);
  }

  /** As `allocateSequences`, until `decisionsAllocated`: by then the transaction table tells of them. */
  allocateDecisions(count: number): number {
    const last = Atomics.load(this.#i64, LAST >>> 3);
    Atomics.store(this.#i64, DECIDING_MIN >>> 3, last + 1n);
    return Number(Atomics.add(this.#i64, LAST >>> 3, BigInt(count))) + 1;
  }

  decisionsAllocated(): void {
    Atomics.store(this.#i64, DECIDING_MIN >>> 3, 0n);
  }

  /** Between the two: a commit that is PREPARING may have its number. */
  get isAllocatingDecisions(): boolean {
    return Atomics.load(this.#i64, DECIDING_MIN >>> 3) !== 0n;
  }

  /** A participant lets go of a commit; whoever waits for it to be visible is told. */
  letGo(slot: number, word: number, shard: number): void {
    if (this.transactions.letGo(slot, word, shard)) this.#tellAppliedWaiters();
  }

  /** The shard has let go, or is about to let go, of commits that its log says nothing about yet. */
  setUnrecordedMin(shard: number, sequence: number): void {
    Atomics.store(this.#i64, this.#shardWord64(shard, SHARD_UNRECORDED_MIN), BigInt(sequence));
  }

  /** As `setUnrecordedMin`, unless a lower number stands there already. */
  raiseUnrecorded(shard: number, sequence: number): void {
    const word = this.#shardWord64(shard, SHARD_UNRECORDED_MIN);
    Atomics.compareExchange(this.#i64, word, 0n, BigInt(sequence));
  }

  /** Up to this number, at most `sequence`, the logs say what became of commits that were let go of. */
  recordedUpTo(sequence: number): number {
    let recorded = sequence;
    for (let shard = 0; shard < this.shards; shard++) {
      const word = this.#shardWord64(shard, SHARD_UNRECORDED_MIN);
      const unrecorded = Number(Atomics.load(this.#i64, word));
      if (unrecorded !== 0 && unrecorded <= recorded) recorded = unrecorded - 1;
    }
    return recorded;
  }

  /** True while the shard has handed-out sequence numbers that are not applied. */
  hasPendingSequences(shard: number): boolean {
    return Atomics.load(this.#i64, this.#shardWord64(shard, SHARD_PENDING_MIN)) !== 0n;
  }

  /** The highest sequence number below which every commit of every shard is applied. */
  stableSequence(): number {
    return Number(this.#stable());
  }

  #stable(): bigint {
    let stable = Atomics.load(this.#i64, LAST >>> 3);
    if (isWeakened('snapshot-at-last')) return stable;
    for (let shard = 0; shard < this.shards; shard++) {
      const pending = Atomics.load(this.#i64, this.#shardWord64(shard, SHARD_PENDING_MIN));
      if (pending !== 0n && pending <= stable) stable = pending - 1n;
    }
    const deciding = Atomics.load(this.#i64, DECIDING_MIN >>> 3);
    if (deciding !== 0n && deciding <= stable) stable = deciding - 1n;
    const unreleased = this.transactions.unreleasedMin(Number(stable));
    if (unreleased !== undefined) stable = BigInt(unreleased) - 1n;
    return raise(this.#i64, STABLE_FLOOR >>> 3, stable);
  }

  /**
   * Waits on this thread until `stableSequence` reached `sequence`, or for `timeoutMs`. True when it
   * has. `timeoutMs` stays small: the caller looks after the shards' health between two calls.
   */
  waitStableSync(sequence: number, timeoutMs: number): boolean {
    Atomics.add(this.#i32, APPLIED_WAITERS >>> 2, 1);
    try {
      const applied = Atomics.load(this.#i32, APPLIED >>> 2);
      if (this.stableSequence() >= sequence) return true;
      Atomics.wait(this.#i32, APPLIED >>> 2, applied, timeoutMs);
      return this.stableSequence() >= sequence;
    } finally {
      Atomics.sub(this.#i32, APPLIED_WAITERS >>> 2, 1);
    }
  }

  // ---- epoch and time -----------------------------------------------------------

  /** The commit epoch that new groups carry. */
  epoch(): number {
    return Number(Atomics.load(this.#i64, EPOCH >>> 3));
  }

  raiseEpoch(epoch: number): void {
    raise(this.#i64, EPOCH >>> 3, BigInt(epoch));
  }

  /** The timestamp of a new commit: `nowUs`, or one past the last when the clock stands or went back. */
  nextTimestamp(nowUs: number): number {
    const now = BigInt(Math.floor(nowUs));
    for (;;) {
      const last = Atomics.load(this.#i64, TIMESTAMP >>> 3);
      const next = now > last ? now : last + 1n;
      if (Atomics.compareExchange(this.#i64, TIMESTAMP >>> 3, last, next) === last) {
        return Number(next);
      }
    }
  }

  lastTimestamp(): number {
    return Number(Atomics.load(this.#i64, TIMESTAMP >>> 3));
  }

  raiseTimestamp(timestampUs: number): void {
    raise(this.#i64, TIMESTAMP >>> 3, BigInt(Math.floor(timestampUs)));
  }

  // ---- states -------------------------------------------------------------------

  databaseState(): DatabaseState {
    return Atomics.load(this.#i32, DATABASE_STATE >>> 2) as DatabaseState;
  }

  setDatabaseState(state: DatabaseState): void {
    Atomics.store(this.#i32, DATABASE_STATE >>> 2, state);
    this.ringAllClients();
  }

  shardState(shard: number): ShardState {
    return Atomics.load(this.#i32, this.#shardWord32(shard, SHARD_STATE)) as ShardState;
  }

  /** Publishes the state and wakes every client, so that waits on a dead shard end. */
  setShardState(shard: number, state: ShardState): void {
    Atomics.store(this.#i32, this.#shardWord32(shard, SHARD_STATE), state);
    this.ringAllClients();
    Atomics.add(this.#i32, APPLIED >>> 2, 1);
    Atomics.notify(this.#i32, APPLIED >>> 2);
  }

  /** Fences the shard: its worker died too often, for `reason` the last time. */
  fenceShard(shard: number, reason: string): void {
    writeReason(this.buffer, this.#reasonAt(shard), reason);
    this.setShardState(shard, SHARD_FENCED);
  }

  /** Why the shard is fenced; undefined while it is not. */
  fencedReason(shard: number): string | undefined {
    if (this.shardState(shard) !== SHARD_FENCED) return undefined;
    return readReason(this.buffer, this.#reasonAt(shard));
  }

  /** The coordinator's stands behind the shards'. */
  #reasonAt(shard: number): number {
    return this.buffer.byteLength - (this.shards + 1 - shard) * REASON_BYTES;
  }

  /** How often the shard's worker was started; a client's view of an older one is void. */
  shardGeneration(shard: number): number {
    return Atomics.load(this.#i32, this.#shardWord32(shard, SHARD_GENERATION));
  }

  nextShardGeneration(shard: number): number {
    return Atomics.add(this.#i32, this.#shardWord32(shard, SHARD_GENERATION), 1) + 1;
  }

  // ---- clients ------------------------------------------------------------------

  /** Takes a free slot for the thread, of the system's number where that is known; 0: all are taken. */
  claimClient(threadId: number, systemThread = 0): number {
    for (let slot = CLIENT_FIRST; slot < CLIENT_COUNT; slot++) {
      const word = this.#clientWord(slot, CLIENT_OWNER);
      if (Atomics.compareExchange(this.#i32, word, 0, threadId + 1) === 0) {
        Atomics.store(this.#i32, this.#clientWord(slot, CLIENT_WAITING), 0);
        this.systemThreads.setClient(slot, threadId + 1, systemThread);
        this.counts.claimed(slot);
        return slot;
      }
    }
    return 0;
  }

  /**
   * Marks the slot of a client that has left, or died, and frees its snapshots. True for the first
   * caller, who then sees to it that every shard lets go of the slot, and calls `freeClient`. With
   * `threadId`, only when the slot is that thread's: ids are never used again.
   */
  retireClient(slot: number, threadId?: number): boolean {
    const word = this.#clientWord(slot, CLIENT_OWNER);
    const owner = threadId === undefined ? Atomics.load(this.#i32, word) : threadId + 1;
    if (owner <= 0 || Atomics.compareExchange(this.#i32, word, owner, -owner) !== owner) {
      return false;
    }
    this.releaseSnapshotsOf(slot);
    this.counts.retired(slot);
    return true;
  }

  /** No shard knows the slot any more: others may claim it. */
  freeClient(slot: number): void {
    const word = this.#clientWord(slot, CLIENT_OWNER);
    const owner = Atomics.load(this.#i32, word);
    // One that is in use again was freed before.
    if (owner < 0) Atomics.compareExchange(this.#i32, word, owner, 0);
  }

  isClientActive(slot: number): boolean {
    return Atomics.load(this.#i32, this.#clientWord(slot, CLIENT_OWNER)) > 0;
  }

  /** Whether there is a thread behind the slot, which the system still has as far as it tells. */
  isClientAlive(slot: number): boolean {
    const owner = Atomics.load(this.#i32, this.#clientWord(slot, CLIENT_OWNER));
    return owner > 0 && !this.systemThreads.isClientGone(slot, owner);
  }

  /** The thread behind an active slot; undefined when there is none. */
  clientThread(slot: number): number | undefined {
    const owner = Atomics.load(this.#i32, this.#clientWord(slot, CLIENT_OWNER));
    return owner > 0 ? owner - 1 : undefined;
  }

  /** Slots that were retired and not freed: whoever was to do so has died, or is about to do it. */
  retiredClients(): number[] {
    const slots: number[] = [];
    for (let slot = CLIENT_FIRST; slot < CLIENT_COUNT; slot++) {
      if (Atomics.load(this.#i32, this.#clientWord(slot, CLIENT_OWNER)) < 0) slots.push(slot);
    }
    return slots;
  }

  /** Clients with a thread behind them. */
  activeClients(): number[] {
    const slots: number[] = [];
    for (let slot = CLIENT_FIRST; slot < CLIENT_COUNT; slot++) {
      if (this.isClientActive(slot)) slots.push(slot);
    }
    return slots;
  }

  /** Tells a client that something it may wait for has happened: call after writing its responses. */
  ringClient(slot: number): void {
    const word = this.#clientWord(slot, CLIENT_DOORBELL);
    Atomics.add(this.#i32, word, 1);
    if (Atomics.load(this.#i32, this.#clientWord(slot, CLIENT_WAITING)) !== 0) {
      Atomics.notify(this.#i32, word);
    }
  }

  ringAllClients(): void {
    for (let slot = CLIENT_FIRST; slot < CLIENT_COUNT; slot++) this.ringClient(slot);
  }

  /** The client's side of its doorbell: the array and indexes to wait on. */
  clientDoorbell(slot: number): ClientDoorbell {
    return {
      words: this.#i32,
      doorbell: this.#clientWord(slot, CLIENT_DOORBELL),
      waiting: this.#clientWord(slot, CLIENT_WAITING),
    };
  }

  // ---- snapshots ----------------------------------------------------------------

  /** Registers a snapshot of the stable sequence for the client; undefined when all slots are taken. */
  acquireSnapshot(client: number): AcquiredSnapshot | undefined {
    const home = client * SNAPSHOT_HOME_SLOTS;
    for (let i = 0; i < SNAPSHOT_COUNT; i++) {
      const slot = (home + i) % SNAPSHOT_COUNT;
      const word = this.#snapshots + slot * (SNAPSHOT_BYTES >>> 3);
      if (Atomics.load(this.#i64, word) !== 0n) continue;
      if (Atomics.compareExchange(this.#i64, word, 0n, BigInt(client)) !== 0n) continue;
      Atomics.store(this.#i32, (word << 1) + (SNAPSHOT_OWNER >>> 2), client);
      this.#f64[word + (SNAPSHOT_TAKEN >>> 3)] = Date.now();
      const stable = this.#stable();
      Atomics.store(this.#i64, word, stable);
      return { slot, sequence: Number(stable) };
    }
    return undefined;
  }

  /**
   * Registers a snapshot of the same moment as one that is open, on whichever thread. Undefined when
   * that is closed by now, `full` when there is no free slot behind it.
   */
  adoptSnapshot(client: number, source: AcquiredSnapshot): AcquiredSnapshot | 'full' | undefined {
    const from = this.#snapshots + source.slot * (SNAPSHOT_BYTES >>> 3);
    const sequence = BigInt(source.sequence);
    for (let slot = source.slot + 1; slot < SNAPSHOT_COUNT; slot++) {
      const word = this.#snapshots + slot * (SNAPSHOT_BYTES >>> 3);
      if (Atomics.load(this.#i64, word) !== 0n) continue;
      if (Atomics.compareExchange(this.#i64, word, 0n, BigInt(client)) !== 0n) continue;
      Atomics.store(this.#i32, (word << 1) + (SNAPSHOT_OWNER >>> 2), client);
      this.#f64[word + (SNAPSHOT_TAKEN >>> 3)] =
        this.#f64[from + (SNAPSHOT_TAKEN >>> 3)] ?? Date.now();
      Atomics.store(this.#i64, word, sequence);
      if (Atomics.load(this.#i64, from) === sequence) return { slot, sequence: source.sequence };
      Atomics.store(this.#i64, word, 0n);
      return undefined;
    }
    return Atomics.load(this.#i64, from) === sequence ? 'full' : undefined;
  }

  releaseSnapshot(slot: number): void {
    Atomics.store(this.#i64, this.#snapshots + slot * (SNAPSHOT_BYTES >>> 3), 0n);
  }

  /** Frees every snapshot that the client left behind. */
  releaseSnapshotsOf(client: number): void {
    for (let slot = 0; slot < SNAPSHOT_COUNT; slot++) {
      const word = this.#snapshots + slot * (SNAPSHOT_BYTES >>> 3);
      const value = Number(Atomics.load(this.#i64, word));
      if (value === 0) continue;
      const taker = Atomics.load(this.#i32, (word << 1) + (SNAPSHOT_OWNER >>> 2));
      if ((value < SEQUENCE_FIRST - 1 ? value : taker) === client) {
        Atomics.store(this.#i64, word, 0n);
      }
    }
  }

  /** What compaction and flush must keep. A snapshot that is just being taken makes the horizon 0. */
  liveSnapshots(): LiveSnapshots {
    let horizon = Number(this.#stable());
    const sequences = new Set<number>();
    for (let slot = 0; slot < SNAPSHOT_COUNT; slot++) {
      const word = this.#snapshots + slot * (SNAPSHOT_BYTES >>> 3);
      const value = Number(Atomics.load(this.#i64, word));
      if (value === 0) continue;
      if (value < SEQUENCE_FIRST - 1) horizon = 0;
      else sequences.add(value);
    }
    return { horizon, snapshots: [...sequences].sort((a, b) => a - b) };
  }

  /** How many snapshots are open, the sequence of the oldest, and when the first was taken. */
  openSnapshots(): OpenSnapshots {
    let open = 0;
    let oldest: number | undefined;
    let oldestTakenMs: number | undefined;
    for (let slot = 0; slot < SNAPSHOT_COUNT; slot++) {
      const word = this.#snapshots + slot * (SNAPSHOT_BYTES >>> 3);
      const value = Number(Atomics.load(this.#i64, word));
      if (value === 0) continue;
      open++;
      if (value < SEQUENCE_FIRST - 1) continue;
      oldest = Math.min(oldest ?? value, value);
      const takenMs = this.#f64[word + (SNAPSHOT_TAKEN >>> 3)] as number;
      oldestTakenMs = Math.min(oldestTakenMs ?? takenMs, takenMs);
    }
    return { open, oldest, oldestTakenMs };
  }

  #shardWord64(shard: number, offset: number): number {
    return (SHARDS + shard * LINE_BYTES + offset) >>> 3;
  }

  #shardWord32(shard: number, offset: number): number {
    return (SHARDS + shard * LINE_BYTES + offset) >>> 2;
  }

  #clientWord(slot: number, offset: number): number {
    return (CLIENTS + slot * LINE_BYTES + offset) >>> 2;
  }
}

/** Where the clients' counts begin, and behind them the transaction table. */
function countsAt(shards: number): number {
  return SHARDS + shards * LINE_BYTES + SNAPSHOT_COUNT * SNAPSHOT_BYTES;
}

function transactionsAt(shards: number): number {
  return countsAt(shards) + ClientCounts.bytes(CLIENT_COUNT);
}
