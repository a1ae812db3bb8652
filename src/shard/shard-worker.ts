/** A shard worker: the shard, its loop, and what main thread and coordinator may ask of it. */

import type { MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import { CheckBoard } from '../compaction/check-board.js';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import {
  type CheckReport,
  type Outcome,
  outcomeOf,
  type RecoveredLog,
  type ShardControl,
  type ShardInit,
  type ShardStarted,
  type ShardStats,
} from '../coordinator/control-plane.js';
import { readDecisions } from '../coordinator/log-reader.js';
import type { ShardService } from '../coordinator/shard-link.js';
import { ClosedError, deserializeError, type LightningError } from '../errors.js';
import { armFaults } from '../faults.js';
import { shardDirectoryName } from '../file-system/file-names.js';
import { nodeFileSystem } from '../file-system/node.js';
import { adoptSystemIdentity } from '../file-system/system-identity.js';
import { systemThreadId } from '../file-system/system-thread.js';
import { Kernel } from '../kernel/kernel.js';
import { ControlBlock, DATABASE_OPENING } from '../router/control-block.js';
import { COORDINATOR_DIRECTORY } from '../version/database-file.js';
import { readLinkIntents } from '../version/link-intent.js';
import { checkShard } from './check-shard.js';
import { CoordinatorJobs } from './coordinator-jobs.js';
import { Shard } from './shard.js';
import { ShardDriver } from './shard-driver.js';
import { systemClock } from './shard-options.js';
import { shardStats } from './shard-stats.js';
import { voidMemory } from './void-memory.js';

/** Exposes the shard's control interface on `parentPort`; nothing else happens before `start`. */
export function startShardWorker(init: ShardInit, parentPort: MessagePort): void {
  adoptSystemIdentity(init.systemIdentity);
  const worker = new ShardWorker(init);
  const control: ShardControl = {
    start: (recovered) => outcomeOf(() => worker.start(recovered)),
    stats: () => outcomeOf(() => worker.stats()),
    flush: () => outcomeOf(() => worker.shard.flush()),
    compact: () => outcomeOf(() => worker.shard.compact()),
    check: (board) => outcomeOf(() => worker.check(board)),
    reserveFiles: (count) => outcomeOf(() => worker.shard.reserveFiles(count)),
    link: (intent) => outcomeOf(() => worker.shard.link(intent)),
    connectCoordinator: (port) => outcomeOf(() => worker.connectCoordinator(port)),
    endCoordinator: (reason) => outcomeOf(() => worker.endCoordinator(deserializeError(reason))),
    releaseClient: (client) => outcomeOf(() => worker.releaseClient(client)),
    close: () => outcomeOf(() => worker.close()),
  };
  expose(control, comlinkEndpoint(parentPort));
}

class ShardWorker {
  readonly #init: ShardInit;
  readonly #kernel: Kernel;
  readonly #driver: ShardDriver;
  readonly #jobs: CoordinatorJobs;
  #shard: Shard | undefined;
  #loop: Promise<void> | undefined;
  #closing: Promise<boolean> | undefined;
  /** Why there is no coordinator any more. */
  #withoutCoordinator: LightningError | undefined;

  constructor(init: ShardInit) {
    this.#init = init;
    if (init.generation === 1) armFaults();
    this.#kernel = new Kernel(init.module, init.memory);
    this.#driver = new ShardDriver(this.#kernel);
    const service: ShardService = {
      releaseClient: (client) => outcomeOf(() => this.releaseClient(client)),
      syncLog: () => outcomeOf(() => this.#syncLog()),
      refuseWrites: (reason) =>
        outcomeOf(() => this.#shard?.state.becomeReadOnly(deserializeError(reason))),
      flush: () => outcomeOf(() => this.shard.flush()),
      compact: () => outcomeOf(() => this.shard.compact()),
      check: (board): Promise<Outcome<CheckReport>> => outcomeOf(() => this.check(board)),
      stats: (): Promise<Outcome<ShardStats>> => outcomeOf(() => this.stats()),
    };
    const { transactions } = new ControlBlock(init.control);
    this.#jobs = new CoordinatorJobs(service, () => transactions.announceMessage());
  }

  get shard(): Shard {
    if (this.#shard === undefined || this.#closing !== undefined) throw new ClosedError();
    return this.#shard;
  }

  async start({ cutSequence }: RecoveredLog): Promise<ShardStarted> {
    const { shard, databaseId, path, config, bootId, control, coordinator } = this.#init;
    const { module, stale } = this.#init;
    const startMs = performance.now();
    const block = new ControlBlock(control);
    block.systemThreads.setShard(shard, systemThreadId());
    this.#jobs.connect(coordinator);
    const opened = await Shard.open({
      shard,
      databaseId,
      directory: `${path}/${shardDirectoryName(shard)}`,
      config,
      bootId,
      kernel: this.#kernel,
      control: block,
      fs: nodeFileSystem,
      clock: systemClock,
      jobs: this.#jobs,
      // Where groups are synced anyway, or in one log only, no barrier is needed.
      durability: config.walSync === 'sync' || config.shards === 1 ? undefined : this.#jobs,
      cutSequence,
      intents: readLinkIntents(nodeFileSystem, `${path}/${COORDINATOR_DIRECTORY}`),
      mayLoadTables: () => block.databaseState() !== DATABASE_OPENING,
      beforeServing: () => {
        for (const memory of stale) voidMemory(module, memory);
      },
      decisions: () =>
        readDecisions(nodeFileSystem, `${path}/${COORDINATOR_DIRECTORY}`, databaseId),
      wake: () => this.#driver.wake(),
    });
    this.#shard = opened;
    this.#refuseUnkept(opened);
    // A turn that throws leaves the shard in an unknown state: the worker dies and is replaced.
    this.#loop = this.#driver.run(opened);
    return {
      lastSequence: opened.recovered.lastSequence,
      recoveredCommits: opened.recovered.commits,
      recoveryMs: performance.now() - startMs,
    };
  }

  async stats(): Promise<ShardStats> {
    await this.shard.loadTables();
    return shardStats(this.shard);
  }

  async check(board?: SharedArrayBuffer): Promise<CheckReport> {
    await this.shard.loadTables();
    const { state } = this.shard;
    return checkShard(state, board === undefined ? undefined : new CheckBoard(board));
  }

  connectCoordinator(port: MessagePort): void {
    this.#jobs.connect(port);
  }

  endCoordinator(reason: LightningError): void {
    this.#withoutCoordinator = reason;
    this.#jobs.end(reason);
    if (this.#shard !== undefined) this.#refuseUnkept(this.#shard);
  }

  /** Without a coordinator, no more writes are taken whose promises nobody would keep. */
  #refuseUnkept({ state }: Shard): void {
    if (this.#withoutCoordinator === undefined) return;
    const { transactions } = state.options.control;
    // Nobody makes the log durable in time; or what comes behind a commit that is UNKNOWN may be, too.
    const isUnkept = this.#init.config.walSync === 'periodic' || transactions.areOutcomesUnknown;
    if (isUnkept) state.becomeReadOnly(this.#withoutCoordinator);
  }

  close(): Promise<boolean> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Also while the shard closes: until it has done so, it writes. */
  async #syncLog(): Promise<void> {
    if (this.#shard === undefined) throw new ClosedError('The shard has not recovered yet');
    await this.#shard.syncLog();
  }

  releaseClient(client: number): void {
    this.#shard?.releaseClient(client);
  }

  async #close(): Promise<boolean> {
    this.#jobs.expectNoOther();
    this.#driver.stop();
    await this.#loop;
    try {
      await this.#shard?.close();
      return this.#shard?.state.readOnlyReason === undefined;
    } finally {
      this.#jobs.close();
    }
  }
}
