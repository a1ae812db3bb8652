/**
 * What a shard and the coordinator ask of each other, over the MessagePort between them. Both expose
 * an interface on it and wrap the other's.
 */
import type { BuildResult, Job, VerifyResult } from '../compaction/jobs.js';
import type { SerializedError } from '../errors.js';
import type { CheckReport, Outcome, ShardStats } from './control-plane.js';

/** The coordinator's side: runs jobs, by priority. */
export interface JobService {
  /** The result fits the job's kind. */
  run(job: Job): Promise<Outcome<BuildResult | VerifyResult>>;
  /** Resolves when every commit up to `sequence`, on every shard, would survive a power loss. */
  cover(sequence: number): Promise<Outcome<void>>;
}

/** The shard's side, for clients that reach it through the coordinator. */
export interface ShardService {
  /** A client's thread is gone: the shard lets go of its slot. */
  releaseClient(client: number): Promise<Outcome<void>>;
  /** Makes durable what the shard has written so far. `LIGHTNING_CLOSED`: it writes nothing at present. */
  syncLog(): Promise<Outcome<void>>;
  /** Nothing can become durable any more: the shard takes no more writes. */
  refuseWrites(reason: SerializedError): Promise<Outcome<void>>;
  flush(): Promise<Outcome<void>>;
  compact(): Promise<Outcome<void>>;
  check(board?: SharedArrayBuffer): Promise<Outcome<CheckReport>>;
  stats(): Promise<Outcome<ShardStats>>;
}
