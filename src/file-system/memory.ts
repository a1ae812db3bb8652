/**
 * A file system in memory that can lose power and refuse calls, for tests that run in one thread
 * from one seed.
 *
 * What survives `crash()` is decided per file and per directory (memory-inode.ts, memory-directory.ts):
 * synced contents and synced names always do; of what came since the last sync, the `CrashMode` says
 * which.
 *
 * Faults: `failAt(k, errno)` makes the k-th mutating call from now throw, `failFrom` it and all later
 * ones; `crashAt(k)` makes it and every later call throw `PowerLossError` until `crash()` is called.
 * A write that fails may have written a part of its bytes; what a sync that fails was to sync never
 * reaches the medium. Calls that read are counted by themselves: `failReadOnce`, `failReadsFrom`. A read
 * that fails may have filled a part of its target. The errno `SHORT` refuses nothing: the write or read
 * takes two calls.
 */
import { IoError, LightningError } from '../errors.js';
import { type FileHandle, type FileSystem, fileError, type OpenMode } from './file-system.js';
import { MemoryDirectory } from './memory-directory.js';
import { type Change, type CrashMode, Inode } from './memory-inode.js';
import { type ByteRange, ReadFaults, SHORT } from './memory-read-faults.js';
import { identityOf } from './system-identity.js';
import { readOn } from './transfer.js';

export type { CrashMode } from './memory-inode.js';

/** Thrown by every call after the power failed. Not an IoError: nobody may handle it. */
export class PowerLossError extends Error {
  constructor() {
    super('The power failed');
    this.name = 'PowerLossError';
  }
}

/** A 32-bit generator of a Weyl sequence and a mixer (splitmix32): small, seeded, repeatable. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 0x1_0000_0000;
  };
}

/** Which calls a fault hits: all that change something, or those alone. */
export type FaultyCalls = 'all' | 'open' | 'write' | 'room' | 'sync' | 'name';

interface Fault {
  /** Number of the mutating call that is refused, and of the last one. */
  readonly at: number;
  readonly last: number;
  readonly errno: string;
  readonly calls: FaultyCalls;
}

/** As it is called in faults and traces; errors say `fsync`. */
const DIRECTORY_SYNC = 'fsync of a directory';

const SYSCALLS: Readonly<Record<Exclude<FaultyCalls, 'all'>, readonly string[]>> = {
  open: ['open'],
  write: ['write'],
  // What takes room.
  room: ['open', 'write', 'mkdir', 'rename', 'link', 'fallocate'],
  sync: ['fsync', 'fdatasync', DIRECTORY_SYNC],
  name: ['rename', 'link', 'unlink', 'mkdir', DIRECTORY_SYNC],
};

/** Whether a fault in calls of that kind hits this one. */
export function isFaulty(calls: FaultyCalls, syscall: string): boolean {
  return calls === 'all' || SYSCALLS[calls].includes(syscall);
}

class MemoryFileHandle implements FileHandle {
  readonly path: string;
  #fs: MemoryFileSystem;
  #node: Inode;
  #writable: boolean;
  #epoch: number;
  #open = true;

  constructor(fs: MemoryFileSystem, path: string, node: Inode, writable: boolean) {
    this.#fs = fs;
    this.path = path;
    this.#node = node;
    this.#writable = writable;
    this.#epoch = fs.bootCount;
  }

