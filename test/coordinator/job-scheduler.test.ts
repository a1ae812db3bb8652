/** The pool with the built worker: priorities are the queue's, errors keep their class. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { FlushJob, MergeJob, VerifyResult } from '../../src/compaction/jobs.js';
import { JobScheduler } from '../../src/coordinator/job-scheduler.js';
import { IoError, type LightningError } from '../../src/errors.js';

const root = mkdtempSync(join(tmpdir(), 'lightning-jobs-'));
afterAll(() => rmSync(root, { recursive: true }));

const module = await WebAssembly.compile(
  readFileSync(new URL('../../dist/kernel.wasm', import.meta.url)),
);
const worker = new URL('../../dist/workers/job.cjs', import.meta.url).href;

// Verifying needs no memory of a shard.
const shardMemory = {
  memory: new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }),
  generation: 1,
};

const verify = (path: string, shard = 0) =>
  ({
    kind: 'verify',
    shard,
    target: { kind: 'table', table: { id: 1, path } },
    expected: { blocks: 0, bytes: 0 },
  }) as const;

const merge = (path: string, changes: Partial<MergeJob> = {}): MergeJob => ({
  kind: 'merge',
  shard: 0,
  input: { runs: [[{ id: 1, path }]] },
  target: {
    directory: root,
    firstTableId: 2,
    tableIds: 1,
    tableBytesMax: 65536,
    blockBytes: 4096,
    compression: true,
    filterBitsPerKey: 10,
  },
  retention: { horizon: 0, snapshots: [], bottom: false },
  isBottom: false,
  compactionBytes: 0,
  isUrgent: false,
  ...changes,
});

/** Of a memtable that is not there. */
const newFlush = (): FlushJob => ({
  kind: 'flush',
  shard: 0,
  memtable: 0,
  target: merge('').target,
  retention: { horizon: 0, snapshots: [], bottom: false },
});

describe('JobScheduler', () => {
  it('runs jobs and brings back results and errors as they are', async () => {
    const scheduler = new JobScheduler({ threads: 2, worker, module });
    const path = join(root, '0000000001.table');
    writeFileSync(path, 'not a table, but long enough to have a footer'.repeat(4));
    const result = (await scheduler.runShardJob(verify(path), shardMemory)) as VerifyResult;
    expect(result.problems).toHaveLength(1);
    expect(result.problems[0]?.file).toBe(path);
    const missing = scheduler.runShardJob(merge(join(root, 'missing')), shardMemory);
    await expect(missing).rejects.toBeInstanceOf(IoError);
    await expect(missing).rejects.toMatchObject({ details: { errno: 'ENOENT' } });
    expect([scheduler.queued, scheduler.running]).toEqual([0, 0]);
    await scheduler.close();
  });

  it('leaves a thread to flushes while there are any, and gives others all when there are none', async () => {
    const scheduler = new JobScheduler({ threads: 2, worker, module });
    const path = join(root, '0000000001.table');
    writeFileSync(path, 'not a table, but long enough to have a footer'.repeat(4));
    const verifyFour = () =>
      Array.from({ length: 4 }, () => scheduler.runShardJob(verify(path), shardMemory));
    const alone = verifyFour();
    expect([scheduler.queued, scheduler.running]).toEqual([2, 2]);
    await Promise.all(alone);

    const flush = scheduler.runShardJob(newFlush(), shardMemory);
    const beside = verifyFour();
    expect([scheduler.queued, scheduler.running]).toEqual([3, 2]);
    // There is no memtable in that memory.
    await expect(flush).rejects.toThrow();
    await Promise.all(beside);
    const after = verifyFour();
    expect([scheduler.queued, scheduler.running]).toEqual([2, 2]);
    await Promise.all(after);
    await scheduler.close();
  });

  it('gives merges all threads beside flushes when runs have gathered', async () => {
    const scheduler = new JobScheduler({ threads: 2, worker, module });
    const missing = join(root, 'missing');
    const flush = scheduler.runShardJob(newFlush(), shardMemory);
    const merges = [1, 2, 3].map(() => scheduler.runShardJob(merge(missing), shardMemory));
    expect([scheduler.queued, scheduler.running]).toEqual([2, 2]);
    const urgent = scheduler.runShardJob(merge(missing, { isUrgent: true }), shardMemory);
    expect([scheduler.queued, scheduler.running]).toEqual([2, 3]);
    await Promise.allSettled([flush, ...merges, urgent]);
    const later = scheduler.runShardJob(newFlush(), shardMemory);
    const others = [1, 2].map(() => scheduler.runShardJob(merge(missing), shardMemory));
    expect([scheduler.queued, scheduler.running]).toEqual([1, 2]);
    await Promise.allSettled([later, ...others]);
    await scheduler.close();
  });

  it('runs jobs of small merges before those of large ones, and of bottom merges', async () => {
    const scheduler = new JobScheduler({ threads: 1, worker, module });
    const ended: string[] = [];
    const run = async (name: string, changes: Partial<MergeJob>): Promise<void> => {
      await scheduler
        .runShardJob(merge(join(root, 'missing'), changes), shardMemory)
        .catch(() => {});
      ended.push(name);
    };
    const jobs = [
      run('first', {}),
      ...[1, 2].map((i) => run(`bottom ${i}`, { isBottom: true, compactionBytes: 1000 })),
      ...[1, 2].map((i) => run(`large ${i}`, { compactionBytes: 600 * 2 ** 20 })),
      run('small', { compactionBytes: 40 * 2 ** 20 }),
    ];
    await Promise.all(jobs);
    expect(ended).toEqual(['first', 'small', 'large 1', 'large 2', 'bottom 1', 'bottom 2']);
    await scheduler.close();
  });

  it('drops the queued jobs of a shard that is gone, and no others', async () => {
    const scheduler = new JobScheduler({ threads: 2, worker, module });
    const path = join(root, '0000000001.table');
    const settled = Promise.allSettled(
      Array.from({ length: 40 }, (_, i) => scheduler.runShardJob(verify(path, i % 2), shardMemory)),
    );
    await scheduler.endShard(0);
    const outcomes = await settled;
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') continue;
      expect(i % 2).toBe(0);
      expect((outcome.reason as LightningError).code).toBe('LIGHTNING_ABORTED');
    }
    expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    // The shard is back.
    await scheduler.runShardJob(verify(path, 0), shardMemory);
    await scheduler.close();
  });

  it('ends what is queued and running when it closes', async () => {
    const scheduler = new JobScheduler({ threads: 2, worker, module });
    const path = join(root, '0000000001.table');
    const settled = Promise.allSettled(
      Array.from({ length: 40 }, () => scheduler.runShardJob(verify(path), shardMemory)),
    );
    await scheduler.close();
    await scheduler.close();
    for (const outcome of await settled) {
      if (outcome.status === 'rejected') {
        expect((outcome.reason as LightningError).code).toBe('LIGHTNING_ABORTED');
      }
    }
  });
});
