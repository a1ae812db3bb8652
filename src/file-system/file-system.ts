/**
 * The file system as the engine sees it: synchronous, because it is used on worker threads that
 * have nothing else to do meanwhile, and small, so that one in-memory implementation can play a
 * disk that loses power or refuses a call.
 *
 * Contract of every implementation:
 * - Reads and writes take absolute positions; there is no cursor. A write returns when all bytes
 *   are handed to the system (short writes are continued); a read returns fewer bytes than asked
 *   for only at the end of the file.
 * - Written bytes are durable after `datasync` or `sync`; a created, renamed or deleted name is
 *   durable after `syncDirectory` of its directory.
 * - Refusals are thrown as `NoSpaceError` (ENOSPC, EDQUOT, EFBIG, EMFILE, ENFILE) or `IoError`, with
 *   `path`, `syscall` and `errno` (the symbolic code) in `details`.
 */
import { IoError, NoSpaceError } from '../errors.js';

/**
 * `r`: read an existing file. `create`: new and empty, replacing what was there; readable too.
 * `append`: created when missing, contents kept. `r+`: read and write an existing file.
 */
export type OpenMode = 'r' | 'create' | 'append' | 'r+';

export interface FileHandle {
  readonly path: string;
  /** Fills `target` from `position` on; returns the bytes read, fewer only at the end of the file. */
  read(target: Uint8Array, position: number): number;
  /** Writes all of `bytes` at `position`. After a failure, any part of them may have been written. */
  write(bytes: Uint8Array, position: number): void;
  /** Makes the contents durable (fdatasync). A failure must never be retried. */
  datasync(): void;
  /** As `datasync`, without holding up the thread. The file is closed when all of these are done. */
  datasyncLater(): Promise<void>;
  /** Makes contents and metadata durable (fsync). A failure must never be retried. */
  sync(): void;
  truncate(bytes: number): void;
  size(): number;
  /** Idempotent. */
  close(): void;
}

export interface FileSystem {
  open(path: string, mode: OpenMode): FileHandle;
  /** Replaces `to` when it exists. */
  rename(from: string, to: string): void;
  unlink(path: string): void;
  /** Creates one directory; false when it exists already. The parent must exist. */
  mkdir(path: string): boolean;
  /** Names in a directory, sorted. */
  readdir(path: string): string[];
  /** Throws when that cannot be found out. */
  exists(path: string): boolean;
  fileSize(path: string): number;
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): void;
  readFile(path: string): Buffer;
  /** A second name for the same file. Throws when `to` exists. */
  link(from: string, to: string): void;
  /** Which run of the system this is (system-identity.ts): another, and unsynced state may be gone. */
  systemIdentity(): Buffer;
}

/** Codes that mean "not now", not "broken": the write may be repeated once there is room. */
const NO_SPACE_CODES: ReadonlySet<string> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EFBIG',
  'EMFILE',
  'ENFILE',
]);

/** What the codes say that people meet, and what to do. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'permission denied: change the permissions, or the user',
  EPERM: 'not permitted: change the permissions, or the user',
  EROFS: 'the file system is mounted read-only',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is no directory',
};

/** The error a file operation throws, made from the system's own. */
export function fileError(cause: unknown, syscall: string, path: string): IoError | NoSpaceError {
  const errno = errnoOf(cause) ?? 'UNKNOWN';
  const options = { cause, details: { path, syscall, errno } };
  const advice = ADVICE[errno];
  const message = `Cannot ${syscall} "${path}": ${errno}${advice === undefined ? '' : `, ${advice}`}`;
  return NO_SPACE_CODES.has(errno)
    ? new NoSpaceError(`${message}; make room and writing resumes`, options)
    : new IoError(message, options);
}

/** Whether the error says that the file or directory does not exist. */
export function isNotFound(error: unknown): boolean {
  return error instanceof IoError && error.details['errno'] === 'ENOENT';
}

function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Makes a new file durable in one go: write, sync, rename over the target, sync the directory. */
export function replaceFile(
  fs: FileSystem,
  directory: string,
  name: string,
  bytes: Uint8Array,
): void {
  const target = `${directory}/${name}`;
  const temporary = `${target}.tmp`;
  const file = fs.open(temporary, 'create');
  try {
    file.write(bytes, 0);
    file.datasync();
  } finally {
    file.close();
  }
  fs.rename(temporary, target);
  fs.syncDirectory(directory);
}
