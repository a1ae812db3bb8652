/**
 * Background work that the disk refuses: it is repeated, in case that it was a bad place, until it has
 * failed so often that the disk must be taken for broken. Then the shard takes no more writes, while
 * what it has can still be read.
 */
import type { LightningError } from '../errors.js';
import type { ShardState } from './shard-state.js';

const FAILURES_MAX = 5;

export class DiskFailures {
  readonly #state: Pick<ShardState, 'becomeReadOnly'>;
  #count = 0;

  constructor(state: Pick<ShardState, 'becomeReadOnly'>) {
    this.#state = state;
  }

  succeed(): void {
    this.#count = 0;
  }

  /** Want of room passes, damaged inputs are another matter: neither counts. */
  note(error: LightningError): void {
    if (error.code !== 'LIGHTNING_IO') return;
    this.#count++;
    if (this.#count >= FAILURES_MAX) this.#state.becomeReadOnly(error);
  }
}