  #check(syscall: string): void {
    if (!this.#open || this.#epoch !== this.#fs.bootCount) {
      throw fileError({ code: 'EBADF' }, syscall, this.path);
    }
  }

  read(target: Uint8Array, position: number): number {
    this.#check('read');
    return readOn(target.length, (done, wanted) =>
      this.#readSome(target.subarray(done, done + wanted), position + done),
    );
  }

  /** As a call of the system does it: it may read less than there is. */
  #readSome(target: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(target.length, this.#node.length - position));
    const copy = (bytes: number): number => {
      target.set(this.#node.bytes.subarray(position, position + bytes));
      return bytes;
    };
    try {
      const range = { from: position, to: position + length };
      const isShort = this.#fs.checkRead('read', this.path, range) && length > 1;
      return copy(isShort ? 1 + Math.floor(this.#fs.random() * (length - 1)) : length);
    } catch (error) {
      if (error instanceof LightningError) copy(Math.floor(this.#fs.random() * length));
      throw error;
    }
  }

  write(bytes: Uint8Array, position: number): void {
    this.#check('write');
    if (!this.#writable) throw fileError({ code: 'EBADF' }, 'write', this.path);
    // Copied: the caller's bytes may be shared memory that is written again.
    const change: Change = { kind: 'write', position, bytes: Uint8Array.from(bytes) };
    const refused = this.#fs.refuse('write');
    if (refused !== undefined) {
      const part = Math.floor(this.#fs.random() * (bytes.length + 1));
      this.#change({ kind: 'write', position, bytes: change.bytes.subarray(0, part) });
      if (refused !== SHORT) throw this.#fs.refusal(refused, 'write', this.path);
      this.#writeRest(change.bytes.subarray(part), position + part);
      return;
    }
    const { length } = this.#node;
    if (!this.#fs.takeRoom(position + bytes.length - length)) {
      const room = Math.max(0, length - position) + this.#fs.takeAllRoom();
      const part = Math.min(room, bytes.length - 1);
      this.#change({ kind: 'write', position, bytes: change.bytes.subarray(0, part) });
      throw fileError({ code: 'ENOSPC' }, 'write', this.path);
    }
    this.#change(change);
  }

  /** What a short write has left. */
  #writeRest(bytes: Uint8Array, position: number): void {
    const refused = this.#fs.refuse('write');
    if (refused !== undefined && refused !== SHORT) {
      throw this.#fs.refusal(refused, 'write', this.path);
    }
    this.#change({ kind: 'write', position, bytes });
  }

  #change(change: Change): void {
    this.#node.apply(change);
    this.#node.changes.push(change);
  }

  datasync(): void {
    this.#check('fdatasync');
    this.#syncNode('fdatasync');
    this.#fs.syncs++;
  }

  async datasyncLater(): Promise<void> {
    this.datasync();
  }

  sync(): void {
    this.#check('fsync');
    this.#syncNode('fsync');
    this.#fs.syncs++;
  }

  #syncNode(syscall: string): void {
    try {
      this.#fs.step(syscall, this.path);
    } catch (error) {
      if (error instanceof LightningError) this.#node.loseChanges();
      throw error;
    }
    this.#node.sync();
  }

  truncate(bytes: number): void {
    this.#check('ftruncate');
    this.#fs.step('ftruncate', this.path);
    this.#fs.giveRoom(this.#node.length - bytes);
    this.#change({ kind: 'truncate', bytes });
  }

  size(): number {
    this.#check('fstat');
    this.#fs.checkRead('fstat', this.path);
    return this.#node.length;
  }

  close(): void {
    this.#open = false;
  }
}

export class MemoryFileSystem implements FileSystem {
  readonly random: () => number;
  /** Calls of fdatasync and fsync so far, for tests of who pays for durability. */
  syncs = 0;
  /** Mutating calls so far. */
  calls = 0;
  /** Handles from before a crash are dead. */
  bootCount = 0;
  /** When set, gets the name of each mutating call. */
  trace: string[] | undefined;
  #root = new MemoryDirectory();
  #faultsHit = 0;
  #faults: Fault[] = [];
  readonly #readFaults = new ReadFaults();
  #crashAt: number | undefined;
  #powerLost = false;
  #powerLosses = 0;
  #roomBytes = Number.POSITIVE_INFINITY;

  constructor(seed = 1) {
    this.random = seededRandom(seed);
  }

  // ---- faults ----------------------------------------------------------------

  /** Calls that were made to fail so far. */
  get faultsHit(): number {
    return this.#faultsHit + this.#readFaults.hit;
  }

  /** Calls so far that read contents, lengths or names. */
  get reads(): number {
    return this.#readFaults.calls;
  }

  /** Makes the `k`-th mutating call from now (1: the next) throw `errno`. */
  failAt(k: number, errno: string): void {
    const at = this.calls + k;
    this.#faults.push({ at, last: at, errno, calls: 'all' });
  }

  /** Makes calls of that kind throw `errno`, from the `k`-th mutating call from now on. */
  failFrom(k: number, errno: string, calls: FaultyCalls): void {
    const at = this.calls + k;
    this.#faults.push({ at, last: Number.POSITIVE_INFINITY, errno, calls });
  }

  /** Makes the first call of that kind throw `errno` that comes at or after the `k`-th from now. */
  failOnce(k: number, errno: string, calls: FaultyCalls): void {
    const at = this.calls + k;
    this.#faults.push({ at, last: -1, errno, calls });
  }

  /**
   * Makes every read of paths that contain `part` throw `errno`; with `bytes`, those that touch such
   * places of the file, and no opening of it.
   */
  failReads(part: string, errno: string, bytes?: ByteRange): void {
    this.#readFaults.failAt({ path: part, errno, bytes });
  }

  /** Makes the `k`-th call from now that reads throw `errno`. */
  failReadOnce(k: number, errno: string): void {
    this.#readFaults.failOnce(k, errno);
  }

  /** Makes the `k`-th call from now that reads, and all later ones, throw `errno`. */
  failReadsFrom(k: number, errno: string): void {
    this.#readFaults.failFrom(k, errno);
  }

  /** Makes the power fail in the `k`-th mutating call from now. */
  crashAt(k: number): void {
    this.#crashAt = this.calls + k;
  }

  /** Forgets planned faults. */
  clearFaults(): void {
    this.#faults = [];
    this.#readFaults.clear();
    this.#crashAt = undefined;
  }

  /** Bytes that files may still grow by before ENOSPC. */
  limitRoom(bytes: number): void {
    this.#roomBytes = bytes;
  }

  get powerLost(): boolean {
    return this.#powerLost;
  }

  /** Takes the power away and brings it back: handles die, unsynced state goes as `mode` says. */
  crash(mode: CrashMode = 'synced'): void {
    this.bootCount++;
    if (mode !== 'all') this.#powerLosses++;
    this.#powerLost = false;
    this.clearFaults();
    this.#root.survive(mode, this.random);
  }

  /** Counts a mutating call; the errno it must fail with, 'POWER' for a power cut, or undefined. */
  refuse(syscall: string): string | undefined {
    if (this.#powerLost) throw new PowerLossError();
    this.calls++;
    this.trace?.push(syscall);
    if (this.#crashAt !== undefined && this.calls >= this.#crashAt) return 'POWER';
    const fault = this.#faults.find(
      ({ at, last, calls }) =>
        at <= this.calls && (last < 0 || this.calls <= last) && isFaulty(calls, syscall),
    );
    if (fault === undefined) return undefined;
    if (fault.last < 0) this.#faults.splice(this.#faults.indexOf(fault), 1);
    this.#faultsHit++;
    return fault.errno;
  }

  /** Files that exist are not opened either while there are no descriptors. */
  #hasNoDescriptor(): boolean {
    return this.#faults.some(
      ({ at, last, errno }) => errno === 'EMFILE' && at <= this.calls && this.calls < last,
    );
  }

  refusal(errno: string, syscall: string, path: string): Error {
    if (errno !== 'POWER') return fileError({ code: errno }, syscall, path);
    this.#powerLost = true;
    return new PowerLossError();
  }

  step(syscall: string, path: string): void {
    const refused = this.refuse(syscall);
    if (refused !== undefined) throw this.refusal(refused, syscall, path);
  }

  /** Counts a call that reads, and throws when it is to fail; true when it falls short. */
  checkRead(syscall: string, path: string, bytes?: ByteRange): boolean {
    if (this.#powerLost) throw new PowerLossError();
    return this.#readFaults.check(syscall, path, bytes);
  }

  takeRoom(bytes: number): boolean {
    if (bytes <= 0) return true;
    if (bytes > this.#roomBytes) return false;
    this.#roomBytes -= bytes;
    return true;
  }

  /** For a write that does not fit: it takes what there is. */
  takeAllRoom(): number {
    const room = this.#roomBytes;
    this.#roomBytes = 0;
    return room;
  }

  giveRoom(bytes: number): void {
    this.#roomBytes += bytes;
  }

  /** Changes a byte behind everyone's back, on the medium too. */
  corrupt(path: string, position: number, change: (byte: number) => number): void {
    const node = this.#file(path, 'open');
    const byte = node.bytes[position];
    if (byte === undefined || position >= node.length) throw new Error('No such byte');
    node.bytes[position] = change(byte);
    if (position < node.synced.length) node.synced[position] = change(byte);
  }

  // ---- FileSystem -------------------------------------------------------------

  open(path: string, mode: OpenMode): FileHandle {
    const { directory, name } = this.#parent(path, 'open');
    let node = directory.entries.get(name);
    if (node instanceof MemoryDirectory) throw fileError({ code: 'EISDIR' }, 'open', path);
    if (mode === 'r' || mode === 'r+') {
      this.checkRead('open', path);
      if (this.#hasNoDescriptor()) throw fileError({ code: 'EMFILE' }, 'open', path);
      if (node === undefined) throw fileError({ code: 'ENOENT' }, 'open', path);
    } else if (node === undefined) {
      this.step('open', path);
      node = new Inode();
      directory.set(name, node);
    } else if (mode === 'create') {
      this.step('open', path);
      node.apply({ kind: 'truncate', bytes: 0 });
      node.changes.push({ kind: 'truncate', bytes: 0 });
    }
    return new MemoryFileHandle(this, path, node, mode !== 'r');
  }

  rename(from: string, to: string): void {
    const source = this.#parent(from, 'rename');
    const target = this.#parent(to, 'rename');
    const node = source.directory.entries.get(source.name);
    if (node === undefined) throw fileError({ code: 'ENOENT' }, 'rename', from);
    this.step('rename', from);
    source.directory.set(source.name, undefined, source.directory === target.directory);
    target.directory.set(target.name, node);
  }

  unlink(path: string): void {
    const { directory, name } = this.#parent(path, 'unlink');
    const file = this.#file(path, 'unlink');
    this.step('unlink', path);
    directory.set(name, undefined);
    this.#roomBytes += file.length;
  }

  mkdir(path: string): boolean {
    const { directory, name } = this.#parent(path, 'mkdir');
    const node = directory.entries.get(name);
    if (node instanceof MemoryDirectory) return false;
    if (node !== undefined) throw fileError({ code: 'EEXIST' }, 'mkdir', path);
    this.step('mkdir', path);
    directory.set(name, new MemoryDirectory());
    return true;
  }

  readdir(path: string): string[] {
    this.checkRead('scandir', path);
    return [...this.#directory(path, 'scandir').entries.keys()].sort();
  }

  exists(path: string): boolean {
    this.checkRead('access', path);
    try {
      const { directory, name } = this.#parent(path, 'access');
      return name === '' || directory.entries.has(name);
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
  }

  fileSize(path: string): number {
    this.checkRead('stat', path);
    return this.#file(path, 'stat').length;
  }

  syncDirectory(path: string): void {
    const directory = this.#directory(path, 'fsync');
    const refused = this.refuse(DIRECTORY_SYNC);
    if (refused !== undefined) {
      if (refused !== 'POWER') directory.loseChanges();
      throw this.refusal(refused, 'fsync', path);
    }
    directory.sync();
    this.syncs++;
  }

  readFile(path: string): Buffer {
    const node = this.#file(path, 'read');
    this.checkRead('read', path, { from: 0, to: node.length });
    return Buffer.from(node.bytes.subarray(0, node.length));
  }

  link(from: string, to: string): void {
    const target = this.#parent(to, 'link');
    const node = this.#file(from, 'link');
    if (target.directory.entries.has(target.name)) {
      throw fileError({ code: 'EEXIST' }, 'link', to);
    }
    this.step('link', from);
    target.directory.set(target.name, node);
  }

  systemIdentity(): Buffer {
    return identityOf(`run ${this.#powerLosses}`);
  }

  // ---- paths --------------------------------------------------------------------

  #parts(path: string): string[] {
    return path.split('/').filter((part) => part !== '' && part !== '.');
  }

  #walk(parts: readonly string[], syscall: string, path: string): MemoryDirectory {
    let directory = this.#root;
    for (const part of parts) {
      const node = directory.entries.get(part);
      if (node === undefined) throw fileError({ code: 'ENOENT' }, syscall, path);
      if (!(node instanceof MemoryDirectory)) throw fileError({ code: 'ENOTDIR' }, syscall, path);
      directory = node;
    }
    return directory;
  }

  #parent(path: string, syscall: string): { directory: MemoryDirectory; name: string } {
    const parts = this.#parts(path);
    const directory = this.#walk(parts.slice(0, -1), syscall, path);
    return { directory, name: parts.at(-1) ?? '' };
  }

  #directory(path: string, syscall: string): MemoryDirectory {
    return this.#walk(this.#parts(path), syscall, path);
  }

  #file(path: string, syscall: string): Inode {
    const { directory, name } = this.#parent(path, syscall);
    const node = directory.entries.get(name);
    if (node === undefined) throw fileError({ code: 'ENOENT' }, syscall, path);
    if (node instanceof MemoryDirectory) throw fileError({ code: 'EISDIR' }, syscall, path);
    return node;
  }
}
