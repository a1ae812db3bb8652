import { describe, expect, it } from 'vitest';
import type { CheckBoard, CheckProgress } from '../../src/compaction/check-board.js';
import type { CheckReport } from '../../src/coordinator/control-plane.js';
import { runCheck } from '../../src/router/run-check.js';

const REPORT: CheckReport = { problems: [], tables: 1, blocks: 10, entries: 100, bytes: 1000 };

/** A check of ten blocks that counts one per turn of the event loop. */
async function tenBlocks(board?: CheckBoard): Promise<CheckReport> {
  board?.expect(10, 1000);
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    board?.throwIfCancelled();
    board?.count(1, 100);
  }
  return REPORT;
}

describe('a check', () => {
  it('says at the end how much it has read', async () => {
    const seen: CheckProgress[] = [];
    const onProgress = (progress: CheckProgress): void => void seen.push(progress);
    expect(await runCheck({ check: tenBlocks }, { onProgress })).toEqual(REPORT);
    expect(seen.at(-1)).toEqual({ blocks: 10, blocksTotal: 10, bytes: 1000, bytesTotal: 1000 });
  });

  it('is called off by its signal, before it begins and while it runs', async () => {
    const done = AbortSignal.abort(new Error('Enough'));
    const aborted = { code: 'LIGHTNING_ABORTED' };
    await expect(runCheck({ check: tenBlocks }, { signal: done })).rejects.toMatchObject(aborted);
    const { signal, abort } = controller();
    const check = async (board?: CheckBoard): Promise<CheckReport> => {
      setImmediate(abort);
      return tenBlocks(board);
    };
    await expect(runCheck({ check }, { signal })).rejects.toMatchObject(aborted);
  });

  it('ends when the listener throws, with what it threw', async () => {
    const onProgress = (): void => {
      throw new RangeError('Not interested');
    };
    await expect(runCheck({ check: tenBlocks }, { onProgress })).rejects.toThrow('Not interested');
  });

  it('refuses options that are none', async () => {
    const run = (options: unknown) => runCheck({ check: tenBlocks }, options as object);
    await expect(run({ onProgres: () => {} })).rejects.toThrow('did you mean "onProgress"');
    await expect(run({ onProgress: 5 })).rejects.toThrow('"onProgress" must be a function');
    await expect(run({ signal: {} })).rejects.toThrow('"signal" must be an AbortSignal');
  });
});

function controller(): { signal: AbortSignal; abort: () => void } {
  const made = new AbortController();
  return { signal: made.signal, abort: () => made.abort() };
}
