/**
 * Latest reads that met something newer than H_UNSETTLED: either a commit over several shards that
 * nobody may see yet, or anything newer than one.
 *
 * What is unreleased is passed over, and the read is as of the moment of the last look: every commit
 * that it passed over was still unreleased then, so nothing older can have been compacted away, and
 * what it found was released, or never had to be.
 */

import { SCRATCH_RESULT } from './assembly/layout.js';
import type { Kernel } from './kernel.js';

const GET_FOUND_HELD = 3;
export const GET_UNSETTLED = 5;

/** Tells whether a commit over several shards may be seen. */
export interface Releases {
  isUnreleased(sequence: number): boolean;
}

/**
 * Goes on where `get` answered GET_UNSETTLED; the key stands at SCRATCH_KEY. `slot` is the thread's.
 * Returns any other answer of `get`.
 */
export function getSettled(
  kernel: Kernel,
  slot: number,
  keyLength: number,
  releases: Releases,
): number {
  const { exports, f64 } = kernel;
  const sequenceAt = ((exports.scratchBase() >>> 0) + SCRATCH_RESULT + 24) >>> 3;
  let hidden: number[] = [];
  let seen = 0;
  for (;;) {
    const found = f64[sequenceAt] as number;
    if (releases.isUnreleased(found)) hidden.push(found);
    else seen = found;
    const status = exports.getSettled(keyLength, hidden.at(-1) ?? 0, seen);
    if (status === GET_UNSETTLED) continue;
    if (hidden.every((sequence) => releases.isUnreleased(sequence))) return status;
    if (status === GET_FOUND_HELD) exports.readerLeave(slot);
    // One was released meanwhile: what it hides may be gone by now. From the top again.
    hidden = [];
    seen = 0;
    const again = exports.getSettled(keyLength, 0, 0);
    if (again !== GET_UNSETTLED) return again;
  }
}
