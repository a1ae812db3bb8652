/**
 * What waits for readers to leave before its memory or file may go: old Versions, dropped tables,
 * flushed arenas.
 *
 * The caller first unlinks the object (publishes a Version without it), then calls `after`. The
 * action runs in a later `poll`, once every reader that could have seen the object is outside
 * (kernel, epoch.ts).
 */

export interface Epochs {
  retire(): number;
  epochReached(epoch: number): number;
}

interface Retired {
  readonly epoch: number;
  readonly action: () => void;
}

export class Retirement {
  readonly #epochs: Epochs;
  #waiting: Retired[] = [];

  constructor(epochs: Epochs) {
    this.#epochs = epochs;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Runs `action` once no reader can see what was unlinked before this call. */
  after(action: () => void): void {
    this.#waiting.push({ epoch: this.#epochs.retire(), action });
  }

  /** Runs what has become safe. True when something ran. */
  poll(): boolean {
    let done = 0;
    for (const { epoch } of this.#waiting) {
      if (this.#epochs.epochReached(epoch) === 0) break;
      done++;
    }
    if (done === 0) return false;
    const ready = this.#waiting.slice(0, done);
    this.#waiting = this.#waiting.slice(done);
    for (const { action } of ready) action();
    return true;
  }
}
