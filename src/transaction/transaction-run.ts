/**
 * Running a function in a transaction: begin, call, commit; after a conflict wait a little, longer
 * each time and never the same, and begin anew. Those of a thread that met a conflict about the same
 * key begin anew one after the other (retry-turns.ts).
 *
 * Written with callbacks: of the promises that `await` would make, most are not needed.
 */

import { ConflictError, LightningError, TransactionTimeoutError } from '../errors.js';
import { newPromise, rejectPart, resolvePart } from '../router/promise-parts.js';
import { TALLY_RETRIES } from '../router/transaction-tally.js';
import type { Turn } from './retry-turns.js';
import { Transaction } from './transaction.js';
import type { TransactionCore } from './transaction-core.js';
import type { CheckedOptions } from './transaction-options.js';
import type { Transactions } from './transactions.js';

/** The wait before the second attempt is at most this long; it doubles with each attempt. */
const BACKOFF_MS_FIRST = 0.25;
const BACKOFF_MS_MAX = 50;

export type TransactionWork = (transaction: Transaction<unknown, unknown>) => unknown;

/** Resolves with what `work` returned in the attempt that was committed. */
export function runTransaction(
  owner: Transactions,
  work: TransactionWork,
  options: CheckedOptions,
): Promise<unknown> {
  const promise = newPromise<unknown>();
  new Run(owner, work, options, resolvePart(), rejectPart()).attempt();
  return promise;
}

class Run {
  readonly #owner: Transactions;
  readonly #work: TransactionWork;
  readonly #options: CheckedOptions;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: unknown) => void;
  /** 0 until the first attempt failed. */
  #deadlineMs = 0;
  #attempts = 0;
  /** Attempts since it has its turn, or since the beginning. */
  #attemptsInTurn = 0;
  #turn: Turn | undefined;
  /** Ends the wait for its turn. */
  #waiting: NodeJS.Timeout | undefined;
  #core: TransactionCore | undefined;
  /** Resolved or rejected. What the function still does is of no interest. */
  #isSettled = false;
  #onAbort: (() => void) | undefined;

  constructor(
    owner: Transactions,
    work: TransactionWork,
    options: CheckedOptions,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    this.#owner = owner;
    this.#work = work;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    const { signal } = options;
    if (signal === undefined) return;
    this.#onAbort = () => this.#abort(signal);
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  attempt(): void {
    clearTimeout(this.#waiting);
    if (this.#isSettled) return;
    const { isolation, timeoutMs, signal } = this.#options;
    if (signal?.aborted === true) {
      this.#abort(signal);
      return;
    }
    let core: TransactionCore;
    let result: unknown;
    this.#attempts++;
    this.#attemptsInTurn++;
    try {
      const leftMs = this.#deadlineMs === 0 ? timeoutMs : this.#deadlineMs - performance.now();
      if (leftMs <= 0) throw tooLong(timeoutMs);
      core = this.#owner.begin(isolation, leftMs);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#core = core;
    core.whenEnded = this.#ended;
    try {
      result = this.#work(new Transaction<unknown, unknown>(this.#owner, core));
    } catch (error) {
      this.#threw(core, error);
      return;
    }
    if (isThenable(result)) {
      result.then(
        (value) => this.#returned(core, value),
        (error) => this.#threw(core, error),
      );
    } else {
      this.#returned(core, result);
    }
  }

  /** The transaction's time was up, or the database was closed: not what the function did. */
  readonly #ended = (error: LightningError): void => {
    if (this.#core?.state !== 'rollback') this.#fail(error);
  };

  #returned(core: TransactionCore, value: unknown): void {
    if (this.#isSettled) return;
    // The function has committed or rolled back itself, or has dealt with the conflict of its commit.
    const { state } = core;
    if (state === 'committed' || state === 'rollback' || state === 'conflict') {
      this.#succeed(value);
      return;
    }
    try {
      core.checkOpen();
      core.commit(this.#options.sync).then(
        () => this.#succeed(value),
        (error) => this.#threw(core, error),
      );
    } catch (error) {
      this.#threw(core, error);
    }
  }

  #threw(core: TransactionCore, error: unknown): void {
    if (this.#isSettled) return;
    core.whenEnded = undefined;
    core.rollback('error');
    if (core.state !== 'conflict' || !(error instanceof ConflictError)) {
      this.#fail(error);
      return;
    }
    const { maxRetries, timeoutMs } = this.#options;
    if (this.#attempts > maxRetries) {
      this.#fail(error);
      return;
    }
    if (this.#deadlineMs === 0) this.#deadlineMs = core.beganMs + timeoutMs;
    this.#owner.tally.add(TALLY_RETRIES);
    if (this.#isItsTurn(error.details['keyHex'])) this.#attemptLater();
  }

  /** False: others of the thread that met a conflict about this key are before it. */
  #isItsTurn(key: unknown): boolean {
    if (typeof key !== 'string') return true;
    const { turns } = this.#owner;
    if (this.#turn?.key === key && turns.isFirst(this.#turn)) return true;
    this.#leaveTurn();
    this.#turn = turns.take(key, () => this.attempt());
    this.#attemptsInTurn = 0;
    if (turns.isFirst(this.#turn)) return true;
    const leftMs = Math.max(this.#deadlineMs - performance.now(), 1);
    this.#waiting = setTimeout(() => this.#fail(tooLong(this.#options.timeoutMs)), leftMs);
    return false;
  }

  #leaveTurn(): void {
    if (this.#turn !== undefined) this.#owner.turns.release(this.#turn);
    this.#turn = undefined;
  }

  #attemptLater(): void {
    const delayMs =
      Math.random() * Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** this.#attemptsInTurn);
    if (delayMs < 1) setImmediate(() => this.attempt());
    else setTimeout(() => this.attempt(), delayMs);
  }

  #abort(signal: AbortSignal): void {
    // What is being committed cannot be called back.
    if (this.#core?.state === 'committing') return;
    if (this.#core !== undefined) {
      this.#core.whenEnded = undefined;
      this.#core.rollback('aborted');
    }
    this.#fail(
      new LightningError('LIGHTNING_ABORTED', 'The transaction was aborted by its signal', {
        cause: signal.reason,
      }),
    );
  }

  #succeed(value: unknown): void {
    this.#settle();
    this.#resolve(value);
  }

  #fail(error: unknown): void {
    if (this.#isSettled) return;
    this.#settle();
    this.#reject(error);
  }

  #settle(): void {
    this.#isSettled = true;
    clearTimeout(this.#waiting);
    this.#leaveTurn();
    if (this.#onAbort !== undefined) {
      this.#options.signal?.removeEventListener('abort', this.#onAbort);
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    'then' in value &&
    typeof value.then === 'function'
  );
}

function tooLong(timeoutMs: number): TransactionTimeoutError {
  return new TransactionTimeoutError(
    `The transaction met conflicts for ${timeoutMs} ms ("timeoutMs") and was given up`,
    { details: { timeoutMs } },
  );
}
