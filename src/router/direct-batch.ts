/**
 * Commits a batch over several shards on the client's own thread, while it holds all of them.
 *
 * By way of the workers such a batch wakes every participant twice, and the coordinator and the client
 * once each: more than the work of a thousand records. When the workers of all participants sleep and
 * have lent their shards (shard/lending.ts), the client does what each of them would do: it writes the
 * part to that shard's log under PREPARE, votes, decides if the coordinator has lent its log
 * (direct-decision.ts), else waits for the coordinator, and applies it.
 * Nothing else is different: the same records, the same slot of the transaction table, the same
 * decision in the coordinator's log, which is the commit. So recovery knows nothing of it.
 *
 * Invariants:
 * 1. All participants are taken before the first is written to; who finds one away takes none. They are
 *    taken in their order, and nobody waits for a latch for more than a moment: not in a circle.
 * 2. From the first PREPARE until every part is applied, no other commit gets into these shards: parts
 *    are applied in the order of the numbers, and hold no locks.
 * 3. A part is applied under H_UNSETTLED, and the bits in the table are taken out after all parts are
 *    applied: everybody sees all of it at once.
 * 4. The thread waits for nothing but the coordinator, and for that not long: a commit that is not committed
 *    by then is handed over to the workers, which find it as if they had prepared it. The same
 *    when the thread dies, or meets what it cannot sort out.
 */

import { faultPoint, isFaultDue, strike } from '../faults.js';
import { refusalOf } from '../protocol/refusal.js';
import type { BatchPart } from './batch-part.js';
import type { Client } from './client.js';
import type { CommitRequest } from './commit-request.js';
import { CommitSink } from './commit-sink.js';
import { DirectChoice } from './direct-choice.js';
import type { DirectCommit } from './direct-commit.js';
import type { DirectDecision } from './direct-decision.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { type ShardClient, unavailable } from './shard-client.js';
import {
  ABORT_UNAVAILABLE,
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_COMMITTED,
  TRANSACTION_DECIDING,
  TRANSACTION_PREPARING,
} from './transaction-table.js';

/** Longest wait for the decision; no shorter than the system's tick (shard-driver.ts). */
const DECISION_MS_MAX = 8;
/** Most batches that go another way after one that was not decided in that time. */
const PAUSE_MAX = 1024;
/** Batches that are awaited one after the other leave the event loop a turn at least so often. */
const EVENT_LOOP_MS_MAX = 4;

interface Participant {
  readonly shard: ShardClient;
  readonly direct: DirectCommit;
  readonly part: BatchPart;
}

interface Prepared {
  readonly slot: number;
  readonly word: number;
  readonly participants: readonly Participant[];
}

export class DirectBatch {
  readonly #client: Client;
  readonly #decision: DirectDecision | undefined;
  readonly #choice = new DirectChoice();
  /** When the first batch of this turn of the event loop was committed; 0: none was. */
  #turnMs = 0;
  /** Batches that go by way of the workers, since the coordinator was slow; twice as many each time. */
  #pause = 0;
  #pauseLast = 0;

  /** `decision`: decides while the coordinator has lent its log; without it, the coordinator does. */
  constructor(client: Client, decision?: DirectDecision) {
    this.#client = client;
    this.#decision = decision;
  }

  /** Lets go of files. */
  close(): void {
    this.#decision?.close();
  }

  /**
   * Commits the operations of `request`, which validates nothing. Undefined: it has to go by way of the
   * workers, and nothing was done. `nextId` makes a transaction id.
   */
  commit({ parts }: CommitRequest, nextId: () => number): Promise<number> | undefined {
    if (this.#pause > 0) {
      this.#pause--;
      return undefined;
    }
    const participants = this.#participants(parts);
    if (participants === undefined) return undefined;
    const operations = participants.reduce((sum, { part }) => sum + part.count, 0);
    if (!this.#choice.isDirect(operations) || !takeAll(participants)) return undefined;
    const { transactions } = this.#client.control;
    const slot = transactions.claim(this.#client.slot);
    if (slot < 0) {
      for (const { direct } of participants) direct.giveBack();
      return undefined;
    }
    faultPoint('claimed');
    let low = 0;
    let high = 0;
    for (const { shard } of participants) {
      if (shard.shard < 32) low |= 1 << shard.shard;
      else high |= 1 << (shard.shard - 32);
    }
    const id = nextId();
    const word = transactions.begin(slot, id, low, high);
    const prepared = { slot, word, participants };
    try {
      const error = this.#prepare(prepared, id);
      return error === undefined ? this.#decide(prepared) : Promise.reject(error);
    } catch {
      return this.#abandon(prepared);
    }
  }

  /** Something that nobody foresaw: the workers find in the phases what is left to do. */
  #abandon({ slot, word, participants }: Prepared): Promise<number> {
    const { control } = this.#client;
    const { transactions } = control;
    transactions.abort(slot, word, ABORT_UNAVAILABLE);
    const isAborted = stateOf(transactions.word(slot)) === TRANSACTION_ABORTED;
    this.#decision?.abandon(slot);
    transactions.stopAwaiting(slot);
    // Those that were not written to would never hear of it.
    for (const { shard } of isAborted ? participants : []) control.letGo(slot, word, shard.shard);
    for (const { direct } of participants) direct.letWorkerSeeToIt();
    return Promise.reject(unavailable(isAborted ? 'none' : 'unknown'));
  }

  /** Undefined: something of this client that was asked for before has yet to be taken by a worker. */
  #participants(parts: CommitRequest['parts']): Participant[] | undefined {
    const participants: Participant[] = [];
    for (const shard of this.#client.shards) {
      const part = parts[shard.shard];
      if (part === undefined || part.count === 0) continue;
      const direct = shard.idleDirect;
      if (direct === undefined) return undefined;
      participants.push({ shard, direct, part });
    }
    return participants;
  }

