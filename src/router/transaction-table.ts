/**
 * The transaction table: commits over several shards that are under way, in the control block.
 *
 * A slot belongs to one commit from the moment its client claims it until every participant has let
 * go of it. Its `word` holds, in one atomic place, how often the slot was used (the generation), the
 * client that owns it, and the state, so that a change of state is one compare-and-exchange which
 * fails when the slot means another commit by now. Whoever speaks of a commit names slot and word.
 *
 *   FREE → CLAIMED → PREPARING → DECIDING → COMMITTED → FREE
 *                        ↓           ↓  ↓
 *                     ABORTED ←──────┘  UNKNOWN
 *                        ↓ (the decision could not be logged)
 *                      FREE
 *
 * UNKNOWN: a failed write leaves open whether the decision is in the log. No shard applies or drops the
 * commit until the log is read again: at the next open of the database, the slot ends with this one.
 *
 * Who moves it: the owner claims, fills in, and makes it PREPARING. Anybody may abort it while it is
 * PREPARING: a shard that refuses, a write that wounds it, the owner, the coordinator. The
 * coordinator decides, or a client to which it has lent its log (lent-log.ts). Who takes the last bit out of `unapplied` frees it.
 *
 * Invariants:
 * 1. The number S of a commit is allocated while `decidingMin` says so (control-block.ts), then the
 *    slot's sequence is stored, then it becomes DECIDING. So: load the last sequence number, then
 *    `decidingMin`, then the words; S is at or below the last number only if one of them tells.
 * 2. A commit is *unreleased* while it is DECIDING or COMMITTED. It becomes FREE in one step, and is
 *    from then on seen whole, by everybody: latest reads hide unreleased commits (`isUnreleased`),
 *    snapshots are taken below them.
 * 3. A participant takes its own bit out of a mask once. Bits of others are touched for those that
 *    are known to be dead or never to have heard of the commit.
 * 4. A slot that is FREE has no bit in any mask.
 */

import { isWeakened } from '../faults.js';
import { LentLog } from './lent-log.js';

export const TRANSACTION_SLOTS = 256;

export const TRANSACTION_FREE = 0;
export const TRANSACTION_CLAIMED = 1;
export const TRANSACTION_PREPARING = 2;
export const TRANSACTION_DECIDING = 3;
export const TRANSACTION_COMMITTED = 4;
export const TRANSACTION_ABORTED = 5;
export const TRANSACTION_UNKNOWN = 6;

/** Why a commit was aborted. */
export const ABORT_UNKNOWN = 0;
/** A key that was read or is written has a newer version than the snapshot's. */
export const ABORT_NEWER = 1;
/** Another commit that is under way has the key. */
export const ABORT_LOCKED = 2;
/** Somebody wrote into a range that was read. */
export const ABORT_RANGE = 3;
/** A plain write took a key of it before the decision. */
export const ABORT_WOUNDED = 4;
/** Its client, or a participant, is gone, or takes no writes. */
export const ABORT_UNAVAILABLE = 5;
/** The decision could not be written. */
export const ABORT_LOG = 6;
/** A participant hangs, or nobody decides (commit-watch.ts). */
export const ABORT_TIMEOUT = 7;

const STATE_MASK = 7;
const OWNER_SHIFT = 3;
const OWNER_MASK = 63;
export const OWNERS_MAX = OWNER_MASK + 1;
const GENERATION_SHIFT = 9;

/** The head: lines of their own for what different threads write. */
const READY = 0;
const READY_WORDS = TRANSACTION_SLOTS / 32;
const DOORBELL = 64;
const SLEEPING = 68;
const HIGH_WATER = 128;
const MAIL = 72;
const RETAINED = 132;
const DOUBTED = 136;
const NEXT_ID = 256;
const COUNTERS = 320;
const LENT_LOG = 384;
const HEAD_BYTES = 512;

/** Words close together: who computes the stable sequence looks through them. */
const WORDS = HEAD_BYTES;
const SLOTS = WORDS + TRANSACTION_SLOTS * 4;
const SLOT_BYTES = 64;
const SLOT_ID = 0;
const SLOT_SEQUENCE = 8;
const SLOT_PARTICIPANTS = 16;
const SLOT_UNPREPARED = 24;
const SLOT_UNAPPLIED = 32;
/** 1: the owner waits on its thread for the decision. */
const SLOT_AWAITED = 40;
const SLOT_REASON = 44;
const SLOT_TIMESTAMP = 48;

