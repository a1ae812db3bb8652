/**
 * Epochs: when memory that readers may still be looking at can be used again.
 *
 * A reader announces the epoch it entered at in its own line; the shard worker unlinks an object
 * (an atomic store to the word readers find it through), then bumps H_EPOCH, and may reuse the
 * object's memory once every reader is outside or entered at the new epoch or later.
 *
 * Why that is enough, without the reader checking the epoch again after announcing it: all the
 * accesses named here are sequentially consistent, so they have one total order.
 *
 *     reader                               shard worker
 *     R1  e = H_EPOCH                      W1  unlink object
 *     R2  line.epoch = e                   W2  H_EPOCH += 1, giving E
 *     R3  load the word W1 changes         W3  look at line.epoch
 *
 * 1. W3 sees 0 because R2 is yet to come: then W1 < W3 < R2 < R3, the reader finds the object
 *    unlinked (Dekker's argument: of two threads that write, then look, one sees the other).
 * 2. W3 sees an epoch of E or more: then W1 < W2 < R1 < R3, and again the object is out of sight.
 * 3. W3 sees an older epoch: the worker waits. The reader may have been slow between R1 and R2 and
 *    announce an epoch that is long past; that only makes the worker wait for it.
 *
 * Who writes: a reader its own line; the shard worker H_EPOCH, and the line of a reader that died.
 * Calls do not nest: one thread, one slot, one stay.
 */

import { H_EPOCH, READERS, READER_BYTES, READER_COUNT, READER_EPOCH } from './layout';

// @ts-ignore: decorator
@inline
function lineOf(slot: u32): u32 {
  return READERS + slot * READER_BYTES + READER_EPOCH;
}

/** Enters: nothing unlinked from here on is reused before `readerLeave`. */
export function readerEnter(slot: u32): void {
  atomic.store<u64>(lineOf(slot), atomic.load<u64>(H_EPOCH));
}

/** Leaves: the reader holds no address of shared memory any more. */
export function readerLeave(slot: u32): void {
  atomic.store<u64>(lineOf(slot), 0);
}

/** Takes a slot whose thread is known to be dead out of its epoch. */
export function readerForceLeave(slot: u32): void {
  atomic.store<u64>(lineOf(slot), 0);
}

/**
 * Starts a new epoch, after the caller (the shard worker) unlinked something.
 * Returns the epoch to wait for with `epochReached`.
 */
export function retire(): f64 {
  return <f64>(atomic.add<u64>(H_EPOCH, 1) + 1);
}

/** 1 when no reader can see what was unlinked before `epoch` began, else 0. */
export function epochReached(epoch: f64): i32 {
  const goal = <u64>epoch;
  for (let slot: u32 = 0; slot < READER_COUNT; slot++) {
    const entered = atomic.load<u64>(lineOf(slot));
    if (entered != 0 && entered < goal) return 0;
  }
  return 1;
}
