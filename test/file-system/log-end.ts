import type { FileSystem } from '../../src/file-system/file-system.js';

/** Where the zeros at the end of a file begin: the end of a log whose last byte is none. */
export function logEnd(fs: FileSystem, path: string): number {
  return fs.readFile(path).findLastIndex((byte) => byte !== 0) + 1;
}
