/**
 * Which segments of the log have to be kept for the sake of others.
 *
 * A PREPARE stands in the log before what was written until its commit got its number, and counts as
 * later: it was applied above all that. Should some of that be replayed, and the PREPARE not, what is
 * older would come to stand above the tables that hold what is newer. So while a segment is kept that
 * was written before the commit was applied, the PREPARE's own is, too.
 */
export class KeptSegments {
  /** Segment that was written to when commits were applied → the first that a PREPARE of theirs is in. */
  readonly #prepares = new Map<number, number>();

  /** A commit whose PREPARE is in segment `prepared` is applied while `current` is written to. */
  applied(prepared: number, current: number): void {
    if (prepared >= current) return;
    this.#prepares.set(current, Math.min(this.#prepares.get(current) ?? prepared, prepared));
  }

  /** The first segment that is needed when those from `segment` on are. */
  from(segment: number): number {
    let first = segment;
    for (;;) {
      let needed = first;
      for (const [current, prepared] of this.#prepares) {
        if (current >= first) needed = Math.min(needed, prepared);
      }
      if (needed === first) return first;
      first = needed;
    }
  }

  /** Segments below this one are gone. */
  forgetBelow(segment: number): void {
    for (const current of this.#prepares.keys()) {
      if (current < segment) this.#prepares.delete(current);
    }
  }
}
