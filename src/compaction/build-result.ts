/** What a job that makes tables did. */

import { LightningError } from '../errors.js';
import * as job from '../kernel/assembly/job-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { TableWriter } from '../sstable/table-writer.js';
import { takeDroppedBlobs } from './retention.js';

export interface BuildResult {
  /** In key order; empty when nothing was kept. */
  readonly tables: readonly TableInfo[];
  /**
   * Blob files that dropped versions referred to and no table of the result does. A table outside of
   * the job can: a write that recovery replayed may be in two of them.
   */
  readonly droppedBlobs: readonly number[];
  /** Versions of keys. */
  readonly entriesIn: number;
  readonly entriesOut: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/**
 * Runs a step of the kernel to its end: the writer and the list of dropped blobs are served here,
 * `serve` does what else the step asks for and throws for what it does not know.
 */
export function runBuild(
  kernel: Kernel,
  writer: TableWriter,
  step: () => number,
  serve: (status: number) => void,
): Omit<BuildResult, 'bytesRead'> {
  const dropped: number[] = [];
  try {
    while (true) {
      const status = writer.run(step);
      if (status === job.JOB_DONE) break;
      if (status === job.JOB_BLOBS) takeDroppedBlobs(kernel, dropped);
      else if (status === job.JOB_TOO_LARGE) throw tooLarge();
      else serve(status);
    }
    takeDroppedBlobs(kernel, dropped);
    const tables = writer.finish();
    const kept = new Set(tables.flatMap(({ blobs }) => blobs));
    return {
      tables,
      droppedBlobs: [...new Set(dropped)].filter((blob) => !kept.has(blob)),
      entriesIn: kernel.exports.retentionEntriesIn(),
      entriesOut: kernel.exports.retentionEntriesOut(),
      bytesWritten: writer.bytesWritten,
    };
  } catch (error) {
    writer.abort();
    throw error;
  }
}

function tooLarge(): LightningError {
  return new LightningError(
    'LIGHTNING_LIMIT_EXCEEDED',
    'Cannot keep so many versions of one key in a block: close snapshots and try again',
  );
}
