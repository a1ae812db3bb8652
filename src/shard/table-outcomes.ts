/**
 * What the transaction table tells a shard that recovers while others go on: the outcome of commits
 * that its log leaves in doubt, and what waits for it.
 */

import { ShardUnavailableError } from '../errors.js';
import type { ControlBlock } from '../router/control-block.js';
import {
  ABORT_UNAVAILABLE,
  stateOf,
  TRANSACTION_CLAIMED,
  TRANSACTION_COMMITTED,
  TRANSACTION_DECIDING,
  TRANSACTION_FREE,
  TRANSACTION_UNKNOWN,
} from '../router/transaction-table.js';
import type { AppliedCommit, UnreleasedCommits } from './unreleased-commits.js';
import type { CommitOutcome } from './wal-replay.js';

/** How long recovery waits for a decision that is being written. */
const DECISION_MS_MAX = 30_000;

export interface TableOutcomesOptions {
  readonly shard: number;
  readonly control: ControlBlock;
  readonly unreleased: UnreleasedCommits;
}

export class TableOutcomes {
  readonly #options: TableOutcomesOptions;

  constructor(options: TableOutcomesOptions) {
    this.#options = options;
  }

  /**
   * What became of a commit that the log leaves in doubt, and still concerns this shard; undefined:
   * the table does not know it. Waits while the decision is being written.
   */
  async of(id: number): Promise<'aborted' | CommitOutcome | undefined> {
    const { transactions } = this.#options.control;
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      if (stateOf(word) === TRANSACTION_FREE || transactions.id(slot) !== id) continue;
      if (!transactions.concerns(slot, word, this.#options.shard)) continue;
      const state = await this.#decided(slot, word);
      if (state !== TRANSACTION_COMMITTED) return 'aborted';
      return {
        sequence: transactions.sequence(slot),
        timestampUs: transactions.timestampUs(slot),
      };
    }
    return undefined;
  }

  /**
   * After a replay: lets go of everything that waits for this shard. What was committed is applied,
   * and hidden until the others have applied it, too; what was not is aborted.
   */
  async letGoOfAll(): Promise<void> {
    const { control, shard, unreleased } = this.#options;
    const { transactions } = control;
    const over: AppliedCommit[] = [];
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      const state = stateOf(word);
      if (state === TRANSACTION_FREE || state === TRANSACTION_CLAIMED) continue;
      if (!transactions.takesPart(slot, shard)) continue;
      if (transactions.unapplied(slot, shard)) await this.#decided(slot, word);
      over.push({ slot, word, sequence: transactions.sequence(slot) });
    }
    const isCommitted = ({ slot, word, sequence }: AppliedCommit): boolean =>
      sequence > 0 && transactions.committedSequence(slot, word) === sequence;
    const applied = over.filter(isCommitted);
    applied.sort((left, right) => left.sequence - right.sequence);
    for (const commit of applied) unreleased.add(commit);
    for (const { slot, word } of over) control.letGo(slot, word, shard);
    unreleased.look();
  }

  /** The commit's state once it is decided: one that is PREPARING cannot go on without this shard. */
  async #decided(slot: number, word: number): Promise<number> {
    const { transactions } = this.#options.control;
    transactions.abort(slot, word, ABORT_UNAVAILABLE);
    const startMs = performance.now();
    while (stateOf(transactions.word(slot)) === TRANSACTION_DECIDING) {
      if (performance.now() - startMs > DECISION_MS_MAX) throw undecided();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const state = stateOf(transactions.word(slot));
    // To apply it, or to drop it, could contradict what the log turns out to say.
    if (state === TRANSACTION_UNKNOWN) throw undecided();
    return state;
  }
}

function undecided(): ShardUnavailableError {
  return new ShardUnavailableError(
    'A decision that the shard needs was not completed: reopen the database to recover',
  );
}
