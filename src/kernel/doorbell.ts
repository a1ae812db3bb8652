/** The doorbell of a shard's worker, which it sleeps on when it does not visit its event loop. */

import { H_DOORBELL, H_MAIL } from './assembly/layout.js';

/** Makes the worker take a turn, whether it sleeps or is about to. */
export function ringDoorbell(words: Int32Array): void {
  Atomics.add(words, H_DOORBELL >>> 2, 1);
  Atomics.notify(words, H_DOORBELL >>> 2);
}

/** A message was posted to the worker: makes it visit its event loop, whether it sleeps or is about to. */
export function announceMessage(words: Int32Array): void {
  Atomics.store(words, H_MAIL >>> 2, 1);
  ringDoorbell(words);
}

/** Whether a message was posted since the last call: the worker is to visit its event loop. */
export function takeAnnouncement(words: Int32Array): boolean {
  if (Atomics.load(words, H_MAIL >>> 2) === 0) return false;
  Atomics.store(words, H_MAIL >>> 2, 0);
  return true;
}
