/** Names of the workloads, and which of them a run is made of. */

import type { WorkloadContext } from './workloads.js';
import { YCSB, type YcsbName } from './ycsb.js';

/** 'targets': what the table of targets needs; 'large': what is of interest with many records. */
export type Suite = 'targets' | 'all' | 'large';

/** What the table of targets needs. */
const TARGET_WORKLOADS: ReadonlySet<string> = new Set([
  'fillseq batch 1000',
  'fillrandom batch 1000',
  'overwrite awaited 64 in flight',
  'overwrite awaited alone',
  'fillsync awaited 64 in flight',
  'readrandom sync',
  'readrandom sync borrowed',
  'readrandom sync 2 threads',
  'readrandom sync borrowed 2 threads',
  'readrandom awaited 256 in flight',
  'readrandom awaited alone',
  'multireadrandom 256 keys',
  'readmissing sync',
  'readseq sync',
  'bulkload random order',
  'compacted',
]);

const LARGE_WORKLOADS: ReadonlySet<string> = new Set([
  'bulkload random order',
  'fillrandom batch 1000',
  'compacted',
  'readrandom sync',
  'readrandom sync borrowed',
  'readrandom sync zipfian',
  'readmissing sync',
  'readrandom awaited 256 in flight',
  'multireadrandom 256 keys',
  'readseq sync',
  'seekrandom',
  'readrandom sync 2 threads',
  'readrandom sync borrowed 2 threads',
  'readrandom sync zipfian 2 threads',
  'ycsb a',
  'ycsb b',
  'overwrite awaited 64 in flight',
  'open after close',
  'open after kill -9',
]);

export const OPEN_AFTER_KILL = 'open after kill -9';

export const YCSB_NAMES = Object.keys(YCSB) as YcsbName[];

/** Every workload's name, in the order they run. */
export const WORKLOAD_NAMES: readonly string[] = [
  'fillseq batch 1000',
  'bulkload random order',
  'bulkload csv',
  'fillsync awaited 64 in flight',
  'fillsync awaited alone',
  'fillrandom batch 1000',
  'compacted',
  'readrandom sync',
  'readrandom sync borrowed',
  'readmissing sync',
  'readrandom awaited 256 in flight',
  'readrandom awaited 64 in flight',
  'readrandom awaited alone',
  'multireadrandom 256 keys',
  'readseq sync',
  'readseq async',
  'seekrandom',
  'readrandom sync zipfian',
  'readrandom sync zipfian 2 threads',
  'readrandom sync 1 thread',
  'readrandom sync 2 threads',
  'readrandom sync borrowed 2 threads',
  'readrandom sync 4 threads',
  'readrandom open loop',
  ...YCSB_NAMES.map((name) => `ycsb ${name}`),
  'readwhilewriting',
  'overwrite batch 100 1 thread',
  'overwrite batch 100 2 threads',
  'overwrite batch 100 4 threads',
  'overwrite awaited 64 in flight',
  'overwrite awaited 256 in flight',
  'overwrite awaited alone',
  'overwrite open loop',
  'overwrite batch 1000',
  'deleterandom batch 1000',
  'open after close',
  OPEN_AFTER_KILL,
];

export function isInSuite(name: string, suite: Suite): boolean {
  if (suite === 'all') return true;
  return (suite === 'targets' ? TARGET_WORKLOADS : LARGE_WORKLOADS).has(name);
}

/** A workload that a program adds for a store that is open. It runs once, latencies and all. */
export interface ExtraWorkload {
  readonly name: string;
  readonly prepare?: () => Promise<void>;
  /** `count`: so many records are there. */
  run(context: ExtraContext): Promise<void>;
  /** Throws when what it left is wrong. */
  readonly check?: () => Promise<void>;
  /** What is to be said of it beside its figures, once it has run. */
  readonly note?: () => Promise<string>;
}

export type ExtraContext = Pick<WorkloadContext, 'records' | 'pace' | 'seed'> & {
  readonly count: number;
};
