/**
 * The benchmark's records: 50-byte keys and 200-byte values that compress to about half, the shape of
 * db_bench's `compression_ratio=0.5` (100 random characters, twice). Everything follows from a seed,
 * so that every read can be verified and every store gets the same bytes.
 */

const VALUE_POOL = 8192;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** xorshift32; `next()` is in [0, 2^32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  next(): number {
    let s = this.#state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.#state = s >>> 0;
    return this.#state;
  }

  below(limit: number): number {
    return Math.floor((this.next() / 4294967296) * limit);
  }
}

export class DataSet {
  readonly count: number;
  /** Key of record i, in insertion order (which is random with respect to the keys' order). */
  readonly keys: readonly string[];
  readonly #values: readonly string[];

  constructor(count: number, seed = 42) {
    const random = new Random(seed);
    this.count = count;
    const order = new Uint32Array(count).map((_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = random.below(i + 1);
      const held = order[i] as number;
      order[i] = order[j] as number;
      order[j] = held;
    }
    this.keys = Array.from(order, (id) => flat(keyOf(id)));
    this.#values = Array.from({ length: VALUE_POOL }, () => {
      let half = '';
      for (let i = 0; i < 100; i++) half += ALPHABET[random.next() >>> 26];
      return flat(half + half);
    });
  }

  /** Value of record i in its `version`-th writing. */
  value(i: number, version = 0): string {
    return this.#values[(i + version * 4099) & (VALUE_POOL - 1)] as string;
  }

  /** Bytes of keys and values together. */
  get rawBytes(): number {
    return this.count * 250;
  }
}

/** 50 bytes: ordered by id. */
export function keyOf(id: number): string {
  const digits = String(id).padStart(12, '0');
  return `user:${digits}:profile:${digits.slice(4)}-abcdefghijklmno`;
}

/** Concatenated strings are ropes until they are looked at; flatten them outside of the timed part. */
function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
