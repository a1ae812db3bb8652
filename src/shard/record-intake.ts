/**
 * Requests that the host, and not the kernel, adds to the group that is gathered: prepares, and writes
 * that the kernel leaves to it.
 */

import { InvalidArgumentError } from '../errors.js';
import {
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  REQUEST_BLOB_BEGIN,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import {
  decodePrepare,
  newPrepareHead,
  PREPARE_ALONE,
  type PrepareHead,
} from '../protocol/prepare.js';
import { COMMIT_PLAIN, COMMIT_PREPARE } from '../wal/segment-format.js';
import type { ClientSession } from './client-session.js';
import { hasLongValue } from './large-commit.js';
import type { PreparedCommit, PreparedCommits } from './prepared-commits.js';
import type { PrepareRequest, ReadyCommit } from './request-handler.js';
import { NOBODY } from './wal-commit.js';

/** `full`: it stays in its ring until the group is written; `other`: it is not for a group. */
export type Intake = 'gathered' | 'full' | 'other';

export interface LargePrepare {
  readonly ready: ReadyCommit;
  readonly prepare: PrepareRequest;
  /** Undefined: the client is gone. */
  readonly session: ClientSession | undefined;
}

export interface RecordIntakeOptions {
  readonly kernel: Kernel;
  readonly prepared: PreparedCommits;
  /** Longer values do not go to memtables. */
  readonly inlineBytesMax: number;
}

export class RecordIntake {
  readonly #options: RecordIntakeOptions;
  /** Of the prepare that is looked at. */
  readonly #head = newPrepareHead();
  #isSync = false;

  constructor(options: RecordIntakeOptions) {
    this.#options = options;
  }

  /** A group begins. */
  begin(): void {
    this.#isSync = false;
  }

  /** Whether a write that was taken wants to be durable. */
  get isSync(): boolean {
    return this.#isSync;
  }

  /** Takes the record that the session's reader stands on. */
  take(session: ClientSession): Intake {
    if (this.#isWholePrepare(session)) return this.#takePrepare(session);
    return this.#isWholeWrite(session) ? this.#takeWrite(session) : 'other';
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

  #takeWrite({ client, requests, responses }: ClientSession): Intake {
    const { exports } = this.#options.kernel;
    const { payload, payloadBytes, argument, flags, requestId } = requests;
    const status = exports.groupAppend(
      payload,
      payloadBytes,
      argument,
      COMMIT_PLAIN,
      0,
      client,
      requestId,
    );
    if (status === 1) return exports.groupCommits() >>> 0 === 0 ? 'other' : 'full';
    if (status !== 0) responses.error(requestId, malformedWrite());
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
    const { kernel, prepared } = this.#options;
    const { payload, payloadBytes, argument, flags, requestId } = session.requests;
    const head = this.#head;
    decodePrepare(kernel.bytes, payload, payloadBytes, head);
    const { slot, word, id, operationsAt } = head;
    if (!prepared.isWanted(slot, word)) {
      prepared.refuseAborted(session, requestId, slot, word);
      return 'gathered';
    }
    const bytes = payload + payloadBytes - operationsAt;
    if (bytes > 0) {
      const { exports } = kernel;
      const status = exports.groupAppend(
        operationsAt,
        bytes,
        argument,
        COMMIT_PREPARE,
        id,
        NOBODY,
        0,
      );
      if (status === 1) return exports.groupCommits() >>> 0 === 0 ? 'other' : 'full';
      if (status !== 0) {
        prepared.refuse(session, requestId, slot, word, malformedWrite());
        return 'gathered';
      }
    }
    const address = prepared.keep(operationsAt, bytes);
    const isElsewhere = address === 0 && bytes > 0;
    const operations = isElsewhere
      ? Buffer.from(kernel.bytes.subarray(operationsAt, payload + payloadBytes))
      : undefined;
    const isSync = (flags & RECORD_FLAG_SYNC) !== 0;
    const commit = newPrepared(head, session, requestId, isSync);
    prepared.add({ ...commit, address, bytes, operations });
    return 'gathered';
  }

  /** A prepare that was written by itself, to `segment`: its operations stay where they are. */
  addLarge({ ready, prepare, session }: LargePrepare, segment: number): void {
    const { requestId, operations, blobs, isSync } = ready;
    const commit = newPrepared(prepare.head, session, requestId, isSync);
    const large = { ...commit, bytes: operations.length, operations, blobs, segment };
    this.#options.prepared.add(large);
    this.#options.prepared.vote(large);
  }

  /** Answers the whole request that the session's reader stands on with an error. */
  refuse(session: ClientSession, error: unknown): void {
    const { kind, requestId, payload, payloadBytes } = session.requests;
    if (kind === REQUEST_PREPARE && !session.partial.has(requestId)) {
      decodePrepare(this.#options.kernel.bytes, payload, payloadBytes, this.#head);
      this.refusePrepare(session, requestId, this.#head, error);
    } else {
      session.responses.error(requestId, error);
    }
  }

  refuseReady({ session, requestId, prepare }: ReadyCommit, error: unknown): void {
    if (prepare === undefined) session.responses.error(requestId, error);
    else this.refusePrepare(session, requestId, prepare.head, error);
  }

  /** Answers a prepare with an error; the commit, if it is one over several shards, is aborted. */
  refusePrepare(
    session: ClientSession,
    requestId: number,
    { slot, word }: PrepareHead,
    error: unknown,
  ): void {
    if (slot === PREPARE_ALONE) session.responses.error(requestId, error);
    else this.#options.prepared.refuse(session, requestId, slot, word, error);
  }
}

function newPrepared(
  { slot, word, id }: PrepareHead,
  session: ClientSession | undefined,
  requestId: number,
  isSync: boolean,
): PreparedCommit {
  return {
    isSync,
    slot,
    word,
    id,
    session,
    requestId,
    address: 0,
    bytes: 0,
    operations: undefined,
    blobs: [],
    segment: 0,
    stage: 'gathered',
    sequence: 0,
    timestampUs: 0,
    pieceStart: 0,
    pieceEnd: 0,
  };
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