const COUNT_COMMITTED = 0;
const COUNT_IN_DOUBT = 2;
const COUNT_ABORTED = 3;

/** Ids that a client takes at once. */
const IDS_PER_GRANT = 1024;
/** Each open of a database has this many: ids are never used twice. */
export const IDS_PER_OPEN = 2 ** 32;

export interface TransactionCounts {
  /** Commits over several shards. */
  readonly committed: number;
  /** By reason: see ABORT_*. */
  readonly aborted: {
    readonly newer: number;
    readonly locked: number;
    readonly range: number;
    readonly wounded: number;
    readonly unavailable: number;
    readonly log: number;
    readonly timeout: number;
  };
  readonly wounded: number;
  /** Found prepared and undecided in a log, at an open or after the death of a shard's worker. */
  readonly inDoubt: number;
  readonly preparing: number;
  /** Decided, not yet visible. */
  readonly unreleased: number;
  /** Whether they are decided is found out at the next open: their decisions could not be written. */
  readonly unknown: number;
}

export class TransactionTable {
  static readonly BYTES = SLOTS + TRANSACTION_SLOTS * SLOT_BYTES;
  readonly lentLog: LentLog;
  readonly #i32: Int32Array;
  readonly #f64: Float64Array;
  readonly #i64: BigInt64Array;
  /** Byte offset of the table. */
  readonly #base: number;

  constructor(buffer: SharedArrayBuffer, base: number) {
    this.#i32 = new Int32Array(buffer);
    this.#f64 = new Float64Array(buffer);
    this.#i64 = new BigInt64Array(buffer);
    this.#base = base;
    this.lentLog = new LentLog(buffer, base + LENT_LOG);
  }

  // ---- words ------------------------------------------------------------------------

