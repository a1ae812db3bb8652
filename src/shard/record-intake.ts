/**
 * Requests that the host, and not the kernel, adds to the group that is gathered: prepares, and writes
 * that the kernel leaves to it.
 */

import { assert } from '../assert.js';
import { InvalidArgumentError } from '../errors.js';
import { faultPoint } from '../faults.js';
import {
  H_SHARD,
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  REQUEST_BLOB_BEGIN,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { LentPrepare } from '../kernel/lent-shard.js';
import {
  checkLists,
  decodePrepare,
  decodePrepareRecord,
  newPrepareHead,
  PREPARE_ALONE,
  type PrepareHead,
} from '../protocol/prepare.js';
import type { ControlBlock } from '../router/control-block.js';
import {
  ABORT_UNAVAILABLE,
  ownerOf,
  stateOf,
  TRANSACTION_PREPARING,
  TRANSACTION_SLOTS,
} from '../router/transaction-table.js';
import { COMMIT_PLAIN, COMMIT_PREPARE } from '../wal/segment-format.js';
import type { ClientSession } from './client-session.js';
import { hasLongValue } from './large-commit.js';
import type { PreparedBlocks } from './prepared-blocks.js';
import { PreparedCommit } from './prepared-commit.js';
import type { PreparedCommits } from './prepared-commits.js';
import type { PrepareRequest, ReadyCommit } from './request-handler.js';
import { type Claim, type ConflictFound, tooMuchUnderWay, type Validation } from './validation.js';
import { NOBODY } from './wal-commit.js';

/**
 * `full`: it stays in its ring until the group is written; `stalled`: until an earlier batch of its
 * client is decided; `other`: it is not for a group.
 */
export type Intake = 'gathered' | 'full' | 'stalled' | 'other';

export interface LargePrepare {
  readonly ready: ReadyCommit;
  readonly prepare: PrepareRequest;
  /** Undefined: the client is gone. */
  readonly session: ClientSession | undefined;
}

export interface RecordIntakeOptions {
  readonly kernel: Kernel;
  readonly prepared: PreparedCommits;
  readonly blocks: PreparedBlocks;
  readonly validation: Validation;
  readonly control: ControlBlock;
  /** Longer values do not go to memtables. */
  readonly inlineBytesMax: number;
}

export class RecordIntake {
  readonly #options: RecordIntakeOptions;
  /** Of the prepare that is looked at. */
  readonly #head = newPrepareHead();
  #isSync = false;
  /** Copy of a large prepare that is looked at; 0: there is none. */
  #largeBlock = 0;

  constructor(options: RecordIntakeOptions) {
    this.#options = options;
  }

  /** A group begins. */
  begin(): void {
    this.#isSync = false;
    this.#options.validation.beginGroup();
  }

  /** Whether a write that was taken wants to be durable. */
  get isSync(): boolean {
    return this.#isSync;
  }

  /** Takes the record that the session's reader stands on. */
  take(session: ClientSession): Intake {
    let intake: Intake = 'other';
    try {
      if (this.#isWholePrepare(session)) intake = this.#takePrepare(session);
      else if (this.#isWholeWrite(session)) intake = this.#takeWrite(session);
      // Whatever else it writes: it is put together, and must not overtake what came before.
      else if (isWrite(session) && this.#options.prepared.undecidedOf(session, undefined)) {
        intake = 'stalled';
      }
    } catch (error) {
      // The lists of a prepare are looked at before anything comes of it.
      if (!(error instanceof RangeError)) throw error;
      session.responses.error(session.requests.requestId, malformedWrite());
      intake = 'gathered';
    }
    session.isStalled = intake === 'stalled';
    return intake;
  }

  /**
   * A write in one record that the kernel left: other requests of the client come in pieces, or the
   * record is large enough to hold a value that is too large for a memtable, but does not.
   */
  #isWholeWrite({ requests, partial }: ClientSession): boolean {
    const { kind, flags, requestId, payload, payloadBytes } = requests;
    if (kind !== REQUEST_WRITE || (flags & RECORD_FLAG_MORE) !== 0) return false;
    if (partial.has(requestId)) return false;
    const { inlineBytesMax, kernel } = this.#options;
    return !hasLongValue(kernel.bytes, payload, payload + payloadBytes, inlineBytesMax);
  }

  #takeWrite(session: ClientSession): Intake {
    const { kernel, validation } = this.#options;
    const { exports } = kernel;
    const { payload, payloadBytes, argument, flags, requestId } = session.requests;
    if (validation.yieldTo(session, payload, payloadBytes, undefined) === 'wait') return 'stalled';
    const status = exports.groupAppend(
      payload,
      payloadBytes,
      argument,
      COMMIT_PLAIN,
      0,
      session.client,
      requestId,
    );
    if (status === 1) return exports.groupCommits() >>> 0 === 0 ? 'other' : 'full';
    if (status !== 0) session.responses.error(requestId, malformedWrite());
    else if ((flags & RECORD_FLAG_SYNC) !== 0) this.#isSync = true;
    return 'gathered';
  }

  /** A prepare in one record, without values of its own file. */
  #isWholePrepare({ requests, partial }: ClientSession): boolean {
    const { kind, flags, requestId, payload, payloadBytes } = requests;
    if (kind !== REQUEST_PREPARE || (flags & RECORD_FLAG_MORE) !== 0) return false;
    if (partial.has(requestId)) return false;
    const { inlineBytesMax, kernel } = this.#options;
    if (payloadBytes <= inlineBytesMax) return true;
    decodePrepare(kernel.bytes, payload, payloadBytes, this.#head);
    const { operationsAt } = this.#head;
    return !hasLongValue(kernel.bytes, operationsAt, payload + payloadBytes, inlineBytesMax);
  }

  #takePrepare(session: ClientSession): Intake {
    const { kernel, prepared, blocks, validation } = this.#options;
    const { payload, payloadBytes, flags, requestId } = session.requests;
    const head = this.#head;
    decodePrepareRecord(kernel, payload, payloadBytes, head);
    this.checkPrepare(session, head, kernel.bytes);
    const isAlone = head.slot === PREPARE_ALONE;
    if (!isAlone && !prepared.isWanted(head.slot, head.word)) {
      prepared.refuseAborted(session, requestId, head.slot, head.word);
      return 'gathered';
    }
    const { keysAt, rangesAt, operationsAt } = head;
    const operationBytes = payload + payloadBytes - operationsAt;
    const claim = { head, keysAt, rangesAt, operationsAt, operationBytes };
    const verdict = this.#judge(session, claim);
    if (verdict === 'full' || verdict === 'stalled') return verdict;
    if (verdict !== undefined) {
      this.refusePrepare(session, requestId, head, verdict.error, verdict.reason);
      return 'gathered';
    }
    const isSync = (flags & RECORD_FLAG_SYNC) !== 0;
    if (!isAlone) faultPoint('prepare-received', kernel.u32[H_SHARD >>> 2]);
    const logged = this.#log(session, head, operationBytes);
    if (logged !== 'gathered') return logged === 'refused' ? 'gathered' : logged;
    if (isAlone) {
      if (operationBytes === 0) session.responses.ok(requestId, head.snapshot);
      else if (isSync) this.#isSync = true;
      return 'gathered';
    }
    const isBlind = !validation.isValidated(head);
    const from = isBlind ? operationsAt : keysAt;
    const block = blocks.keep(head.slot, from, payload + payloadBytes - from);
    if (block === 0 && payload + payloadBytes > from) {
      this.refusePrepare(session, requestId, head, tooMuchUnderWay(), ABORT_UNAVAILABLE);
      return 'gathered';
    }
    const address = block + operationsAt - from;
    const commit = new PreparedCommit(head, session, requestId, isSync);
    commit.isBlind = isBlind;
    commit.block = block;
    commit.address = address;
    commit.bytes = operationBytes;
    commit.keysAt = block;
    commit.keyBytes = isBlind ? 0 : head.keyBytes;
    commit.lockAt = address;
    commit.lockBytes = operationBytes;
    prepared.add(commit);
    if (!isBlind) validation.hold(commit, head, block + rangesAt - from);
    return 'gathered';
  }

  /** Takes up a blind commit that a client has prepared in the worker's place, and written to `segment`. */
  adopt(
    { slot, word, id, address, bytes }: LentPrepare,
    session: ClientSession | undefined,
    requestId: number,
    segment: number,
  ): void {
    const { prepared, blocks } = this.#options;
    const commit = new PreparedCommit({ slot, word, id }, session, requestId, false);
    const block = blocks.keep(slot, address, bytes);
    // Without memory for it the shard starts anew, and finds it in the log.
    assert(block !== 0, 'there is memory for what a client has prepared');
    commit.block = block;
    commit.address = block;
    commit.bytes = bytes;
    commit.lockAt = block;
    commit.lockBytes = bytes;
    commit.segment = segment;
    prepared.adopt(commit);
  }

  /**
   * Throws `RangeError` unless the lists of a prepare are well formed, and its slot is one of the table
   * and, when it is of a commit that is under way, that of a commit of this client.
   */
  checkPrepare({ client }: ClientSession, head: PrepareHead, bytes: Buffer): void {
    if (head.keyBytes > 0 || head.rangeBytes > 0 || head.keys > 0 || head.ranges > 0) {
      checkLists(bytes, head);
    }
    const { slot, word } = head;
    if (slot === PREPARE_ALONE) return;
    if (slot >= TRANSACTION_SLOTS) throw new RangeError(`There is no slot ${slot}`);
    if (!this.#options.prepared.isWanted(slot, word)) return;
    if (stateOf(word) !== TRANSACTION_PREPARING || ownerOf(word) !== client) {
      throw new RangeError(`Slot ${slot} is not one of client ${client}`);
    }
  }

  /** Validates, or makes those yield that hold what a blind batch writes. */
  #judge(session: ClientSession, claim: Claim): ConflictFound | 'full' | 'stalled' | undefined {
    const { validation, control } = this.#options;
    const { head, operationsAt, operationBytes } = claim;
    if (validation.isValidated(head)) return validation.check(claim);
    const participants = control.transactions.participants(head.slot);
    const yielded = validation.yieldTo(session, operationsAt, operationBytes, participants);
    return yielded === 'wait' ? 'stalled' : undefined;
  }

  #log(
    session: ClientSession,
    head: PrepareHead,
    bytes: number,
  ): 'gathered' | 'full' | 'other' | 'refused' {
    if (bytes === 0) return 'gathered';
    const { exports } = this.#options.kernel;
    const { argument, requestId } = session.requests;
    const isAlone = head.slot === PREPARE_ALONE;
    const status = exports.groupAppend(
      head.operationsAt,
      bytes,
      argument,
      isAlone ? COMMIT_PLAIN : COMMIT_PREPARE,
      isAlone ? 0 : head.id,
      isAlone ? session.client : NOBODY,
      isAlone ? requestId : 0,
    );
    if (status === 1) return exports.groupCommits() >>> 0 === 0 ? 'other' : 'full';
    if (status === 0) return 'gathered';
    this.refusePrepare(session, requestId, head, malformedWrite(), ABORT_UNAVAILABLE);
    return 'refused';
  }

  /**
   * Why a commit that is written by itself is refused; undefined: it is not. What a validated one
   * depends on is copied to the shard's memory, for `addLarge`.
   */
  admitLarge({ prepare }: ReadyCommit): ConflictFound | undefined {
    const { validation, blocks, kernel } = this.#options;
    this.#freeLarge();
    if (prepare === undefined || !validation.isValidated(prepare.head)) {
      validation.yieldAll();
      return undefined;
    }
    const { head, payload } = prepare;
    const block = blocks.keepBytes(payload);
    if (block === 0) return { reason: ABORT_UNAVAILABLE, error: tooMuchUnderWay() };
    this.#largeBlock = block;
    kernel.exports.groupBegin();
    validation.beginGroup();
    // Nothing is gathered, so there is no group that could be too large.
    const found = validation.check({
      head,
      keysAt: block + head.keysAt,
      rangesAt: block + head.rangesAt,
      operationsAt: block + head.operationsAt,
      operationBytes: payload.length - head.operationsAt,
    });
    return found === 'full' ? undefined : found;
  }

  /** After `admitLarge`: the commit is written as a plain one, or refused. */
  #freeLarge(): void {
    if (this.#largeBlock !== 0) this.#options.blocks.free(this.#largeBlock);
    this.#largeBlock = 0;
  }

  /**
   * A prepare that was written by itself, to `segment`: its operations stay where they are. False: there
   * is no memory for what it has to keep, so it is refused.
   */
  addLarge({ ready, prepare, session }: LargePrepare, segment: number): boolean {
    const { requestId, operations, blobs, isSync } = ready;
    const { head, payload } = prepare;
    const { prepared, blocks, validation } = this.#options;
    const isBlind = !validation.isValidated(head);
    const block = isBlind ? blocks.keepBytes(operations) : this.#largeBlock;
    this.#largeBlock = 0;
    if (block === 0) {
      prepared.refuse(session, requestId, head, tooMuchUnderWay());
      return false;
    }
    const large = new PreparedCommit(head, session, requestId, isSync);
    large.isBlind = isBlind;
    large.block = block;
    large.bytes = operations.length;
    large.operations = operations;
    large.blobs = blobs;
    large.segment = segment;
    large.keysAt = isBlind ? 0 : block + head.keysAt;
    large.keyBytes = isBlind ? 0 : head.keyBytes;
    large.lockAt = isBlind ? block : block + head.operationsAt;
    large.lockBytes = isBlind ? operations.length : payload.length - head.operationsAt;
    prepared.add(large);
    if (!isBlind) validation.hold(large, head, block + head.rangesAt);
    prepared.vote(large);
    return true;
  }

  /** Answers the whole request that the session's reader stands on with an error. */
  refuse(session: ClientSession, error: unknown): void {
    const { kind, requestId, payload, payloadBytes } = session.requests;
    if (kind === REQUEST_PREPARE && !session.partial.has(requestId)) {
      const { bytes } = this.#options.kernel;
      try {
        decodePrepare(bytes, payload, payloadBytes, this.#head);
        this.checkPrepare(session, this.#head, bytes);
      } catch (cause) {
        if (!(cause instanceof RangeError)) throw cause;
        session.responses.error(requestId, malformedWrite());
        return;
      }
      this.refusePrepare(session, requestId, this.#head, error);
    } else {
      session.responses.error(requestId, error);
    }
  }

  refuseReady(
    { session, requestId, prepare }: ReadyCommit,
    error: unknown,
    reason = ABORT_UNAVAILABLE,
  ): void {
    if (prepare === undefined) session.responses.error(requestId, error);
    else this.refusePrepare(session, requestId, prepare.head, error, reason);
  }

  /** Answers a prepare with an error; the commit, if it is one over several shards, is aborted. */
  refusePrepare(
    session: ClientSession,
    requestId: number,
    head: PrepareHead,
    error: unknown,
    reason = ABORT_UNAVAILABLE,
  ): void {
    if (head.slot === PREPARE_ALONE) session.responses.error(requestId, error);
    else this.#options.prepared.refuse(session, requestId, head, error, reason);
  }
}

function isWrite({ requests }: ClientSession): boolean {
  const { kind } = requests;
  return kind === REQUEST_WRITE || kind === REQUEST_PREPARE || kind === REQUEST_BLOB_BEGIN;
}

/** Whether a request of that kind writes. */
export function isWriteKind(kind: number): boolean {
  return kind === REQUEST_WRITE || kind === REQUEST_PREPARE || kind === REQUEST_BLOB_BEGIN;
}

/** What was begun before writes were refused is refused where it is put together. */
export function isWriteToRefuse({ requests, uploads, partial }: ClientSession): boolean {
  const { kind, requestId } = requests;
  if (kind === REQUEST_WRITE) return !partial.has(requestId);
  // In pieces, it is put together first: its head says what is to be aborted.
  if (kind === REQUEST_PREPARE) {
    return !partial.has(requestId) && (requests.flags & RECORD_FLAG_MORE) === 0;
  }
  return kind === REQUEST_BLOB_BEGIN && !uploads.has(requestId);
}

export function malformedWrite(): InvalidArgumentError {
  return new InvalidArgumentError('Cannot commit a malformed write: nothing of it was applied');
}
