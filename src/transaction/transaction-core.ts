/**
 * One transaction, below its typed surface: the moment it reads as of, what it wrote, what it has to
 * find unchanged, and its way to an end. Keys of calls are in the client's scratch.
 *
 *   active ──► committing ──► committed | conflict | error | unknown
 *      └─────► rollback | timeout | aborted
 *
 * At its end, however it comes, it gives back its snapshot, its place among the active ones and its
 * write set; afterwards every call throws.
 *
 * The moment is that of the beginning, when it can be had without waiting; otherwise it is fixed
 * by the first call that needs it, which waits: on the thread when it is a synchronous one.
 */

import {
  ClosedError,
  ConflictError,
  InvalidArgumentError,
  LightningError,
  type ShardUnavailableError,
  TransactionFinishedError,
  TransactionTimeoutError,
} from '../errors.js';
import { type Codec, decode } from '../router/codec.js';
import type {
  CursorStream,
  ReadMoment,
  ScanExtension,
  ScanObserver,
} from '../router/scan-cursor.js';
import type { ScanQuery } from '../router/scan-query.js';
import type { ShardClient } from '../router/shard-client.js';
import { commitTransaction } from '../router/transaction-commit.js';
import { type AbortReason, TALLY_COMMITS } from '../router/transaction-tally.js';
import { NONE } from './key-index.js';
import { OwnWrites } from './own-writes.js';
import type { ReadSet } from './read-set.js';
import type { SharedSnapshot } from './shared-snapshots.js';
import type { Transactions } from './transactions.js';
import type { WriteSet } from './write-set.js';

export type TransactionState = 'active' | 'committing' | 'committed' | AbortReason;

/** What `Transaction.savepoint` returns. */
export class Savepoint {
  /** Operations before it. */
  readonly count: number;

  /** @internal */
  constructor(count: number) {
    this.count = count;
  }
}

export class TransactionCore implements ReadMoment, ScanExtension {
  readonly beganMs: number;
  readonly deadlineMs: number;
  state: TransactionState = 'active';
  /** Neighbours in the list of active ones. */
  before: TransactionCore | undefined;
  next: TransactionCore | undefined;
  /** Called when something else than its user ends it. */
  whenEnded: ((error: LightningError) => void) | undefined;
  readonly #owner: Transactions;
  readonly #isSerializable: boolean;
  #snapshot: SharedSnapshot | undefined;
  #settling: Promise<void> | undefined;
  #writes: WriteSet;
  #reads: ReadSet | undefined;
  #savepoints: Savepoint[] | undefined;

  constructor(owner: Transactions, isSerializable: boolean, beganMs: number, deadlineMs: number) {
    this.#owner = owner;
    this.#isSerializable = isSerializable;
    this.beganMs = beganMs;
    this.deadlineMs = deadlineMs;
    this.#snapshot = owner.snapshots.tryTake();
    this.#writes = owner.takeWriteSet();
  }

  // ---- the moment -----------------------------------------------------------------------

  get sequence(): number | undefined {
    return this.#snapshot?.hold.sequence;
  }

