/**
 * The commit that is applied and not acknowledged yet, since its client asked for it to be durable:
 * in the modes that do not sync each group, that takes a barrier over all shards. One at a time.
 */
import { assert } from '../assert.js';
import { type LightningError, NoSpaceError, ReadOnlyError } from '../errors.js';
import type { Durability } from './shard-options.js';

export interface BarrierWaitOptions {
  /** Absent: no write waits for a barrier. */
  readonly durability: Durability | undefined;
  /** The wait is over: the loop is to take a turn. */
  readonly wake: () => void;
}

export type BarrierOutcome =
  | { readonly isDurable: true }
  | { readonly isDurable: false; readonly error: LightningError };

export class BarrierWait {
  readonly #options: BarrierWaitOptions;
  #isWaiting = false;
  #outcome: BarrierOutcome | undefined;

  constructor(options: BarrierWaitOptions) {
    this.#options = options;
  }

  /** Whether writes that ask for it are made durable by a barrier, and not by syncing the log. */
  get isUsed(): boolean {
    return this.#options.durability !== undefined;
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Waits until every commit up to `sequence` is durable. */
  start(sequence: number): void {
    const { durability, wake } = this.#options;
    assert(durability !== undefined && !this.#isWaiting, 'one commit waits for its barrier');
    this.#isWaiting = true;
    const end = (outcome: BarrierOutcome): void => {
      this.#outcome = outcome;
      wake();
    };
    durability.covering(sequence).then(
      () => end({ isDurable: true }),
      (error: unknown) => end({ isDurable: false, error: notDurable(error) }),
    );
  }

  /** How the wait ended, once; undefined while it goes on. */
  take(): BarrierOutcome | undefined {
    const outcome = this.#outcome;
    if (outcome === undefined) return undefined;
    this.#outcome = undefined;
    this.#isWaiting = false;
    return outcome;
  }
}

/** The write took place, for as long as the system runs: whether it stays, nobody can say. */
export function notDurable(error: unknown): LightningError {
  const reason = error instanceof Error ? error.message : String(error);
  const message = `The write is applied, but could not be made durable: ${reason}`;
  const options = { cause: error, details: { outcome: 'unknown' } };
  return error instanceof NoSpaceError
    ? new NoSpaceError(message, options)
    : new ReadOnlyError(message, options);
}
