/**
 * Where the engine stops scaling: a model of what binds on more cores, from the CPU time that one
 * operation takes on each kind of thread. docs/SCALING.md explains it. A prediction: cores that were
 * not there were not measured.
 */

import { CLIENTS_MAX, SHARDS_MAX } from '../../limits.js';
import type { Measurement } from './measurement.js';
import { type StoreResult, summaryOf } from './result.js';

/** Nanoseconds of CPU one operation takes, by kind of thread. */
export interface Demand {
  readonly client: number;
  readonly shard: number;
  readonly coordinator: number;
  readonly background: number;
  readonly runtime: number;
  /** Bytes that reach the device in the end. */
  readonly deviceBytes: number;
}

export interface Prediction {
  readonly cores: number;
  readonly perSecond: number;
  /** What binds: the first of the bounds to be met. */
  readonly bound: 'cores' | 'clients' | 'shards' | 'coordinator' | 'device';
  readonly clients: number;
  readonly shards: number;
}

/** One of the places is the shard worker's. */
const CLIENT_THREADS_MAX = CLIENTS_MAX - 1;

/** A device that takes so many bytes a second, for the bound that it sets: one NVMe drive. */
export const DEVICE_BYTES_PER_SECOND = 2e9;
export const PREDICTED_CORES = [2, 8, 16, 64] as const;

export function demandOf({ operations, threads, io, figures }: Measurement): Demand {
  const nanos = (role: string): number => ((threads[role] ?? 0) / operations) * 1e9;
  const isWrite = figures?.['writeAmplification'] !== undefined;
  return {
    client: nanos('client'),
    shard: nanos('shard'),
    coordinator: nanos('coordinator'),
    background: nanos('background'),
    runtime: nanos('runtime'),
    deviceBytes: isWrite && io !== undefined ? io.deviceWritten / operations : 0,
  };
}

/**
 * Cores are given to kinds of threads in proportion to what an operation needs of each. `contention`
 * is Gunther's: the share of an operation that grows with each further client (0: none).
 */
export function predict(demand: Demand, cores: number, contention = 0): Prediction {
  const { client, shard, coordinator, background, runtime, deviceBytes } = demand;
  const sum = client + shard + coordinator + background + runtime;
  const perCoreSecond = 1e9;
  const clients = Math.max(1, Math.min(CLIENT_THREADS_MAX, Math.round((cores * client) / sum)));
  const shards =
    shard < 1 ? 0 : Math.max(1, Math.min(SHARDS_MAX, Math.round((cores * shard) / sum)));
  const slower = 1 + contention * (clients - 1);
  const bounds = {
    cores: (cores * perCoreSecond) / (sum * slower),
    clients: (CLIENT_THREADS_MAX * perCoreSecond) / ((client || 1) * slower),
    shards: shard < 1 ? Number.POSITIVE_INFINITY : (SHARDS_MAX * perCoreSecond) / shard,
    coordinator: coordinator < 1 ? Number.POSITIVE_INFINITY : perCoreSecond / coordinator,
    device: deviceBytes < 1 ? Number.POSITIVE_INFINITY : DEVICE_BYTES_PER_SECOND / deviceBytes,
  } as const;
  let bound: Prediction['bound'] = 'cores';
  for (const name of Object.keys(bounds) as Prediction['bound'][]) {
    if (bounds[name] < bounds[bound]) bound = name;
  }
  return { cores, perSecond: bounds[bound], bound, clients, shards };
}

/** From how many cores on something else than cores binds; undefined: not up to 1024. */
export function coresUntilBound(demand: Demand, contention: number): Prediction | undefined {
  for (let cores = 1; cores <= 1024; cores++) {
    const prediction = predict(demand, cores, contention);
    if (prediction.bound !== 'cores') return prediction;
  }
  return undefined;
}

/**
 * The share by which a read's CPU time grew for each further client thread: shared cache lines,
 * shared caches and memory. Undefined when the rows are not there.
 */
export function measuredContention(store: StoreResult): number | undefined {
  const one = summaryOf(store, 'readrandom sync 1 thread')?.median;
  const two = summaryOf(store, 'readrandom sync 2 threads')?.median;
  if (one === undefined || two === undefined) return undefined;
  const [alone, together] = [demandOf(one).client, demandOf(two).client];
  return alone > 0 && together > 0 ? Math.max(0, together / alone - 1) : undefined;
}
