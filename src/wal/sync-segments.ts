/**
 * Makes a shard's log durable from outside of its worker: for a shard that has none at present, or
 * before it has one. What a worker wrote before it died is with the operating system.
 */
import { parseShardFileName } from '../file-system/file-names.js';
import { type FileSystem, isNotFound } from '../file-system/file-system.js';

export function syncSegments(fs: FileSystem, directory: string): void {
  for (const name of fs.readdir(directory)) {
    if (parseShardFileName(name)?.kind === 'wal') syncFile(fs, `${directory}/${name}`);
  }
  fs.syncDirectory(directory);
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
