import { describe, expect, it } from 'vitest';
import { targetOutcomes, targetTable } from '../../bench/target-table.js';
import { NULL_STORE } from '../../src/cli/bench/null-store.js';
import type { StoreResult } from '../../src/cli/bench/result.js';
import { measurement, result, store } from '../cli/bench/result-fixture.js';

/** Three rounds with these rates. */
function rounds(name: string, rates: readonly number[], diskBytesPerRecord?: number): StoreResult {
  return store(
    name,
    ...rates.map((perSecond) => [
      measurement('readrandom sync', perSecond),
      ...(diskBytesPerRecord === undefined
        ? []
        : [measurement('compacted', 1, { figures: { diskBytesPerRecord } })]),
    ]),
  );
}

describe('targets', () => {
  it('compare medians with the best peer, not with the harness', () => {
    const outcomes = targetOutcomes(
      result(
        1e6,
        rounds('own', [9e6, 2e6, 1e6], 130),
        rounds('slow', [1, 2, 3], 125),
        rounds('fast', [5e5, 9e5, 1e5], 200),
        rounds(NULL_STORE, [9e9, 9e9, 9e9], 0),
      ),
    );
    expect(outcomes).toMatchObject([
      { own: 2e6, best: { store: 'fast', value: 5e5 }, ratio: 4, met: true },
      // Less is better.
      { own: 130, best: { store: 'slow', value: 125 }, met: false },
    ]);
  });

  it('are missed when the rate of its own is, whatever the ratio', () => {
    const stores = [rounds('own', [8e5]), rounds('peer', [1e5])];
    expect(targetOutcomes(result(1e6, ...stores))).toMatchObject([{ ratio: 8, met: false }]);
  });

  it('are neither met nor missed without a peer', () => {
    const alone = result(1e6, rounds('own', [2e6]));
    expect(targetOutcomes(alone)).toMatchObject([{ ratio: undefined, met: undefined }]);
    expect(targetTable(alone).join('\n')).not.toMatch(/met|short/);
  });
});
