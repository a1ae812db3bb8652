/**
 * Which run of the operating system this is. A database compares it with the one that was there when
 * its log was written: the same, and whatever was handed to the system is still there; another, and
 * what was not synced may have gone.
 */
import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { fileError } from './file-system.js';

export const SYSTEM_IDENTITY_BYTES = 16;

/** Two readings of the time of boot differ by less, unless the clock was set meanwhile. */
const BOOT_TIME_SECONDS_APART_MAX = 30;

/** What another thread of the process has found: it stays the same for as long as the process lives. */
let known: Buffer | undefined;

/** Spares a thread the search, and the modules that it takes. */
export function adoptSystemIdentity(identity: Uint8Array): void {
  known = Buffer.from(identity);
}

/** The identity of the running system: `SYSTEM_IDENTITY_BYTES` bytes. */
export function systemIdentity(): Buffer {
  if (known !== undefined) return known;
  const name = systemRunName();
  return name === undefined ? bootTimeIdentity(Date.now() / 1000 - uptime()) : identityOf(name);
}

/**
 * The identity as a number, below 2^48, for a place where there is no room for more; undefined when it
 * is no name, but a time that another reading may miss by some seconds.
 */
export function systemRunNumber(identity: Buffer): number | undefined {
  return identity.readBigUInt64LE(0) === 0n ? undefined : identity.readUIntLE(0, 6);
}

/** The identity of a system run that has a name. */
export function identityOf(name: string): Buffer {
  const { createHash } = process.getBuiltinModule('node:crypto');
  return createHash('sha256').update(name).digest().subarray(0, SYSTEM_IDENTITY_BYTES);
}

/** The identity of a system run of which only the time of its start is known: 8 zero bytes, f64 seconds. */
export function bootTimeIdentity(seconds: number): Buffer {
  const bytes = Buffer.alloc(SYSTEM_IDENTITY_BYTES);
  bytes.writeDoubleLE(seconds, 8);
  return bytes;
}

/** Whether both are of one run of one system. */
export function isSameSystemRun(left: Buffer, right: Buffer): boolean {
  if (left.equals(right)) return true;
  if (left.readBigUInt64LE(0) !== 0n || right.readBigUInt64LE(0) !== 0n) return false;
  return Math.abs(left.readDoubleLE(8) - right.readDoubleLE(8)) < BOOT_TIME_SECONDS_APART_MAX;
}

/** A name that the system gives to each of its runs; undefined when it has none to tell. */
function systemRunName(): string | undefined {
  try {
    if (process.platform === 'linux') {
      return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    }
    if (process.platform === 'darwin') {
      const { execFileSync } = process.getBuiltinModule('node:child_process');
      return execFileSync('/usr/sbin/sysctl', ['-n', 'kern.bootsessionuuid'], {
        encoding: 'latin1',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    }
  } catch (error) {
    // Without a descriptor, say, this would be taken for another run.
    if (!isWithoutName(error)) throw fileError(error, 'read', 'the name of the run of the system');
  }
  return undefined;
}

/** Whether the system has no name for its run, or tells nobody: then the time of boot has to do. */
function isWithoutName(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code !== 'EMFILE' && code !== 'ENFILE' && code !== 'EIO' && code !== 'EAGAIN';
}
