/**
 * Who commits when a turn has made many requests: this thread for the shards that sleep, or the shard
 * workers, which then work beside it.
 *
 * On its own thread a group costs less, for nobody is woken; by way of the workers the thread has its
 * next turn sooner, if they have cores of their own. What of the two brings more depends on machine,
 * load and application, so it is measured: now and then some turns go the other way, and the way on
 * which a request took less time from turn to turn is kept. Few requests are not worth two threads.
 */

/** Turns with fewer requests are committed on this thread, and tell nothing. */
const REQUESTS_MIN = 16;
/** Turns of a trial of the other way, and of the stretch before, which it is compared with. */
const STRETCH_TURNS = 16;
/** Turns between two trials. */
const PERIOD_TURNS = 512;
/** The other way is taken when it needs at most this share of the time. */
const BETTER = 0.9;
/** A turn that comes later than this after the one before says nothing about either. */
const PAUSE_MS = 5;

const performanceNow = (): number => performance.now();

export class DirectChoice {
  #isDirect = true;
  /** Of this period. */
  #turns = 0;
  /** Of the turns that are being measured: their requests, and the time until the next turn. */
  #requests = 0;
  #ms = 0;
  #lastRequests = 0;
  #lastMs = 0;
  /** Time of a request on the present way. */
  #usual = 0;

  /**
   * A turn with so many requests ends now: whether to commit them on this thread, as far as shards are
   * on offer.
   */
  isDirect(requests: number, now: () => number = performanceNow): boolean {
    if (requests < REQUESTS_MIN) return true;
    const nowMs = now();
    const ms = nowMs - this.#lastMs;
    if (ms < PAUSE_MS && this.#lastRequests > 0) {
      this.#requests += this.#lastRequests;
      this.#ms += ms;
    }
    this.#lastMs = nowMs;
    this.#lastRequests = requests;
    return this.#choose();
  }

  #choose(): boolean {
    const turn = this.#turns++;
    if (turn < PERIOD_TURNS) {
      // Measured are the last turns before the trial.
      if (turn === PERIOD_TURNS - STRETCH_TURNS) this.#begin();
      return this.#isDirect;
    }
    if (turn === PERIOD_TURNS) {
      this.#usual = this.#mean();
      this.#begin();
    } else if (turn === PERIOD_TURNS + STRETCH_TURNS) {
      if (this.#mean() < this.#usual * BETTER) this.#isDirect = !this.#isDirect;
      this.#turns = 0;
      return this.#isDirect;
    }
    return !this.#isDirect;
  }

  #begin(): void {
    this.#requests = 0;
    this.#ms = 0;
  }

  /** Milliseconds of a request. */
  #mean(): number {
    return this.#requests === 0 ? Number.POSITIVE_INFINITY : this.#ms / this.#requests;
  }
}
