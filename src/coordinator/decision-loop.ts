/**
 * Decides the commits over several shards that are prepared everywhere: gives them their sequence
 * numbers, writes the decisions to the log, all that are ready in one write, and tells the shards.
 *
 * The thread waits in slices for a while after work, which wakes it fastest, then asynchronously; the
 * event loop has its turn at least every millisecond of work, and after each slice.
 *
 * Invariants:
 * 1. A number is allocated before its commit becomes DECIDING, and the table tells of it before
 *    `decisionsAllocated`. So a write that finds a commit DECIDING gets a higher number.
 * 2. COMMITTED comes after the decision is in the log: with the operating system at least, on the
 *    medium in the mode `sync`. (What else wants to be durable waits for a barrier.) All of one round become DECIDING before any is COMMITTED.
 * 3. After a failed write nothing is decided any more, by any coordinator: what was not appended is
 *    aborted. When the outcome of the write is unknown, the commits become UNKNOWN, and the next open
 *    of the database finds out.
 * 4. Commits that the loop of a dead coordinator, or a client, left DECIDING are decided again, under
 *    their numbers. Here is decided, and the log written, only while the log is held: else it is lent to
 *    clients (router/lent-log.ts).
 * 5. Of two commits of one client, of which the later one goes to all shards of the earlier one, and
 *    maybe more, the earlier one has the lower number. Every shard votes for them in that order, so when
 *    the later one is prepared, the earlier one is. But who votes last marks the slot a moment after,
 *    and may be overtaken by another shard that votes last for the later one; and slots have no order.
 */

import { NoSpaceError } from '../errors.js';
import { faultPoint, isWeakened } from '../faults.js';
import { areThreadEndsKnown } from '../file-system/system-thread.js';
import type { ControlBlock } from '../router/control-block.js';
import {
  ABORT_LOG,
  OWNERS_MAX,
  ownerOf,
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_COMMITTED,
  TRANSACTION_DECIDING,
  TRANSACTION_PREPARING,
} from '../router/transaction-table.js';
import type { DecisionLog } from './decision-log.js';
import type { Decision } from './log-format.js';

/** Time between two visits to the event loop. */
const BUSY_MS_MAX = 1;
/**
 * Length of one blocking wait, and how long after the last decision the thread waits so. No shorter:
 * an end before the system's next tick costs a timer each (shard-driver.ts).
 */
const SLICE_MS = 4;
const LINGER_MS = 8;
/** Longest time parked: a safety net, not a poll. */
const PARKED_MS_MAX = 10_000;

export interface DecisionLoopOptions {
  readonly control: ControlBlock;
  readonly log: DecisionLog;
  /** Every decision is synced. */
  readonly syncAlways: boolean;
  readonly nowUs: () => number;
  /** Wakes a shard's worker. */
  readonly ringShard: (shard: number) => void;
}

interface Candidate {
  readonly slot: number;
  readonly word: number;
}

export class DecisionLoop {
  readonly #options: DecisionLoopOptions;
  readonly #ready: number[] = [];
  /** By client: the highest id of what is ready. */
  readonly #newest = new Float64Array(OWNERS_MAX);
  #isStopped = false;
  #ended: Promise<void> | undefined;

  constructor(options: DecisionLoopOptions) {
    this.#options = options;
  }

  /** Takes over from a coordinator that died, if there was one, and decides until `stop`. */
  start(): void {
    this.takeOver();
    this.lendLog();
    this.#ended = this.#run();
  }

