/** A shard's log as files, for those who look at it from outside of its worker. */
import { parseShardFileName } from '../file-system/file-names.js';
import { type FileSystem, isNotFound } from '../file-system/file-system.js';

/** Bytes of all segments in a shard's directory. */
export function segmentBytes(fs: FileSystem, directory: string): number {
  return segmentPaths(fs, directory).reduce((sum, path) => sum + fs.fileSize(path), 0);
}

/**
 * Makes a shard's log durable: for a shard that has no worker at present, or before it has one. What
 * a worker wrote before it died is with the operating system.
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
