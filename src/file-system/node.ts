/** The file system of the operating system, through Node's synchronous calls. */
import {
  close,
  closeSync,
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
import { readOn, writeOn } from './transfer.js';

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  r: fsConstants.O_RDONLY,
  create: fsConstants.O_RDWR | fsConstants.O_CREAT | fsConstants.O_TRUNC,
  // Not O_APPEND: with it, Linux ignores the position of a write.
  append: fsConstants.O_RDWR | fsConstants.O_CREAT,
  'r+': fsConstants.O_RDWR,
};

/** Errors that say that there is no such file. */
const MISSING_CODES: ReadonlySet<unknown> = new Set(['ENOENT', 'ENOTDIR']);

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
    return attempt('read', this.path, () =>
      readOn(target.length, (done, wanted) =>
        readSync(this.#fd, target, done, wanted, position + done),
      ),
    );
  }

  write(bytes: Uint8Array, position: number): void {
    attempt('write', this.path, () =>
      writeOn(bytes.length, (done, wanted) =>
        writeSync(this.#fd, bytes, done, wanted, position + done),
      ),
    );
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

/** Undefined: then whoever needs it does without. Windows does not delete a file that is open. */
function openIfPossible(path: string): number | undefined {
  if (process.platform === 'win32') return undefined;
  try {
    return openSync(path, fsConstants.O_RDONLY | fsConstants.O_NONBLOCK);
  } catch {
    return undefined;
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

  /**
   * What the system has of a file in memory goes with its last handle, which takes milliseconds for a
   * large one: so there is a handle, and another thread closes it.
   */
  unlink(path: string): void {
    const fd = openIfPossible(path);
    try {
      attempt('unlink', path, () => unlinkSync(path));
    } finally {
      if (fd !== undefined) close(fd, () => {});
    }
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
    // Not existsSync: for that, what cannot be looked at does not exist.
    try {
      attempt('stat', path, () => statSync(path));
      return true;
    } catch (error) {
      if (error instanceof IoError && MISSING_CODES.has(error.details['errno'])) return false;
      throw error;
    }
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
