/**
 * What the transactions of one thread have in common: the limit to how many there are, the timer
 * that ends those that were forgotten, their snapshots, their count, and sets to use again.
 */

import { ReadOnlyError, TooManyTransactionsError } from '../errors.js';
import type { Session } from '../router/session.js';
import { TALLY_STARTED, TransactionTally } from '../router/transaction-tally.js';
import { ReadSet } from './read-set.js';
import { RetryTurns } from './retry-turns.js';
import { SharedSnapshots } from './shared-snapshots.js';
import { TransactionCore } from './transaction-core.js';
import type { Isolation } from './transaction-options.js';
import { WriteSet } from './write-set.js';

/** Write sets, and read sets, kept for transactions to come. */
const SPARE_MAX = 64;

export class Transactions {
  readonly session: Session;
  readonly snapshots: SharedSnapshots;
  readonly tally: TransactionTally;
  readonly turns = new RetryTurns();
  readonly #spare: WriteSet[] = [];
  readonly #spareReads: ReadSet[] = [];
  /** Active ones, as a list that each is a link of. */
  #first: TransactionCore | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer goes off. */
  #timerMs = Number.POSITIVE_INFINITY;

  constructor(session: Session) {
    this.session = session;
    this.snapshots = new SharedSnapshots(session);
    const { client, config } = session;
    this.tally = new TransactionTally(client.control, client.slot, config.statistics);
  }

  /** Begins one. Throws `TooManyTransactionsError`. */
  begin(isolation: Isolation, timeoutMs: number): TransactionCore {
    const { session } = this;
    session.checkOpen();
    const { client, config } = session;
    if (!client.control.counts.beginTransaction(client.slot, config.transactionsMax)) {
      throw new TooManyTransactionsError(
        `Too many transactions are active: at most ${config.transactionsMax} ("maxActiveTransactions") may be at one time`,
        { details: { max: config.transactionsMax } },
      );
    }
    const nowMs = performance.now();
    let core: TransactionCore;
    try {
      core = new TransactionCore(this, isolation === 'serializable', nowMs, nowMs + timeoutMs);
    } catch (error) {
      client.control.counts.endTransaction(client.slot);
      throw error;
    }
    this.#link(core);
    if (core.deadlineMs < this.#timerMs) this.#arm(core.deadlineMs, nowMs);
    this.tally.add(TALLY_STARTED);
    return core;
  }

  /** The transaction is at its end. Called once for each. */
  ended(core: TransactionCore): void {
    this.#unlink(core);
    const { client } = this.session;
    client.control.counts.endTransaction(client.slot);
  }

  takeWriteSet(): WriteSet {
    return this.#spare.pop() ?? new WriteSet(this.session.client.shards.length);
  }

  giveWriteSet(writes: WriteSet): void {
    if (writes.shared || this.#spare.length >= SPARE_MAX) return;
    writes.clear();
    this.#spare.push(writes);
  }

  takeReadSet(): ReadSet {
    return this.#spareReads.pop() ?? new ReadSet(this.session.client.shards.length);
  }

  giveReadSet(reads: ReadSet): void {
    if (this.#spareReads.length >= SPARE_MAX) return;
    reads.clear();
    this.#spareReads.push(reads);
  }

  checkWritable(): void {
    if (!this.session.config.readOnly) return;
    throw new ReadOnlyError('The database was opened with "readOnly": it takes no writes');
  }

  /** The database closes: what is active is rolled back. */
  close(): void {
    let core = this.#first;
    while (core !== undefined) {
      const { next }: TransactionCore = core;
      core.rollback('error');
      core = next;
    }
    clearTimeout(this.#timer);
    this.#timerMs = Number.POSITIVE_INFINITY;
  }

  #link(core: TransactionCore): void {
    core.next = this.#first;
    if (this.#first !== undefined) this.#first.before = core;
    this.#first = core;
  }

  #unlink(core: TransactionCore): void {
    if (core.before === undefined) this.#first = core.next;
    else core.before.next = core.next;
    if (core.next !== undefined) core.next.before = core.before;
    core.before = undefined;
    core.next = undefined;
  }

  #arm(deadlineMs: number, nowMs: number): void {
    clearTimeout(this.#timer);
    this.#timerMs = deadlineMs;
    this.#timer = setTimeout(this.#expire, Math.max(1, Math.ceil(deadlineMs - nowMs)));
    this.#timer.unref();
  }

  readonly #expire = (): void => {
    const nowMs = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    let core = this.#first;
    while (core !== undefined) {
      const { next, deadlineMs }: TransactionCore = core;
      if (deadlineMs <= nowMs) core.rollback('timeout');
      else if (deadlineMs < nextMs) nextMs = deadlineMs;
      core = next;
    }
    this.#timerMs = Number.POSITIVE_INFINITY;
    if (nextMs < Number.POSITIVE_INFINITY) this.#arm(nextMs, nowMs);
  };
}
