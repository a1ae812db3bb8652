/**
 * What the operating system counts for this process: CPU time of every thread, bytes read and
 * written, resident memory. From /proc on Linux; elsewhere only what Node knows.
 */

import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';

export interface ThreadCounters {
  readonly cpuSeconds: number;
  /** Could run, but had no core. */
  readonly waitSeconds: number;
  /** Voluntary context switches. */
  readonly parks: number;
}

export interface IoBytes {
  /** Read from, and written to, the device, as accounted when pages are read or become dirty. */
  readonly deviceRead: number;
  readonly deviceWritten: number;
  /** Given to and taken from system calls. */
  readonly callRead: number;
  readonly callWritten: number;
}

export interface ProcessCounters {
  readonly atMs: number;
  readonly cpuSeconds: number;
  /** By thread id. */
  readonly threads: ReadonlyMap<number, ThreadCounters>;
  readonly io: IoBytes | undefined;
}

export function processCounters(): ProcessCounters {
  const { user, system } = process.cpuUsage();
  return {
    atMs: performance.now(),
    cpuSeconds: (user + system) / 1e6,
    threads: threadCounters(),
    io: ioBytes(),
  };
}

/** Ids of all threads, oldest first. */
export function threadIds(): number[] {
  try {
    return readdirSync('/proc/self/task')
      .map(Number)
      .sort((a, b) => a - b);
  } catch {
    return [];
  }
}

/** The operating system's id of the calling thread. */
export function ownThreadId(): number | undefined {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return undefined;
  }
}

/** What each thread did, from the scheduler's statistics. Threads that ended are missing. */
function threadCounters(): Map<number, ThreadCounters> {
  const threads = new Map<number, ThreadCounters>();
  for (const id of threadIds()) {
    const [ran, waited] = readOr(`/proc/self/task/${id}/schedstat`)?.split(' ').map(Number) ?? [];
    if (ran === undefined || waited === undefined) continue;
    const status = readOr(`/proc/self/task/${id}/status`) ?? '';
    threads.set(id, {
      cpuSeconds: ran / 1e9,
      waitSeconds: waited / 1e9,
      parks: Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0),
    });
  }
  return threads;
}

function ioBytes(): IoBytes | undefined {
  const text = readOr('/proc/self/io');
  if (text === undefined) return undefined;
  const field = (name: string): number =>
    Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return {
    deviceRead: field('read_bytes'),
    deviceWritten: field('write_bytes') - field('cancelled_write_bytes'),
    callRead: field('rchar'),
    callWritten: field('wchar'),
  };
}

/** Resident set of this process in bytes: now, or at its highest. */
export function residentBytes(which: 'now' | 'peak' = 'now'): number {
  const field = which === 'now' ? 'VmRSS' : 'VmHWM';
  const match = new RegExp(`${field}:\\s+(\\d+) kB`).exec(readOr('/proc/self/status') ?? '');
  return match ? Number(match[1]) * 1024 : process.memoryUsage().rss;
}

/** Bytes of the blocks that all files below a directory take on disk. */
export function diskBytes(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    // Files come and go while a store works.
    const stats = statSync(join(directory, name), { throwIfNoEntry: false });
    if (stats?.isFile()) bytes += stats.blocks * 512;
  }
  return bytes;
}

function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
