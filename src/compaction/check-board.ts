/**
 * How far a check is, in memory that all threads share: whoever reads counts, whoever started the
 * check looks, and may call it off. Counters only grow; every access is atomic.
 *
 *   0  i32: 1 when the check is called off
 *   8  u64: blocks read   16  u64: blocks in all   24  u64: bytes read   32  u64: bytes in all
 */

import { LightningError } from '../errors.js';

export interface CheckProgress {
  /** Blocks of tables that have been verified. */
  readonly blocks: number;
  /** Grows while shards look at what they have, in the first moments. */
  readonly blocksTotal: number;
  /** Bytes of all files that have been read. */
  readonly bytes: number;
  readonly bytesTotal: number;
}

const BOARD_BYTES = 40;
const CANCELLED = 0;
const BLOCKS = 1;
const BLOCKS_TOTAL = 2;
const BYTES = 3;
const BYTES_TOTAL = 4;

export class CheckBoard {
  readonly buffer: SharedArrayBuffer;
  readonly #state: Int32Array;
  readonly #counters: BigUint64Array;

  /** A new board, or that of a check which another thread started. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(BOARD_BYTES)) {
    this.buffer = buffer;
    this.#state = new Int32Array(buffer, 0, 1);
    this.#counters = new BigUint64Array(buffer);
  }

  /** So much more is to be read. */
  expect(blocks: number, bytes: number): void {
    this.#add(BLOCKS_TOTAL, blocks);
    this.#add(BYTES_TOTAL, bytes);
  }

  /** So much more has been read. */
  count(blocks: number, bytes: number): void {
    this.#add(BLOCKS, blocks);
    this.#add(BYTES, bytes);
  }

  read(): CheckProgress {
    const [blocksTotal, bytesTotal] = [this.#load(BLOCKS_TOTAL), this.#load(BYTES_TOTAL)];
    return {
      blocks: Math.min(this.#load(BLOCKS), blocksTotal),
      blocksTotal,
      bytes: Math.min(this.#load(BYTES), bytesTotal),
      bytesTotal,
    };
  }

  /** Threads that read for the check stop soon. */
  cancel(): void {
    Atomics.store(this.#state, CANCELLED, 1);
  }

  /** Throws `LIGHTNING_ABORTED` when the check was called off. */
  throwIfCancelled(): void {
    if (Atomics.load(this.#state, CANCELLED) === 0) return;
    throw new LightningError('LIGHTNING_ABORTED', 'The check was called off');
  }

  #add(counter: number, amount: number): void {
    if (amount > 0) Atomics.add(this.#counters, counter, BigInt(amount));
  }

  #load(counter: number): number {
    return Number(Atomics.load(this.#counters, counter));
  }
}
