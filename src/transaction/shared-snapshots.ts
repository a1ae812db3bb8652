/**
 * The snapshots of a thread's transactions. Those that begin while nothing new has become visible
 * read as of the same moment and share one slot; it is given back when the last of them ends.
 *
 * A new snapshot may have to wait for commits with smaller numbers that are still being applied. Who
 * waits without holding up the thread waits together with all others who do.
 */

import type { Session } from '../router/session.js';
import type { SnapshotHold } from '../router/snapshot-registry.js';

/** After so long, a wait looks once a millisecond instead of at every turn of the event loop. */
const EAGER_MS = 1;

export interface SharedSnapshot {
  readonly hold: SnapshotHold;
  users: number;
}

interface Waiter {
  readonly wanted: number;
  readonly startMs: number;
  readonly resolve: (snapshot: SharedSnapshot) => void;
  readonly reject: (error: unknown) => void;
}

export class SharedSnapshots {
  readonly #session: Session;
  #newest: SharedSnapshot | undefined;
  #waiters: Waiter[] = [];

  constructor(session: Session) {
    this.#session = session;
  }

  /** A snapshot that covers all that was acknowledged; undefined when it would have to be waited for. */
  tryTake(): SharedSnapshot | undefined {
    const { client } = this.#session;
    const newest = this.#newest;
    if (newest !== undefined && newest.hold.sequence >= client.visibleSequence()) {
      newest.users++;
      return newest;
    }
    const acquired = client.tryAcquireSnapshot();
    if (acquired === undefined) return undefined;
    return this.#share(this.#session.snapshots.hold(acquired));
  }

  /** As `tryTake`, waiting on the thread. */
  takeSync(): SharedSnapshot {
    const { client, snapshots } = this.#session;
    return this.tryTake() ?? this.#share(snapshots.hold(client.acquireSnapshot()));
  }

  /** As `tryTake`, waiting without holding up the thread. */
  take(): Promise<SharedSnapshot> {
    return new Promise((resolve, reject) => {
      const wanted = this.#session.client.visibleSequence();
      this.#waiters.push({ wanted, startMs: performance.now(), resolve, reject });
      if (this.#waiters.length === 1) setImmediate(this.#poll);
    });
  }

  giveBack(snapshot: SharedSnapshot): void {
    if (--snapshot.users > 0) return;
    if (this.#newest === snapshot) this.#newest = undefined;
    snapshot.hold.release();
  }

  #share(hold: SnapshotHold): SharedSnapshot {
    const snapshot = { hold, users: 1 };
    this.#newest = snapshot;
    return snapshot;
  }

  readonly #poll = (): void => {
    const waiters = this.#waiters;
    this.#waiters = [];
    // They are in the order of what they want.
    let served: SharedSnapshot | undefined;
    for (const [index, waiter] of waiters.entries()) {
      try {
        this.#session.checkOpen();
        if (served === undefined || served.hold.sequence < waiter.wanted) {
          const { client, snapshots } = this.#session;
          const acquired = client.pollSnapshot(waiter.wanted, waiter.startMs);
          if (acquired === undefined) {
            this.#waiters = [...waiters.slice(index), ...this.#waiters];
            break;
          }
          served = this.#share(snapshots.hold(acquired));
        } else {
          served.users++;
        }
        waiter.resolve(served);
      } catch (error) {
        waiter.reject(error);
      }
    }
    const [first] = this.#waiters;
    if (first === undefined) return;
    if (performance.now() - first.startMs < EAGER_MS) setImmediate(this.#poll);
    else setTimeout(this.#poll, 1);
  };
}
