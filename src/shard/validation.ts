/**
 * Validation: whether what a transaction has read, and what it wants to write, is still as it was at
 * its snapshot; and who yields when two want the same.
 *
 *   a prepared transaction   holds its keys and ranges from its vote until it is applied or dropped
 *   another transaction      that meets them is aborted: nobody waits, so nothing locks up
 *   a plain write, a batch   wounds the holder if that is undecided; else the holder has the lower
 *                            number already, and the write goes on
 *
 * What others hold is looked at when a transaction, or a write, is taken into a group; from then on
 * the group's own keys are looked at, too. A blind batch validates nothing. Its keys are entered only
 * once somebody has to compare with them: a transaction, or a later write of its own client, which is
 * not to overtake it.
 */

import { LightningError } from '../errors.js';
import { isWeakened } from '../faults.js';
import type { Kernel } from '../kernel/kernel.js';
import { OperationReader } from '../protocol/operations.js';
import { PREPARE_ALONE, PREPARE_VALIDATE_WRITES, type PrepareHead } from '../protocol/prepare.js';
import type { ControlBlock } from '../router/control-block.js';
import {
  ABORT_LOCKED,
  ABORT_NEWER,
  ABORT_RANGE,
  ABORT_UNAVAILABLE,
  ABORT_WOUNDED,
} from '../router/transaction-table.js';
import type { ClientSession } from './client-session.js';
import { conflict } from './conflict.js';
import { type HeldRange, isInRange, parseRanges } from './held-range.js';
import { LockTable } from './lock-table.js';
import type { MetaAllocator } from './meta-allocator.js';
import type { PreparedCommit } from './prepared-commit.js';
import type { PreparedCommits } from './prepared-commits.js';
import type { RangeInTables } from './range-in-tables.js';

/** What the kernel's validation answers (locks.ts). */
const VALID = 0;
const NEWER = 1;
const UNKNOWN = 3;

/** Bytes of two commits that are compared to tell which key they have in common. */
const COMPARED_BYTES_MAX = 64 * 1024;

/** As a holder: of a transaction that touches this shard only, and holds nothing. */
const NO_HOLDER = 0;

/** What is to be validated, in the shard's memory. */
export interface Claim {
  readonly head: PrepareHead;
  readonly keysAt: number;
  readonly rangesAt: number;
  readonly operationsAt: number;
  readonly operationBytes: number;
}

export interface ConflictFound {
  readonly reason: number;
  readonly error: LightningError;
}

export interface ValidationOptions {
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly allocator: MetaAllocator;
  readonly prepared: PreparedCommits;
  /** The highest sequence number that any table has. */
  readonly tablesSequence: () => number;
  /** The newest version of a key, memtables and tables, tombstones too. */
  readonly newestSequence: (key: Uint8Array) => number;
  /** Looks for what is newer than the snapshot in tables, for the ranges of one commit. */
  readonly rangesInTables: (snapshot: number) => Pick<RangeInTables, 'newer'>;
}

export class Validation {
  readonly #options: ValidationOptions;
  readonly #locks: LockTable;
  /** Ranges are held by so many prepared transactions. */
  #rangeHolders = 0;

  constructor(options: ValidationOptions) {
    this.#options = options;
    const { kernel, allocator, prepared } = options;
    this.#locks = new LockTable(kernel, allocator, () => prepared.holders);
  }

