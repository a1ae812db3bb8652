/**
 * The coordinator's part in keeping commits: opens its log, says what recovery is to cut, and runs
 * barriers as the sync mode wants them.
 *
 *   `sync`      every group is synced before it is acknowledged: no barriers
 *   `periodic`  a barrier per interval while there is something new
 *   `async`     only those that are asked for
 *
 * Asked for are barriers before a flushed table becomes part of a shard, for writes with `sync`, and
 * at the end. In every mode there is one when the log is full, to let it forget decisions.
 */
import type { ResolvedConfig } from '../config.js';
import { CorruptionError, LightningError } from '../errors.js';
import { CURRENT_NAME, shardDirectoryName } from '../file-system/file-names.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { ControlBlock } from '../router/control-block.js';
import { rewriteSegments, syncSegments } from '../wal/segment-files.js';
import { Barriers } from './barriers.js';
import type { RecoveredLog } from './control-plane.js';
import { DecisionLog } from './decision-log.js';
import { listLogSegments, powerLossCut, readDecisionLog } from './log-reader.js';

export interface DurabilityOptions {
  readonly fs: FileSystem;
  /** Of the database. */
  readonly path: string;
  readonly databaseId: string;
  readonly bootId: number;
  readonly config: ResolvedConfig;
  readonly control: ControlBlock;
  /** The shards' logs hold nothing that would have to be made durable; the shards may be opening them. */
  readonly areLogsEmpty?: boolean;
  /** Makes durable what the shard has written so far, on its own thread. Rejects when it has none. */
  readonly syncShard: (shard: number) => Promise<void>;
  /** The shard's worker is gone: resolves when nobody else writes to its log, either. Default: nobody does. */
  readonly closeLog?: (shard: number) => Promise<void>;
  /** Nothing can become durable any more: the shards take no more writes. */
  readonly onFailure: (error: LightningError) => void;
}

