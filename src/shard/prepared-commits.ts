/**
 * Commits over several shards, as one participant sees them: from the vote to the end.
 *
 *   gathered   its operations stand in the group that is gathered, or are written by themselves
 *   voted      they are in the log, under PREPARE: the shard will do whatever is decided
 *   applied    it was committed, and is in the memtable under its number, hidden from latest reads
 *   recorded   a COMMIT record is in the log: the shard lets go of it
 *
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
 * 4. A slot's bit is taken out only after the COMMIT record was written, or, when the log takes none,
 *    after the coordinator was told to forget no decision.
 */

import { faultPoint, isWeakened } from '../faults.js';
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
import { COMMIT_BODY_BYTES, COMMIT_COMMIT } from '../wal/segment-format.js';
import { notDurable } from './barrier-wait.js';
import type { ClientSession } from './client-session.js';
import { abortError, unknownOutcome } from './conflict.js';
import type { MetaAllocator } from './meta-allocator.js';
import type { PreparedCommit } from './prepared-commit.js';
import type { Durability } from './shard-options.js';
import type { Staging } from './staging.js';
import { TableOutcomes } from './table-outcomes.js';
import { UnreleasedCommits } from './unreleased-commits.js';
import { NOBODY } from './wal-commit.js';

/** Looks at the coordinator while it is allocating numbers, which takes it microseconds. */
const ALLOCATION_SPINS_MAX = 2000;

export interface PreparedCommitsOptions {
  readonly shard: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly staging: Staging;
  readonly allocator: MetaAllocator;
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
  /** Applied, with a record in the group that is gathered. */
  #recording: PreparedCommit[] = [];
  readonly #unreleased: UnreleasedCommits;
  /** For recovery. */
  readonly outcomes: TableOutcomes;
  /** Over, but for the answer, which waits for a barrier. */
  readonly #committed = new Set<PreparedCommit>();
  #unrecorded = 0;
  #doubtful = 0;
  #recordCount = 0;
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

