/** The doorbell of a shard's worker, which it sleeps on when it does not visit its event loop. */

import { H_DOORBELL } from './assembly/layout.js';

/** Makes the worker take a turn, whether it sleeps or is about to, and visit its event loop when there was nothing for it. */
export function ringDoorbell(words: Int32Array): void {
  Atomics.add(words, H_DOORBELL >>> 2, 1);
  Atomics.notify(words, H_DOORBELL >>> 2);
}
