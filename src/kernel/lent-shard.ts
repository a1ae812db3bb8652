/**
 * What goes along with a shard that is lent: where its log and its memtable stand, and what has been
 * committed since. Whoever has the latch (shard-latch.ts) reads and writes it; what they do is in
 * shard/lending.ts and router/direct-commit.ts.
 *
 * A group passes through these phases while a client commits it:
 *
 *   NOTHING   none is under way
 *   WRITING   it has sequence numbers, or gets them; any part of it may be in the log from `at` on
 *   WRITTEN   all of it stands in the log at `at`, and in the WAL buffer; any part of it may be in the
 *             memtable
 *
 * The part of a commit over several shards has two more:
 *
 *   PREPARED  its PREPARE stands in the log, its operations in the WAL buffer; when the transaction table
 *             says that it is COMMITTED, any part of it may be in the memtable
 *   APPLIED   all of it is, and H_UNSETTLED hides it; the shard may have let go of it, or not
 *
 * A group that stops in WRITING never was: the log is cut back to `at`. One that stops in WRITTEN is
 * applied once more from the WAL buffer, which changes nothing where it had been applied
 * (memtable-node.ts); it may be counted twice.
 */
import {
  ARENA_END,
  ARENA_TOP,
  H_LENT_ARENA,
  H_LENT_AT,
  H_LENT_BYTES,
  H_LENT_CLIENT,
  H_LENT_COMMITS,
  H_LENT_DURABLE_BYTES,
  H_LENT_EPOCH,
  H_LENT_ERRNO,
  H_LENT_FAILURE,
  H_LENT_GROUPS,
  H_LENT_ID,
  H_LENT_OPERATIONS,
  H_LENT_OPS,
  H_LENT_OPS_BYTES,
  H_LENT_OPS_MAX,
  H_LENT_PHASE,
  H_LENT_RECORD_ID,
  H_LENT_RECORD_SEQUENCE,
  H_LENT_RECORD_TIMESTAMP,
  H_LENT_REQUEST,
  H_LENT_RESERVE,
  H_LENT_SEGMENT,
  H_LENT_SEQUENCE,
  H_LENT_SLOT,
  H_LENT_TIMESTAMP,
  H_LENT_WORD,
  LENT_ERRNO_BYTES,
} from './assembly/layout.js';
import type { Kernel } from './kernel.js';

export const LENT_NOTHING = 0;
export const LENT_WRITING = 1;
export const LENT_WRITTEN = 2;
export const LENT_PREPARED = 3;
export const LENT_APPLIED = 4;

/** A write failed: `ROLL`, the file may not grow any more; `POISON`, what is on the medium is unknown. */
export const LENT_FAILED_ROLL = 1;
export const LENT_FAILED_POISON = 2;

/** What the worker says when it lends the shard. */
export interface LentTerms {
  readonly segment: number;
  readonly bytes: number;
  readonly durableBytes: number;
  readonly arena: number;
  /** Bytes of the arena that stay free. */
  readonly reserveBytes: number;
  /** Most operations of a group. */
  readonly opsMax: number;
}

/** A group that a client committed, or somebody in its place. */
export interface LentGroup {
  readonly commits: number;
  readonly operations: number;
  readonly bytes: number;
  readonly lastSequence: number;
  readonly timestampUs: number;
  readonly epoch: number;
}

/** The part of a commit over several shards that was written under PREPARE. */
export interface LentPrepare {
  readonly slot: number;
  /** The slot's word when it was PREPARING. */
  readonly word: number;
  readonly id: number;
  /** Its operations, in the shard's memory. */
  readonly address: number;
  readonly bytes: number;
}

/** Who is told of it by the worker. */
export interface LentCaller {
  readonly client: number;
  readonly requestId: number;
}

/** A commit over several shards that is applied, and of which the log says nothing yet. */
export interface LentRecord {
  readonly id: number;
  readonly sequence: number;
  readonly timestampUs: number;
}

export class LentShard {
  readonly #i32: Int32Array;
  readonly #u32: Uint32Array;
  readonly #f64: Float64Array;
  readonly #bytes: Buffer;

