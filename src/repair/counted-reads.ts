/**
 * The file system of a repair, which tells how much has been read. A repair reads some files twice,
 * and what is damaged in several ways: it is at its end when it says so.
 */
import type { FileHandle, FileSystem, OpenMode } from '../file-system/file-system.js';

export interface RepairProgress {
  /** Bytes that have been read; never more than `bytesTotal`. */
  readonly bytes: number;
  /** Bytes of all files that there were at the beginning. */
  readonly bytesTotal: number;
}

/** Between two calls of the listener. */
const INTERVAL_MS = 100;

export class CountedReads {
  readonly #bytesTotal: number;
  readonly #onProgress: (progress: RepairProgress) => void;
  #bytes = 0;
  #toldAtMs = 0;

  constructor(bytesTotal: number, onProgress: (progress: RepairProgress) => void) {
    this.#bytesTotal = bytesTotal;
    this.#onProgress = onProgress;
  }

  /** The same files, counted. */
  over(fs: FileSystem): FileSystem {
    return {
      open: (path, mode) => this.#counted(fs.open(path, mode), mode),
      rename: (from, to) => fs.rename(from, to),
      unlink: (path) => fs.unlink(path),
      mkdir: (path) => fs.mkdir(path),
      readdir: (path) => fs.readdir(path),
      exists: (path) => fs.exists(path),
      fileSize: (path) => fs.fileSize(path),
      syncDirectory: (path) => fs.syncDirectory(path),
      readFile: (path) => {
        const bytes = fs.readFile(path);
        this.#add(bytes.length);
        return bytes;
      },
      link: (from, to) => fs.link(from, to),
      systemIdentity: () => fs.systemIdentity(),
    };
  }

  #counted(file: FileHandle, mode: OpenMode): FileHandle {
    if (mode !== 'r') return file;
    return {
      path: file.path,
      read: (target, position) => {
        const got = file.read(target, position);
        this.#add(got);
        return got;
      },
      write: (bytes, position) => file.write(bytes, position),
      datasync: () => file.datasync(),
      datasyncLater: () => file.datasyncLater(),
      sync: () => file.sync(),
      truncate: (bytes) => file.truncate(bytes),
      size: () => file.size(),
      close: () => file.close(),
    };
  }

  #add(bytes: number): void {
    this.#bytes = Math.min(this.#bytes + bytes, this.#bytesTotal);
    const nowMs = performance.now();
    if (nowMs - this.#toldAtMs < INTERVAL_MS) return;
    this.#toldAtMs = nowMs;
    this.#onProgress({ bytes: this.#bytes, bytesTotal: this.#bytesTotal });
  }
}
