/** Which versions a job keeps; the rules are the kernel's, see assembly/retention.ts. */

import { LightningError } from '../errors.js';
import * as job from '../kernel/assembly/job-layout.js';
import type { Kernel } from '../kernel/kernel.js';

export interface Retention {
  /** Every commit at or below is applied; every snapshot to come is at or above. */
  readonly horizon: number;
  /** Sequence numbers of the live snapshots, ascending. Read after the horizon was. */
  readonly snapshots: readonly number[];
  /** Nothing older lies below the job's output: tombstones may go. */
  readonly bottom: boolean;
}

/** Bytes that `applyRetention` takes: snapshots, waiting tombstones, dropped blobs. */
export const RETENTION_BYTES = (2 * job.SNAPSHOTS_MAX + 1 + job.DROPPED_BLOBS_MAX) * 8;

/** Sets the kernel's rules for the next job. `address` is 8-byte aligned, RETENTION_BYTES long. */
export function applyRetention(kernel: Kernel, address: number, retention: Retention): void {
  const { horizon, snapshots, bottom } = retention;
  if (snapshots.length > job.SNAPSHOTS_MAX) {
    throw new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      `Cannot compact under ${snapshots.length} live snapshots: close some, ${job.SNAPSHOTS_MAX} are allowed`,
    );
  }
  kernel.f64.set(snapshots, address >>> 3);
  kernel.exports.retentionInit(address, snapshots.length, horizon, bottom ? 1 : 0);
}

/** Appends the kernel's list of dropped blobs to `list` and empties it. */
export function takeDroppedBlobs(kernel: Kernel, list: number[]): void {
  const { exports } = kernel;
  const from = exports.droppedBlobs() >>> 3;
  list.push(...kernel.f64.subarray(from, from + exports.droppedBlobCount()));
  exports.droppedBlobsTaken();
}
