/** Checks blob files piece by piece, and against what refers to them where that is known. */
import { BlobReader, blobPath, kernelPieceWindow, PIECE_WINDOW_BYTES } from '../blob/blob-file.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import { JobMemory } from './job-memory.js';
import { type Problem, problemOf } from './problem.js';
import type { ReadCount } from './read-count.js';

export interface BlobToVerify {
  readonly blob: number;
  /** Bytes of the value. */
  readonly bytes: number;
  /** What a table says of the pieces; undefined: only the log refers to the blob so far. */
  readonly checksum?: bigint | undefined;
}

export interface BlobsToVerify {
  readonly directory: string;
  readonly shard: number;
  readonly blobs: readonly BlobToVerify[];
}

export function verifyBlobs(
  fs: FileSystem,
  kernel: Kernel,
  { directory, shard, blobs }: BlobsToVerify,
  count: ReadCount,
): readonly Problem[] {
  const address = new JobMemory(kernel).allocate(PIECE_WINDOW_BYTES);
  const files = { fs, directory, shard, window: kernelPieceWindow(kernel, address) };
  const problems: Problem[] = [];
  for (const { blob, bytes, checksum } of blobs) {
    try {
      const reference = { blob, bytes, checksum: checksum ?? 0n };
      const reader = new BlobReader(files, reference, checksum !== undefined);
      try {
        let piece = reader.next();
        for (; piece !== undefined; piece = reader.next()) count.add(0, piece.length);
      } finally {
        reader.close();
      }
    } catch (error) {
      problems.push(problemOf(error, blobPath(files, blob)));
    }
  }
  return problems;
}