  /** Those that are not applied: what they write or depend on is theirs. */
  get holders(): readonly PreparedCommit[] {
    return this.#commits.filter(({ stage }) => stage === 'gathered' || stage === 'voted');
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

  /** Whether one is applied and waits for its record. */
  get hasUnrecorded(): boolean {
    return this.#unrecorded > 0;
  }

  /** Whether H_UNSETTLED has to be looked after. */
  get hasUnreleased(): boolean {
    return !this.#unreleased.isEmpty;
  }

  /** First log segment that is needed for what is not applied; undefined: none. */
  get segmentMin(): number | undefined {
    let min: number | undefined;
    for (const { stage, segment } of this.#commits) {
      if (stage === 'applied' || stage === 'recording' || segment === 0) continue;
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

  /** Refuses a prepare: the commit is aborted, and the client told why. */
  refuse(
    session: ClientSession,
    requestId: number,
    { slot, word }: { readonly slot: number; readonly word: number },
    why: unknown,
    reason = ABORT_UNAVAILABLE,
  ): void {
    const { control, shard } = this.#options;
    control.transactions.abort(slot, word, reason);
    control.letGo(slot, word, shard);
    session.responses.error(requestId, why);
  }

  /** Answers a prepare of a commit that was aborted before it came. */
  refuseAborted(session: ClientSession, requestId: number, slot: number, word: number): void {
    const { control, shard } = this.#options;
    session.responses.error(requestId, abortError(control.transactions.reason(slot)));
    control.letGo(slot, word, shard);
  }

  add(commit: PreparedCommit): void {
    this.#commits.push(commit);
    if (commit.session !== undefined) commit.session.undecided++;
  }

  /** Address of a copy of operations that stand in the shard's memory; 0 when there is no room. */
  keep(from: number, bytes: number): number {
    const { allocator, kernel } = this.#options;
    if (bytes === 0) return 0;
    const address = allocator.tryAllocate(bytes);
    if (address < 0) return 0;
    kernel.bytes.copyWithin(address, from, from + bytes);
    return address;
  }

  /** As `keep`, of bytes that stand elsewhere. */
  keepBytes(bytes: Uint8Array): number {
    const { allocator, kernel } = this.#options;
    if (bytes.length === 0) return 0;
    const address = allocator.tryAllocate(bytes.length);
    if (address < 0) return 0;
    kernel.bytes.set(bytes, address);
    return address;
  }

  free(block: number): void {
    this.#options.allocator.free(block);
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
      this.#forget(commit, true);
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
      if (commit.stage !== 'voted' && commit.stage !== 'gathered') continue;
      const word = transactions.word(commit.slot);
      if (word === commit.word) continue;
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
    for (;;) {
      const commit = this.#due[0];
      if (commit === undefined || commit.sequence >= sequence) return true;
      if (!this.#isApplying && this.#isLowerDeciding(commit)) return false;
      if (!this.#isApplying) faultPoint('commit-seen', this.#options.shard);
      if (!this.#isApplying) this.#beginApplying(commit);
      if (!this.#options.apply(commit)) return false;
      this.#isApplying = false;
      this.#due.shift();
      commit.stage = 'applied';
      faultPoint('applied', this.#options.shard);
      this.#options.unlock(commit);
      this.#unrecorded++;
    }
  }

  #beginApplying(commit: PreparedCommit): void {
    const { slot, word, sequence } = commit;
    this.#isApplying = true;
    this.#unreleased.add({ slot, word, sequence });
  }

  /** Whether another commit with a lower number is about to be committed. */
  #isLowerDeciding(due: PreparedCommit): boolean {
    const { transactions } = this.#options.control;
    for (const commit of this.#commits) {
      if (commit === due || commit.stage !== 'voted') continue;
      const word = transactions.word(commit.slot);
      if (!isSameCommit(word, commit.word)) continue;
      const state = stateOf(word);
      // Decided since `poll` looked: it comes in with the next look.
      const isOpen = state === TRANSACTION_DECIDING || state === TRANSACTION_COMMITTED;
      if (isOpen && commit.sequence === 0 && transactions.sequence(commit.slot) < due.sequence) {
        return true;
      }
    }
    return false;
  }

  // ---- the record ---------------------------------------------------------------------

  /** Adds COMMIT records to the group that has just been begun, as many as fit. */
  gatherRecords(): void {
    if (this.#unrecorded === 0) return;
    const { kernel, staging } = this.#options;
    const address = staging.operationsAddress;
    for (const commit of this.#commits) {
      if (commit.stage !== 'applied') continue;
      // Nothing was prepared in the log: nothing has to be said about it.
      if (commit.bytes > 0 && !isWeakened('lose-commit-records')) {
        kernel.f64[address >>> 3] = commit.sequence;
        kernel.f64[(address >>> 3) + 1] = commit.timestampUs;
        const status = kernel.exports.groupAppend(
          address,
          COMMIT_BODY_BYTES,
          0,
          COMMIT_COMMIT,
          commit.id,
          NOBODY,
          0,
        );
        if (status !== 0) return;
        this.#recordCount++;
      }
      commit.stage = 'recording';
      this.#unrecorded--;
      this.#recording.push(commit);
    }
  }

  /** Records in the group that is gathered. */
  get recordCount(): number {
    return this.#recordCount;
  }

  /** What only read has nothing that must be in the log: neither before the vote nor after it. */
  voteUnwritten(): boolean {
    let changed = false;
    for (const commit of this.#commits) {
      if (commit.stage !== 'gathered' || commit.bytes > 0) continue;
      this.vote(commit);
      changed = true;
    }
    if (this.#recordCount === 0 && this.#recording.length > 0) this.recorded();
    return changed;
  }

  /** The group with the records is written: the commits are over, for this shard. */
  recorded(): void {
    if (this.#recording.length === 0) return;
    const { control, shard, durability } = this.#options;
    faultPoint('recorded', shard);
    const recording = this.#recording;
    this.#recording = [];
    this.#recordCount = 0;
    for (const commit of recording) {
      this.#remove(commit);
      control.letGo(commit.slot, commit.word, shard);
      if (commit.isSync && durability !== undefined) void this.#answerDurable(commit, durability);
      else this.#answerCommitted(commit);
      this.#forget(commit, false);
    }
    this.#unreleased.look();
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

  /** The log does not take the records. The decisions stay where they are. */
  recordsRefused(): void {
    if (this.#recording.length === 0) return;
    this.#options.control.transactions.retainDecisions();
    this.recorded();
  }

  /** No group can be written any more. */
  refuseRecords(): void {
    if (this.#unrecorded === 0) return;
    for (const commit of this.#commits) {
      if (commit.stage !== 'applied') continue;
      commit.stage = 'recording';
      this.#recording.push(commit);
    }
    this.#unrecorded = 0;
    this.recordsRefused();
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
    const { slot, word, session, requestId } = commit;
    this.#remove(commit);
    const reason = control.transactions.reason(slot);
    control.letGo(slot, word, shard);
    this.#answerError(session, requestId, abortError(reason));
    this.#forget(commit, true);
  }

  #answerError(session: ClientSession | undefined, requestId: number, error: unknown): void {
    if (session === undefined) return;
    session.responses.error(requestId, error);
    this.#options.answered(session);
  }

  #remove(commit: PreparedCommit): void {
    if (commit.sequence === 0 && commit.session !== undefined) commit.session.undecided--;
    this.#options.unlock(commit);
    const at = this.#commits.indexOf(commit);
    if (at === 0) this.#commits.shift();
    else this.#commits.splice(at, 1);
  }

  #forget({ block, blobs }: PreparedCommit, areBlobsDropped: boolean): void {
    if (block !== 0) this.#options.allocator.free(block);
    if (areBlobsDropped) this.#options.deleteBlobs(blobs);
  }
}