  settle(): Promise<void> | undefined {
    if (this.#snapshot !== undefined) return undefined;
    this.#settling ??= this.#owner.snapshots.take().then((snapshot) => this.#settled(snapshot));
    return this.#settling;
  }

  settleSync(): void {
    if (this.#snapshot === undefined) this.#settled(this.#owner.snapshots.takeSync());
  }

  #settled(snapshot: SharedSnapshot): void {
    // Another call was faster, or the transaction ended meanwhile.
    if (this.#snapshot !== undefined || !this.#isGoingOn) this.#owner.snapshots.giveBack(snapshot);
    else this.#snapshot = snapshot;
  }

  get #isGoingOn(): boolean {
    return this.state === 'active' || this.state === 'committing';
  }

  /** Throws when the transaction, or the database, has come to its end. */
  checkOpen(): void {
    if (this.state === 'active') {
      this.#owner.session.checkOpen();
      return;
    }
    throw this.endError();
  }

  /** What a call after the end is told. */
  endError(): LightningError {
    if (!this.#owner.session.isOpen) return new ClosedError();
    const { state } = this;
    if (state === 'timeout') {
      const timeoutMs = Math.round(this.deadlineMs - this.beganMs);
      return new TransactionTimeoutError(
        `The transaction took longer than ${timeoutMs} ms ("timeoutMs") and was rolled back`,
        { details: { timeoutMs } },
      );
    }
    return new TransactionFinishedError(
      `The transaction is at its end (${END_TEXTS[state]}): begin another`,
      { details: { state } },
    );
  }

  // ---- reads ----------------------------------------------------------------------------

  /** With `record`, the key must be unchanged at the commit, whatever the isolation. */
  get(codec: Codec, record: boolean): Promise<unknown> {
    const { client, reader } = this.#owner.session;
    const shard = client.route();
    const entry = this.#writes.find(client.key, shard.shard);
    if (entry !== NONE) return Promise.resolve(this.#ownValue(entry, codec));
    if (record || this.#isSerializable) this.#record(shard);
    if (this.#snapshot !== undefined) return reader.get(codec, this.#snapshot.hold.sequence);
    return this.#later((sequence) => reader.get(codec, sequence));
  }

  getSync(codec: Codec): unknown {
    const { client, reader } = this.#owner.session;
    const shard = client.route();
    const entry = this.#writes.find(client.key, shard.shard);
    if (entry !== NONE) return this.#ownValue(entry, codec);
    if (this.#isSerializable) this.#record(shard);
    return reader.getSync(codec, this.#sequenceSync());
  }

  has(): Promise<boolean> {
    const { client, reader } = this.#owner.session;
    const shard = client.route();
    const entry = this.#writes.find(client.key, shard.shard);
    if (entry !== NONE) return Promise.resolve(!this.#writes.isDelete(entry));
    if (this.#isSerializable) this.#record(shard);
    if (this.#snapshot !== undefined) return reader.has(this.#snapshot.hold.sequence);
    return this.#later((sequence) => reader.has(sequence));
  }

  hasSync(): boolean {
    const { client, reader } = this.#owner.session;
    const shard = client.route();
    const entry = this.#writes.find(client.key, shard.shard);
    if (entry !== NONE) return !this.#writes.isDelete(entry);
    if (this.#isSerializable) this.#record(shard);
    return reader.hasSync(this.#sequenceSync());
  }

  /** The version of the key in the scratch, which the transaction has not written. */
  version(): Promise<number | undefined> {
    return this.#later((sequence) => this.#owner.session.reader.version(sequence));
  }

  /** The own value of the key in the scratch goes to `found`; true when there is one, or a delete. */
  findOwn(codec: Codec, found: (value: unknown) => void): boolean {
    const { client } = this.#owner.session;
    const shard = client.route();
    const entry = this.#writes.find(client.key, shard.shard);
    if (entry !== NONE) found(this.#ownValue(entry, codec));
    else if (this.#isSerializable) this.#record(shard);
    return entry !== NONE;
  }

  /** Nothing was written, and what is read is not kept: reads are those of the snapshot. */
  get readsPlainly(): boolean {
    return this.#writes.count === 0 && !this.#isSerializable;
  }

  #sequenceSync(): number {
    if (this.#snapshot === undefined) {
      const { key } = this.#owner.session.client;
      const held = key.toBuffer();
      this.settleSync();
      key.setBytes(held);
    }
    return (this.#snapshot as SharedSnapshot).hold.sequence;
  }

  /** Reads the key in the scratch once the moment is fixed. */
  async #later<T>(read: (sequence: number) => Promise<T>): Promise<T> {
    const { key } = this.#owner.session.client;
    const held = key.toBuffer();
    await this.settle();
    this.checkOpen();
    key.setBytes(held);
    return read((this.#snapshot as SharedSnapshot).hold.sequence);
  }

  #ownValue(entry: number, codec: Codec): unknown {
    const writes = this.#writes;
    if (writes.isDelete(entry)) return undefined;
    const start = writes.valueStarts[entry] as number;
    return decode(codec, writes.bytesOf(entry), start, writes.valueEnds[entry] as number, false);
  }

  #record(shard: ShardClient): void {
    this.#readSet().add(this.#owner.session.client.key, shard.shard);
  }

  #readSet(): ReadSet {
    this.#reads ??= this.#owner.takeReadSet();
    return this.#reads;
  }

  // ---- scans ----------------------------------------------------------------------------

  overlay({ lower, upper, reverse }: ScanQuery): CursorStream | undefined {
    const view = this.#writes.view(lower, upper, reverse);
    return view === undefined ? undefined : new OwnWrites(view);
  }

  observer(query: ScanQuery): ScanObserver | undefined {
    return this.#isSerializable ? this.#readSet().scan(query) : undefined;
  }

  // ---- writes ---------------------------------------------------------------------------

  put(value: string | Uint8Array): void {
    const { client } = this.#owner.session;
    this.#writes.put(client.key, client.route().shard, value);
    if (this.#writes.isWasteful) this.#compact();
  }

  delete(): void {
    const { client } = this.#owner.session;
    this.#writes.delete(client.key, client.route().shard);
    if (this.#writes.isWasteful) this.#compact();
  }

  savepoint(): Savepoint {
    const savepoint = new Savepoint(this.#writes.count);
    this.#savepoints ??= [];
    this.#savepoints.push(savepoint);
    return savepoint;
  }

  rollbackTo(savepoint: Savepoint): void {
    const index = this.#savepoints?.lastIndexOf(savepoint) ?? -1;
    if (this.#savepoints === undefined || index === -1) {
      throw new InvalidArgumentError(
        'Parameter "savepoint" must be one of this transaction that was not rolled back over',
        { details: { parameter: 'savepoint' } },
      );
    }
    this.#savepoints.length = index + 1;
    this.#writes = this.#writes.truncated(savepoint.count);
  }

  /** Operations that were replaced go, unless a savepoint may bring them back. */
  #compact(): void {
    if (this.#savepoints === undefined) this.#writes = this.#writes.compacted();
  }

  // ---- the end --------------------------------------------------------------------------

  /** Resolves with the sequence number of the commit, or that of the snapshot if nothing was written. */
  commit(sync: boolean): Promise<number> {
    this.state = 'committing';
    if (this.#snapshot !== undefined) return this.#commitAt(this.#snapshot.hold.sequence, sync);
    return this.#commitLater(sync);
  }

  async #commitLater(sync: boolean): Promise<number> {
    try {
      await this.settle();
    } catch (error) {
      this.#end('error');
      throw error;
    }
    return this.#commitAt((this.#snapshot as SharedSnapshot).hold.sequence, sync);
  }

  #commitAt(snapshot: number, sync: boolean): Promise<number> {
    const { session, tally } = this.#owner;
    const writes = this.#writes;
    if (writes.count === 0) {
      this.#committed();
      return Promise.resolve(snapshot);
    }
    const startMs = tally.isEnabled ? performance.now() : 0;
    let committed: Promise<number>;
    try {
      committed = commitTransaction(session.client, {
        parts: writes.parts,
        reads: this.#reads?.keys(),
        ranges: this.#reads?.ranges(),
        validateWrites: true,
        snapshot,
        sync,
      });
    } catch (error) {
      committed = Promise.reject(error);
    }
    return committed.then(
      (sequence) => {
        if (tally.isEnabled) tally.commitTook(performance.now() - startMs);
        this.#committed();
        return sequence;
      },
      (error: unknown) => {
        this.#end(reasonOf(error));
        throw error;
      },
    );
  }

  /** Ends the transaction without a commit. No effect at or after its end, or during its commit. */
  rollback(reason: 'rollback' | 'timeout' | 'aborted' | 'error'): void {
    if (this.state !== 'active') return;
    this.#end(reason);
    const { whenEnded } = this;
    this.whenEnded = undefined;
    whenEnded?.(this.endError());
  }

  #committed(): void {
    this.#owner.tally.add(TALLY_COMMITS);
    this.#finish('committed');
  }

  #end(reason: AbortReason): void {
    this.#owner.tally.aborted(reason);
    this.#finish(reason);
  }

  #finish(state: TransactionState): void {
    const owner = this.#owner;
    this.state = state;
    if (owner.tally.isEnabled) owner.tally.transactionTook(performance.now() - this.beganMs);
    if (this.#snapshot !== undefined) owner.snapshots.giveBack(this.#snapshot);
    owner.ended(this);
    owner.giveWriteSet(this.#writes);
    if (this.#reads !== undefined) owner.giveReadSet(this.#reads);
    this.#reads = undefined;
  }
}

const END_TEXTS: Readonly<Record<TransactionState, string>> = {
  active: 'active',
  committing: 'its commit is under way',
  committed: 'it has committed',
  conflict: 'it met a conflict',
  rollback: 'it was rolled back',
  timeout: 'it took too long',
  aborted: 'it was aborted',
  error: 'it failed',
  unknown: 'whether it has committed is not known',
};

function reasonOf(error: unknown): AbortReason {
  if (error instanceof ConflictError) return 'conflict';
  if (!(error instanceof LightningError)) return 'error';
  return (error as ShardUnavailableError).details['outcome'] === 'unknown' ? 'unknown' : 'error';
}
