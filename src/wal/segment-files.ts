/** A shard's log as files, for those who look at it from outside of its worker. */
import { CorruptionError } from '../errors.js';
import { parseShardFileName, shardFileName } from '../file-system/file-names.js';
import { type FileHandle, type FileSystem, isNotFound } from '../file-system/file-system.js';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from './segment-format.js';

/** Bytes of all segments in a shard's directory. */
export function segmentBytes(fs: FileSystem, directory: string): number {
  return segmentPaths(fs, directory).reduce((sum, path) => sum + fs.fileSize(path), 0);
}

/** Whether a shard has a log, and there is no group in it. */
export function isLogEmpty(fs: FileSystem, directory: string): boolean {
  const paths = segmentPaths(fs, directory);
  return paths.length > 0 && paths.every((path) => fs.fileSize(path) === SEGMENT_HEADER_BYTES);
}

/**
 * Of ascending segments, the first that an open of the shard needs: those before it hold no group, and
 * the one behind each of them says that this is how it ended. The last one stays, whatever it holds: it
 * shows that there is a log.
 */
export function firstUsedSegment(
  fs: FileSystem,
  directory: string,
  segments: readonly number[],
): number | undefined {
  const pathOf = (segment: number): string => `${directory}/${shardFileName('wal', segment)}`;
  const isEmpty = (segment: number, next: number): boolean => {
    if (fs.fileSize(pathOf(segment)) !== SEGMENT_HEADER_BYTES) return false;
    const file = fs.open(pathOf(next), 'r');
    try {
      const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
      if (file.read(head, 0) < SEGMENT_HEADER_BYTES) return false;
      const { previousSegment, previousBytes } = decodeSegmentHeader(head, file.path);
      return previousSegment === segment && previousBytes === SEGMENT_HEADER_BYTES;
    } catch (error) {
      // Replaying finds out what it is, and says so.
      if (error instanceof CorruptionError) return false;
      throw error;
    } finally {
      file.close();
    }
  };
  return segments.find((segment, at) => {
    const next = segments[at + 1];
    return next === undefined || !isEmpty(segment, next);
  });
}

const REWRITE_BYTES = 1024 * 1024;

/**
 * Makes durable what is read from a file of an earlier run. A sync alone would not do: if one has
 * failed in that run, the system takes for clean what it could not write, and shows it all the same.
 * What is written again is dirty again.
 */
export function rewriteDurably(file: FileHandle): void {
  const buffer = Buffer.alloc(Math.min(REWRITE_BYTES, file.size()));
  let at = 0;
  for (let got = file.read(buffer, at); got > 0; got = file.read(buffer, at)) {
    file.write(buffer.subarray(0, got), at);
    at += got;
  }
  file.sync();
}

/** Makes durable what the logs of an earlier run hold. Nobody has them open. */
export function rewriteSegments(fs: FileSystem, directory: string): void {
  for (const path of segmentPaths(fs, directory)) {
    const file = fs.open(path, 'r+');
    try {
      rewriteDurably(file);
    } finally {
      file.close();
    }
  }
  fs.syncDirectory(directory);
}

/**
 * Makes a shard's log durable: for a shard that has no worker at present. What one wrote before it
 * died is with the operating system.
 */
export function syncSegments(fs: FileSystem, directory: string): void {
  for (const path of segmentPaths(fs, directory)) syncFile(fs, path);
  fs.syncDirectory(directory);
}

function segmentPaths(fs: FileSystem, directory: string): string[] {
  return fs
    .readdir(directory)
    .filter((name) => parseShardFileName(name)?.kind === 'wal')
    .map((name) => `${directory}/${name}`);
}

function syncFile(fs: FileSystem, path: string): void {
  try {
    const file = fs.open(path, 'r+');
    try {
      file.datasync();
    } finally {
      file.close();
    }
  } catch (error) {
    // All that a segment holds is in durable tables when it is deleted.
    if (!isNotFound(error)) throw error;
  }
}