  /** Slots below this have been in use. */
  get highWater(): number {
    return Atomics.load(this.#i32, (this.#base + HIGH_WATER) >>> 2);
  }

  word(slot: number): number {
    return Atomics.load(this.#i32, this.#wordAt(slot));
  }

  id(slot: number): number {
    return this.#f64[this.#slotAt(slot, SLOT_ID) >>> 3] as number;
  }

  sequence(slot: number): number {
    return this.#f64[this.#slotAt(slot, SLOT_SEQUENCE) >>> 3] as number;
  }

  participants(slot: number): bigint {
    const at = this.#slotAt(slot, SLOT_PARTICIPANTS) >>> 2;
    const low = BigInt((this.#i32[at] as number) >>> 0);
    return low | (BigInt((this.#i32[at + 1] as number) >>> 0) << 32n);
  }

  timestampUs(slot: number): number {
    return this.#f64[this.#slotAt(slot, SLOT_TIMESTAMP) >>> 3] as number;
  }

  takesPart(slot: number, shard: number): boolean {
    const at = (this.#slotAt(slot, SLOT_PARTICIPANTS) >>> 2) + (shard >>> 5);
    return ((this.#i32[at] as number) & (1 << (shard & 31))) !== 0;
  }

  reason(slot: number): number {
    return Atomics.load(this.#i32, this.#slotAt(slot, SLOT_REASON) >>> 2);
  }

  // ---- the owner --------------------------------------------------------------------

  /** Transaction ids that nobody else gets: from `first` up to, not including, `end`. */
  grantIds(): { readonly first: number; readonly end: number } {
    const at = (this.#base + NEXT_ID) >>> 3;
    const first = Number(Atomics.add(this.#i64, at, BigInt(IDS_PER_GRANT)));
    return { first, end: first + IDS_PER_GRANT };
  }

  /** A free slot, from now on CLAIMED by the client; -1 when there is none. */
  claim(client: number): number {
    for (let slot = 0; slot < TRANSACTION_SLOTS; slot++) {
      const at = this.#wordAt(slot);
      const word = Atomics.load(this.#i32, at);
      if ((word & STATE_MASK) !== TRANSACTION_FREE) continue;
      const generation = (word >>> GENERATION_SHIFT) + 1;
      const claimed =
        (generation << GENERATION_SHIFT) | (client << OWNER_SHIFT) | TRANSACTION_CLAIMED;
      if (Atomics.compareExchange(this.#i32, at, word, claimed) !== word) continue;
      this.#raiseHighWater(slot + 1);
      return slot;
    }
    return -1;
  }

  /** Fills a claimed slot in: from now on it is PREPARING. Returns its word. */
  begin(slot: number, id: number, low: number, high: number): number {
    const words = this.#i32;
    const base = this.#slotAt(slot, 0) >>> 2;
    this.#f64[this.#slotAt(slot, SLOT_ID) >>> 3] = id;
    words[base + (SLOT_PARTICIPANTS >>> 2)] = low;
    words[base + (SLOT_PARTICIPANTS >>> 2) + 1] = high;
    words[base + (SLOT_UNPREPARED >>> 2)] = low;
    words[base + (SLOT_UNPREPARED >>> 2) + 1] = high;
    words[base + (SLOT_UNAPPLIED >>> 2)] = low;
    words[base + (SLOT_UNAPPLIED >>> 2) + 1] = high;
    words[base + (SLOT_AWAITED >>> 2)] = 0;
    words[base + (SLOT_REASON >>> 2)] = ABORT_UNKNOWN;
    const at = this.#wordAt(slot);
    const word = ((words[at] as number) & ~STATE_MASK) | TRANSACTION_PREPARING;
    Atomics.store(words, at, word);
    return word;
  }

  /**
   * The owner holds all participants and waits for the decision on its thread: from now on it is told,
   * in place of the shards, until `stopAwaiting`.
   */
  startAwaiting(slot: number): void {
    Atomics.store(this.#i32, this.#slotAt(slot, SLOT_AWAITED) >>> 2, 1);
  }

  /** Whoever changes the slot from here on rings the shards; what was changed before stands in the word. */
  stopAwaiting(slot: number): void {
    Atomics.store(this.#i32, this.#slotAt(slot, SLOT_AWAITED) >>> 2, 0);
  }

  /** Blocks the owner's thread while the slot's word is `word`, for so long at most. */
  awaitChange(slot: number, word: number, timeoutMs: number): void {
    Atomics.wait(this.#i32, this.#wordAt(slot), word, timeoutMs);
  }

  /** Tells an owner that waits on its thread. False: none does, the shards are to be told. */
  tellOwner(slot: number): boolean {
    if (Atomics.load(this.#i32, this.#slotAt(slot, SLOT_AWAITED) >>> 2) === 0) return false;
    Atomics.notify(this.#i32, this.#wordAt(slot));
    return true;
  }

  // ---- changes of state -------------------------------------------------------------

  /** Aborts what is PREPARING under `word`. False: it is not any more, or it is another. */
  abort(slot: number, word: number, reason: number): boolean {
    const preparing = withState(word, TRANSACTION_PREPARING);
    if (this.word(slot) !== preparing) return false;
    // Before it is aborted: whoever sees that finds a reason. Of several at a time, any will do.
    Atomics.store(this.#i32, this.#slotAt(slot, SLOT_REASON) >>> 2, reason);
    if (!this.#move(slot, preparing, TRANSACTION_ABORTED)) return false;
    this.#count(COUNT_ABORTED + reason);
    return true;
  }

  /** The coordinator: the number and the time of the commit that is PREPARING. */
  setSequence(slot: number, sequence: number, timestampUs: number): void {
    this.#f64[this.#slotAt(slot, SLOT_SEQUENCE) >>> 3] = sequence;
    this.#f64[this.#slotAt(slot, SLOT_TIMESTAMP) >>> 3] = timestampUs;
  }

  /** The coordinator: PREPARING becomes DECIDING. False: it was aborted. */
  decide(slot: number, word: number): boolean {
    return this.#move(slot, withState(word, TRANSACTION_PREPARING), TRANSACTION_DECIDING);
  }

  /** The coordinator: the decision is in the log. */
  commit(slot: number, word: number): void {
    this.#move(slot, withState(word, TRANSACTION_DECIDING), TRANSACTION_COMMITTED);
    this.#count(COUNT_COMMITTED);
  }

  /** The coordinator: the decision is not in the log, and never will be. */
  revoke(slot: number, word: number): void {
    Atomics.store(this.#i32, this.#slotAt(slot, SLOT_REASON) >>> 2, ABORT_LOG);
    if (!this.#move(slot, withState(word, TRANSACTION_DECIDING), TRANSACTION_ABORTED)) return;
    this.#count(COUNT_ABORTED + ABORT_LOG);
  }

  /** The coordinator: nobody knows whether the decision is in the log. No other is forgotten. */
  doubt(slot: number, word: number): void {
    this.retainDecisions();
    Atomics.store(this.#i32, (this.#base + DOUBTED) >>> 2, 1);
    this.#move(slot, withState(word, TRANSACTION_DECIDING), TRANSACTION_UNKNOWN);
  }

  /** Whether some commit is UNKNOWN: nothing may be decided after it. */
  get areOutcomesUnknown(): boolean {
    return Atomics.load(this.#i32, (this.#base + DOUBTED) >>> 2) !== 0;
  }

  // ---- participants -----------------------------------------------------------------

  /** The shard has prepared. True when every participant has: the coordinator is to be rung. */
  prepared(slot: number, shard: number): boolean {
    if (!this.#takeBit(slot, SLOT_UNPREPARED, shard)) return false;
    this.markReady(slot);
    return true;
  }

  /** All participants have prepared, and the caller decides: nobody is to be rung. */
  preparedByAll(slot: number): void {
    const at = this.#slotAt(slot, SLOT_UNPREPARED) >>> 2;
    Atomics.store(this.#i32, at, 0);
    Atomics.store(this.#i32, at + 1, 0);
  }

  /** The coordinator is to look at the slot. */
  markReady(slot: number): void {
    Atomics.or(this.#i32, ((this.#base + READY) >>> 2) + (slot >>> 5), 1 << (slot & 31));
  }

  isPrepared(slot: number): boolean {
    return this.#isEmpty(slot, SLOT_UNPREPARED);
  }

  /** Whether the shard has yet to apply, or to drop, the commit that `word` speaks of. */
  concerns(slot: number, word: number, shard: number): boolean {
    if (((this.word(slot) ^ word) & ~STATE_MASK) !== 0) return false;
    const at = (this.#slotAt(slot, SLOT_UNAPPLIED) >>> 2) + (shard >>> 5);
    return (Atomics.load(this.#i32, at) & (1 << (shard & 31))) !== 0;
  }

  /** Whether the shard has yet to apply, or to drop, the commit in the slot. */
  unapplied(slot: number, shard: number): boolean {
    const at = (this.#slotAt(slot, SLOT_UNAPPLIED) >>> 2) + (shard >>> 5);
    return (Atomics.load(this.#i32, at) & (1 << (shard & 31))) !== 0;
  }

  /** Whether the shard has yet to vote. */
  unprepared(slot: number, shard: number): boolean {
    const at = (this.#slotAt(slot, SLOT_UNPREPARED) >>> 2) + (shard >>> 5);
    return (Atomics.load(this.#i32, at) & (1 << (shard & 31))) !== 0;
  }

  /**
   * The shard has applied the commit, or dropped the aborted one. True when that made the slot free,
   * and so the commit visible: those who wait are to be told. May be repeated: whoever took the last
   * bit may have died before it freed the slot.
   */
  letGo(slot: number, word: number, shard: number): boolean {
    if (!isSameCommit(this.word(slot), word)) return false;
    const isLast = this.unapplied(slot, shard)
      ? this.#takeBit(slot, SLOT_UNAPPLIED, shard)
      : this.#isEmpty(slot, SLOT_UNAPPLIED);
    return isLast && this.#free(slot, word);
  }

  /** Frees a slot that its owner claimed and never filled in: the owner is dead. */
  unclaim(slot: number, word: number): boolean {
    return this.#move(slot, withState(word, TRANSACTION_CLAIMED), TRANSACTION_FREE);
  }

  /** Both of two that let go at the same time may come here: the word lets one through. */
  #free(slot: number, word: number): boolean {
    return (
      this.#move(slot, withState(word, TRANSACTION_COMMITTED), TRANSACTION_FREE) ||
      this.#move(slot, withState(word, TRANSACTION_ABORTED), TRANSACTION_FREE)
    );
  }

  // ---- reads ------------------------------------------------------------------------

  /** The lowest sequence number that is decided and unreleased, but not above `highest`. */
  unreleasedMin(highest: number): number | undefined {
    if (isWeakened('release-early')) return undefined;
    let min: number | undefined;
    const { highWater } = this;
    for (let slot = 0; slot < highWater; slot++) {
      const state = Atomics.load(this.#i32, this.#wordAt(slot)) & STATE_MASK;
      if (state !== TRANSACTION_DECIDING && state !== TRANSACTION_COMMITTED) continue;
      const sequence = this.sequence(slot);
      if (sequence <= highest && (min === undefined || sequence < min)) min = sequence;
    }
    return min;
  }

  /** Whether `sequence` is that of a commit which nobody may see yet. */
  isUnreleased(sequence: number): boolean {
    if (isWeakened('release-early')) return false;
    const { highWater } = this;
    for (let slot = 0; slot < highWater; slot++) {
      const word = Atomics.load(this.#i32, this.#wordAt(slot));
      const state = word & STATE_MASK;
      if (state !== TRANSACTION_DECIDING && state !== TRANSACTION_COMMITTED) continue;
      if (this.sequence(slot) !== sequence) continue;
      // It may have been freed, and used again, between the two looks.
      if (Atomics.load(this.#i32, this.#wordAt(slot)) === word) return true;
    }
    return false;
  }

  /** Whether some decided commit is not visible for want of that shard. */
  isUnreleasedAt(shard: number): boolean {
    const { highWater } = this;
    for (let slot = 0; slot < highWater; slot++) {
      const state = stateOf(this.word(slot));
      if (state !== TRANSACTION_DECIDING && state !== TRANSACTION_COMMITTED) continue;
      if (this.unapplied(slot, shard)) return true;
    }
    return false;
  }

  /** The number of the commit that `word` speaks of if it is COMMITTED now; else 0. */
  committedSequence(slot: number, word: number): number {
    const committed = withState(word, TRANSACTION_COMMITTED);
    if (this.word(slot) !== committed) return 0;
    const sequence = this.sequence(slot);
    return this.word(slot) === committed ? sequence : 0;
  }

  // ---- the coordinator --------------------------------------------------------------

  /** The coordinator: ids start here. */
  raiseIds(first: number): void {
    const at = (this.#base + NEXT_ID) >>> 3;
    const wanted = BigInt(first);
    for (;;) {
      const current = Atomics.load(this.#i64, at);
      if (current >= wanted) return;
      if (Atomics.compareExchange(this.#i64, at, current, wanted) === current) return;
    }
  }

  /** Takes the slots that were marked as ready. */
  takeReady(slots: number[]): void {
    slots.length = 0;
    const at = (this.#base + READY) >>> 2;
    for (let word = 0; word < READY_WORDS; word++) {
      if (Atomics.load(this.#i32, at + word) === 0) continue;
      let bits = Atomics.exchange(this.#i32, at + word, 0);
      for (; bits !== 0; bits &= bits - 1) slots.push(word * 32 + 31 - Math.clz32(bits & -bits));
    }
  }

  get hasReady(): boolean {
    const at = (this.#base + READY) >>> 2;
    for (let word = 0; word < READY_WORDS; word++) {
      if (Atomics.load(this.#i32, at + word) !== 0) return true;
    }
    return false;
  }

  /** Wakes the coordinator. What it is to see must be stored before. */
  ring(): void {
    const at = (this.#base + DOORBELL) >>> 2;
    Atomics.add(this.#i32, at, 1);
    if (Atomics.load(this.#i32, at + 1) !== 0) Atomics.notify(this.#i32, at);
  }

  /** A message was posted to the coordinator: makes it visit its event loop. */
  announceMessage(): void {
    Atomics.store(this.#i32, (this.#base + MAIL) >>> 2, 1);
    this.ring();
  }

  /** Whether a message was posted to the coordinator since the last call. */
  takeAnnouncement(): boolean {
    const at = (this.#base + MAIL) >>> 2;
    if (Atomics.load(this.#i32, at) === 0) return false;
    Atomics.store(this.#i32, at, 0);
    return true;
  }

  /** The coordinator's side of its doorbell; the word behind it says that it sleeps. */
  get doorbell(): { readonly words: Int32Array; readonly at: number; readonly sleeping: number } {
    const at = (this.#base + DOORBELL) >>> 2;
    return { words: this.#i32, at, sleeping: at + ((SLEEPING - DOORBELL) >>> 2) };
  }

  /** From now on no decision is forgotten: some log could not note that it has applied one. */
  retainDecisions(): void {
    Atomics.store(this.#i32, (this.#base + RETAINED) >>> 2, 1);
  }

  get areDecisionsRetained(): boolean {
    return Atomics.load(this.#i32, (this.#base + RETAINED) >>> 2) !== 0;
  }

  // ---- statistics -------------------------------------------------------------------

  countInDoubt(): void {
    this.#count(COUNT_IN_DOUBT);
  }

  counts(): TransactionCounts {
    const counter = (which: number): number =>
      Atomics.load(this.#i32, ((this.#base + COUNTERS) >>> 2) + which) >>> 0;
    let preparing = 0;
    let unreleased = 0;
    let unknown = 0;
    for (let slot = 0; slot < this.highWater; slot++) {
      const state = stateOf(this.word(slot));
      if (state === TRANSACTION_PREPARING) preparing++;
      if (state === TRANSACTION_DECIDING || state === TRANSACTION_COMMITTED) unreleased++;
      if (state === TRANSACTION_UNKNOWN) unknown++;
    }
    return {
      committed: counter(COUNT_COMMITTED),
      aborted: {
        newer: counter(COUNT_ABORTED + ABORT_NEWER),
        locked: counter(COUNT_ABORTED + ABORT_LOCKED),
        range: counter(COUNT_ABORTED + ABORT_RANGE),
        wounded: counter(COUNT_ABORTED + ABORT_WOUNDED),
        unavailable: counter(COUNT_ABORTED + ABORT_UNAVAILABLE),
        log: counter(COUNT_ABORTED + ABORT_LOG),
        timeout: counter(COUNT_ABORTED + ABORT_TIMEOUT),
      },
      wounded: counter(COUNT_ABORTED + ABORT_WOUNDED),
      inDoubt: counter(COUNT_IN_DOUBT),
      preparing,
      unreleased,
      unknown,
    };
  }

  #count(which: number): void {
    Atomics.add(this.#i32, ((this.#base + COUNTERS) >>> 2) + which, 1);
  }

  // ---- places -----------------------------------------------------------------------

  #move(slot: number, from: number, state: number): boolean {
    const to = state === TRANSACTION_FREE ? from & ~(OWNER_MASK << OWNER_SHIFT) : from;
    const at = this.#wordAt(slot);
    return Atomics.compareExchange(this.#i32, at, from, withState(to, state)) === from;
  }

  /** True when no bit is left. Others may see that, too. */
  #takeBit(slot: number, mask: number, shard: number): boolean {
    const at = (this.#slotAt(slot, mask) >>> 2) + (shard >>> 5);
    Atomics.and(this.#i32, at, ~(1 << (shard & 31)));
    return this.#isEmpty(slot, mask);
  }

  #isEmpty(slot: number, mask: number): boolean {
    const at = this.#slotAt(slot, mask) >>> 2;
    return Atomics.load(this.#i32, at) === 0 && Atomics.load(this.#i32, at + 1) === 0;
  }

  #raiseHighWater(slots: number): void {
    const at = (this.#base + HIGH_WATER) >>> 2;
    for (;;) {
      const current = Atomics.load(this.#i32, at);
      if (current >= slots) return;
      if (Atomics.compareExchange(this.#i32, at, current, slots) === current) return;
    }
  }

  #wordAt(slot: number): number {
    return ((this.#base + WORDS) >>> 2) + slot;
  }

  #slotAt(slot: number, field: number): number {
    return this.#base + SLOTS + slot * SLOT_BYTES + field;
  }
}

export function stateOf(word: number): number {
  return word & STATE_MASK;
}

export function ownerOf(word: number): number {
  return (word >>> OWNER_SHIFT) & OWNER_MASK;
}

/** Whether two words speak of the same commit, in whatever state. */
export function isSameCommit(left: number, right: number): boolean {
  return ((left ^ right) & ~STATE_MASK) === 0;
}

function withState(word: number, state: number): number {
  return (word & ~STATE_MASK) | state;
}
