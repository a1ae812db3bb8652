/**
 * What one verification job has read, counted on the board of its check. However the job ends, it
 * has counted what was expected of it, so that a bar comes to its end.
 */
import type { CheckBoard } from './check-board.js';

export interface Expected {
  readonly blocks: number;
  readonly bytes: number;
}

export class ReadCount {
  readonly #board: CheckBoard | undefined;
  #blocksLeft: number;
  #bytesLeft: number;

  constructor(board: CheckBoard | undefined, { blocks, bytes }: Expected) {
    this.#board = board;
    this.#blocksLeft = blocks;
    this.#bytesLeft = bytes;
  }

  /** So much more has been read. Throws `LIGHTNING_ABORTED` when the check was called off. */
  add(blocks: number, bytes: number): void {
    this.#count(Math.min(blocks, this.#blocksLeft), Math.min(bytes, this.#bytesLeft));
    this.#board?.throwIfCancelled();
  }

  /** There is no more to read. */
  finish(): void {
    this.#count(this.#blocksLeft, this.#bytesLeft);
  }

  #count(blocks: number, bytes: number): void {
    this.#blocksLeft -= blocks;
    this.#bytesLeft -= bytes;
    this.#board?.count(blocks, bytes);
  }
}
