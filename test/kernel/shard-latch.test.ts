import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { H_LATCH } from '../../src/kernel/assembly/layout.js';
import { LATCH_LENDABLE, LATCH_OWNED, LATCH_REVOKED } from '../../src/kernel/latch.js';
import {
  giveBackLatch,
  isLatchHeld,
  offerLatch,
  revokeLatch,
  takeBackLatch,
  takeLatch,
  yieldLatch,
} from '../../src/kernel/shard-latch.js';

const WORD = H_LATCH >>> 2;
const alive = (): boolean => true;
const dead = (): boolean => false;

function words(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(65536));
}

describe('the latch of a shard', () => {
  it('is taken by one client at a time, and only while the shard is on offer', () => {
    const w = words();
    expect(takeLatch(w, 1)).toBe(false);
    expect(offerLatch(w)).toBe(true);
    expect([takeLatch(w, 63), takeLatch(w, 1), isLatchHeld(w)]).toEqual([true, false, true]);
    giveBackLatch(w, 63);
    expect([takeLatch(w, 1), w[WORD]]).toEqual([true, 0x101]);
    yieldLatch(w);
    expect([takeLatch(w, 2), w[WORD]]).toEqual([false, LATCH_OWNED]);
  });

  it('goes to the worker that waits for it, and to no other client before', async () => {
    const w = words();
    offerLatch(w);
    takeLatch(w, 5);
    // Another thread gives it back, once the worker (this one) has said that it wants it.
    const giver = new Worker(
      `const { workerData: w } = require('node:worker_threads');
       while (Atomics.load(w, ${WORD}) !== 0x1105) Atomics.wait(w, 0, 0, 1);
       if (Atomics.compareExchange(w, ${WORD}, 0x105, 1) !== 0x105) {
         Atomics.exchange(w, ${WORD}, 0);
         Atomics.notify(w, ${WORD});
       }`,
      { eval: true, workerData: w },
    );
    expect(takeBackLatch(w, alive)).toBe(true);
    expect(w[WORD]).toBe(LATCH_OWNED);
    await giver.terminate();
    offerLatch(w);
    takeLatch(w, 5);
    Atomics.or(w, WORD, 0x1000);
    expect(isLatchHeld(w)).toBe(false);
    giveBackLatch(w, 5);
    expect([takeLatch(w, 6), w[WORD]]).toEqual([false, LATCH_OWNED]);
  });

  it('comes back from a client that is dead', () => {
    const w = words();
    offerLatch(w);
    takeLatch(w, 5);
    expect(takeBackLatch(w, (client) => client !== 5)).toBe(false);
    expect(w[WORD]).toBe(LATCH_OWNED);
  });

  it('is revoked for good once no living client has it', () => {
    const w = words();
    offerLatch(w);
    takeLatch(w, 5);
    expect(revokeLatch(w, alive)).toBe(false);
    giveBackLatch(w, 5);
    expect([revokeLatch(w, alive), w[WORD]]).toEqual([true, LATCH_REVOKED]);
    expect([takeLatch(w, 5), offerLatch(w)]).toEqual([false, false]);
    expect(takeBackLatch(w, alive)).toBe(true);
    const left = words();
    offerLatch(left);
    takeLatch(left, 5);
    expect([revokeLatch(left, dead), left[WORD]]).toEqual([true, LATCH_REVOKED]);
  });

  it('of a worker that does not lend is left alone', () => {
    const w = words();
    expect([revokeLatch(w, alive), w[WORD]]).toEqual([true, LATCH_OWNED]);
    expect([offerLatch(w), w[WORD]]).toEqual([true, LATCH_LENDABLE]);
  });
});
