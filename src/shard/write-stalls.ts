/** How often, and for how long, groups of writes were held up: for statistics. */
export class WriteStalls {
  delays = 0;
  stops = 0;
  /** Delays and stops together. */
  delayedMs = 0;
  #stoppedAtMs = 0;

  /** A group is held up by `delayMs`. */
  delay(delayMs: number): void {
    this.delays++;
    this.delayedMs += delayMs;
  }

  /** Writes wait for room; that goes on until `resume`. */
  stop(nowMs: number): void {
    if (this.#stoppedAtMs !== 0) return;
    this.#stoppedAtMs = nowMs;
    this.stops++;
  }

  resume(nowMs: () => number): void {
    if (this.#stoppedAtMs === 0) return;
    this.delayedMs += nowMs() - this.#stoppedAtMs;
    this.#stoppedAtMs = 0;
  }
}
