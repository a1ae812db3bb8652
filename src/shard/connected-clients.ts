/**
 * Which clients' request rings are in use, from the bitmap that the clients set (H_CONNECTED): a turn
 * of the shard worker looks at those alone.
 */
import {
  H_CONNECTED,
  H_TOUCHED,
  RING_CONTROL_BYTES,
  RING_REQUEST_HEAD,
  RING_REQUEST_TAIL,
  RINGS,
} from '../kernel/assembly/layout.js';

/** The words of the request rings, by client, in 32-bit words. */
const REQUEST_HEADS = (RINGS + RING_REQUEST_HEAD) >>> 2;
const TAIL_WORDS = (RING_REQUEST_TAIL - RING_REQUEST_HEAD) >>> 2;
const CONTROL_WORDS = RING_CONTROL_BYTES >>> 2;

export class ConnectedClients {
  readonly #words: Int32Array;
  /** What the bitmap said when `#slots` was made of it. */
  #low = 0;
  #high = 0;
  #slots: readonly number[] = [];

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Slots of the clients, ascending. */
  slots(): readonly number[] {
    const low = Atomics.load(this.#words, H_CONNECTED >>> 2);
    const high = Atomics.load(this.#words, (H_CONNECTED >>> 2) + 1);
    if (low !== this.#low || high !== this.#high) {
      this.#low = low;
      this.#high = high;
      this.#slots = [...bitsOf(low, 0), ...bitsOf(high, 32)];
    }
    return this.#slots;
  }

  /** Whether the client's request ring holds a record. */
  hasRequests(client: number): boolean {
    const at = REQUEST_HEADS + client * CONTROL_WORDS;
    return Atomics.load(this.#words, at) !== this.#words[at + TAIL_WORDS];
  }
}

/** Adds the clients that the kernel has sent something to since the last call. */
export function takeTouched(words: Uint32Array, touched: Set<number>): void {
  for (let half = 0; half < 2; half++) {
    const bits = words[(H_TOUCHED >>> 2) + half] as number;
    if (bits === 0) continue;
    words[(H_TOUCHED >>> 2) + half] = 0;
    for (const client of bitsOf(bits, half * 32)) touched.add(client);
  }
}

/** Numbers of the bits that are set, counted from `first`. */
export function bitsOf(bits: number, first: number): number[] {
  const set: number[] = [];
  for (let rest = bits; rest !== 0; rest &= rest - 1) {
    set.push(first + 31 - Math.clz32(rest & -rest));
  }
  return set;
}
