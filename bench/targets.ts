/** What the store sets out to reach, beside the best peer of the same run. */

import type { Measurement } from '../src/cli/bench/measurement.js';

export interface Target {
  readonly title: string;
  /** Name of the workload. */
  readonly workload: string;
  /** Our rate over that of the best peer. */
  readonly ratio: number;
  /** Operations a second, whatever the peers do. */
  readonly perSecond?: number;
  /** What is compared, when not the rate. Less is better then, and `ratio` the most there may be. */
  readonly figure?: (measurement: Measurement) => number | undefined;
}

const diskBytes = (measurement: Measurement): number | undefined =>
  measurement.figures?.['diskBytesPerRecord'];

export const TARGETS: readonly Target[] = [
  { title: 'fillseq, batches of 1000', workload: 'fillseq batch 1000', ratio: 1.3 },
  {
    title: 'fillrandom, batches of 1000, compaction counted',
    workload: 'fillrandom batch 1000',
    ratio: 2,
    perSecond: 500_000,
  },
  {
    title: 'put, a promise each, 64 in flight',
    workload: 'overwrite awaited 64 in flight',
    ratio: 3,
  },
  { title: 'put, awaited alone', workload: 'overwrite awaited alone', ratio: 2 },
  { title: 'fillsync, 64 in flight', workload: 'fillsync awaited 64 in flight', ratio: 2 },
  {
    title: 'readrandom, synchronous, borrowed bytes',
    workload: 'readrandom sync borrowed',
    ratio: 2,
    perSecond: 1_000_000,
  },
  {
    title: 'readrandom, synchronous, copies of ours',
    workload: 'readrandom sync',
    ratio: 2,
    perSecond: 1_000_000,
  },
  {
    title: 'readrandom, synchronous, borrowed bytes, 2 client threads',
    workload: 'readrandom sync borrowed 2 threads',
    ratio: 2,
  },
  {
    title: 'readrandom, synchronous, copies of ours, 2 client threads',
    workload: 'readrandom sync 2 threads',
    ratio: 2,
  },
  {
    title: 'get, a promise each, 256 in flight',
    workload: 'readrandom awaited 256 in flight',
    ratio: 10,
  },
  { title: 'get, awaited alone', workload: 'readrandom awaited alone', ratio: 20 },
  { title: 'getMany of 256', workload: 'multireadrandom 256 keys', ratio: 10 },
  { title: 'readmissing, synchronous', workload: 'readmissing sync', ratio: 2 },
  { title: 'full scan, synchronous iterator', workload: 'readseq sync', ratio: 3 },
  {
    title: 'bulk load, random order',
    workload: 'bulkload random order',
    ratio: 3,
    perSecond: 1_000_000,
  },
  {
    title: 'disk bytes per record after compaction',
    workload: 'compacted',
    ratio: 1,
    figure: diskBytes,
  },
];
