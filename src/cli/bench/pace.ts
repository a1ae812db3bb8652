/**
 * How long a workload goes on, and what is noted on the way: operations, latencies, and how many
 * operations each quarter of a second saw. The clock is read once in a while, not per operation,
 * unless latencies are asked for.
 */

import type { LatencyHistogram } from './latency-histogram.js';

export const SAMPLE_MS = 250;
/** Operations between two looks at the clock, where one takes a microsecond or less. */
export const CHUNK = 256;

export interface PaceOptions {
  /** Infinity: until `operationsMax`. */
  readonly seconds: number;
  readonly operationsMax: number;
  /** Records each operation, or each batch, when given. */
  readonly histogram?: LatencyHistogram | undefined;
  /** Called for each quarter of a second. */
  readonly onSample?: (() => void) | undefined;
}

export class Pace {
  readonly histogram: LatencyHistogram | undefined;
  readonly operationsMax: number;
  /** Operations by quarter of a second. */
  readonly samples: number[] = [];
  operations = 0;
  readonly #seconds: number;
  readonly #onSample: (() => void) | undefined;
  #startedAtMs = 0;
  #untilMs = 0;
  #sampledAtMs = 0;
  #sampledOperations = 0;
  #elapsedMs = 0;
  #discountMs = 0;

  constructor({ seconds, operationsMax, histogram, onSample }: PaceOptions) {
    this.histogram = histogram;
    this.operationsMax = operationsMax;
    this.#seconds = seconds;
    this.#onSample = onSample;
  }

  start(): void {
    this.#startedAtMs = performance.now();
    this.#sampledAtMs = this.#startedAtMs;
    this.#untilMs = this.#startedAtMs + this.#seconds * 1000;
  }

  /** Counts `operations` more and says whether to go on. */
  more(operations: number): boolean {
    this.operations += operations;
    const nowMs = performance.now();
    while (nowMs - this.#sampledAtMs >= SAMPLE_MS) {
      // A stretch that was longer than a sample is spread over all that it covers.
      const covered = Math.floor((nowMs - this.#sampledAtMs) / SAMPLE_MS);
      const share = Math.round((this.operations - this.#sampledOperations) / covered);
      this.samples.push(share);
      this.#onSample?.();
      this.#sampledOperations += share;
      this.#sampledAtMs += SAMPLE_MS;
    }
    return nowMs < this.#untilMs && this.operations < this.operationsMax;
  }

  stop(): void {
    this.#elapsedMs = performance.now() - this.#startedAtMs;
  }

  /** Time that passed but does not count. */
  discount(ms: number): void {
    this.#discountMs += ms;
  }

  get seconds(): number {
    return (this.#elapsedMs - this.#discountMs) / 1000;
  }

  get startedAtMs(): number {
    return this.#startedAtMs;
  }
}
