/** The file system of the operating system, through Node's synchronous calls. */
import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  constants as fsConstants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { IoError } from '../errors.js';
import { type FileHandle, type FileSystem, fileError, type OpenMode } from './file-system.js';
import { systemIdentity } from './system-identity.js';

/** One call never moves more than this: a 2 GiB limit sits below in most systems. */
const TRANSFER_BYTES_MAX = 1 << 30;

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  r: fsConstants.O_RDONLY,
  create: fsConstants.O_RDWR | fsConstants.O_CREAT | fsConstants.O_TRUNC,
  // Not O_APPEND: with it, Linux ignores the position of a write.
  append: fsConstants.O_RDWR | fsConstants.O_CREAT,
  'r+': fsConstants.O_RDWR,
};

function attempt<T>(syscall: string, path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw fileError(cause, syscall, path);
  }
}

class NodeFileHandle implements FileHandle {
  readonly path: string;
  #fd: number;
  /** Calls of `datasyncLater` under way. */
  #pending = 0;
  #isClosed = false;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  read(target: Uint8Array, position: number): number {
    let done = 0;
    try {
      while (done < target.length) {
        const wanted = Math.min(target.length - done, TRANSFER_BYTES_MAX);
        const got = readSync(this.#fd, target, done, wanted, position + done);
        if (got === 0) break;
        done += got;
      }
    } catch (cause) {
      throw fileError(cause, 'read', this.path);
    }
    return done;
  }

  write(bytes: Uint8Array, position: number): void {
    let done = 0;
    try {
      while (done < bytes.length) {
        const wanted = Math.min(bytes.length - done, TRANSFER_BYTES_MAX);
        const put = writeSync(this.#fd, bytes, done, wanted, position + done);
        if (put === 0) throw Object.assign(new Error('no progress'), { code: 'EIO' });
        done += put;
      }
    } catch (cause) {
      throw fileError(cause, 'write', this.path);
    }
  }

  datasync(): void {
    attempt('fdatasync', this.path, () => fdatasyncSync(this.#fd));
  }

  datasyncLater(): Promise<void> {
    this.#pending++;
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (cause) => {
        this.#pending--;
        try {
          if (this.#isClosed) this.#closeWhenIdle();
          if (cause !== null) throw fileError(cause, 'fdatasync', this.path);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  sync(): void {
    attempt('fsync', this.path, () => fsyncSync(this.#fd));
  }

  truncate(bytes: number): void {
    attempt('ftruncate', this.path, () => ftruncateSync(this.#fd, bytes));
  }

  size(): number {
    return attempt('fstat', this.path, () => fstatSync(this.#fd).size);
  }

  close(): void {
    this.#isClosed = true;
    this.#closeWhenIdle();
  }

  /** The system would give the number of a closed descriptor to the next file. */
  #closeWhenIdle(): void {
    if (this.#fd < 0 || this.#pending > 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    attempt('close', this.path, () => closeSync(fd));
  }
}

class NodeFileSystem implements FileSystem {
  open(path: string, mode: OpenMode): FileHandle {
    const fd = attempt('open', path, () => openSync(path, OPEN_FLAGS[mode], 0o644));
    return new NodeFileHandle(path, fd);
  }

  rename(from: string, to: string): void {
    attempt('rename', from, () => renameSync(from, to));
  }

  unlink(path: string): void {
    attempt('unlink', path, () => unlinkSync(path));
  }

  mkdir(path: string): boolean {
    try {
      attempt('mkdir', path, () => mkdirSync(path, 0o755));
      return true;
    } catch (error) {
      if (!(error instanceof IoError) || error.details['errno'] !== 'EEXIST') throw error;
      if (!attempt('stat', path, () => statSync(path).isDirectory())) throw error;
      return false;
    }
  }

  readdir(path: string): string[] {
    return attempt('scandir', path, () => readdirSync(path).sort());
  }

  exists(path: string): boolean {
    return existsSync(path);
  }

  fileSize(path: string): number {
    return attempt('stat', path, () => statSync(path).size);
  }

  syncDirectory(path: string): void {
    // Windows has no handle for a directory's entries; NTFS journals them itself.
    if (process.platform === 'win32') return;
    const fd = attempt('open', path, () => openSync(path, fsConstants.O_RDONLY));
    try {
      attempt('fsync', path, () => fsyncSync(fd));
    } finally {
      closeSync(fd);
    }
  }

  readFile(path: string): Buffer {
    return attempt('read', path, () => readFileSync(path));
  }

  link(from: string, to: string): void {
    attempt('link', from, () => linkSync(from, to));
  }

  systemIdentity(): Buffer {
    return systemIdentity();
  }
}

export const nodeFileSystem: FileSystem = new NodeFileSystem();
