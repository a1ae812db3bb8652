/**
 * Views of one piece of memory, by length: `getBorrowedSync` hands out a Buffer without making one.
 * What a view shows changes with the memory, so there is one view for each length that came up, up to a
 * length from which on a fresh one costs little beside copying the bytes.
 */

const KEPT_BYTES_MAX = 4096;

export class LentBytes {
  readonly #memory: Buffer;
  readonly #start: number;
  readonly #kept: (Buffer | undefined)[] = [];

  constructor(memory: Buffer, start: number) {
    this.#memory = memory;
    this.#start = start;
  }

  /** The first `length` bytes. */
  view(length: number): Buffer {
    const kept = this.#kept[length];
    if (kept !== undefined) return kept;
    const view = this.#memory.subarray(this.#start, this.#start + length);
    if (length <= KEPT_BYTES_MAX) this.#kept[length] = view;
    return view;
  }
}
