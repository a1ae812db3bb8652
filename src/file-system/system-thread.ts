/**
 * The system's own numbers of threads, by which a thread that waits can tell that another is gone. The
 * event that says so in Node comes through the event loop, which a thread that waits does not visit.
 *
 * On Linux, from /proc (proc(5): `thread-self`, `self/task`); elsewhere nothing is known.
 */

import { existsSync, readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

const UNKNOWN = 0;

/** The number of the calling thread; 0 when the system does not tell. */
export function systemThreadId(): number {
  try {
    const id = Number(/\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1]);
    return Number.isSafeInteger(id) ? id : UNKNOWN;
  } catch {
    // No /proc here, or not the one of this process.
    return UNKNOWN;
  }
}

/**
 * Lowers the calling thread's priority by so many steps of niceness, below the other threads of the
 * process. Nothing happens where threads have no priorities of their own, or that is not allowed.
 */
export function lowerThreadPriority(steps: number): void {
  const id = systemThreadId();
  try {
    // Numbers from the /proc of another namespace are those of somebody else's threads.
    if (id === UNKNOWN || readlinkSync('/proc/self') !== String(process.pid)) return;
    setPriority(id, Math.min(getPriority(id) + steps, constants.priority.PRIORITY_LOW));
  } catch {
    // It stays what it is.
  }
}

/** Whether the system tells that a thread has ended. */
export function areThreadEndsKnown(): boolean {
  return systemThreadId() !== UNKNOWN;
}

/** Whether a thread of this process, of that number, has ended. False when nothing is known. */
export function isSystemThreadGone(id: number): boolean {
  if (id === UNKNOWN || existsSync(`/proc/self/task/${id}`)) return false;
  // A process that has changed its root directory sees none of its threads.
  return existsSync('/proc/thread-self');
}
