/** Waiting for background work of stores that do not say when it is done. */

import { setTimeout as sleep } from 'node:timers/promises';
import { processCounters } from '../src/cli/bench/process-counters.js';

const POLL_MS = 25;
/** So long nothing must happen. */
const IDLE_POLLS = 8;
/** CPU time that the polling itself may take. */
const POLL_CPU_SECONDS = 0.004;

/**
 * Resolves when the process has written nothing and computed next to nothing for a while. Returns
 * how long that while was, in milliseconds: it is not the store's.
 */
export async function untilIdle(): Promise<number> {
  let before = processCounters();
  let idleSinceMs = performance.now();
  for (let idle = 0; idle < IDLE_POLLS; ) {
    await sleep(POLL_MS);
    const now = processCounters();
    const worked = now.cpuSeconds - before.cpuSeconds > POLL_CPU_SECONDS;
    const wrote = now.io?.callWritten !== before.io?.callWritten;
    before = now;
    idle = worked || wrote ? 0 : idle + 1;
    if (idle === 0) idleSinceMs = performance.now();
  }
  return performance.now() - idleSinceMs;
}
