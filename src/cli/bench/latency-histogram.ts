/**
 * Latencies in nanoseconds, counted in buckets whose width is at most 1/128 of their value: the
 * log-linear layout of HdrHistogram (Tene), 0 to about 18 minutes. Recording allocates nothing.
 */

const LINEAR_BITS = 8;
const LINEAR = 1 << LINEAR_BITS;
const HALF = LINEAR >> 1;
const VALUE_BITS = 40;
const BUCKETS = LINEAR + (VALUE_BITS - LINEAR_BITS) * HALF;
const VALUE_MAX = 2 ** VALUE_BITS - 1;

export interface LatencySummary {
  readonly count: number;
  /** Microseconds, as all that follow. */
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** Latency at growing percentiles, for a curve: percentile (0 to 100), microseconds. */
  readonly curve: readonly (readonly [percentile: number, micros: number])[];
}

export const CURVE_PERCENTILES = [
  0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 99.999, 100,
] as const;

export class LatencyHistogram {
  readonly #counts: Float64Array;
  #count = 0;
  #sum = 0;
  #max = 0;

  constructor(counts = new Float64Array(BUCKETS)) {
    this.#counts = counts;
  }

  get count(): number {
    return this.#count;
  }

  record(nanos: number): void {
    const value = nanos < 0 ? 0 : nanos > VALUE_MAX ? VALUE_MAX : nanos;
    const bucket = bucketOf(value);
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#count++;
    this.#sum += value;
    if (value > this.#max) this.#max = value;
  }

  /** A copy that can be posted to another thread; see `add`. */
  snapshot(): HistogramSnapshot {
    return { counts: this.#counts.slice(), count: this.#count, sum: this.#sum, max: this.#max };
  }

  add({ counts, count, sum, max }: HistogramSnapshot): void {
    for (let i = 0; i < BUCKETS; i++) {
      this.#counts[i] = (this.#counts[i] as number) + (counts[i] as number);
    }
    this.#count += count;
    this.#sum += sum;
    this.#max = Math.max(this.#max, max);
  }

  /** The value below or at which `percentile` (0 to 100) of all values lie, in nanoseconds. */
  percentile(percentile: number): number {
    if (this.#count === 0) return 0;
    const wanted = Math.max(1, Math.ceil((percentile / 100) * this.#count));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket] as number;
      if (seen >= wanted) return Math.min(this.#max, highestOf(bucket));
    }
    return this.#max;
  }

  summary(): LatencySummary | undefined {
    if (this.#count === 0) return undefined;
    const micros = (percentile: number): number => this.percentile(percentile) / 1000;
    return {
      count: this.#count,
      mean: this.#sum / this.#count / 1000,
      p50: micros(50),
      p90: micros(90),
      p99: micros(99),
      p999: micros(99.9),
      max: this.#max / 1000,
      curve: CURVE_PERCENTILES.map((percentile) => [percentile, micros(percentile)] as const),
    };
  }
}

export interface HistogramSnapshot {
  readonly counts: Float64Array;
  readonly count: number;
  readonly sum: number;
  readonly max: number;
}

function bucketOf(value: number): number {
  if (value < LINEAR) return value | 0;
  // In [2^bits, 2^(bits + 1)); the upper bits say which half bucket.
  const bits = value < 4294967296 ? 31 - Math.clz32(value) : 63 - Math.clz32(value / 4294967296);
  const shift = bits - LINEAR_BITS + 1;
  return LINEAR + (shift - 1) * HALF + Math.floor(value / 2 ** shift) - HALF;
}

/** The greatest value that counts in a bucket. */
function highestOf(bucket: number): number {
  if (bucket < LINEAR) return bucket;
  const shift = Math.floor((bucket - LINEAR) / HALF) + 1;
  return (((bucket - LINEAR) % HALF) + HALF + 1) * 2 ** shift - 1;
}
