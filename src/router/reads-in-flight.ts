/**
 * Reads of a snapshot that a shard is yet to answer. The snapshot's slot is kept until the last of
 * them has its answer, even if the snapshot is closed, or its transaction ends, before: without the
 * slot a merge may drop the versions that they are to find.
 */

import { SNAPSHOT_LATEST } from '../protocol/requests.js';

interface InFlight {
  count: number;
  /** Called after the last one. */
  readonly releases: (() => void)[];
}

export class ReadsInFlight {
  readonly #bySnapshot = new Map<number, InFlight>();

  /** Counts a read until it is settled; returns it. */
  add<T>(snapshot: number, read: Promise<T>): Promise<T> {
    if (snapshot === SNAPSHOT_LATEST) return read;
    const inFlight = this.#bySnapshot.get(snapshot) ?? { count: 0, releases: [] };
    inFlight.count++;
    this.#bySnapshot.set(snapshot, inFlight);
    const end = (): void => this.#end(snapshot, inFlight);
    read.then(end, end);
    return read;
  }

  /** Calls `release` once no read as of the snapshot is under way: at once, if none is. */
  afterReadsOf(snapshot: number, release: () => void): void {
    const inFlight = this.#bySnapshot.get(snapshot);
    if (inFlight === undefined) release();
    else inFlight.releases.push(release);
  }

  /** All slots are given back by somebody else. */
  forget(): void {
    for (const { releases } of this.#bySnapshot.values()) releases.length = 0;
  }

  #end(snapshot: number, inFlight: InFlight): void {
    if (--inFlight.count > 0) return;
    this.#bySnapshot.delete(snapshot);
    for (const release of inFlight.releases) release();
  }
}
