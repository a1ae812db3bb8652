/**
 * Commits over several shards, as one participant sees them: from the vote to the end.
 *
 *   gathered   its operations stand in the group that is gathered, or are written by themselves
 *   voted      they are in the log, under PREPARE: the shard will do whatever is decided
 *   applied    it was committed, and is in the memtable under its number: the shard lets go of it, and
 *              answers; latest reads do not see it before all shards have let go
 *
 * What is left then is a COMMIT record to be written, in its own time (commit-records.ts).
 * An aborted one is dropped wherever it stands; its PREPARE in the log means nothing without a
 * decision. One whose decision may or may not be in the coordinator's log is `doubtful`: it stays what
 * it is, neither applied nor dropped, until the database is opened again; the shard takes no more
 * writes, and applies nothing with a higher number.
 *
 * Invariants:
 * 1. A shard applies commits in the order of their sequence numbers. A plain group is applied only
 *    when no voted commit of the shard has, or may have, a number below its first one
 *    (`isDecisionNear`); those that get one later get a higher one. What is decided meanwhile, with a
 *    higher number, waits for the group. Of several decided ones, the lowest number is applied first.
 *    So memtables are in the order of time, and a replay of the log comes to the same order.
 * 2. H_UNSETTLED is at or below the number of every applied commit that is not released.
 * 3. The log segment of a PREPARE is kept until what it says is in tables, or was dropped.
 * 4. A slot's bit is taken out only after the control block says that the COMMIT record is missing, or,
 *    when the log takes none, after the coordinator was told to forget no decision.
 */

import { faultPoint } from '../faults.js';
import type { Kernel } from '../kernel/kernel.js';
import type { ControlBlock } from '../router/control-block.js';
import {
  ABORT_UNAVAILABLE,
  isSameCommit,
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_COMMITTED,
  TRANSACTION_DECIDING,
  TRANSACTION_UNKNOWN,
} from '../router/transaction-table.js';
import { notDurable } from './barrier-wait.js';
import type { ClientSession } from './client-session.js';
import type { CommitRecords } from './commit-records.js';
import { abortError, unknownOutcome } from './conflict.js';
import type { PreparedBlocks } from './prepared-blocks.js';
import type { PreparedCommit } from './prepared-commit.js';
import type { Durability } from './shard-options.js';
import { TableOutcomes } from './table-outcomes.js';
import { UnreleasedCommits } from './unreleased-commits.js';

/** Looks at the coordinator while it is allocating numbers, which takes it microseconds. */
const ALLOCATION_SPINS_MAX = 2000;

export interface PreparedCommitsOptions {
  readonly shard: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly blocks: PreparedBlocks;
  readonly records: CommitRecords;
  /** Absent: every group is synced before it is applied, or nobody cares. */
  readonly durability: Durability | undefined;
  /** The shard's loop is to take a turn. */
  readonly wake: () => void;
  /** Applies it as far as memtables allow; true when it is done. */
  readonly apply: (commit: PreparedCommit) => boolean;
  /** It is applied, or dropped: others may have its keys. */
  readonly unlock: (commit: PreparedCommit) => void;
  /** An aborted one had these. */
  readonly deleteBlobs: (blobs: readonly number[]) => void;
  /** Something was sent to the client. */
  readonly answered: (session: ClientSession) => void;
  /** A commit is doubtful: nothing may be written any more. */
  readonly becomeReadOnly: (error: unknown) => void;
}

export class PreparedCommits {
  readonly #options: PreparedCommitsOptions;
  /** In the order they came. */
  #commits: PreparedCommit[] = [];
  /** Decided and not applied, by ascending number. */
  #due: PreparedCommit[] = [];
  /** Those that validate nothing. */
  #blind = 0;
  readonly #unreleased: UnreleasedCommits;
  /** For recovery. */
  readonly outcomes: TableOutcomes;
  /** Over, but for the answer, which waits for a barrier. */
  readonly #committed = new Set<PreparedCommit>();
  #doubtful = 0;
  #isApplying = false;
  #isCoordinatorDue = false;

