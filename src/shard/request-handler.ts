/**
 * Requests that are not plain writes: reads that need the disk, writes in pieces, large values. The
 * commit loop hands them over one record at a time.
 */

import type { BlobReference } from '../blob/blob-file.js';
import { InvalidArgumentError, LightningError } from '../errors.js';
import {
  RECORD_FLAG_MORE,
  RECORD_FLAG_SCAN,
  RECORD_FLAG_SYNC,
  REQUEST_BLOB_BEGIN,
  REQUEST_CACHE_BLOCK,
  REQUEST_CACHE_RECORD,
  REQUEST_GET,
  REQUEST_GET_MANY,
  REQUEST_LOAD_BLOCKS,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { decodePrepare, newPrepareHead, type PrepareHead } from '../protocol/prepare.js';
import type { Request } from '../protocol/request-assembler.js';
import {
  BlobRequestReader,
  decodeCacheBlock,
  decodeCacheRecord,
  decodeGet,
  decodeGetMany,
  decodeLoadBlocks,
} from '../protocol/requests.js';
import type { BlobStore } from './blob-store.js';
import type { BlobUpload, ClientSession } from './client-session.js';
import { encodePutBlob, prepareOperations } from './large-commit.js';
import { malformedWrite } from './record-intake.js';
import { CacheBusyError, type TableReads } from './table-reads.js';
import type { LargeCommit } from './wal-commit.js';

/** A commit that is complete and checked: to be written by itself. */
export interface ReadyCommit extends LargeCommit {
  readonly session: ClientSession;
  readonly requestId: number;
  /** The transaction that the operations are a part of; undefined: a commit of this shard alone. */
  readonly prepare: PrepareRequest | undefined;
}

/** A prepare that came in pieces, or has values that are stored on their own. */
export interface PrepareRequest {
  readonly head: PrepareHead;
  /** What the head's offsets point into. */
  readonly payload: Buffer;
  readonly operations: number;
}

export interface RequestHandlerOptions {
  readonly kernel: Kernel;
  readonly reads: TableReads;
  readonly blobs: BlobStore;
  readonly inlineBytesMax: number;
  /** Why writes are refused now; undefined while they are taken. */
  readonly refusal: () => LightningError | undefined;
  /** Why the cache gets no room back, for longer than a read waits for it; undefined: it does. */
  readonly stalled: () => LightningError | undefined;
  /** Throws `RangeError` for a prepare that is malformed. */
  readonly checkPrepare: (session: ClientSession, head: PrepareHead, bytes: Buffer) => void;
  /** Aborts the transaction and answers the request. */
  readonly refusePrepare: (
    session: ClientSession,
    requestId: number,
    head: PrepareHead,
    error: unknown,
  ) => void;
}

/** How long a read is tried again while the cache has no room. */
const RETRY_MS_MAX = 10_000;

interface WaitingRead {
  readonly session: ClientSession;
  readonly request: Request;
  readonly deadlineMs: number;
}

export class RequestHandler {
  readonly #options: RequestHandlerOptions;
  #waiting: WaitingRead[] = [];

  constructor(options: RequestHandlerOptions) {
    this.#options = options;
  }

  /** Reads that wait for room in the cache. */
  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Takes the record that the session's reader stands on. A commit, when it completes one. */
  take(session: ClientSession, nowMs: number): ReadyCommit | undefined {
    const { requests } = session;
    if (requests.kind === REQUEST_BLOB_BEGIN) return this.#takeBlobPiece(session);
    const { requestId } = requests;
    let request: Request | undefined;
    try {
      request = session.assembler.add(requests, this.#options.kernel.bytes);
    } catch (error) {
      // The pieces that still come would start a request of their own: there is no way on.
      session.responses.error(requestId, error);
      return undefined;
    }
    if (request === undefined) {
      session.partial.add(requestId);
      return undefined;
    }
    session.partial.delete(requestId);
    try {
      if (request.kind === REQUEST_WRITE) return this.#prepareWrite(session, request);
      if (request.kind === REQUEST_PREPARE) return this.#prepareCommit(session, request);
      this.#read(session, request);
    } catch (error) {
      const isBusy = error instanceof CacheBusyError && !error.isForGood;
      if (isBusy && this.#options.stalled() === undefined) {
        const deadlineMs = nowMs + RETRY_MS_MAX;
        this.#waiting.push({ session, request: privateCopy(request), deadlineMs });
      } else {
        session.responses.error(requestId, this.#busyAsError(error));
      }
    }
    return undefined;
  }

  /** Tries the waiting reads again; returns the clients that got an answer. */
  retryWaiting(nowMs: number): ClientSession[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    const answered: ClientSession[] = [];
    for (const read of waiting) {
      try {
        this.#read(read.session, read.request);
      } catch (error) {
        const isPassing = error instanceof CacheBusyError && !error.isForGood;
        if (isPassing && nowMs < read.deadlineMs) {
          this.#waiting.push(read);
          continue;
        }
        read.session.responses.error(read.request.requestId, this.#busyAsError(error));
      }
      answered.push(read.session);
    }
    return answered;
  }

  #busyAsError(error: unknown): unknown {
    if (!(error instanceof CacheBusyError)) return error;
    return (error.isForGood ? undefined : this.#options.stalled()) ?? cacheTooSmall();
  }

  /** Drops what waits for a client that is gone. */
  forget(session: ClientSession): void {
    this.#waiting = this.#waiting.filter((read) => read.session !== session);
  }

  // ---- reads ----------------------------------------------------------------------

  #read(session: ClientSession, request: Request): void {
    const { bytes, payload, payloadBytes, requestId } = request;
    const { reads } = this.#options;
    const { responses } = session;
    switch (request.kind) {
      case REQUEST_GET: {
        const { snapshot, keyStart, keyEnd } = decodeGet(bytes, payload, payloadBytes);
        const found = reads.lookup(bytes.subarray(keyStart, keyEnd), snapshot);
        if (found.kind === 'missing') responses.missing(requestId);
        else if (found.kind === 'value') responses.value(requestId, found.bytes);
        else responses.valueFrom(requestId, this.#options.blobs.open(found.reference));
        return;
      }
      case REQUEST_GET_MANY: {
        const many = decodeGetMany(bytes, payload, payloadBytes, request.argument);
        const values = many.keys.map((key) => this.#valueOf(key, many.snapshot));
        responses.values(requestId, values);
        return;
      }
      case REQUEST_LOAD_BLOCKS: {
        const { table, firstBlock, count } = decodeLoadBlocks(bytes, payload, payloadBytes);
        const isScan = (request.flags & RECORD_FLAG_SCAN) !== 0;
        reads.loadBlocks(table, firstBlock, count, isScan);
        responses.ok(requestId, 0);
        return;
      }
      case REQUEST_CACHE_BLOCK: {
        const { table, block, storedStart } = decodeCacheBlock(bytes, payload, payloadBytes);
        reads.cacheBlock(table, block, bytes.subarray(storedStart, payload + payloadBytes));
        responses.ok(requestId, 0);
        return;
      }
      case REQUEST_CACHE_RECORD: {
        const record = decodeCacheRecord(bytes, payload, payloadBytes);
        const entry = bytes.subarray(record.keyStart, payload + payloadBytes);
        reads.cacheRecord(record, entry, request.argument);
        responses.ok(requestId, 0);
        return;
      }
      default:
        throw new InvalidArgumentError(`Cannot answer a request of unknown kind ${request.kind}`);
    }
  }

  #valueOf(key: Uint8Array, snapshot: number): Uint8Array | undefined {
    const found = this.#options.reads.lookup(key, snapshot);
    if (found.kind === 'missing') return undefined;
    return found.kind === 'value' ? found.bytes : this.#readBlob(found.reference);
  }

  #readBlob(reference: BlobReference): Buffer {
    const reader = this.#options.blobs.open(reference);
    try {
      const value = Buffer.allocUnsafe(reference.bytes);
      let at = 0;
      for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
        value.set(piece, at);
        at += piece.length;
      }
      return value;
    } finally {
      reader.close();
    }
  }

  // ---- writes ---------------------------------------------------------------------

  #prepareWrite(session: ClientSession, request: Request): ReadyCommit {
    const refusal = this.#options.refusal();
    if (refusal !== undefined) throw refusal;
    const { bytes, payload, payloadBytes, argument } = request;
    // In one record: still in the ring, which is given back before the commit is written.
    const whole = bytes.subarray(payload, payload + payloadBytes);
    const owned = bytes === this.#options.kernel.bytes ? Buffer.from(whole) : whole;
    const { inlineBytesMax, blobs } = this.#options;
    const prepared = prepareOperations(owned, argument, inlineBytesMax, blobs);
    const isSync = (request.flags & RECORD_FLAG_SYNC) !== 0;
    return { ...prepared, isSync, session, requestId: request.requestId, prepare: undefined };
  }

  #prepareCommit(session: ClientSession, request: Request): ReadyCommit | undefined {
    const { payload, payloadBytes, argument, requestId } = request;
    const owned = Buffer.from(request.bytes.subarray(payload, payload + payloadBytes));
    const head = newPrepareHead();
    try {
      decodePrepare(owned, 0, owned.length, head);
      this.#options.checkPrepare(session, head, owned);
    } catch (error) {
      throw error instanceof RangeError ? malformedWrite() : error;
    }
    try {
      const refusal = this.#options.refusal();
      if (refusal !== undefined) throw refusal;
      const { inlineBytesMax, blobs } = this.#options;
      const operations = owned.subarray(head.operationsAt);
      const prepared = prepareOperations(operations, argument, inlineBytesMax, blobs);
      const isSync = (request.flags & RECORD_FLAG_SYNC) !== 0;
      const prepare = { head, payload: owned, operations: argument };
      return { ...prepared, isSync, session, requestId, prepare };
    } catch (error) {
      this.#options.refusePrepare(session, requestId, head, error);
      return undefined;
    }
  }

  #takeBlobPiece(session: ClientSession): ReadyCommit | undefined {
    const { requests, uploads, responses } = session;
    const { requestId, payload, payloadBytes, flags } = requests;
    const upload = uploads.get(requestId) ?? this.#beginUpload();
    const piece = this.#options.kernel.bytes.subarray(payload, payload + payloadBytes);
    this.#acceptPiece(upload, piece);
    if ((flags & RECORD_FLAG_MORE) !== 0) {
      uploads.set(requestId, upload);
      return undefined;
    }
    uploads.delete(requestId);
    try {
      if (upload.error !== undefined) throw upload.error;
      upload.reader.finish();
      const { writer, reader } = upload;
      if (writer === undefined || reader.key === undefined) {
        throw new InvalidArgumentError('Cannot put a large value without its bytes');
      }
      const reference = writer.finish();
      this.#options.blobs.written(reference);
      const operations = encodePutBlob(reader.key, reference);
      const isSync = (flags & RECORD_FLAG_SYNC) !== 0;
      const blobs = [reference.blob];
      return { operations, blobs, isSync, session, requestId, prepare: undefined };
    } catch (error) {
      upload.writer?.abort();
      responses.error(requestId, error);
      return undefined;
    }
  }

  #beginUpload(): BlobUpload {
    const upload: BlobUpload = {
      reader: new BlobRequestReader(),
      writer: undefined,
      error: this.#options.refusal(),
    };
    return upload;
  }

  /** Once something went wrong, the rest of the pieces is only passed over. */
  #acceptPiece(upload: BlobUpload, piece: Buffer): void {
    if (upload.error !== undefined) return;
    try {
      const value = upload.reader.push(piece);
      if (upload.reader.key === undefined) return;
      upload.writer ??= this.#options.blobs.begin();
      upload.writer.write(value);
    } catch (error) {
      upload.error = error;
      upload.writer?.abort();
      upload.writer = undefined;
    }
  }
}

function privateCopy(request: Request): Request {
  const { payload, payloadBytes } = request;
  const bytes = Buffer.from(request.bytes.subarray(payload, payload + payloadBytes));
  return { ...request, bytes, payload: 0 };
}

function cacheTooSmall(): LightningError {
  return new LightningError(
    'LIGHTNING_LIMIT_EXCEEDED',
    'The block cache is too small for the blocks of this key: open the database with a larger "cacheSize"',
  );
}
