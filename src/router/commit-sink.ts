/**
 * The answers of all participants of one commit, behind one promise.
 *
 * A participant answers OK after it has applied its part, or ERROR after the commit was aborted; one
 * that dies answers nothing, and then the transaction table says what became of the commit.
 */

import type { LightningError } from '../errors.js';
import { ConflictError, commitTimeout, ShardUnavailableError } from '../errors.js';
import type { Client } from './client.js';
import type { WatchedCommit } from './commit-watch.js';
import { DATABASE_CLOSED } from './control-block.js';
import type { ResponseSink } from './response-sink.js';
import { unavailable } from './shard-client.js';
import type { StringBuffer } from './string-buffer.js';
import {
  ABORT_UNAVAILABLE,
  isSameCommit,
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_UNKNOWN,
} from './transaction-table.js';

/** How often a commit is looked at whose participant has died. */
const LOOK_MS = 2;

export interface CommitSinkOptions {
  readonly client: Client;
  readonly slot: number;
  /** The slot's word when it was PREPARING. */
  readonly word: number;
  /** Participants. */
  readonly count: number;
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: unknown) => void;
}

export class CommitSink implements ResponseSink, WatchedCommit {
  readonly #options: CommitSinkOptions;
  #remaining: number;
  /** Of the commit, once a participant has said that it took place. */
  #sequence = 0;
  /** What a participant has said about a commit that did not take place. */
  #error: unknown;
  #isUncertain = false;
  #wasAborted = false;
  /** The promise is settled, before all have answered. */
  #isGivenUp = false;

  constructor(options: CommitSinkOptions) {
    this.#options = options;
    this.#remaining = options.count;
  }

  get slot(): number {
    return this.#options.slot;
  }

  get word(): number {
    return this.#options.word;
  }

  givenUp(): void {
    const { client, reject } = this.#options;
    this.#isGivenUp = true;
    reject(commitTimeout());
    this.#wakeAll();
    client.commitEnded();
  }

  respond(_kind: number, bytes: StringBuffer, start: number, _end: number): void {
    this.#sequence = bytes.readDoubleLE(start);
    this.#settle();
  }

  fail(error: unknown): void {
    if (isUnknown(error)) this.#isUncertain = true;
    else if (this.#error === undefined || namesKey(error)) this.#error = error;
    const { client, slot, word } = this.#options;
    // Others need not wait for one that is gone.
    if (client.control.transactions.abort(slot, word, ABORT_UNAVAILABLE)) this.#wasAborted = true;
    this.#wakeAll();
    this.#settle();
  }

  /** The participants have a look at what became of it. */
  #wakeAll(): void {
    const { client, slot } = this.#options;
    for (const shard of client.shards) {
      if (client.control.transactions.takesPart(slot, shard.shard)) shard.wake();
    }
  }

  #settle(): void {
    if (--this.#remaining > 0 || this.#isGivenUp) return;
    const { client, resolve } = this.#options;
    if (!this.#isUncertain && this.#error === undefined) resolve(this.#sequence);
    else this.#settleUncertain();
    client.commits.watch.remove(this);
    client.commitEnded();
  }

  #settleUncertain(): void {
    const { client, slot, word, resolve, reject } = this.#options;
    const now = client.control.transactions.word(slot);
    const isOpen = isSameCommit(now, word);
    if (this.#error !== undefined) {
      reject(this.#error);
    } else if (this.#sequence > 0) {
      // It took place. What died will have applied it when it is back: only then it is seen.
      if (isOpen && client.control.databaseState() !== DATABASE_CLOSED) this.#lookAgain();
      else resolve(this.#sequence);
    } else if (this.#wasAborted || (isOpen && stateOf(now) === TRANSACTION_ABORTED)) {
      reject(unavailable('none'));
    } else if (isOpen && stateOf(now) === TRANSACTION_UNKNOWN) {
      reject(unavailable('unknown'));
    } else if (isOpen && client.control.databaseState() !== DATABASE_CLOSED) {
      this.#sequence = client.control.transactions.committedSequence(slot, word);
      this.#lookAgain();
    } else {
      reject(unavailable('unknown'));
    }
  }

  #lookAgain(): void {
    setTimeout(() => this.#settleUncertain(), LOOK_MS);
  }
}

/** The shard that found a conflict knows the key; the others only hear that there was one. */
function namesKey(error: unknown): boolean {
  return error instanceof ConflictError && error.details['key'] !== undefined;
}

function isUnknown(error: unknown): boolean {
  return (
    error instanceof ShardUnavailableError &&
    (error as LightningError).details['outcome'] === 'unknown'
  );
}
