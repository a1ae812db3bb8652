import { describe, expect, it } from 'vitest';
import { DirectChoice } from '../../src/router/direct-choice.js';

/** Turns of 64 requests, each taking as long as the way it goes; returns how many went direct. */
function directTurns(choice: DirectChoice, turns: number, ms: { direct: number; worker: number }) {
  let count = 0;
  for (let i = 0; i < turns; i++) {
    const isDirect = choice.isDirect(64, () => clock.nowMs);
    if (isDirect) count++;
    clock.nowMs += isDirect ? ms.direct : ms.worker;
  }
  return count;
}
const clock = { nowMs: 1 };

describe('who commits the requests of a turn', () => {
  it('is their own thread when they are few, and that tells nothing', () => {
    const choice = new DirectChoice();
    for (let i = 0; i < 5000; i++) expect(choice.isDirect(15, () => 0)).toBe(true);
  });

  it('is the one on whose way they take less time, but for trials', () => {
    const choice = new DirectChoice();
    directTurns(choice, 600, { direct: 0.2, worker: 0.1 });
    expect(directTurns(choice, 5280, { direct: 0.2, worker: 0.1 })).toBeLessThan(200);
    // Once it is the other way round, that is found out.
    directTurns(choice, 600, { direct: 0.1, worker: 0.2 });
    expect(directTurns(choice, 5280, { direct: 0.1, worker: 0.2 })).toBeGreaterThan(5000);
  });

  it('stays the same when the difference is small, or the application pauses', () => {
    const choice = new DirectChoice();
    expect(directTurns(choice, 5280, { direct: 0.1, worker: 0.095 })).toBeGreaterThan(5000);
    expect(directTurns(new DirectChoice(), 5280, { direct: 20, worker: 10 })).toBeGreaterThan(5000);
  });
});
