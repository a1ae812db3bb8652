/** A few hundred points of the sweep; `npm run torture -- faults` has thousands. */

import { describe, expect, it } from 'vitest';
import { FAULTS, MODES, runPoint } from './sweep.js';

describe('a fault at any call of the file system', () => {
  it.each(FAULTS)('%s: what comes back is what was promised', async (fault) => {
    const failures: string[] = [];
    let hits = 0;
    for (const [i, mode] of MODES.entries()) {
      for (let point = 0; point < 5; point++) {
        const script = 1 + ((i * 5 + point) % 7);
        const call = 3 + ((point * 97 + i * 41 + FAULTS.indexOf(fault) * 13) % 450);
        const { failure, isHit } = await runPoint({ script, mode, fault, call });
        if (failure !== undefined) failures.push(failure);
        if (isHit) hits++;
      }
    }
    expect(failures).toEqual([]);
    expect(hits).toBeGreaterThan(8);
  });
});
