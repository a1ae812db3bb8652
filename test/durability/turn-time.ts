/**
 * Time that passes by turns of the event loop and by looks at the clock, so that a run repeats exactly.
 * While it is installed, `setTimeout` goes by it.
 */

import type { Clock } from '../../src/shard/shard-options.js';

/** The clock goes on by so much whenever somebody looks: patience runs out soon. */
const MS_PER_LOOK = 0.5;
/** A timer counts a turn for so much. */
const MS_PER_TURN = 10;

export class TurnTime {
  readonly clock: Clock = {
    nowMs: () => {
      this.#nowMs += MS_PER_LOOK;
      return this.#nowMs;
    },
    wallMs: () => 1_700_000_000_000,
  };
  #nowMs = 0;

  /** Returns what gives the timers of the system back. */
  install(): () => void {
    const { setTimeout, clearTimeout } = globalThis;
    const start = (action: () => void, ms = 0): TurnTimer => new TurnTimer(action, ms);
    const stop = (timer?: TurnTimer | NodeJS.Timeout | string | number): void => {
      if (timer instanceof TurnTimer) timer.stop();
      else clearTimeout(timer);
    };
    Object.assign(globalThis, { setTimeout: start, clearTimeout: stop });
    return () => Object.assign(globalThis, { setTimeout, clearTimeout });
  }
}

class TurnTimer {
  readonly #action: () => void;
  #turns: number;
  #immediate: NodeJS.Immediate | undefined;
  #isHolding = true;

  constructor(action: () => void, ms: number) {
    this.#action = action;
    this.#turns = Math.ceil(ms / MS_PER_TURN);
    this.#wait();
  }

  #wait(): void {
    this.#immediate = setImmediate(() => {
      this.#immediate = undefined;
      if (this.#turns-- > 0) this.#wait();
      else this.#action();
    });
    if (!this.#isHolding) this.#immediate.unref();
  }

  stop(): void {
    if (this.#immediate !== undefined) clearImmediate(this.#immediate);
    this.#immediate = undefined;
  }

  unref(): this {
    this.#isHolding = false;
    this.#immediate?.unref();
    return this;
  }

  ref(): this {
    this.#isHolding = true;
    this.#immediate?.ref();
    return this;
  }
}
