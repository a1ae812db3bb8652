/**
 * Snapshot slots that this thread holds. A slot keeps old versions alive on disk, so one that is
 * forgotten (an iterator that was never finished, a snapshot that was never closed) is given back
 * when its owner is collected.
 */

import type { Client } from './client.js';
import type { AcquiredSnapshot } from './control-block.js';

export interface SnapshotHold {
  readonly sequence: number;
  /** Gives the slot back. Idempotent. */
  release(): void;
  /**
   * Gives the slot back, too, when `owner` is collected; it must not be reachable from the hold.
   * Costs as much as a small scan, so it is done for what outlives a call only.
   */
  releaseWith(owner: object): void;
}

class Hold implements SnapshotHold {
  watched = false;
  readonly sequence: number;
  readonly slot: number;
  readonly #registry: SnapshotRegistry;
  #released = false;

  constructor(registry: SnapshotRegistry, { slot, sequence }: AcquiredSnapshot) {
    this.#registry = registry;
    this.slot = slot;
    this.sequence = sequence;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#registry.released(this);
  }

  releaseWith(owner: object): void {
    if (this.watched || this.#released) return;
    this.watched = true;
    this.#registry.watch(this, owner);
  }
}

export class SnapshotRegistry {
  readonly #client: Client;
  readonly #forgotten = new FinalizationRegistry<Hold>((hold) => hold.release());
  readonly #held = new Set<Hold>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** Takes charge of a slot. */
  hold(snapshot: AcquiredSnapshot): SnapshotHold {
    const hold = new Hold(this, snapshot);
    this.#held.add(hold);
    return hold;
  }

  /** @internal */
  watch(hold: Hold, owner: object): void {
    this.#forgotten.register(owner, hold, hold);
  }

  /** @internal */
  released(hold: Hold): void {
    if (hold.watched) this.#forgotten.unregister(hold);
    if (this.#held.delete(hold)) this.#client.releaseSnapshot(hold);
  }

  /** The database closes: nothing is held any more. */
  releaseAll(): void {
    for (const hold of this.#held) hold.release();
  }
}