  /**
   * Clients that hold all participants of a commit decide it themselves, but not where each is synced, nor
   * when nothing is decided any more.
   */
  lendLog(): void {
    const { control, log, syncAlways } = this.#options;
    if (control.transactions.areOutcomesUnknown) return;
    if (syncAlways || !areThreadEndsKnown() || isWeakened('keep-log')) return;
    log.lendTo({
      lentLog: control.transactions.lentLog,
      isAlive: (client) => control.isClientAlive(client),
      onLeft: () => this.takeOver(),
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#options.control.transactions.ring();
    await this.#ended;
    this.#options.log.stopLending();
  }

  // ---- decisions ----------------------------------------------------------------------

  /** Decides what is ready; true when there was something. */
  turn(): boolean {
    const { transactions } = this.#options.control;
    if (!transactions.hasReady) return false;
    const { log } = this.#options;
    log.hold();
    try {
      const candidates = this.#takeCandidates();
      if (candidates.length === 0) return false;
      faultPoint('all-prepared');
      if (log.poison !== undefined || transactions.areOutcomesUnknown) this.#abort(candidates);
      else this.#append(this.#allocate(candidates));
      return true;
    } finally {
      log.letGo();
    }
  }

  /** What is marked as ready, and what its clients asked for before and is prepared; by age. */
  #takeCandidates(): Candidate[] {
    const { transactions } = this.#options.control;
    transactions.takeReady(this.#ready);
    this.#newest.fill(-1);
    let highest = -1;
    for (const slot of this.#ready) {
      const word = transactions.word(slot);
      if (stateOf(word) !== TRANSACTION_PREPARING || !transactions.isPrepared(slot)) continue;
      const owner = ownerOf(word);
      const id = transactions.id(slot);
      this.#newest[owner] = Math.max(this.#newest[owner] as number, id);
      highest = Math.max(highest, id);
    }
    const candidates: (Candidate & { readonly id: number })[] = [];
    for (let slot = 0; highest >= 0 && slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      if (stateOf(word) !== TRANSACTION_PREPARING) continue;
      const id = transactions.id(slot);
      if (id > (this.#newest[ownerOf(word)] as number) || !transactions.isPrepared(slot)) continue;
      // It may have been given up, and the slot used again, meanwhile.
      if (transactions.word(slot) === word) candidates.push({ slot, word, id });
    }
    return candidates.sort((left, right) => left.id - right.id);
  }

  /** Gives the candidates their numbers; returns those that are DECIDING then. */
  #allocate(candidates: readonly Candidate[]): Candidate[] {
    const { control, nowUs } = this.#options;
    const { transactions } = control;
    const timestampUs = control.nextTimestamp(nowUs());
    const first = control.allocateDecisions(candidates.length);
    const deciding: Candidate[] = [];
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[i] as Candidate;
      transactions.setSequence(candidate.slot, first + i, timestampUs);
      if (transactions.decide(candidate.slot, candidate.word)) deciding.push(candidate);
    }
    control.decisionsAllocated();
    return deciding;
  }

  #append(deciding: readonly Candidate[]): void {
    if (deciding.length === 0) return;
    const { control, log, syncAlways } = this.#options;
    const { transactions } = control;
    faultPoint('deciding');
    const decisions = deciding.map(({ slot }) => this.#decisionOf(slot));
    try {
      log.appendDecisions(decisions, syncAlways);
    } catch (error) {
      // Nothing was appended: they did not take place. Else nobody knows, until the log is read again.
      const isRefused = error instanceof NoSpaceError && log.poison === undefined;
      for (const { slot, word } of deciding) {
        if (isRefused) transactions.revoke(slot, word);
        else transactions.doubt(slot, word);
      }
      this.#ring(deciding);
      return;
    }
    faultPoint('decision-written');
    for (const { slot, word } of deciding) transactions.commit(slot, word);
    faultPoint('decided');
    this.#ring(deciding);
  }

  #decisionOf(slot: number): Decision {
    const { transactions } = this.#options.control;
    return {
      id: transactions.id(slot),
      sequence: transactions.sequence(slot),
      timestampUs: transactions.timestampUs(slot),
      participants: transactions.participants(slot),
    };
  }

  #abort(candidates: readonly Candidate[]): void {
    const { transactions } = this.#options.control;
    for (const { slot, word } of candidates) transactions.abort(slot, word, ABORT_LOG);
    this.#ring(candidates);
  }

  /** Wakes the shards that take part, or the client that holds them all and waits. */
  #ring(candidates: readonly Candidate[]): void {
    const { control, ringShard } = this.#options;
    const { transactions } = control;
    const untold = candidates.filter(({ slot }) => !transactions.tellOwner(slot));
    if (untold.length === 0) return;
    for (let shard = 0; shard < control.shards; shard++) {
      for (const { slot } of untold) {
        if (!transactions.takesPart(slot, shard)) continue;
        ringShard(shard);
        break;
      }
    }
  }

  /**
   * After another coordinator died, or a client that decided: decides again what that left DECIDING, looks
   * at all that may be ready, and tells the shards what they may not have been told.
   */
  takeOver(): void {
    const { control, log } = this.#options;
    const { transactions } = control;
    const deciding: Candidate[] = [];
    const over: Candidate[] = [];
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      const state = stateOf(word);
      if (state === TRANSACTION_DECIDING) deciding.push({ slot, word });
      if (state === TRANSACTION_COMMITTED || state === TRANSACTION_ABORTED) {
        over.push({ slot, word });
      }
      // Whoever voted last may have rung for the dead one.
      if (state === TRANSACTION_PREPARING) transactions.markReady(slot);
    }
    control.decisionsAllocated();
    deciding.sort((a, b) => transactions.sequence(a.slot) - transactions.sequence(b.slot));
    // What stands in the log takes place, even if nothing more can be written there.
    const isInLog = ({ slot }: Candidate): boolean => log.decisions.has(transactions.id(slot));
    const decided = deciding.filter(isInLog);
    for (const { slot, word } of decided) transactions.commit(slot, word);
    this.#append(deciding.filter((candidate) => !isInLog(candidate)));
    this.#ring([...decided, ...over]);
  }

  // ---- the thread ---------------------------------------------------------------------

  async #run(): Promise<void> {
    const { words, at, sleeping } = this.#options.control.transactions.doorbell;
    let visitedMs = performance.now();
    let workedMs = 0;
    while (!this.#isStopped) {
      const seen = Atomics.load(words, at);
      const worked = this.turn();
      const nowMs = performance.now();
      if (worked) workedMs = nowMs;
      if (!worked && nowMs - workedMs >= LINGER_MS) {
        Atomics.store(words, sleeping, 1);
        const wait = waitAsync(words, at, seen, PARKED_MS_MAX);
        if (wait.async) await wait.value;
        Atomics.store(words, sleeping, 0);
        visitedMs = performance.now();
        continue;
      }
      if (!worked) {
        Atomics.store(words, sleeping, 1);
        Atomics.wait(words, at, seen, SLICE_MS);
        Atomics.store(words, sleeping, 0);
      }
      const hasMessage = this.#options.control.transactions.takeAnnouncement();
      if (!hasMessage && performance.now() - visitedMs < BUSY_MS_MAX) continue;
      await visitEventLoop();
      visitedMs = performance.now();
    }
  }
}

type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  timeoutMs: number,
) => { readonly async: boolean; readonly value: unknown };

// The library's ES2024 is not in the compiler's target yet; every supported Node has it.
const { waitAsync } = Atomics as unknown as { readonly waitAsync: WaitAsync };

function visitEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