  constructor(kernel: Kernel) {
    this.#i32 = kernel.i32;
    this.#u32 = kernel.u32;
    this.#f64 = kernel.f64;
    this.#bytes = kernel.bytes;
  }

  /** Nothing has been committed yet under these terms. */
  begin(terms: LentTerms): void {
    const { segment, bytes, durableBytes, arena, reserveBytes, opsMax } = terms;
    this.#f64[H_LENT_SEGMENT >>> 3] = segment;
    this.#f64[H_LENT_BYTES >>> 3] = bytes;
    this.#f64[H_LENT_DURABLE_BYTES >>> 3] = durableBytes;
    this.#u32[H_LENT_ARENA >>> 2] = arena;
    this.#u32[H_LENT_RESERVE >>> 2] = reserveBytes;
    this.#u32[H_LENT_OPS_MAX >>> 2] = opsMax;
    this.#f64[H_LENT_GROUPS >>> 3] = 0;
    this.#f64[H_LENT_COMMITS >>> 3] = 0;
    this.#f64[H_LENT_OPERATIONS >>> 3] = 0;
    this.#i32[H_LENT_FAILURE >>> 2] = 0;
    this.#f64[H_LENT_RECORD_SEQUENCE >>> 3] = 0;
  }

  get segment(): number {
    return this.#f64[H_LENT_SEGMENT >>> 3] as number;
  }

  /** Where the next group goes in the segment. */
  get bytes(): number {
    return this.#f64[H_LENT_BYTES >>> 3] as number;
  }

  get durableBytes(): number {
    return this.#f64[H_LENT_DURABLE_BYTES >>> 3] as number;
  }

  get arena(): number {
    return this.#u32[H_LENT_ARENA >>> 2] as number;
  }

  get opsMax(): number {
    return this.#u32[H_LENT_OPS_MAX >>> 2] as number;
  }

