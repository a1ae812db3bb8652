/**
 * Waits on the thread itself, for a moment, for answers that are sure to come soon.
 *
 * To a thread that blocks in `Atomics.wait`, an answer comes sooner than to one that awaits it: no
 * turn of the event loop lies between. And since a blocked thread burns nothing, the shard worker
 * may have its core. Where cores are to spare, looking at the doorbell again and again is faster
 * still, for nobody has to be woken. Which of the two serves better is tried out from time to time.
 *
 * No wait begins while answers take long, and none outlasts TIMEOUT_MS: other work of the thread is
 * held up by what a put takes, not by what a disk takes.
 */

import type { ClientDoorbell } from './client-doorbell.js';

/**
 * Longest wait. An end that lies nearer than the system's next tick (4 ms, as a rule) would make it
 * program a timer for each wait, which costs more than all the rest.
 */
const TIMEOUT_MS = 5;
/** Answers that take longer in the mean are not worth a thread that stands still. */
const ANSWER_US_MAX = 250;
/** Longest time of looking before the thread blocks after all. */
const SPIN_US_MAX = 50;
/** Looks at the doorbell between two looks at the clock. */
const SPIN_LOOKS = 16;
/** Of so many waits, the first few try the other way. */
const PERIOD_WAITS = 512;
const TRIAL_WAITS = 8;
/** So many times in a row looked in vain: looking does not pay, whatever it seemed before. */
const MISSES_MAX = 2;
/** Waits left out after one that was in vain: doubled each time. */
const PAUSE_WAITS_MIN = 16;
const PAUSE_WAITS_MAX = 1024;

/** One way to wait and how long answers took with it, in microseconds; 0: not known yet. */
interface Way {
  readonly spins: boolean;
  meanUs: number;
}

export class ThreadWait {
  readonly #doorbell: ClientDoorbell;
  readonly #timeoutMs: number;
  #way: Way = { spins: false, meanUs: 0 };
  #other: Way = { spins: true, meanUs: 0 };
  /** Waits of this period. */
  #waits = TRIAL_WAITS;
  #misses = 0;
  #pause = 0;
  #pauseNext = PAUSE_WAITS_MIN;

  constructor(doorbell: ClientDoorbell, timeoutMs = TIMEOUT_MS) {
    this.#doorbell = doorbell;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether to wait on the thread now. To be asked once before each wait: pauses count it. */
  isWorthwhile(): boolean {
    if (this.#pause === 0) return true;
    this.#pause--;
    return false;
  }

  /**
   * Waits until the doorbell differs from `rings`, which the caller noted before it looked for
   * answers in vain. Leaves `waiting` at 0. False: it was in vain.
   */
  wait(rings: number): boolean {
    const way = this.#choose();
    const startMs = performance.now();
    const isSeen = way.spins && this.#spin(rings, startMs);
    if (way.spins) this.#judge(way, isSeen);
    const isRung = isSeen || this.#block(rings);
    const us = (performance.now() - startMs) * 1000;
    way.meanUs += (Math.min(us, 2 * ANSWER_US_MAX) - way.meanUs) * (way.meanUs === 0 ? 1 : 1 / 8);
    if (isRung && way.meanUs <= ANSWER_US_MAX) {
      this.#pauseNext = PAUSE_WAITS_MIN;
      return true;
    }
    way.meanUs = 0;
    this.#pause = this.#pauseNext;
    this.#pauseNext = Math.min(this.#pauseNext * 2, PAUSE_WAITS_MAX);
    return isRung;
  }

  #choose(): Way {
    if (this.#waits === PERIOD_WAITS) {
      this.#waits = 0;
      this.#other.meanUs = 0;
    }
    if (this.#waits++ < TRIAL_WAITS) return this.#other;
    if (this.#waits === TRIAL_WAITS + 1 && this.#other.meanUs < this.#way.meanUs * 0.9) {
      this.#change();
    }
    return this.#way;
  }

  #change(): void {
    [this.#way, this.#other] = [this.#other, this.#way];
  }

  /** Gives up looking, or the trial of it, that was in vain too often. */
  #judge(way: Way, isSeen: boolean): void {
    this.#misses = isSeen ? 0 : this.#misses + 1;
    if (this.#misses < MISSES_MAX) return;
    this.#misses = 0;
    if (way === this.#way) this.#change();
    // Past the end of the trial, without a verdict.
    this.#waits = Math.max(this.#waits, TRIAL_WAITS + 1);
  }

  /** True once the bell rang; false when it is time to block. */
  #spin(rings: number, startMs: number): boolean {
    const { words, doorbell } = this.#doorbell;
    do {
      for (let looks = 0; looks < SPIN_LOOKS; looks++) {
        if (Atomics.load(words, doorbell) !== rings) return true;
      }
    } while ((performance.now() - startMs) * 1000 < SPIN_US_MAX);
    return false;
  }

  /**
   * The mark is set first: who rings after the comparison within `Atomics.wait` sees it, who rang
   * before has changed the word. False: nobody did.
   */
  #block(rings: number): boolean {
    const { words, doorbell, waiting } = this.#doorbell;
    Atomics.store(words, waiting, 1);
    const outcome = Atomics.wait(words, doorbell, rings, this.#timeoutMs);
    Atomics.store(words, waiting, 0);
    return outcome !== 'timed-out';
  }
}