  /** Writes all parts. An error: the commit was aborted, and the shards are given back. */
  #prepare({ slot, word, participants }: Prepared, id: number): unknown {
    const { control } = this.#client;
    for (const { direct, part, shard } of participants) {
      faultPoint('prepare-received', shard.shard);
      const error = direct.prepare({ slot, word, id }, part);
      if (error === undefined) continue;
      control.transactions.abort(slot, word, ABORT_UNAVAILABLE);
      for (const participant of participants) control.letGo(slot, word, participant.shard.shard);
      // The others' PREPAREs stay where they are and mean nothing.
      for (const other of participants) {
        if (other.direct === direct) direct.letWorkerSeeToIt();
        else other.direct.giveBack();
      }
      return refusalOf(error);
    }
    if (isFaultDue('prepares-sent')) strike('prepares-sent');
    return undefined;
  }

  #decide(prepared: Prepared): Promise<number> {
    const { slot, word, participants } = prepared;
    const { control } = this.#client;
    const { transactions } = control;
    transactions.startAwaiting(slot);
    if (this.#decision?.decide(slot, word) !== true) {
      for (const { shard } of participants) transactions.prepared(slot, shard.shard);
      transactions.ring();
    }
    const state = stateOf(this.#awaitDecision(prepared));
    if (state === TRANSACTION_COMMITTED) {
      this.#pauseLast = 0;
      const sequence = transactions.sequence(slot);
      const timestampUs = transactions.timestampUs(slot);
      const full = participants.filter(({ direct }) => !direct.apply(sequence, timestampUs));
      // The workers of those that are full let go last, then answer: everybody sees the commit by then.
      for (const participant of participants) {
        if (!full.includes(participant)) control.letGo(slot, word, participant.shard.shard);
      }
      if (full.length > 0) return this.#handOver(prepared, full);
      for (const { direct } of participants) direct.giveBack();
      return this.#committed(sequence);
    }
    this.#pauseLast = Math.min(Math.max(this.#pauseLast * 2, 1), PAUSE_MAX);
    this.#pause = this.#pauseLast;
    return this.#handOver(prepared, participants);
  }

  /** Whoever awaits it goes on at once, unless the event loop has waited for long. */
  #committed(sequence: number): Promise<number> {
    const nowMs = performance.now();
    if (this.#turnMs === 0) {
      this.#turnMs = nowMs;
      setImmediate(() => {
        this.#turnMs = 0;
      });
    }
    if (nowMs - this.#turnMs < EVENT_LOOP_MS_MAX) return Promise.resolve(sequence);
    return new Promise((resolve) => {
      setImmediate(resolve, sequence);
    });
  }

  /** The slot's word when the commit is decided, or the time is up. */
  #awaitDecision({ slot }: Prepared): number {
    const { transactions } = this.#client.control;
    const endMs = performance.now() + DECISION_MS_MAX;
    for (;;) {
      const now = transactions.word(slot);
      const state = stateOf(now);
      if (state !== TRANSACTION_PREPARING && state !== TRANSACTION_DECIDING) return now;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) return now;
      transactions.awaitChange(slot, now, leftMs);
    }
  }

  /** The workers go on where this thread stops: those of `rest` have to apply their parts, and answer. */
  #handOver({ slot, word, participants }: Prepared, rest: readonly Participant[]): Promise<number> {
    const client = this.#client;
    const promise = newPromise<number>();
    const resolve = resolvePart<number>();
    const reject = rejectPart();
    const count = rest.length;
    const sink = new CommitSink({ client, slot, word, count, resolve, reject });
    client.commits.watch.add(sink);
    client.control.transactions.stopAwaiting(slot);
    for (const { shard, direct } of rest) direct.handOver(shard.expect(sink));
    for (const { direct } of participants) direct.letWorkerSeeToIt();
    return promise;
  }
}

/** Takes all the shards, or none. */
function takeAll(participants: readonly Participant[]): boolean {
  let taken = 0;
  try {
    for (const { direct, part } of participants) {
      if (!direct.take(part)) break;
      taken++;
    }
  } finally {
    if (taken < participants.length) {
      for (const { direct } of participants.slice(0, taken)) direct.giveBack();
    }
  }
  return taken === participants.length;
}
