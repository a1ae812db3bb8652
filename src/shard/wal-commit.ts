/**
 * From gathered commits to applied ones: sequence numbers, the log, the memtable, visibility.
 *
 * Order, for every group: numbers are taken (pending from here on) → the group is written, and
 * synced when asked → applied to the memtable → visible → no longer pending → acknowledged. A write
 * that fails applies nothing. A write that fails for want of room is cut back and may be repeated;
 * any other failure makes the shard read-only, since what is on the medium is then unknown.
 *
 * Applying can stop in the middle when all memtables are full and wait for their flush: the state
 * stays in `#applying`, and `advance` goes on.
 */
import { assert } from '../assert.js';
import { NoSpaceError, ReadOnlyError } from '../errors.js';
import { isFaultDue, strike } from '../faults.js';
import { H_WAL_BASE, OP_PUT_BLOB } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { LentShard } from '../kernel/lent-shard.js';
import { OperationReader } from '../protocol/operations.js';
import type { ControlBlock } from '../router/control-block.js';
import {
  COMMIT_ABORT,
  COMMIT_BODY_BYTES,
  COMMIT_COMMIT,
  COMMIT_PLAIN,
  COMMIT_PREPARE,
  GROUP_FLAG_CONTINUES,
} from '../wal/segment-format.js';
import type { Wal } from '../wal/wal.js';
import type { Memtables } from './memtables.js';
import type { PreparedCommit } from './prepared-commit.js';
import type { Clock } from './shard-options.js';
import type { Staging } from './staging.js';
import type { ResolvedCommit } from './wal-replay.js';

/** As the client of a commit: nobody is told. */
export const NOBODY = 0xffffffff;

export interface WalCommitOptions {
  readonly shard: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly clock: Clock;
  readonly memtables: Memtables;
  readonly staging: Staging;
  /** Which groups are synced before they are applied: all, those that ask for it, or none. */
  readonly syncGroups: 'all' | 'asked' | 'none';
  /** Puts an empty memtable in the place of the full one; false when no arena is free. */
  readonly switchMemtable: () => boolean;
  /** Goes on in another segment. */
  readonly rollLog: () => void;
}

/** A commit that is too large for one group, or was put together by the shard itself. */
export interface LargeCommit {
  readonly operations: Uint8Array;
  readonly isSync: boolean;
  /** Blob files that the operations refer to. */
  readonly blobs: readonly number[];
}

/** What a memtable is told about the commits that enter it. */
interface Noted {
  readonly segment: number;
  readonly timestampUs: number;
  readonly blobs: readonly number[];
}

/** The part of a large commit's operations that is staged now. */
interface Pieces {
  pieceStart: number;
  pieceEnd: number;
}

/** Written, and being applied. */
interface Applying extends Noted, Pieces {
  /** Of the group; those of other commits are below it, or above `lastSequence`. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly segment: number;
  /** What is still to be staged, for a large commit; a group is in the WAL buffer already. */
  readonly operations: Uint8Array | undefined;
  readonly blobs: readonly number[];
  readonly timestampUs: number;
  readonly epoch: number;
  /** Whether it has anything for the memtable; records about other shards' commits have not. */
  readonly isPlain: boolean;
  isBegun: boolean;
}

/** `written`: not applied yet, call `advance`. */
export type WriteOutcome =
  | { readonly kind: 'written' }
  | { readonly kind: 'refused'; readonly error: unknown };

export class WalCommit {
  readonly #options: WalCommitOptions;
  #wal: Wal | undefined;
  #applying: Applying | undefined;
  #poison: unknown;
  groups = 0;
  /** Those of them that clients committed themselves. */
  lentGroups = 0;
  commits = 0;
  operations = 0;
  bytesWritten = 0;
  #lastSequence = 0;

  constructor(options: WalCommitOptions) {
    this.#options = options;
  }

  /** Recovery has a segment to write to. */
  openLog(wal: Wal, lastSequence: number): void {
    this.#wal = wal;
    this.#lastSequence = lastSequence;
  }

  get wal(): Wal | undefined {
    return this.#wal;
  }

