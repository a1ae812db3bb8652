/**
 * Job: checks every byte of a file of a shard, or of a few small ones. The shard that asks sees to it
 * that they are not deleted meanwhile, and names the end of those that grow.
 */
import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableRef } from '../sstable/table-info.js';
import type { CheckBoard } from './check-board.js';
import type { Problem } from './problem.js';
import { type Expected, ReadCount } from './read-count.js';
import { type BlobToVerify, verifyBlobs } from './verify-blobs.js';
import { type SegmentToVerify, verifySegment } from './verify-log.js';
import { type ManifestToVerify, verifyManifest } from './verify-manifest.js';
import { type TableVerification, verifyTable } from './verify-table.js';

export type VerifyTarget =
  | { readonly kind: 'table'; readonly table: TableRef }
  | { readonly kind: 'manifest'; readonly manifest: ManifestToVerify }
  | { readonly kind: 'segment'; readonly segment: SegmentToVerify }
  | {
      readonly kind: 'blobs';
      readonly directory: string;
      readonly shard: number;
      readonly blobs: readonly BlobToVerify[];
    };

export interface VerifyResult {
  readonly problems: readonly Problem[];
  /** What a table held; absent for other files. */
  readonly table?: TableVerification;
}

/** `expected` is what the shard has announced of the target on the board. */
export function verifyFile(
  fs: FileSystem,
  kernel: Kernel,
  target: VerifyTarget,
  expected: Expected,
  board?: CheckBoard,
): VerifyResult {
  const count = new ReadCount(board, expected);
  board?.throwIfCancelled();
  try {
    return verify(fs, kernel, target, count);
  } finally {
    count.finish();
  }
}

function verify(
  fs: FileSystem,
  kernel: Kernel,
  target: VerifyTarget,
  count: ReadCount,
): VerifyResult {
  switch (target.kind) {
    case 'table': {
      const table = verifyTable(fs, kernel, target.table, count);
      return { problems: table.problems, table };
    }
    case 'manifest':
      return { problems: verifyManifest(fs, target.manifest) };
    case 'segment':
      return { problems: verifySegment(fs, kernel, target.segment, count) };
    case 'blobs':
      return { problems: verifyBlobs(fs, kernel, target, count) };
  }
}
