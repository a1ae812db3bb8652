import type { WriteStream } from 'node:tty';
import { describe, expect, it } from 'vitest';
import { LoadProgress } from '../../src/cli/load-progress.js';

/** What a load shows on a terminal, in its last state. */
function shown(shardRecords: readonly number[]): string {
  let text = '';
  const stream = { isTTY: true, columns: 120, write: (part: string) => (text += part) };
  const progress = new LoadProgress(stream as unknown as WriteStream, { quiet: false });
  progress.show({
    phase: 'read',
    records: 200,
    rejected: 0,
    bytes: 5000,
    bytesTotal: 10_000,
    shardRecords,
    mergedShare: 0,
    seconds: 2,
  });
  return text;
}

describe('the progress of a load on a terminal', () => {
  it('has records, rates, share done, and time left', () => {
    const text = shown([100, 100]);
    expect(text).toContain('50 %');
    expect(text).toContain('200 records');
    expect(text).toContain('100 /s');
    expect(text).toContain('2.50 kB/s');
    expect(text).toContain('2.0 s left');
  });

  it('has the share of each shard; of many, the least and the greatest', () => {
    expect(shown([50, 150])).toContain('25.0 %  75.0 %');
    expect(shown([10, 10, 10, 10, 10, 10, 10, 30])).toContain('10.0 % to 30.0 % each');
  });
});
