import type { WriteStream } from 'node:tty';
import { describe, expect, it } from 'vitest';
import { CheckProgressView } from '../../src/cli/check-progress.js';

function stream(isTTY: boolean) {
  const written: string[] = [];
  const target = { isTTY, columns: 120, write: (text: string) => written.push(text) > 0 };
  return { written, target: target as unknown as WriteStream };
}

const state = (blocks: number) => ({
  blocks,
  blocksTotal: 1000,
  bytes: blocks * 4096,
  bytesTotal: 1000 * 4096,
});

describe('the progress of a check', () => {
  it('is a bar on a terminal, which goes away', () => {
    const { written, target } = stream(true);
    let nowMs = 0;
    const view = new CheckProgressView(target, { quiet: false, nowMs: () => nowMs });
    nowMs = 1000;
    view.show(state(500));
    expect(written.join('')).toMatch(/█{15}·{15}.*50 % {2}500 of 1,000 blocks, .*left/);
    view.end();
    expect(written.length).toBe(2);
  });

  it('is a line now and then elsewhere', () => {
    const { written, target } = stream(false);
    let nowMs = 0;
    const view = new CheckProgressView(target, { quiet: false, nowMs: () => nowMs });
    for (nowMs = 0; nowMs <= 12_000; nowMs += 100) view.show(state(nowMs / 20));
    expect(written.length).toBe(2);
    expect(written[0]).toMatch(/^checking 25 %, 250 of 1,000 blocks, .*left\n$/);
    view.end();
    expect(written.length).toBe(2);
  });

  it('of a repair counts bytes', () => {
    const { written, target } = stream(false);
    let nowMs = 0;
    const options = { quiet: false, verb: 'repairing', nowMs: () => nowMs };
    const view = new CheckProgressView(target, options);
    nowMs = 6000;
    view.show({ bytes: 500_000_000, bytesTotal: 1_000_000_000 });
    expect(written.join('')).toMatch(/^repairing 50 %, 500 MB of 1(\.0+)? GB, .*\/s, .* left\n$/);
  });

  it('is nothing when it is not wanted', () => {
    const { written, target } = stream(true);
    const view = new CheckProgressView(target, { quiet: true });
    view.show(state(500));
    view.end();
    expect(written).toEqual([]);
  });
});
