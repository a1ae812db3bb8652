/** Who does the coordinator's part, as the control block says it. */

import { readReason, writeReason } from './fence-reasons.js';

/** The id of its thread + 1; 0: there is none. */
const THREAD = 0;
/** The system's number of that thread (system-threads.ts). */
export const COORDINATOR_SYSTEM_THREAD = 4;
/** 1: it died so often that it is not replaced any more. */
const FENCED = 8;

export class CoordinatorPlace {
  readonly #buffer: SharedArrayBuffer;
  readonly #i32: Int32Array;
  readonly #base: number;
  readonly #reason: number;

  /** `base`, `reason`: byte offsets of its words, and of why it is fenced. */
  constructor(buffer: SharedArrayBuffer, base: number, reason: number) {
    this.#buffer = buffer;
    this.#i32 = new Int32Array(buffer);
    this.#base = base;
    this.#reason = reason;
  }

  /**
   * The thread to which attached threads send their port: the coordinator's, or whichever does that in
   * its place; undefined while there is none.
   */
  thread(): number | undefined {
    const word = Atomics.load(this.#i32, (this.#base + THREAD) >>> 2);
    return word === 0 ? undefined : word - 1;
  }

  setThread(threadId: number | undefined): void {
    Atomics.store(
      this.#i32,
      (this.#base + THREAD) >>> 2,
      threadId === undefined ? 0 : threadId + 1,
    );
  }

  /** The coordinator died so often that it is not replaced any more, for `reason` the last time. */
  fence(reason: string): void {
    writeReason(this.#buffer, this.#reason, reason);
    Atomics.store(this.#i32, (this.#base + FENCED) >>> 2, 1);
  }

  /** Why there is no coordinator any more; undefined while there is one, or soon will be. */
  fencedReason(): string | undefined {
    if (Atomics.load(this.#i32, (this.#base + FENCED) >>> 2) === 0) return undefined;
    return readReason(this.#buffer, this.#reason);
  }
}