  /** A group begins. */
  beginGroup(): void {
    if (this.#locks.exists) this.#options.kernel.exports.groupKeysBegin();
  }

  /** Whether a request is one of a transaction, and not blind. */
  isValidated({ flags, keys, ranges }: PrepareHead): boolean {
    return (flags & PREPARE_VALIDATE_WRITES) !== 0 || keys > 0 || ranges > 0;
  }

  // ---- transactions -------------------------------------------------------------------

  /**
   * Validates, and makes room for what the commit would hold. `full`: the group that is gathered has
   * to be written first.
   */
  check(claim: Claim): ConflictFound | 'full' | undefined {
    const { kernel } = this.#options;
    const { exports } = kernel;
    const { head, keysAt, operationsAt, operationBytes } = claim;
    if (!this.#locks.make() || !this.#enterBlind(undefined)) return tooMuch();
    if (exports.groupKeysKnown() === 0) return 'full';
    if (head.ranges > 0 && exports.groupCommits() > exports.groupControls()) return 'full';
    if (isWeakened('validate-against-last')) {
      head.snapshot = this.#options.control.lastSequence();
    }
    const isTableNewer = this.#options.tablesSequence() > head.snapshot;
    return (
      this.#checkKeys(keysAt, keysAt + head.keyBytes, head.snapshot, isTableNewer) ??
      ((head.flags & PREPARE_VALIDATE_WRITES) === 0
        ? undefined
        : this.#checkOperations(operationsAt, operationsAt + operationBytes, head, isTableNewer)) ??
      this.#checkRanges(claim, isTableNewer) ??
      (head.slot === PREPARE_ALONE || this.#makeRoom(claim) ? undefined : tooMuch())
    );
  }

  #makeRoom({ head, keysAt, operationsAt, operationBytes }: Claim): boolean {
    const { keyBytes } = head;
    return this.#locks.makeRoom({
      keysAt,
      keyBytes,
      lockAt: operationsAt,
      lockBytes: operationBytes,
    });
  }

  #checkKeys(
    start: number,
    end: number,
    snapshot: number,
    isTableNewer: boolean,
  ): ConflictFound | undefined {
    const { exports } = this.#options.kernel;
    if (isWeakened('skip-read-validation')) return undefined;
    for (let at = start; at < end; at = exports.validatedTo() >>> 0) {
      const newer = isTableNewer ? 1 : 0;
      const status = exports.validateKeys(at, end - at, snapshot, NO_HOLDER, newer);
      if (status === VALID) return undefined;
      const found = this.#judge(status, snapshot);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #checkOperations(
    start: number,
    end: number,
    { snapshot }: PrepareHead,
    isTableNewer: boolean,
  ): ConflictFound | undefined {
    const { exports } = this.#options.kernel;
    if (isWeakened('skip-write-validation')) return undefined;
    for (let at = start; at < end; at = exports.validatedTo() >>> 0) {
      const newer = isTableNewer ? 1 : 0;
      const status = exports.validateOps(at, end - at, snapshot, NO_HOLDER, newer);
      if (status === VALID) break;
      const found = this.#judge(status, snapshot);
      if (found !== undefined) return found;
    }
    if (this.#rangeHolders === 0) return undefined;
    const key = this.#keyInHeldRange(start, end, () => true);
    return key === undefined ? undefined : found(ABORT_LOCKED, key);
  }

  #judge(status: number, snapshot: number): ConflictFound | undefined {
    const key = this.#validatedKey();
    if (status === UNKNOWN) return this.#judgeInTables(key, snapshot);
    return found(status === NEWER ? ABORT_NEWER : ABORT_LOCKED, key);
  }

  /** Also when what the tables have of the key cannot be read: nobody knows whether it is newer. */
  #judgeInTables(key: Buffer, snapshot: number): ConflictFound | undefined {
    try {
      return this.#options.newestSequence(key) > snapshot ? found(ABORT_NEWER, key) : undefined;
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      return { reason: ABORT_UNAVAILABLE, error };
    }
  }