  /** Bytes of the arena that may be used; below 0: none. */
  get roomBytes(): number {
    const { arena } = this;
    const top = this.#u32[(arena + ARENA_TOP) >>> 2] as number;
    const end = this.#u32[(arena + ARENA_END) >>> 2] as number;
    return end - top - (this.#u32[H_LENT_RESERVE >>> 2] as number);
  }

  get groups(): number {
    return this.#f64[H_LENT_GROUPS >>> 3] as number;
  }

  get commits(): number {
    return this.#f64[H_LENT_COMMITS >>> 3] as number;
  }

  get operations(): number {
    return this.#f64[H_LENT_OPERATIONS >>> 3] as number;
  }

  /** Of the last group, when there was one. */
  get lastSequence(): number {
    return this.#f64[H_LENT_SEQUENCE >>> 3] as number;
  }

  get lastTimestampUs(): number {
    return this.#f64[H_LENT_TIMESTAMP >>> 3] as number;
  }

  get lastEpoch(): number {
    return this.#f64[H_LENT_EPOCH >>> 3] as number;
  }

  get phase(): number {
    return Atomics.load(this.#i32, H_LENT_PHASE >>> 2);
  }

  setPhase(phase: number): void {
    Atomics.store(this.#i32, H_LENT_PHASE >>> 2, phase);
  }

  /** Where the group goes that is under way. */
  get at(): number {
    return this.#f64[H_LENT_AT >>> 3] as number;
  }

  /** A group that will be written at `bytes` gets its numbers next. */
  beginGroup(): void {
    this.#f64[H_LENT_AT >>> 3] = this.bytes;
    this.setPhase(LENT_WRITING);
  }

  /** The group is applied and visible. */
  endGroup(group: LentGroup): void {
    this.#count(group);
    this.#f64[H_LENT_SEQUENCE >>> 3] = group.lastSequence;
    this.setPhase(LENT_NOTHING);
  }

  #count({
    commits,
    operations,
    bytes,
    timestampUs,
    epoch,
  }: Omit<LentGroup, 'lastSequence'>): void {
    this.#f64[H_LENT_GROUPS >>> 3] = this.groups + 1;
    this.#f64[H_LENT_COMMITS >>> 3] = this.commits + commits;
    this.#f64[H_LENT_OPERATIONS >>> 3] = this.operations + operations;
    this.#f64[H_LENT_TIMESTAMP >>> 3] = timestampUs;
    this.#f64[H_LENT_EPOCH >>> 3] = epoch;
    this.#f64[H_LENT_BYTES >>> 3] = this.at + bytes;
  }

  // ---- commits over several shards ----------------------------------------------------

  /** The PREPARE stands in the log, in a group of that kind, which changes no memtable by itself. */
  setPrepared(
    { slot, word, id, address, bytes }: LentPrepare,
    group: Omit<LentGroup, 'lastSequence'>,
  ): void {
    this.#i32[H_LENT_SLOT >>> 2] = slot;
    this.#i32[H_LENT_WORD >>> 2] = word;
    this.#i32[H_LENT_REQUEST >>> 2] = -1;
    this.#u32[H_LENT_OPS >>> 2] = address;
    this.#u32[H_LENT_OPS_BYTES >>> 2] = bytes;
    this.#f64[H_LENT_ID >>> 3] = id;
    this.#count(group);
    this.setPhase(LENT_PREPARED);
    // A COMMIT record that was missing is in the same group. After the phase: rather twice than never.
    this.#f64[H_LENT_RECORD_SEQUENCE >>> 3] = 0;
  }

  get prepare(): LentPrepare {
    return {
      slot: this.#i32[H_LENT_SLOT >>> 2] as number,
      word: this.#i32[H_LENT_WORD >>> 2] as number,
      id: this.#f64[H_LENT_ID >>> 3] as number,
      address: this.#u32[H_LENT_OPS >>> 2] as number,
      bytes: this.#u32[H_LENT_OPS_BYTES >>> 2] as number,
    };
  }

  /** The worker is to see the commit through, and to answer that request. */
  handOver({ client, requestId }: LentCaller): void {
    this.#i32[H_LENT_CLIENT >>> 2] = client;
    this.#i32[H_LENT_REQUEST >>> 2] = requestId;
  }

  get caller(): LentCaller | undefined {
    const requestId = this.#i32[H_LENT_REQUEST >>> 2] as number;
    if (requestId < 0) return undefined;
    return { client: this.#i32[H_LENT_CLIENT >>> 2] as number, requestId };
  }

  /** What was prepared is in the memtable, under that number. */
  setApplied({ id, sequence, timestampUs }: LentRecord): void {
    this.#f64[H_LENT_RECORD_ID >>> 3] = id;
    this.#f64[H_LENT_RECORD_TIMESTAMP >>> 3] = timestampUs;
    this.#f64[H_LENT_RECORD_SEQUENCE >>> 3] = sequence;
    this.#f64[H_LENT_SEQUENCE >>> 3] = sequence;
    this.setPhase(LENT_APPLIED);
  }

  /** The commit whose COMMIT record is still to be written. */
  get record(): LentRecord | undefined {
    const sequence = this.#f64[H_LENT_RECORD_SEQUENCE >>> 3] as number;
    if (sequence === 0) return undefined;
    return {
      id: this.#f64[H_LENT_RECORD_ID >>> 3] as number,
      sequence,
      timestampUs: this.#f64[H_LENT_RECORD_TIMESTAMP >>> 3] as number,
    };
  }

  // ---- failures -----------------------------------------------------------------------

  /** What the worker has to do about a write that failed; 0: nothing. */
  get failure(): number {
    return this.#i32[H_LENT_FAILURE >>> 2] as number;
  }

  /** The system's code of the error. */
  get errno(): string {
    return (
      this.#bytes
        .toString('latin1', H_LENT_ERRNO, H_LENT_ERRNO + LENT_ERRNO_BYTES)
        .split('\0')[0] ?? ''
    );
  }

  fail(failure: number, errno: string): void {
    this.#bytes.fill(0, H_LENT_ERRNO, H_LENT_ERRNO + LENT_ERRNO_BYTES);
    this.#bytes.write(errno, H_LENT_ERRNO, LENT_ERRNO_BYTES - 1, 'latin1');
    this.#i32[H_LENT_FAILURE >>> 2] = failure;
  }
}
