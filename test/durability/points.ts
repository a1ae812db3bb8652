/** Points of the sweep: what fails, at which call of the file system, in which script and mode. */

import type { CrashMode, FaultyCalls, MemoryFileSystem } from '../../src/file-system/memory.js';

export const MODES = ['sync', 'periodic', 'async'] as const;
export type Mode = (typeof MODES)[number];

export const FAULTS = [
  'process',
  'power-synced',
  'power-random',
  'eio-once',
  'eio-sticky',
  'enospc-once',
  'enospc-sticky',
  'emfile-once',
  'emfile-sticky',
  'efbig-once',
  'efbig-sticky',
  'short-once',
  'short-sticky',
  'sync-once',
  'sync-sticky',
  'name-once',
  'name-sticky',
  'read-eio-once',
  'read-eio-sticky',
  'read-short-once',
  'read-short-sticky',
] as const;
export type FaultKind = (typeof FAULTS)[number];

export interface Point {
  readonly script: number;
  readonly mode: Mode;
  readonly fault: FaultKind;
  /** The call of the file system at which it comes: of those that change something, or that read. */
  readonly call: number;
}

export function formatPoint({ script, mode, fault, call }: Point): string {
  return `${script}/${mode}/${fault}/${call}`;
}

/** Throws when the line is no point. */
export function parsePoint(line: string): Point {
  const [script, mode, fault, call] = line.split('/');
  const point = { script: Number(script), mode, fault, call: Number(call) } as Point;
  const isPoint =
    Number.isInteger(point.script) &&
    Number.isInteger(point.call) &&
    MODES.includes(point.mode) &&
    FAULTS.includes(point.fault);
  if (!isPoint) throw new TypeError(`"${line}" is not <script>/<mode>/<fault>/<call>`);
  return point;
}

/** What survives, when the fault is an end; undefined: calls are refused. */
export function crashModeOf({ fault }: Point): CrashMode | undefined {
  if (fault === 'process') return 'all';
  if (fault === 'power-synced') return 'synced';
  return fault === 'power-random' ? 'random' : undefined;
}

const ERRNOS: Readonly<Record<string, readonly [string, FaultyCalls]>> = {
  eio: ['EIO', 'all'],
  enospc: ['ENOSPC', 'room'],
  emfile: ['EMFILE', 'open'],
  efbig: ['EFBIG', 'write'],
  short: ['SHORT', 'write'],
  sync: ['EIO', 'sync'],
  name: ['EIO', 'name'],
};

const READ_ERRNOS: Readonly<Record<string, string>> = { 'read-eio': 'EIO', 'read-short': 'SHORT' };

/** Whether it comes at a call that reads: those are counted by themselves. */
export function isReadFault(fault: FaultKind): boolean {
  return fault.startsWith('read-');
}

/** The calls that a fault refuses, of a kind of `FaultyCalls`; an end may come at all of them. */
export function callsOf(fault: FaultKind): FaultyCalls {
  const [kind] = fault.split('-') as [string];
  return ERRNOS[kind]?.[1] ?? 'all';
}

/** Has the fault come when its call does. */
export function planFault(fs: MemoryFileSystem, point: Point): void {
  const { fault, call } = point;
  if (crashModeOf(point) !== undefined) {
    fs.crashAt(call);
    return;
  }
  const [, kind, times] = /^(.*)-(.*)$/.exec(fault) as unknown as [string, string, string];
  if (isReadFault(fault)) {
    const errno = READ_ERRNOS[kind] as string;
    if (times === 'once') fs.failReadOnce(call, errno);
    else fs.failReadsFrom(call, errno);
    return;
  }
  const [errno, calls] = ERRNOS[kind] as (typeof ERRNOS)[string];
  if (times === 'once') fs.failOnce(call, errno, calls);
  else fs.failFrom(call, errno, calls);
}
