/**
 * What clients count about their transactions, a part of the control block:
 *
 *   ACTIVE      a line per client: its active transactions, i32
 *   COUNTERS    COUNTERS_BYTES per client, f64: what its transactions came to
 *
 * A client writes what is its own; everybody reads. The active transactions of a client that is
 * gone are struck out, what it counted stays.
 */

const ACTIVE_BYTES = 64;
/** No client has this slot: its line says which slot is the highest that ever was in use. */
const LAST = 0;
const COUNTERS_BYTES = 1024;
export const COUNTERS_MAX = COUNTERS_BYTES / 8;

export class ClientCounts {
  readonly #i32: Int32Array;
  readonly #f64: Float64Array<SharedArrayBuffer>;
  readonly #base: number;
  readonly #clients: number;

  /** `base`: where the part begins, a whole number of lines. */
  constructor(buffer: SharedArrayBuffer, base: number, clients: number) {
    this.#i32 = new Int32Array(buffer);
    this.#f64 = new Float64Array(buffer);
    this.#base = base;
    this.#clients = clients;
  }

  static bytes(clients: number): number {
    return clients * (ACTIVE_BYTES + COUNTERS_BYTES);
  }

  /** A client has claimed the slot. */
  claimed(client: number): void {
    const word = this.#activeWord(LAST);
    for (;;) {
      const last = Atomics.load(this.#i32, word);
      if (last >= client || Atomics.compareExchange(this.#i32, word, last, client) === last) return;
    }
  }

  /** The client is gone, and its transactions with it. */
  retired(client: number): void {
    Atomics.store(this.#i32, this.#activeWord(client), 0);
  }

  /**
   * Counts one more active transaction of the client, unless all clients together would have more
   * than `max`. Two that meet at the limit may both be refused; it is never passed.
   */
  beginTransaction(client: number, max: number): boolean {
    const own = this.#activeWord(client);
    Atomics.store(this.#i32, own, (this.#i32[own] as number) + 1);
    if (this.activeTransactions() <= max) return true;
    this.endTransaction(client);
    return false;
  }

  endTransaction(client: number): void {
    const own = this.#activeWord(client);
    Atomics.store(this.#i32, own, (this.#i32[own] as number) - 1);
  }

  /** Active transactions of all clients. */
  activeTransactions(): number {
    const last = Atomics.load(this.#i32, this.#activeWord(LAST));
    let active = 0;
    for (let client = 1; client <= last; client++) {
      active += Atomics.load(this.#i32, this.#activeWord(client));
    }
    return active;
  }

  /** The client's counters, which it alone writes. */
  counters(client: number): Float64Array<SharedArrayBuffer> {
    const start = (this.#base + this.#clients * ACTIVE_BYTES + client * COUNTERS_BYTES) / 8;
    return this.#f64.subarray(start, start + COUNTERS_MAX);
  }

  #activeWord(client: number): number {
    return (this.#base + client * ACTIVE_BYTES) >>> 2;
  }
}
