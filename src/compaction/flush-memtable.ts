/** Job: a memtable that takes no more writes becomes tables. */

import { LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import * as layout from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { type TableTarget, TableWriter } from '../sstable/table-writer.js';
import { type BuildResult, runBuild } from './build-result.js';
import { applyRetention, RETENTION_BYTES, type Retention } from './retention.js';

const CURSOR_BYTES = 4096;

/**
 * Writes the memtable at address `memtable` of a shard's memory to tables. Works in the memory's job
 * region: one flush of a shard at a time. Deletes what it wrote when it throws.
 */
export function flushMemtable(
  fs: FileSystem,
  kernel: Kernel,
  memtable: number,
  target: TableTarget,
  retention: Retention,
): BuildResult {
  const base = kernel.u32[layout.H_JOB_BASE >>> 2] as number;
  const bytes = kernel.u32[layout.H_JOB_BYTES >>> 2] as number;
  const cursor = base + roundUp(RETENTION_BYTES);
  const region = cursor + CURSOR_BYTES;
  applyRetention(kernel, base, retention);
  const writer = new TableWriter(
    fs,
    kernel,
    { address: region, bytes: base + bytes - region },
    { ...target, isShortLived: true },
  );
  const { exports } = kernel;
  exports.flushBegin(memtable, cursor);
  const result = runBuild(
    kernel,
    writer,
    () => exports.flushRun(),
    (status) => {
      throw new LightningError('LIGHTNING_ABORTED', `A flush ended with status ${status}`);
    },
  );
  return { ...result, bytesRead: 0 };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}