  constructor(options: PreparedCommitsOptions) {
    this.#options = options;
    this.#unreleased = new UnreleasedCommits(options.kernel, options.control.transactions);
    const { shard, control } = options;
    this.outcomes = new TableOutcomes({ shard, control, unreleased: this.#unreleased });
  }

  /** Those that come to their end by themselves. */
  get count(): number {
    return this.#commits.length - this.#doubtful + this.#committed.size;
  }

  /** Whether there are none, not even doubtful ones, and none waits for its answer. */
  get isEmpty(): boolean {
    return this.#commits.length === 0 && this.#committed.size === 0;
  }

  /** What they write or depend on is theirs: they are not applied. */
  get holders(): readonly PreparedCommit[] {
    return this.#commits;
  }

  /** Whether some of them validate nothing. */
  get hasBlind(): boolean {
    return this.#blind > 0;
  }

  /** Whether the commit may still get its number. */
  isUndecided({ slot, word }: PreparedCommit): boolean {
    return this.#options.control.transactions.word(slot) === word;
  }

  /**
   * Whether the client has a batch that is undecided, and that something by it could overtake. What
   * goes to all of the batch's shards, `participants`, and maybe more, is decided after it.
   */
  undecidedOf(session: ClientSession, participants: bigint | undefined): boolean {
    if (session.undecided === 0) return false;
    const { transactions } = this.#options.control;
    for (const commit of this.#commits) {
      if (commit.session !== session || !commit.isBlind || commit.sequence > 0) continue;
      if (!this.isUndecided(commit)) continue;
      if (participants === undefined) return true;
      const own = transactions.participants(commit.slot);
      if ((own & participants) !== own) return true;
    }
    return false;
  }

  /** Whether one is decided and can be applied. */
  get hasDue(): boolean {
    return this.#due.length > 0;
  }

  hasDueBelow(sequence: number): boolean {
    const first = this.#due[0];
    return first !== undefined && first.sequence < sequence;
  }

  /** Whether one is partly applied. */
  get isApplying(): boolean {
    return this.#isApplying;
  }

  /** Whether H_UNSETTLED has to be looked after. */
  get hasUnreleased(): boolean {
    return !this.#unreleased.isEmpty;
  }

  /** First log segment that is needed for what is not applied; undefined: none. */
  get segmentMin(): number | undefined {
    let min: number | undefined;
    for (const { segment } of this.#commits) {
      if (segment === 0) continue;
      if (min === undefined || segment < min) min = segment;
    }
    return min;
  }

  /** Blob files that something prepared refers to. */
  get blobs(): number[] {
    return this.#commits.flatMap(({ blobs }) => blobs);
  }

  // ---- to the vote --------------------------------------------------------------------

  /** Whether the commit is still under way and waits for this shard. */
  isWanted(slot: number, word: number): boolean {
    return this.#options.control.transactions.word(slot) === word;
  }

  /** Refuses a prepare: the commit is aborted, and the client told why, if it is still there. */
  refuse(
    session: ClientSession | undefined,
    requestId: number,
    { slot, word }: { readonly slot: number; readonly word: number },
    why: unknown,
    reason = ABORT_UNAVAILABLE,
  ): void {
    const { control, shard } = this.#options;
    control.transactions.abort(slot, word, reason);
    control.letGo(slot, word, shard);
    this.#answerError(session, requestId, why);
  }

  /** Answers a prepare of a commit that was aborted before it came. */
  refuseAborted(session: ClientSession, requestId: number, slot: number, word: number): void {
    const { control, shard } = this.#options;
    session.responses.error(requestId, abortError(control.transactions.reason(slot)));
    control.letGo(slot, word, shard);
  }

  add(commit: PreparedCommit): void {
    this.#commits.push(commit);
    if (commit.isBlind) this.#blind++;
    if (commit.session !== undefined) commit.session.undecided++;
  }

  /**
   * A client has written its PREPARE: takes it up where it is (lending.ts). When it is committed, some of
   * it may be in the memtable: it stays hidden, whatever else is released before it is applied.
   */
  adopt(commit: PreparedCommit): void {
    const { slot, word } = commit;
    const sequence = this.#options.control.transactions.committedSequence(slot, word);
    if (sequence > 0) this.#unreleased.add({ slot, word, sequence });
    this.add(commit);
    this.vote(commit);
    // It may have died deciding it, with the coordinator's log in its hands (router/lent-log.ts).
    this.#options.control.transactions.markReady(slot);
    this.#isCoordinatorDue = true;
  }

  /** A client has applied it, and may have died before it let go of it. */
  adoptApplied(slot: number, word: number, sequence: number): void {
    const { control, shard } = this.#options;
    this.#unreleased.add({ slot, word, sequence });
    control.letGo(slot, word, shard);
    this.#unreleased.look();
  }

  /** What was gathered is in `segment` of the log, durably if that was wanted: votes for it. */
  written(segment: number): void {
    for (const commit of this.#commits) {
      if (commit.stage !== 'gathered') continue;
      if (commit.bytes > 0) commit.segment = segment;
      this.vote(commit);
    }
  }

  vote(commit: PreparedCommit): void {
    const { control, shard } = this.#options;
    const { transactions } = control;
    commit.stage = 'voted';
    faultPoint('prepare-written', shard);
    if (transactions.word(commit.slot) !== commit.word) return;
    if (transactions.prepared(commit.slot, shard)) this.#isCoordinatorDue = true;
  }

  /**
   * Rings the coordinator when there is something for it to decide: once for all votes of a turn, at
   * its end. A bell for the first of them would have it decide that one alone.
   */
  ringCoordinator(): void {
    if (!this.#isCoordinatorDue) return;
    this.#isCoordinatorDue = false;
    this.#options.control.transactions.ring();
  }

  /** The group with what was gathered is refused. */
  refuseGathered(error: unknown): void {
    for (const commit of this.#commits.filter(({ stage }) => stage === 'gathered')) {
      const { slot, word, session, requestId } = commit;
      this.#remove(commit);
      this.#options.control.transactions.abort(slot, word, ABORT_UNAVAILABLE);
      this.#options.control.letGo(slot, word, this.#options.shard);
      this.#answerError(session, requestId, error);
      this.#options.deleteBlobs(commit.blobs);
    }
  }

  // ---- the decision -------------------------------------------------------------------

  /** Looks what became of the commits. True when something did. */
  poll(): boolean {
    this.#unreleased.look();
    if (this.#commits.length === 0) return false;
    const { transactions } = this.#options.control;
    let changed = false;
    let decided: PreparedCommit[] | undefined;
    for (let i = 0; i < this.#commits.length; i++) {
      const commit = this.#commits[i] as PreparedCommit;
      const word = transactions.word(commit.slot);
      if (word === commit.word || commit.stage === 'doubtful') continue;
      const state = stateOf(word);
      if (!isSameCommit(word, commit.word) || state === TRANSACTION_ABORTED) {
        // In a group that is not written yet, its PREPARE stays where it is and means nothing.
        this.#drop(commit);
        i--;
        changed = true;
      } else if (state === TRANSACTION_UNKNOWN) {
        this.#doubt(commit);
        changed = true;
      } else if (state === TRANSACTION_COMMITTED && commit.sequence === 0) {
        commit.sequence = transactions.sequence(commit.slot);
        commit.timestampUs = transactions.timestampUs(commit.slot);
        if (commit.session !== undefined) commit.session.undecided--;
        decided ??= [];
        decided.push(commit);
      }
    }
    if (decided !== undefined) {
      this.#due.push(...decided);
      this.#due.sort((left, right) => left.sequence - right.sequence);
      changed = true;
    }
    return changed;
  }

  /**
   * Whether a voted commit that is not applied may have a number below `sequence`, the first of a plain
   * group: the group waits for it. Exact but for a moment in which the coordinator is allocating.
   */
  isDecisionNear(sequence: number): boolean {
    if (this.#commits.length === 0) return false;
    const { control } = this.#options;
    for (let spins = 0; control.isAllocatingDecisions; spins++) {
      if (spins === ALLOCATION_SPINS_MAX) return true;
    }
    for (const { stage, slot, word } of this.#commits) {
      if (stage !== 'voted') continue;
      const now = control.transactions.word(slot);
      if (now === word || !isSameCommit(now, word)) continue;
      const state = stateOf(now);
      // Aborted ones are dropped when the next turn looks.
      if (state === TRANSACTION_ABORTED) continue;
      if (control.transactions.sequence(slot) < sequence) return true;
    }
    return false;
  }

  /** Whether a commit with a number below `sequence` may have to be applied at the next open. */
  isDoubtfulBelow(sequence: number): boolean {
    if (this.#doubtful === 0) return false;
    const { transactions } = this.#options.control;
    return this.#commits.some(
      ({ stage, slot }) => stage === 'doubtful' && transactions.sequence(slot) < sequence,
    );
  }

  /** Nobody knows whether it is in the coordinator's log. It holds what it holds. */
  #doubt(commit: PreparedCommit): void {
    const { session, requestId } = commit;
    commit.stage = 'doubtful';
    this.#doubtful++;
    this.#options.becomeReadOnly(unknownOutcome());
    if (session === undefined) return;
    session.undecided--;
    commit.session = undefined;
    this.#answerError(session, requestId, unknownOutcome());
  }

  /**
   * Applies what is decided under a number below `sequence`, lowest first. False: it waits for a
   * memtable, or a decision.
   */
  advance(sequence: number): boolean {
    const lowest = this.#lowestDeciding();
    let done = true;
    while (this.hasDueBelow(sequence)) {
      const commit = this.#due[0] as PreparedCommit;
      if (!this.#isApplying) {
        done = commit.sequence < lowest;
        if (!done) break;
        faultPoint('commit-seen', this.#options.shard);
        this.#beginApplying(commit);
      }
      done = this.#options.apply(commit);
      if (!done) break;
      this.#isApplying = false;
      this.#due.shift();
      this.#complete(commit);
    }
    this.#unreleased.look();
    return done;
  }

  #beginApplying(commit: PreparedCommit): void {
    const { slot, word, sequence } = commit;
    this.#isApplying = true;
    this.#unreleased.add({ slot, word, sequence });
  }

  /**
   * The lowest number of a commit that is about to be committed, or was since `poll` looked. Once, for
   * all that is due: of two commits, the one with the lower number was DECIDING before the other was
   * COMMITTED (decision-loop.ts).
   */
  #lowestDeciding(): number {
    const { transactions } = this.#options.control;
    let lowest = Number.POSITIVE_INFINITY;
    for (const { stage, slot, word: prepared, sequence } of this.#commits) {
      if (stage !== 'voted' || sequence > 0) continue;
      const word = transactions.word(slot);
      if (!isSameCommit(word, prepared)) continue;
      const state = stateOf(word);
      if (state !== TRANSACTION_DECIDING && state !== TRANSACTION_COMMITTED) continue;
      lowest = Math.min(lowest, transactions.sequence(slot));
    }
    return lowest;
  }

  /** Applied: the shard has done its part, and answers. */
  #complete(commit: PreparedCommit): void {
    const { control, shard, durability, records, unlock, blocks } = this.#options;
    const { slot, word } = commit;
    faultPoint('applied', shard);
    unlock(commit);
    // Nothing was prepared in the log of one that only read: nothing has to be said about it.
    if (commit.bytes > 0) records.add(commit);
    this.#take(commit);
    blocks.free(commit.block);
    control.letGo(slot, word, shard);
    if (commit.isSync && durability !== undefined) void this.#answerDurable(commit, durability);
    else this.#answerCommitted(commit);
  }

  /**
   * What only read has nothing that must be in the log before the vote, but what the same client asked
   * for before is voted for first (decision-loop.ts).
   */
  voteUnwritten(): boolean {
    if (this.#commits.length === 0) return false;
    let changed = false;
    let writing: Set<ClientSession> | undefined;
    for (const commit of this.#commits) {
      if (commit.stage !== 'gathered') continue;
      const { session } = commit;
      if (commit.bytes > 0) {
        writing ??= new Set();
        if (session !== undefined) writing.add(session);
        continue;
      }
      if (session !== undefined && writing?.has(session) === true) continue;
      this.vote(commit);
      changed = true;
    }
    return changed;
  }

  #answerCommitted({ session, requestId, sequence }: PreparedCommit): void {
    if (session === undefined) return;
    session.responses.ok(requestId, sequence);
    this.#options.answered(session);
  }

  /** Visible it is; answered when it would come back after a power loss. */
  async #answerDurable(commit: PreparedCommit, durability: Durability): Promise<void> {
    this.#committed.add(commit);
    try {
      await durability.covering(commit.sequence);
      this.#answerCommitted(commit);
    } catch (error) {
      this.#answerError(commit.session, commit.requestId, notDurable(error));
    } finally {
      this.#committed.delete(commit);
      this.#options.wake();
    }
  }

  /** The client is gone: nobody is told any more. What is not decided was aborted. */
  releaseClient(session: ClientSession): void {
    this.poll();
    for (const commit of [...this.#commits, ...this.#committed]) {
      if (commit.session === session) commit.session = undefined;
    }
    session.undecided = 0;
  }

  // ---- the end ------------------------------------------------------------------------

  #drop(commit: PreparedCommit): void {
    const { control, shard } = this.#options;
    const { slot, word, session, requestId, woundedBy } = commit;
    this.#remove(commit);
    const reason = control.transactions.reason(slot);
    control.letGo(slot, word, shard);
    this.#answerError(session, requestId, abortError(reason, woundedBy));
    this.#options.deleteBlobs(commit.blobs);
  }

  #answerError(session: ClientSession | undefined, requestId: number, error: unknown): void {
    if (session === undefined) return;
    session.responses.error(requestId, error);
    this.#options.answered(session);
  }

  /** One that was not committed: gives back what it has, before the slot can be another's. */
  #remove(commit: PreparedCommit): void {
    if (commit.sequence === 0 && commit.session !== undefined) commit.session.undecided--;
    this.#options.unlock(commit);
    this.#take(commit);
    this.#options.blocks.free(commit.block);
  }

  #take(commit: PreparedCommit): void {
    if (commit.isBlind) this.#blind--;
    const at = this.#commits.indexOf(commit);
    if (at === 0) this.#commits.shift();
    else this.#commits.splice(at, 1);
  }
}
