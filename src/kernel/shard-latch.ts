/**
 * The latch of a shard (latch.ts): who may change the shard's memory and its log at this moment. One word
 * in the shard's memory (H_LATCH).
 *
 *   OWNED      the shard worker, and nobody else: so it begins, and so it is while the worker works
 *   LENDABLE   nobody: the worker blocks and offers the shard to whichever client comes first
 *   client     the thread behind that client slot, which commits its own requests (direct-commit.ts)
 *   + WANTED   as before, and the worker has woken and waits: it gets the shard next
 *   REVOKED    nobody any more: the worker has died
 *
 *            offer                take                       giveBack
 *   OWNED ──────────→ LENDABLE ──────────→ client ──────────────────────────→ LENDABLE
 *     ↑     takeBack     │                   │ takeBack: + WANTED, and waits
 *     └──────────────────┘                   └─ giveBack, yield ────────────→ OWNED
 *
 * Invariants:
 * 1. Only the worker goes from OWNED to LENDABLE, and only right before it blocks; so while the shard
 *    is lent, nothing of the worker's own runs, neither its loop nor its event loop.
 * 2. Whoever finds WANTED gives the shard to the worker: a stream of clients cannot keep it waiting.
 * 3. The holder has nobody above it on its stack, calls no code of the application, and waits for
 *    nothing but a write to a file, and for some milliseconds at most for the coordinator or for another
 *    shard's latch. So the wait for it is short, unless the disk or the system makes it long, and then
 *    nobody is killed for that.
 * 4. A thread that dies is known by its client slot, which is taken from it before anybody else may
 *    have it (ControlBlock.retireClient), or, where the system tells, by its number, before anybody
 *    has noticed (system-threads.ts). The slot is not given to another thread before every shard has
 *    let go of it. What a dead holder left is found in H_LENT_PHASE: the worker completes it or takes
 *    it back.
 * 5. The latch of a worker that died is revoked before anybody reads or syncs the log for it: what a
 *    client has committed in the old memory until then stands in the log, and later nothing does.
 */

import { H_LATCH, H_LATCH_SOON, H_LATCH_WAITERS } from './assembly/layout.js';
import {
  giveBackAt,
  type IsAlive,
  isHeldAt,
  LATCH_CLIENT,
  LATCH_CLIENT_MASK,
  LATCH_LENDABLE,
  LATCH_OWNED,
  LATCH_REVOKED,
  LATCH_WANTED,
  offerAt,
  takeAt,
  takeBackAt,
  yieldAt,
} from './latch.js';

const WORD = H_LATCH >>> 2;
const WAITERS = H_LATCH_WAITERS >>> 2;
const SOON = H_LATCH_SOON >>> 2;

/** The worker, about to block, offers the shard. False: the latch is revoked. */
export function offerLatch(words: Int32Array): boolean {
  const before = offerAt(words, WORD);
  Atomics.store(words, SOON, 1);
  tellWaiters(words);
  return before === LATCH_OWNED || before === LATCH_LENDABLE;
}

/** The worker will not offer the shard in the next moments. */
export function withdrawLatch(words: Int32Array): void {
  if (Atomics.exchange(words, SOON, 0) !== 0) tellWaiters(words);
}

function tellWaiters(words: Int32Array): void {
  if (Atomics.load(words, WAITERS) !== 0) Atomics.notify(words, WORD);
}

/** A client takes a shard that is on offer. */
export function takeLatch(words: Int32Array, client: number): boolean {
  return takeAt(words, WORD, client);
}

/**
 * As `takeLatch`; waits for a worker that has only taken the shard back to look around, which takes it
 * some microseconds every few milliseconds, or for another client.
 */
export function takeLatchSoon(words: Int32Array, client: number, timeoutMs: number): boolean {
  if (takeLatch(words, client)) return true;
  if (Atomics.load(words, SOON) === 0) return false;
  const endMs = performance.now() + timeoutMs;
  Atomics.add(words, WAITERS, 1);
  let isTaken = false;
  for (;;) {
    const now = Atomics.load(words, WORD);
    isTaken = takeLatch(words, client);
    const leftMs = endMs - performance.now();
    if (isTaken || Atomics.load(words, SOON) === 0 || leftMs <= 0) break;
    Atomics.wait(words, WORD, now, leftMs);
  }
  Atomics.sub(words, WAITERS, 1);
  return isTaken;
}

/** Whether a client has the shard at this moment, and will be followed by whoever comes first. */
export function isLatchHeld(words: Int32Array): boolean {
  return (Atomics.load(words, WORD) & (LATCH_CLIENT | LATCH_WANTED)) === LATCH_CLIENT;
}

/** Whether it is that client that has the shard. */
export function holdsLatch(words: Int32Array, client: number): boolean {
  return isHeldAt(words, WORD, client);
}

/** The client has done; the next may come, unless the worker waits. */
export function giveBackLatch(words: Int32Array, client: number): void {
  if (giveBackAt(words, WORD, client)) tellWaiters(words);
}

/** The client has left something for the worker: it gets the shard, and has to be woken. */
export function yieldLatch(words: Int32Array): void {
  yieldAt(words, WORD);
}

/**
 * The worker has woken and takes the shard back; waits for a client that has it. False: that client
 * has died.
 */
export function takeBackLatch(words: Int32Array, isAlive: IsAlive): boolean {
  return takeBackAt(words, WORD, isAlive);
}

/**
 * The worker is gone: nobody takes the shard any more. False: a client still has it, ask again. One
 * that is dead has it no more. OWNED is left as it is: only a worker could change that.
 */
export function revokeLatch(words: Int32Array, isAlive: IsAlive): boolean {
  for (;;) {
    const now = Atomics.load(words, WORD);
    if (now === LATCH_REVOKED || now === LATCH_OWNED) return true;
    if ((now & LATCH_CLIENT) !== 0 && isAlive(now & LATCH_CLIENT_MASK)) return false;
    if (Atomics.compareExchange(words, WORD, now, LATCH_REVOKED) === now) return true;
  }
}
