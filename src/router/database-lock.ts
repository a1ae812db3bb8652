/**
 * One process, and one open, per database: an operating system's lock on the file LOCK, which ends
 * with the process that holds it, however that ends. The file's content, the holder's process id, is
 * for people and error messages; it decides nothing.
 *
 * The lock is on one byte far behind the content, because on some systems what is locked cannot be
 * read by others. It must be taken on the thread that opens the database: a worker's descriptors
 * are closed when it ends.
 */

import {
  closeSync,
  constants as fsConstants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { tryLock, unlock } from 'fs-native-extensions';
import { IoError, type LightningError, LockedError } from '../errors.js';
import { fileError } from '../file-system/file-system.js';
import { LOCK_NAME } from '../version/database-file.js';

const LOCK_OFFSET = 1 << 20;
const LOCK_BYTES = 1;
/** The file may be replaced while it is being opened; each round means somebody else came first. */
const ROUNDS_MAX = 16;
/** The file cannot be written here, so no other process can open the database for writing either. */
const READ_ONLY_CODES: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);

export interface DatabaseLock {
  /** Ends the lock. Idempotent. */
  release(): void;
  /** Ends the lock of an open that failed: a file that it made is removed again. */
  abandon(): void;
}

/**
 * Takes the lock of the database in a directory that exists. Throws `LockedError` with the holder's
 * process id. With `readOnly`, nothing is written: where there is no LOCK file, none is made.
 */
export function lockDatabase(directory: string, { readOnly }: { readOnly: boolean }): DatabaseLock {
  const path = join(directory, LOCK_NAME);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const file = openLockFile(path, readOnly);
    if (file === undefined) return NO_LOCK;
    const lock = lockFile(path, directory, file, readOnly);
    if (lock !== undefined) return lock;
  }
  throw lockedBy(path, directory);
}

/** Undefined: the file has lost its name meanwhile. */
function lockFile(
  path: string,
  directory: string,
  { fd, created, shared }: LockFile,
  readOnly: boolean,
): DatabaseLock | undefined {
  let kept = false;
  try {
    if (!tryLock(fd, LOCK_OFFSET, LOCK_BYTES, { shared })) throw lockedBy(path, directory);
    if (!isStillAt(path, fd)) return undefined;
    if (!readOnly) writeHolder(fd);
    kept = true;
    return heldLock(path, fd, created);
  } catch (error) {
    throw error instanceof LockedError ? error : fileError(error, 'lock', path);
  } finally {
    if (!kept) closeSync(fd);
  }
}

interface LockFile {
  readonly fd: number;
  readonly created: boolean;
  readonly shared: boolean;
}

function openLockFile(path: string, readOnly: boolean): LockFile | undefined {
  const existing = tryOpen(path, fsConstants.O_RDWR);
  if (typeof existing === 'number') return { fd: existing, created: false, shared: false };
  if (readOnly && READ_ONLY_CODES.has(existing.code)) {
    const fd = tryOpen(path, fsConstants.O_RDONLY);
    if (typeof fd === 'number') return { fd, created: false, shared: true };
  }
  if (existing.code !== 'ENOENT') throw unwritable(existing, path);
  if (readOnly) return undefined;
  const fresh = tryOpen(path, fsConstants.O_RDWR | fsConstants.O_CREAT | fsConstants.O_EXCL);
  if (typeof fresh === 'number') return { fd: fresh, created: true, shared: false };
  // Somebody else made it in between.
  if (fresh.code === 'EEXIST') return openLockFile(path, readOnly);
  throw unwritable(fresh, path);
}

function unwritable(cause: { readonly code: string }, path: string): LightningError {
  const error = fileError(cause, 'open', path);
  if (!READ_ONLY_CODES.has(cause.code)) return error;
  const { cause: original, details } = error;
  return new IoError(`${error.message}; to read only, open the database with "readOnly"`, {
    cause: original,
    details,
  });
}

function tryOpen(path: string, flags: number): number | { readonly code: string } {
  try {
    return openSync(path, flags, 0o644);
  } catch (error) {
    return error as { code: string };
  }
}

/** A lock on a file that has lost its name, or was replaced, protects nothing. */
function isStillAt(path: string, fd: number): boolean {
  try {
    const named = statSync(path);
    const held = fstatSync(fd);
    return named.ino === held.ino && named.dev === held.dev;
  } catch {
    return false;
  }
}

function writeHolder(fd: number): void {
  const text = `${process.pid}\n`;
  writeSync(fd, text, 0);
  // A file that is emptied first costs a transaction of the file system.
  if (fstatSync(fd).size > text.length) ftruncateSync(fd, text.length);
}

function lockedBy(path: string, directory: string): LockedError {
  let pid: number | undefined;
  try {
    const text = Number.parseInt(readFileSync(path, 'latin1'), 10);
    if (Number.isSafeInteger(text)) pid = text;
  } catch {
    // The holder is unknown then; that the database is held stays true.
  }
  const holder = pid === process.pid ? 'this process' : `process ${pid ?? 'unknown'}`;
  return new LockedError(
    `The database at "${directory}" is open in ${holder}: close it there first`,
    { details: { path: directory, pid } },
  );
}

function heldLock(path: string, fd: number, created: boolean): DatabaseLock {
  let held = true;
  const release = (): void => {
    if (!held) return;
    held = false;
    try {
      unlock(fd, LOCK_OFFSET, LOCK_BYTES);
    } finally {
      closeSync(fd);
    }
  };
  return {
    release,
    abandon() {
      // While the lock is still held, nobody else can come to rely on the file.
      if (held && created) unlinkSync(path);
      release();
    },
  };
}

const NO_LOCK: DatabaseLock = { release() {}, abandon() {} };
