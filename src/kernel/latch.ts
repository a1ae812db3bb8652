/**
 * A latch: one word that says who may change what stands beside it. It belongs to one thread, which lends it
 * while it does not need it; the kinds are the latch of a shard (shard-latch.ts) and that of the
 * coordinator's log (router/lent-log.ts).
 *
 *   OWNED      the thread it belongs to, and nobody else
 *   LENDABLE   nobody: whichever client comes first may take it
 *   client     the thread behind that client slot
 *   + WANTED   as before, and the owner waits: it is the next
 *   REVOKED    nobody any more
 *
 * Every change is a sequentially consistent read-modify-write, so whoever takes it sees all that those
 * before have written.
 */

export const LATCH_OWNED = 0;
export const LATCH_LENDABLE = 1;
export const LATCH_REVOKED = 2;
/** Plus the number of a client slot. */
export const LATCH_CLIENT = 0x100;
export const LATCH_WANTED = 0x1000;
export const LATCH_CLIENT_MASK = 0xff;

/** Between two looks at whether the holder is alive. */
const SLICE_MS = 20;

/** Whether the thread behind a client slot is alive. */
export type IsAlive = (client: number) => boolean;

/** The owner offers it. Returns the word before. */
export function offerAt(words: Int32Array, at: number): number {
  return Atomics.compareExchange(words, at, LATCH_OWNED, LATCH_LENDABLE);
}

/** A client takes it, if it is on offer. */
export function takeAt(words: Int32Array, at: number, client: number): boolean {
  if (Atomics.load(words, at) !== LATCH_LENDABLE) return false;
  const taken = LATCH_CLIENT + client;
  return Atomics.compareExchange(words, at, LATCH_LENDABLE, taken) === LATCH_LENDABLE;
}

/** Whether it is that client that has it. */
export function isHeldAt(words: Int32Array, at: number, client: number): boolean {
  return (Atomics.load(words, at) & ~LATCH_WANTED) === LATCH_CLIENT + client;
}

/** The client has done; the next may come. False: the owner waits, it has been given to it. */
export function giveBackAt(words: Int32Array, at: number, client: number): boolean {
  const taken = LATCH_CLIENT + client;
  if (Atomics.compareExchange(words, at, taken, LATCH_LENDABLE) === taken) return true;
  yieldAt(words, at);
  return false;
}

/** The client gives it to its owner, who has to be woken. */
export function yieldAt(words: Int32Array, at: number): void {
  const before = Atomics.exchange(words, at, LATCH_OWNED);
  if ((before & LATCH_WANTED) !== 0) Atomics.notify(words, at);
}

/** The owner takes it back, and waits for a client that has it. False: that client has died. */
export function takeBackAt(words: Int32Array, at: number, isAlive: IsAlive): boolean {
  for (;;) {
    const now = Atomics.compareExchange(words, at, LATCH_LENDABLE, LATCH_OWNED);
    if ((now & LATCH_CLIENT) === 0) return true;
    const wanted = now | LATCH_WANTED;
    if (now !== wanted && Atomics.compareExchange(words, at, now, wanted) !== now) continue;
    const outcome = Atomics.wait(words, at, wanted, SLICE_MS);
    if (outcome !== 'timed-out' || isAlive(now & LATCH_CLIENT_MASK)) continue;
    Atomics.store(words, at, LATCH_OWNED);
    return false;
  }
}
