/**
 * How many bytes per second compactions may write, all threads together: a token bucket in shared
 * memory. The word holds the moment at which everything granted so far is paid for; whoever wants
 * to write moves it on and sleeps until then.
 */

/** What may be written at once after a pause: that of so many seconds. */
const BURST_SECONDS = 0.25;

export interface RateLimitSettings {
  /** i64: microseconds. */
  readonly buffer: SharedArrayBuffer;
  readonly bytesPerSecond: number;
}

export interface RateClock {
  /** Microseconds, the same for all threads. */
  nowUs(): number;
  sleepUs(us: number): void;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

const systemClock: RateClock = {
  nowUs: () => Number(process.hrtime.bigint() / 1000n),
  sleepUs: (us) => {
    Atomics.wait(sleeper, 0, 0, us / 1000);
  },
};

export function newRateLimit(bytesPerSecond: number): RateLimitSettings {
  return { buffer: new SharedArrayBuffer(8), bytesPerSecond };
}

export class RateLimit {
  readonly #paidUntilUs: BigInt64Array;
  readonly #bytesPerSecond: number;
  readonly #clock: RateClock;

  constructor({ buffer, bytesPerSecond }: RateLimitSettings, clock: RateClock = systemClock) {
    this.#paidUntilUs = new BigInt64Array(buffer);
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** Blocks the thread until so many bytes may be written. */
  take(bytes: number): void {
    const costUs = Math.ceil((bytes / this.#bytesPerSecond) * 1e6);
    for (;;) {
      const nowUs = this.#clock.nowUs();
      const seen = Atomics.load(this.#paidUntilUs, 0);
      // A pause is made up for in part only.
      const from = Math.max(Number(seen), nowUs - BURST_SECONDS * 1e6);
      const until = Math.ceil(from + costUs);
      const found = Atomics.compareExchange(this.#paidUntilUs, 0, seen, BigInt(until));
      if (found !== seen) continue;
      if (until > nowUs) this.#clock.sleepUs(until - nowUs);
      return;
    }
  }
}