export class CommitDurability {
  readonly #options: DurabilityOptions;
  readonly log: DecisionLog;
  /** Undefined until every shard has recovered. */
  #barriers: Barriers | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(options: DurabilityOptions, log: DecisionLog) {
    this.#options = options;
    this.log = log;
  }

  /** `isRunning`: the shards serve already; another coordinator has died. */
  static open(options: DurabilityOptions, directory: string, isRunning: boolean): CommitDurability {
    const { fs, databaseId, bootId, config } = options;
    refuseLostLog(options, directory);
    let durability: CommitDurability | undefined;
    const log = DecisionLog.open({
      fs,
      directory,
      databaseId,
      bootId,
      systemIdentity: fs.systemIdentity(),
      isSyncRun: config.walSync === 'sync',
      onPoison: (error) => options.onFailure(logFailure(error)),
      onFull: () => void durability?.runDue().catch(ignoreRefusal),
      syncShards: () => {
        if (options.areLogsEmpty === true) return;
        const shards = Array.from({ length: config.shards }, (_, shard) => shard);
        for (const shard of shards) rewriteSegments(fs, shardPath(options, shard));
      },
    });
    durability = new CommitDurability(options, log);
    if (isRunning) durability.#serve(log.mark);
    return durability;
  }

  /** What recovery has to know, without changing anything. */
  static read(options: DurabilityOptions, directory: string): RecoveredLog {
    const { fs, databaseId, config } = options;
    refuseLostLog(options, directory);
    const found = readDecisionLog(fs, directory, databaseId);
    return recoveredLog(config, powerLossCut(found, fs.systemIdentity()));
  }

  get recovered(): RecoveredLog {
    return recoveredLog(this.#options.config, this.log.cutSequence);
  }

  /** Barriers that were run. */
  get barriers(): number {
    return this.#barriers?.count ?? 0;
  }

  /** Every shard has recovered, durably. Before anything is served. */
  async settle(): Promise<void> {
    const sequence = this.#options.control.lastSequence();
    await this.log.settle(sequence);
    this.#serve(sequence);
  }

  /**
   * Resolves when every commit up to `sequence` would come back after a power loss. While shards
   * recover, all that they hold would.
   */
  async covering(sequence: number): Promise<void> {
    await this.#barriers?.covering(sequence);
  }

  /** A barrier, if there is something new: what `periodic` does when the interval has passed. */
  async runDue(): Promise<void> {
    if (this.#barriers?.isDue === true) await this.#barriers.coverAll();
  }

  /** The shards are closed. `isDurable`: all that they wrote is on the medium, as far as they know. */
  async close(isDurable: boolean): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    try {
      const barriers = this.#barriers;
      const isAsked = this.#options.config.walSync !== 'sync' && isDurable;
      if (isAsked && barriers?.failure === undefined) await barriers?.coverAll();
      if (isDurable) this.log.trim();
    } finally {
      this.log.close();
    }
  }

  #serve(covered: number): void {
    const { control, config, onFailure } = this.#options;
    this.#barriers = new Barriers(
      {
        control,
        log: this.log,
        syncShards: () => this.#syncShards(),
        mayForget: () => !control.transactions.areDecisionsRetained,
        onFailure,
      },
      covered,
    );
    if (config.walSync === 'periodic') this.#schedule(config.walSyncIntervalMs);
  }

  async #syncShards(): Promise<void> {
    const shards = Array.from({ length: this.#options.config.shards }, (_, shard) => shard);
    const outcomes = await Promise.allSettled(shards.map((shard) => this.#syncShard(shard)));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async #syncShard(shard: number): Promise<void> {
    const { fs, syncShard, closeLog } = this.#options;
    try {
      await syncShard(shard);
    } catch (error) {
      if (!isAway(error)) throw error;
      await closeLog?.(shard);
      // Nobody writes to its log, or somebody who has yet to read it.
      syncSegments(fs, shardPath(this.#options, shard));
    }
  }

  // ---- periodic -------------------------------------------------------------------------

  #schedule(delayMs: number): void {
    if (this.#isClosed || this.#barriers?.failure !== undefined) return;
    this.#timer = setTimeout(() => void this.#runPeriodic(), delayMs);
    this.#timer.unref();
  }

  async #runPeriodic(): Promise<void> {
    const { walSyncIntervalMs } = this.#options.config;
    const startMs = performance.now();
    try {
      await this.runDue();
    } catch (error) {
      ignoreRefusal(error);
    }
    const tookMs = performance.now() - startMs;
    this.#schedule(Math.max(walSyncIntervalMs - tookMs, walSyncIntervalMs / 2));
  }
}

/** The log is there before the first shard is: where a shard is and no log, it has been lost. */
function refuseLostLog(options: DurabilityOptions, directory: string): void {
  const { fs, config } = options;
  if (listLogSegments(fs, directory).length > 0) return;
  for (let shard = 0; shard < config.shards; shard++) {
    if (!fs.exists(`${shardPath(options, shard)}/${CURRENT_NAME}`)) continue;
    throw new CorruptionError('Segments of the coordinator log are missing', {
      file: directory,
      offset: 0,
    });
  }
}

function logFailure(cause: unknown): LightningError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new LightningError('LIGHTNING_IO', `Nothing can be decided any more: ${reason}`, {
    cause,
  });
}

/** Want of room passes; about anything else the shards have been told. */
function ignoreRefusal(error: unknown): void {
  if (!(error instanceof LightningError)) throw error;
}

function recoveredLog(config: ResolvedConfig, cutSequence: number | undefined): RecoveredLog {
  // The log of a single shard is an order of its own: a torn tail is all that can be missing.
  return config.shards === 1 ? {} : { cutSequence };
}

function shardPath({ path }: DurabilityOptions, shard: number): string {
  return `${path}/${shardDirectoryName(shard)}`;
}

function isAway(error: unknown): boolean {
  if (!(error instanceof LightningError)) return false;
  return error.code === 'LIGHTNING_SHARD_UNAVAILABLE' || error.code === 'LIGHTNING_CLOSED';
}
