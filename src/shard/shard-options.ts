/** What a shard is made of and what it is told. */
import type {
  BuildResult,
  FlushJob,
  MergeJob,
  VerifyJob,
  VerifyResult,
} from '../compaction/jobs.js';
import type { ResolvedConfig } from '../config.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import type { ControlBlock } from '../router/control-block.js';
import type { LinkIntent } from '../version/link-intent.js';
import type { CommitOutcome } from './wal-replay.js';

/** Time, from outside. */
export interface Clock {
  /** Monotonic milliseconds, with fractions. */
  nowMs(): number;
  /** Milliseconds since 1970; may jump. */
  wallMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
};

/** Who runs the work that takes long. A rejected job has left no files behind and may be repeated. */
export interface JobRunner {
  flush(job: FlushJob): Promise<BuildResult>;
  merge(job: MergeJob): Promise<BuildResult>;
  verify(job: VerifyJob): Promise<VerifyResult>;
}

/** What makes commits durable in the order of all shards (coordinator, barriers.ts). */
export interface Durability {
  /**
   * Resolves when every commit of every shard up to `sequence` is durable, and would come back after
   * a power loss. Rejects when that cannot be had.
   */
  covering(sequence: number): Promise<void>;
}

export interface ShardOptions {
  readonly shard: number;
  readonly databaseId: string;
  /** The shard's own directory. */
  readonly directory: string;
  readonly config: ResolvedConfig;
  readonly bootId: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly jobs: JobRunner;
  /** Bulk loads that have been committed, oldest first: linked before the shard serves. */
  readonly intents?: readonly LinkIntent[];
  /** Absent: the shard is alone, and its own log is the order of all. */
  readonly durability?: Durability | undefined;
  /** After a power loss: commits above it are dropped, since others before them may be gone. */
  readonly cutSequence?: number | undefined;
  /**
   * Whether the tables that nobody has asked for yet may be loaded now, beside the loop: the threads that
   * the open of the database waits for come first. Default: always.
   */
  readonly mayLoadTables?: () => boolean;
  /** Called when everything is there, just before the shard serves. */
  readonly beforeServing?: () => void;
  /** What the coordinator's log says about commits over several shards, by transaction id. */
  readonly decisions?: () => ReadonlyMap<number, CommitOutcome>;
  /** Wakes the shard's loop: something happened outside the rings. */
  readonly wake: () => void;
}