  /** The key that the kernel's validation stopped at. */
  #validatedKey(): Buffer {
    const { exports, bytes } = this.#options.kernel;
    const at = exports.validatedKey() >>> 0;
    return Buffer.from(bytes.subarray(at, at + (exports.validatedKeyBytes() >>> 0)));
  }

  #checkRanges({ head, rangesAt }: Claim, isTableNewer: boolean): ConflictFound | undefined {
    if (head.ranges === 0 || isWeakened('skip-range-validation')) return undefined;
    const { kernel, prepared, rangesInTables } = this.#options;
    const inTables = isTableNewer ? rangesInTables(head.snapshot) : undefined;
    for (const range of parseRanges(kernel.bytes, rangesAt, head.ranges)) {
      const { startAt, start, endAt, end, flags } = range;
      const changed = kernel.exports.rangeChanged(
        startAt,
        start.length,
        endAt,
        end.length,
        flags,
        head.snapshot,
      );
      if (changed !== 0) return found(ABORT_RANGE, this.#validatedKey());
      const newer = inTables?.newer(range);
      if (newer !== undefined) return found(ABORT_RANGE, newer === 'maybe' ? undefined : newer);
      for (const commit of prepared.holders) {
        const key = this.#keyIn(commit, range);
        if (key !== undefined) return found(ABORT_LOCKED, key);
      }
    }
    return undefined;
  }

  /** A key of the range that the commit writes. */
  #keyIn({ lockAt, lockBytes }: PreparedCommit, range: HeldRange): Buffer | undefined {
    const { bytes } = this.#options.kernel;
    const reader = new OperationReader(bytes, lockAt, lockAt + lockBytes);
    while (reader.next()) {
      const key = bytes.subarray(reader.keyStart, reader.keyStart + reader.keyBytes);
      if (isInRange(key, range)) return Buffer.from(key);
    }
    return undefined;
  }

  /** A transaction that `check` found nothing against is prepared: holds what it depends on. */
  hold(commit: PreparedCommit, head: PrepareHead, rangesAt: number): void {
    if (isWeakened('ignore-prepared')) return;
    this.#locks.enter(commit);
    if (head.ranges === 0) return;
    const { kernel } = this.#options;
    commit.ranges = parseRanges(kernel.bytes, rangesAt, head.ranges);
    this.#rangeHolders++;
    kernel.exports.setHeldRanges(1);
  }

  /** It is applied, or dropped. */
  letGo(commit: PreparedCommit): void {
    this.#locks.leave(commit);
    if (commit.ranges.length === 0) return;
    commit.ranges = [];
    if (--this.#rangeHolders === 0) this.#options.kernel.exports.setHeldRanges(0);
  }

  // ---- writes that validate nothing ---------------------------------------------------

  /**
   * A write, or a blind batch, is about to be taken: wounds transactions that hold what it writes.
   * `wait`: an earlier batch of the same client, which it would overtake, is undecided.
   */
  yieldTo(
    session: ClientSession,
    at: number,
    bytes: number,
    participants: bigint | undefined,
  ): 'go' | 'wait' {
    const { kernel, prepared } = this.#options;
    const overtaken = prepared.undecidedOf(session, participants);
    // Without memory to compare them, all of them have to wait.
    if (overtaken && !(this.#locks.make() && this.#enterBlind(session))) return 'wait';
    if (!this.#locks.exists) return 'go';
    const { exports } = kernel;
    let mustWait = false;
    if (exports.locksHeld() > 0 && exports.locksHit(at, bytes, this.#locks.bitmap) > 0) {
      for (const commit of prepared.holders) {
        if (!this.#locks.isHit(commit.slot)) continue;
        if (!commit.isBlind) this.#wound(commit, () => this.#keyHeldBy(commit, at, at + bytes));
        else if (overtaken && commit.session === session && prepared.isUndecided(commit)) {
          mustWait = true;
        }
      }
    }
    if (this.#rangeHolders > 0) this.#woundRanges(at, at + bytes);
    prepared.poll();
    return mustWait ? 'wait' : 'go';
  }

  /** As `yieldTo`, for a commit whose keys are too many to be compared: every holder is wounded. */
  yieldAll(): void {
    const { prepared } = this.#options;
    for (const commit of prepared.holders) {
      if (!commit.isBlind) this.#wound(commit, () => undefined);
    }
    prepared.poll();
  }

  #wound(commit: PreparedCommit, key: () => Buffer | undefined): void {
    if (isWeakened('skip-wounding')) return;
    const { slot, word } = commit;
    if (!this.#options.control.transactions.abort(slot, word, ABORT_WOUNDED)) return;
    commit.woundedBy = key();
  }

  #woundRanges(start: number, end: number): void {
    this.#keyInHeldRange(start, end, (commit, key) => {
      this.#wound(commit, () => Buffer.from(key));
      return false;
    });
  }

  /** A key that operations write and the commit holds; undefined, too, when that takes too long to find. */
  #keyHeldBy(commit: PreparedCommit, start: number, end: number): Buffer | undefined {
    const { keysAt, keyBytes, lockAt, lockBytes } = commit;
    if (keyBytes + lockBytes + end - start > COMPARED_BYTES_MAX) return undefined;
    const { bytes } = this.#options.kernel;
    const held = new Set<string>();
    for (let at = keysAt; at < keysAt + keyBytes; at += 4 + bytes.readUInt32LE(at)) {
      held.add(bytes.toString('latin1', at + 4, at + 4 + bytes.readUInt32LE(at)));
    }
    for (const reader = new OperationReader(bytes, lockAt, lockAt + lockBytes); reader.next(); ) {
      held.add(bytes.toString('latin1', reader.keyStart, reader.keyStart + reader.keyBytes));
    }
    for (const reader = new OperationReader(bytes, start, end); reader.next(); ) {
      const { keyStart, keyBytes: length } = reader;
      if (held.has(bytes.toString('latin1', keyStart, keyStart + length))) {
        return Buffer.from(bytes.subarray(keyStart, keyStart + length));
      }
    }
    return undefined;
  }

  /** A key among operations that is in a held range, and whose holder `stops` the search. */
  #keyInHeldRange(
    start: number,
    end: number,
    stops: (commit: PreparedCommit, key: Uint8Array) => boolean,
  ): Buffer | undefined {
    const { bytes } = this.#options.kernel;
    const reader = new OperationReader(bytes, start, end);
    while (reader.next()) {
      const key = bytes.subarray(reader.keyStart, reader.keyStart + reader.keyBytes);
      for (const commit of this.#options.prepared.holders) {
        if (!commit.ranges.some((range) => isInRange(key, range))) continue;
        if (stops(commit, key)) return Buffer.from(key);
      }
    }
    return undefined;
  }

  /** Enters the keys of blind batches, of the client or of all. False: there is no memory for it. */
  #enterBlind(session: ClientSession | undefined): boolean {
    if (!this.#options.prepared.hasBlind) return true;
    for (const commit of this.#options.prepared.holders) {
      if (!commit.isBlind || commit.isEntered) continue;
      if (session !== undefined && commit.session !== session) continue;
      if (!this.#locks.enter(commit)) return false;
    }
    return true;
  }
}

function found(reason: number, key: Uint8Array | undefined): ConflictFound {
  return { reason, error: conflict(reason, key) };
}

function tooMuch(): ConflictFound {
  return { reason: ABORT_UNAVAILABLE, error: tooMuchUnderWay() };
}

/** No memory is left for what commits hold until they are decided. */
export function tooMuchUnderWay(): LightningError {
  return new LightningError(
    'LIGHTNING_LIMIT_EXCEEDED',
    'Too many bytes of transactions are under way: commit smaller ones, or fewer at a time',
  );
}
