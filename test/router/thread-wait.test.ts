/** Waits on the thread: another thread rings, at moments that are left to chance. */

import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { ControlBlock } from '../../src/router/control-block.js';
import { ThreadWait } from '../../src/router/thread-wait.js';

/** Words of their own: the request that is asked for, and the last that is answered. */
const REQUEST = 0;
const ANSWER = 32;

/** Rings for every request after a while, as a shard worker does: publish, ring, notify if wanted. */
const RINGER = `
  const { words, shared, doorbell, waiting } = require('node:worker_threads').workerData;
  for (let seen = 0; ; ) {
    Atomics.wait(shared, ${REQUEST}, seen);
    seen = Atomics.load(shared, ${REQUEST});
    if (seen < 0) break;
    for (let looks = Math.random() * 4000; looks > 0; looks--) Atomics.load(shared, ${REQUEST});
    Atomics.store(shared, ${ANSWER}, seen);
    Atomics.add(words, doorbell, 1);
    if (Atomics.load(words, waiting) !== 0) Atomics.notify(words, doorbell);
  }
`;

function doorbellOf() {
  const control = ControlBlock.create(1);
  return control.clientDoorbell(control.claimClient(0));
}

describe('a wait on the thread', () => {
  it('hears every ring, whether it looks or blocks', async () => {
    const doorbell = doorbellOf();
    const { words } = doorbell;
    const shared = new Int32Array(new SharedArrayBuffer(256));
    const worker = new Worker(RINGER, { eval: true, workerData: { ...doorbell, shared } });
    await new Promise((resolve) => worker.once('online', resolve));
    // A ring that is lost shows: the wait is in vain.
    const wait = new ThreadWait(doorbell, 20_000);
    let unheard = 0;
    for (let round = 1; round <= 5000; round++) {
      const rings = Atomics.load(words, doorbell.doorbell);
      Atomics.store(shared, REQUEST, round);
      Atomics.notify(shared, REQUEST);
      if (Atomics.load(shared, ANSWER) !== round && !wait.wait(rings)) unheard++;
      // A ring is for one request, and comes after its answer; it may still be under way.
      while (Atomics.load(words, doorbell.doorbell) === rings);
      if (Atomics.load(shared, ANSWER) !== round) throw new Error('A ring without an answer');
      if (unheard > 0) break;
    }
    expect(unheard).toBe(0);
    expect(Atomics.load(words, doorbell.waiting)).toBe(0);
    Atomics.store(shared, REQUEST, -1);
    Atomics.notify(shared, REQUEST);
    await new Promise((resolve) => worker.once('exit', resolve));
  });

  it('in vain is followed by a pause, and the pauses grow', () => {
    const doorbell = doorbellOf();
    const wait = new ThreadWait(doorbell, 1);
    const pauses: number[] = [];
    for (let i = 0; i < 3; i++) {
      expect(wait.wait(Atomics.load(doorbell.words, doorbell.doorbell))).toBe(false);
      let pause = 0;
      while (!wait.isWorthwhile()) pause++;
      pauses.push(pause);
    }
    expect(pauses).toEqual([16, 32, 64]);
  });

  it('ends at once when the bell has rung since the caller looked', () => {
    const doorbell = doorbellOf();
    const wait = new ThreadWait(doorbell, 20_000);
    for (let i = 0; i < 600; i++) {
      const rings = Atomics.load(doorbell.words, doorbell.doorbell);
      Atomics.add(doorbell.words, doorbell.doorbell, 1);
      expect(wait.wait(rings)).toBe(true);
    }
    expect(wait.isWorthwhile()).toBe(true);
  });
});