  /** Highest sequence number that is applied. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  get isApplying(): boolean {
    return this.#applying !== undefined;
  }

  /**
   * Commits below this number may be applied now. All, when none is under way; when one is written
   * and not begun, those that come before it; none, once it is begun.
   */
  get appliesBelow(): number {
    if (this.#applying === undefined) return Number.POSITIVE_INFINITY;
    const { isBegun, isPlain, firstSequence } = this.#applying;
    return isBegun || !isPlain ? 0 : firstSequence;
  }

  /** First segment that the commit under way stands in; undefined when there is none. */
  get applyingSegment(): number | undefined {
    return this.#applying?.segment;
  }

  /** Blob files of the commit under way. */
  get applyingBlobs(): readonly number[] {
    return this.#applying?.blobs ?? [];
  }

  /** Why the log takes no more writes; undefined while it does. */
  get poison(): unknown {
    return this.#poison;
  }

  /**
   * Writes the group that the kernel gathered. The group is whole on disk or refused. `isRecords`: it
   * says about commits only what the coordinator's log says, too, and need not be durable.
   */
  writeGroup(isSync: boolean, blobs: readonly number[], isRecords = false): WriteOutcome {
    if (this.#poison !== undefined) return { kind: 'refused', error: this.#readOnly() };
    const { kernel, control, shard, clock } = this.#options;
    const { exports } = kernel;
    const wal = this.#writable();
    const commits = exports.groupCommits() >>> 0;
    const operations = exports.groupOps() >>> 0;
    const first = control.allocateSequences(shard, commits);
    const timestampUs = control.nextTimestamp(clock.wallMs() * 1000);
    const epoch = control.epoch();
    try {
      this.#writeSealed(wal, first, timestampUs, epoch, 0, !isRecords);
      if (this.#isSynced(isSync) && !isRecords) wal.sync();
    } catch (error) {
      return this.#refuse(error);
    }
    this.groups++;
    this.commits += commits;
    this.operations += operations;
    this.#applying = {
      firstSequence: first,
      lastSequence: first + commits - 1,
      segment: wal.segment,
      operations: undefined,
      blobs,
      timestampUs,
      epoch,
      isPlain: exports.groupControls() >>> 0 < commits,
      isBegun: false,
      pieceStart: 0,
      pieceEnd: 0,
    };
    return { kind: 'written' };
  }

  /** Writes a large commit as a chain of groups, all with one sequence number. */
  writeLarge(commit: LargeCommit): WriteOutcome {
    return this.#writeChain(commit, COMMIT_PLAIN, 0);
  }

  /** Writes the operations of a transaction as a chain of groups; nothing of it is applied. */
  writePrepare(commit: LargeCommit, transactionId: number): WriteOutcome {
    return this.#writeChain(commit, COMMIT_PREPARE, transactionId);
  }

  #writeChain(commit: LargeCommit, kind: number, transactionId: number): WriteOutcome {
    if (this.#poison !== undefined) return { kind: 'refused', error: this.#readOnly() };
    const { control, shard, clock } = this.#options;
    const wal = this.#writable();
    const sequence = control.allocateSequences(shard, 1);
    const timestampUs = control.nextTimestamp(clock.wallMs() * 1000);
    const epoch = control.epoch();
    const start = wal.bytes;
    try {
      for (const piece of this.#pieces(commit.operations)) {
        this.#stage(commit.operations, piece.start, piece.end);
        this.#gatherStaged(piece.end - piece.start, piece.operations, kind, transactionId);
        const isLast = piece.end === commit.operations.length;
        const flags = isLast ? 0 : GROUP_FLAG_CONTINUES;
        this.#writeSealed(wal, sequence, timestampUs, epoch, flags, true);
        this.operations += piece.operations;
      }
      if (this.#isSynced(commit.isSync)) wal.sync();
    } catch (error) {
      if (error instanceof NoSpaceError && !wal.isPoisoned && wal.bytes > start) {
        try {
          wal.cutBack(start);
        } catch (cutError) {
          return this.#refuse(cutError);
        }
      }
      return this.#refuse(error);
    }
    this.groups++;
    this.commits++;
    if (kind !== COMMIT_PLAIN) {
      // Nothing is applied before the decision.
      control.sequencesApplied(shard);
      return { kind: 'written' };
    }
    this.#applying = {
      firstSequence: sequence,
      lastSequence: sequence,
      segment: wal.segment,
      operations: commit.operations,
      blobs: commit.blobs,
      timestampUs,
      epoch,
      isPlain: true,
      isBegun: false,
      pieceStart: 0,
      pieceEnd: 0,
    };
    return { kind: 'written' };
  }

  /**
   * Recovery: writes down, durably, what became of commits that the log left in doubt. Takes no
   * numbers: nothing is committed by it.
   */
  writeOutcomes(resolved: readonly ResolvedCommit[], lastSequence: number): void {
    const { kernel, staging, control, clock } = this.#options;
    const { exports } = kernel;
    const wal = this.#writable();
    const address = staging.operationsAddress;
    for (let at = 0; at < resolved.length; ) {
      exports.groupBegin();
      for (; at < resolved.length; at++) {
        const { id, outcome } = resolved[at] as ResolvedCommit;
        kernel.f64[address >>> 3] = outcome?.sequence ?? 0;
        kernel.f64[(address >>> 3) + 1] = outcome?.timestampUs ?? 0;
        const kind = outcome === undefined ? COMMIT_ABORT : COMMIT_COMMIT;
        const bytes = outcome === undefined ? 0 : COMMIT_BODY_BYTES;
        if (exports.groupAppend(address, bytes, 0, kind, id, NOBODY, 0) !== 0) break;
      }
      const first = Math.max(lastSequence - (exports.groupCommits() >>> 0) + 1, 0);
      const timestampUs = control.nextTimestamp(clock.wallMs() * 1000);
      this.#writeSealed(wal, first, timestampUs, control.epoch(), 0);
    }
    wal.sync();
  }

  /** Goes on applying; true when done and visible, false when it waits for a free memtable. */
  advance(): boolean {
    const applying = this.#applying;
    assert(applying !== undefined, 'there is a commit to apply');
    const { kernel, control, shard, memtables } = this.#options;
    if (applying.isPlain) {
      applying.isBegun = true;
      this.#note(applying, applying.epoch);
      while (this.#applyStep(applying) === 1) {
        if (!memtables.canSwitch || !this.#options.switchMemtable()) return false;
        this.#note(applying, applying.epoch);
      }
      kernel.exports.groupPublish(applying.lastSequence);
    }
    control.sequencesApplied(shard);
    this.#lastSequence = Math.max(this.#lastSequence, applying.lastSequence);
    this.#applying = undefined;
    return true;
  }

  /** What is written is not applied, nor anything after it: the next open decides about it. */
  giveUp(): void {
    assert(this.#applying?.isBegun === false, 'nothing of the commit is applied');
    this.#applying = undefined;
    this.#options.control.sequencesApplied(this.#options.shard);
  }

  /** Applies a decided commit, from where it stopped before; true when all of it is applied. */
  advancePrepared(prepared: PreparedCommit): boolean {
    const { kernel, memtables } = this.#options;
    const epoch = this.#options.control.epoch();
    if (prepared.bytes > 0) this.#note(prepared, epoch);
    while (this.#applyPrepared(prepared) === 1) {
      if (!memtables.canSwitch || !this.#options.switchMemtable()) return false;
      this.#note(prepared, epoch);
    }
    kernel.exports.groupPublish(prepared.sequence);
    this.#lastSequence = Math.max(this.#lastSequence, prepared.sequence);
    return true;
  }

  #applyPrepared(prepared: PreparedCommit): number {
    const { address, bytes, operations, sequence } = prepared;
    if (operations !== undefined) return this.#applyPieces(prepared, operations, sequence);
    if (bytes === 0) return 0;
    return checked(this.#options.kernel.exports.applyOps(address, bytes, sequence));
  }

  /** Takes up what a client has committed while the shard was lent. */
  adopt(lent: LentShard): void {
    const wal = this.#wal;
    assert(wal !== undefined && wal.segment === lent.segment, 'the segment that was lent');
    this.groups += lent.groups;
    this.lentGroups += lent.groups;
    this.commits += lent.commits;
    this.operations += lent.operations;
    this.bytesWritten += lent.bytes - wal.bytes;
    wal.adopt(lent.bytes);
    this.#lastSequence = Math.max(this.#lastSequence, lent.lastSequence);
    const { segment, lastTimestampUs, lastEpoch } = lent;
    this.#note({ segment, timestampUs: lastTimestampUs, blobs: [] }, lastEpoch);
  }

  /** Cuts the log back to where it was: nothing that others have written from there on counts. */
  cutBack(bytes: number): void {
    try {
      this.#wal?.cutBack(bytes);
    } catch (error) {
      this.poisonWith(error);
    }
  }

  /** A write that a client made has failed. `canGrow`: another file could be written to. */
  adoptFailure(error: unknown, canGrow: boolean): void {
    if (canGrow) {
      this.#options.rollLog();
    } else {
      this.#wal?.poisonWith(error);
      this.poisonWith(error);
    }
  }

  /** Makes what is written durable. A failure makes the shard read-only. */
  sync(): void {
    try {
      this.#wal?.sync();
    } catch (error) {
      this.#poison ??= error;
      throw error;
    }
  }

  /** As `sync`, without holding up the thread. */
  async syncLater(): Promise<void> {
    try {
      await this.#wal?.syncLater();
    } catch (error) {
      this.#poison ??= error;
      throw error;
    }
  }

  /** The log cannot be trusted any more: nothing is written from now on. */
  poisonWith(error: unknown): void {
    this.#poison ??= error;
  }

  #isSynced(isAsked: boolean): boolean {
    const { syncGroups } = this.#options;
    return syncGroups === 'all' || (isAsked && syncGroups === 'asked');
  }

  #readOnly(): ReadOnlyError {
    return new ReadOnlyError('The shard takes no writes since an earlier one failed', {
      cause: this.#poison,
    });
  }

  #writable(): Wal {
    assert(this.#wal !== undefined, 'the log is open');
    assert(this.#applying === undefined, 'one commit is applied at a time');
    if (this.#poison === undefined) return this.#wal;
    throw this.#readOnly();
  }

  #writeSealed(
    wal: Wal,
    sequence: number,
    timestampUs: number,
    epoch: number,
    flags: number,
    mayTear = false,
  ): void {
    const { exports, bytes, u32 } = this.#options.kernel;
    const total =
      exports.groupSeal(
        sequence,
        timestampUs,
        epoch,
        wal.durableBytes,
        wal.segment,
        wal.bytes,
        flags,
      ) >>> 0;
    const base = u32[H_WAL_BASE >>> 2] as number;
    const isTearable = mayTear && exports.groupControls() > 0;
    if (isTearable && isFaultDue('prepare-torn', this.#options.shard)) {
      wal.append(bytes.subarray(base, base + total - 8));
      strike('prepare-torn');
    }
    wal.append(bytes.subarray(base, base + total));
    this.bytesWritten += total;
  }

  /** The commit gets no sequence numbers after all; nobody has seen any of it. */
  #refuse(error: unknown): WriteOutcome {
    const { control, shard } = this.#options;
    control.sequencesApplied(shard);
    if (!(error instanceof NoSpaceError) || this.#wal?.isPoisoned === true) this.poisonWith(error);
    // A file that may not grow any more never will; another one may.
    else if (error.details['errno'] === 'EFBIG') this.#options.rollLog();
    return { kind: 'refused', error };
  }

  #note({ segment, timestampUs, blobs }: Noted, epoch: number): void {
    const { active } = this.#options.memtables;
    active.walSegmentMin = Math.min(active.walSegmentMin ?? segment, segment);
    // Threads that take their numbers at the same time may take their timestamps the other way round.
    active.lastTimestampUs = Math.max(active.lastTimestampUs, timestampUs);
    active.lastEpoch = Math.max(active.lastEpoch, epoch);
    for (const blob of blobs) active.blobs.add(blob);
  }

  /** 0 applied, 1 the memtable is full. */
  #applyStep(applying: Applying): number {
    const { operations, lastSequence } = applying;
    if (operations !== undefined) return this.#applyPieces(applying, operations, lastSequence);
    return checked(this.#options.kernel.exports.groupApply());
  }

  #applyPieces(pieces: Pieces, operations: Uint8Array, sequence: number): number {
    const { kernel, staging } = this.#options;
    for (;;) {
      if (pieces.pieceStart === pieces.pieceEnd) {
        if (pieces.pieceEnd === operations.length) return 0;
        pieces.pieceEnd = this.#pieceEnd(operations, pieces.pieceStart).end;
        this.#stage(operations, pieces.pieceStart, pieces.pieceEnd);
      }
      const bytes = pieces.pieceEnd - pieces.pieceStart;
      const status = checked(kernel.exports.applyOps(staging.operationsAddress, bytes, sequence));
      if (status === 1) return 1;
      pieces.pieceStart = pieces.pieceEnd;
    }
  }

  *#pieces(operations: Uint8Array): Generator<{ start: number; end: number; operations: number }> {
    for (let start = 0; start < operations.length; ) {
      const piece = this.#pieceEnd(operations, start);
      yield { start, ...piece };
      start = piece.end;
    }
  }

  /** Whole operations from `start` on, as many as fit the staging area and a group. */
  #pieceEnd(bytes: Uint8Array, start: number): { end: number; operations: number } {
    const room = Math.min(
      this.#options.staging.operations.length,
      this.#options.kernel.exports.groupOpsBytesMax() >>> 0,
    );
    const reader = new OperationReader(bytes, start, bytes.length);
    let end = start;
    let operations = 0;
    while (reader.next()) {
      if (reader.position - start > room) break;
      end = reader.position;
      operations++;
    }
    assert(end > start, 'an operation fits a group');
    return { end, operations };
  }

  #stage(bytes: Uint8Array, start: number, end: number): void {
    this.#options.staging.operations.set(bytes.subarray(start, end));
  }

  #gatherStaged(bytes: number, operations: number, kind: number, transactionId: number): void {
    const { exports } = this.#options.kernel;
    exports.groupBegin();
    const address = this.#options.staging.operationsAddress;
    const status = exports.groupAppend(address, bytes, operations, kind, transactionId, NOBODY, 0);
    assert(status === 0, 'checked operations that fit are taken');
  }
}

function checked(status: number): number {
  assert(status === 0 || status === 1, 'what was checked before it was written can be applied');
  return status;
}

/** Numbers of the blob files that operations refer to. */
export function blobsOf(bytes: Uint8Array, start: number, end: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const reader = new OperationReader(bytes, start, end);
  const blobs: number[] = [];
  while (reader.next()) {
    if (reader.type === OP_PUT_BLOB) blobs.push(view.getFloat64(reader.valueStart, true));
  }
  return blobs;
}
