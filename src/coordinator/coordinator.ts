/**
 * The coordinator: decides commits over several shards, runs the background jobs of all shards in the
 * pool, and keeps the client slots of attached threads.
 *
 * It is not on the way of any read, nor of a write that one shard commits alone. When it dies, the
 * main thread starts another, which finds the commits under way in the transaction table; jobs under
 * way are repeated by their shards.
 */

import type { MessagePort } from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import { CheckBoard } from '../compaction/check-board.js';
import type { Job } from '../compaction/jobs.js';
import {
  ClosedError,
  type LightningError,
  ShardUnavailableError,
  serializeError,
} from '../errors.js';
import { armFaults } from '../faults.js';
import { nodeFileSystem } from '../file-system/node.js';
import { adoptSystemIdentity } from '../file-system/system-identity.js';
import { systemThreadId } from '../file-system/system-thread.js';
import { H_DOORBELL, H_SLEEPING } from '../kernel/assembly/layout.js';
import { announceMessage } from '../kernel/doorbell.js';
import { revokeLatch } from '../kernel/shard-latch.js';
import { AttachedThreads, type AttachService } from '../router/attached-threads.js';
import { ControlBlock, DATABASE_OPENING } from '../router/control-block.js';
import { fenced } from '../router/fence-reasons.js';
import { fencedStats, joinReports } from '../router/reports.js';
import { IDS_PER_OPEN } from '../router/transaction-table.js';
import { COORDINATOR_DIRECTORY } from '../version/database-file.js';
import { renewLinkIntents } from '../version/link-intent.js';
import { comlinkEndpoint } from './comlink-endpoint.js';
import {
  type AttachStats,
  type CheckReport,
  type CoordinatorControl,
  type CoordinatorInit,
  type CoordinatorStats,
  type Outcome,
  outcomeOf,
  type RecoveredLog,
  type ShardRestart,
  unwrap,
} from './control-plane.js';
import type { DecisionLog } from './decision-log.js';
import { DecisionLoop } from './decision-loop.js';
import { CommitDurability, type DurabilityOptions } from './durability.js';
import { JobScheduler } from './job-scheduler.js';
import type { JobService, ShardService } from './shard-link.js';

/** How soon a client that commits in the memory of a worker that died is looked at again. */
const REVOKE_MS = 1;

/** Exposes the coordinator's control interface on `parentPort`. */
export function startCoordinator(init: CoordinatorInit, parentPort: MessagePort): void {
  adoptSystemIdentity(init.systemIdentity);
  const coordinator = new Coordinator(init);
  const control: CoordinatorControl = {
    start: (isClean) => outcomeOf(() => coordinator.start(isClean)),
    settle: () => outcomeOf(() => coordinator.settle()),
    stats: () => outcomeOf(() => coordinator.stats()),
    check: (board) => outcomeOf(() => coordinator.check(board)),
    shardDown: (shard) => outcomeOf(() => coordinator.shardDown(shard)),
    shardRestarted: (restart, port) => outcomeOf(() => coordinator.shardRestarted(restart, port)),
    beginClose: () => outcomeOf(() => coordinator.beginClose()),
    close: (isDurable) => outcomeOf(() => coordinator.close(isDurable)),
  };
  expose(control, comlinkEndpoint(parentPort));
}

/** A shard as the coordinator knows it. */
interface ConnectedShard {
  memory: WebAssembly.Memory;
  words: Int32Array;
  generation: number;
  link: ShardConnection | undefined;
}

/** Calls to a shard's worker that end when its port closes. */
class ShardConnection {
  readonly #port: MessagePort;
  readonly #remote: Remote<ShardService>;
  readonly #rejects = new Set<(error: unknown) => void>();
  #isGone = false;

  constructor(port: MessagePort, jobs: JobService, words: Int32Array) {
    this.#port = port;
    const endpoint = comlinkEndpoint(port, () => announceMessage(words));
    expose(jobs, endpoint);
    this.#remote = wrap<ShardService>(endpoint);
    port.once('close', () => this.#end());
  }

  async call<T>(invoke: (shard: Remote<ShardService>) => Promise<Outcome<T>>): Promise<T> {
    if (this.#isGone) throw unavailable();
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject);
      invoke(this.#remote)
        .then((outcome) => resolve(unwrap(outcome)))
        .catch(reject)
        .finally(() => this.#rejects.delete(reject));
    });
  }

  close(): void {
    this.#port.close();
    this.#end();
  }

  #end(): void {
    this.#isGone = true;
    for (const reject of this.#rejects) reject(unavailable());
    this.#rejects.clear();
  }
}

export class Coordinator {
  readonly #init: CoordinatorInit;
  readonly #control: ControlBlock;
  readonly #shards: ConnectedShard[];
  readonly #attached: AttachedThreads;
  #scheduler: JobScheduler | undefined;
  /** Undefined in a read-only database. */
  #durability: CommitDurability | undefined;
  #decisions: DecisionLoop | undefined;
  #isClosing = false;

  constructor(init: CoordinatorInit) {
    this.#init = init;
    this.#control = new ControlBlock(init.control);
    this.#shards = init.memories.map((memory, shard) => ({
      memory,
      words: new Int32Array(memory.buffer),
      generation: init.generations[shard] as number,
      link: undefined,
    }));
    this.#attached = new AttachedThreads({
      databaseId: init.databaseId,
      control: this.#control,
      service: this.#attachService(),
      openerThread: init.openerThread,
    });
  }

  start(isClean: boolean): RecoveredLog {
    this.#control.systemThreads.setCoordinator(systemThreadId());
    const { config, jobWorker, module, shards } = this.#init;
    this.#scheduler = new JobScheduler({
      threads: config.compactionThreads,
      worker: jobWorker,
      module,
      mergeBytesPerSecondMax: config.compactionBytesPerSecondMax,
    });
    for (const [shard, port] of shards.entries()) this.#connect(shard, port);
    const recovered = this.#openLog(isClean);
    this.#attached.start();
    return recovered;
  }

  #openLog(isClean: boolean): RecoveredLog {
    const { path, databaseId, bootId, config } = this.#init;
    const options: DurabilityOptions = {
      fs: nodeFileSystem,
      path,
      databaseId,
      bootId,
      config,
      control: this.#control,
      areLogsEmpty: isClean,
      syncShard: async (shard) => this.#link(shard).call((it) => it.syncLog()),
      closeLog: (shard) => this.#revoke(shard),
      onFailure: (error) => void this.#refuseWrites(error),
    };
    const directory = `${path}/${COORDINATOR_DIRECTORY}`;
    if (config.readOnly) return CommitDurability.read(options, directory);
    const control = this.#control;
    const isRunning = control.databaseState() !== DATABASE_OPENING;
    // The dead one may have lent its log.
    control.transactions.lentLog.takeBack((client) => control.isClientAlive(client));
    this.#durability = CommitDurability.open(options, directory, isRunning);
    if (isRunning) this.#decide(this.#durability.log);
    else this.#beginOpening(directory);
    return this.#durability.recovered;
  }

  /** Before any shard reads what it is to link. */
  #beginOpening(directory: string): void {
    renewLinkIntents(nodeFileSystem, directory);
    armFaults();
  }

  async settle(): Promise<void> {
    const durability = this.#durability;
    if (durability === undefined) return;
    await durability.settle();
    this.#decide(durability.log);
  }

  #decide(log: DecisionLog): void {
    const control = this.#control;
    control.transactions.raiseIds(log.openCounter * IDS_PER_OPEN);
    this.#decisions = new DecisionLoop({
      control,
      log,
      syncAlways: this.#init.config.walSync === 'sync',
      nowUs: () => Date.now() * 1000,
      ringShard: (shard) => this.#ring(shard),
    });
    this.#decisions.start();
  }

  /** Makes a shard's worker take a turn: one that does not sleep sees it before it does. */
  #ring(shard: number): void {
    const { words } = this.#shards[shard] as ConnectedShard;
    Atomics.add(words, H_DOORBELL >>> 2, 1);
    if (Atomics.load(words, H_SLEEPING >>> 2) !== 0) Atomics.notify(words, H_DOORBELL >>> 2);
  }

  stats(): CoordinatorStats {
    return {
      queued: this.#scheduler?.queued ?? 0,
      running: this.#scheduler?.running ?? 0,
      attachedClients: this.#attached.count,
    };
  }

  /** Verifies what belongs to no shard. */
  async check(buffer?: SharedArrayBuffer): Promise<CheckReport> {
    const { path, databaseId } = this.#init;
    const board = buffer === undefined ? undefined : new CheckBoard(buffer);
    for (;;) {
      const log = this.#durability?.log;
      const place = log === undefined ? undefined : { segment: log.segment, bytes: log.bytes };
      const bytes = place?.bytes ?? 0;
      board?.expect(0, bytes);
      const job = { kind: 'verify-database', path, databaseId, log: place } as const;
      const { problems } = await this.#open().runCheck(job);
      board?.count(0, bytes);
      board?.throwIfCancelled();
      // Another segment may have taken the place of the one that was to be read.
      if (problems.length > 0 && log !== undefined && log.segment !== place?.segment) continue;
      return { problems, tables: 0, blocks: 0, entries: 0, bytes };
    }
  }

  // ---- shards -------------------------------------------------------------------------

  #connect(shard: number, port: MessagePort): void {
    const connected = this.#shards[shard] as ConnectedShard;
    const jobs: JobService = {
      run: (job) => this.#runShardJob(shard, job),
      cover: (sequence) => outcomeOf(() => this.#cover(sequence)),
    };
    connected.link = new ShardConnection(port, jobs, connected.words);
  }

  #runShardJob(shard: number, job: Job): ReturnType<JobService['run']> {
    const { memory, generation } = this.#shards[shard] as ConnectedShard;
    return outcomeOf(() => this.#open().runShardJob(job, { memory, generation })) as ReturnType<
      JobService['run']
    >;
  }

  async #cover(sequence: number): Promise<void> {
    await this.#durability?.covering(sequence);
  }

  async #refuseWrites(error: LightningError): Promise<void> {
    const reason = serializeError(error);
    // A shard that is away comes back to the same log.
    await Promise.allSettled(
      this.#shards.map(async ({ link }) => link?.call((shard) => shard.refuseWrites(reason))),
    );
  }

  /** Clients do not commit any more in the memory of a worker that is gone (shard-latch.ts). */
  async #revoke(shard: number): Promise<void> {
    const { words } = this.#shards[shard] as ConnectedShard;
    while (!revokeLatch(words, (client) => this.#control.isClientAlive(client))) {
      await new Promise((resolve) => setTimeout(resolve, REVOKE_MS));
    }
  }

  #link(shard: number): ShardConnection {
    const link = this.#shards[shard]?.link;
    if (link === undefined) throw unavailable();
    return link;
  }

  async shardDown(shard: number): Promise<void> {
    this.#shards[shard]?.link?.close();
    await this.#scheduler?.endShard(shard);
  }

  shardRestarted(restart: ShardRestart, port: MessagePort): void {
    const connected = this.#shards[restart.shard] as ConnectedShard;
    connected.memory = restart.memory;
    connected.words = new Int32Array(restart.memory.buffer);
    connected.generation = restart.generation;
    this.#connect(restart.shard, port);
    this.#attached.shardRestarted(restart);
  }

  async #callAll<T>(invoke: (shard: Remote<ShardService>) => Promise<Outcome<T>>): Promise<T[]> {
    return Promise.all(
      this.#shards.map(async (_, shard) => {
        const reason = this.#control.fencedReason(shard);
        if (reason !== undefined) throw fenced(shard, reason);
        return this.#link(shard).call(invoke);
      }),
    );
  }

  #open(): JobScheduler {
    if (this.#scheduler === undefined || this.#isClosing) throw new ClosedError();
    return this.#scheduler;
  }

  // ---- attached threads -----------------------------------------------------------------

  #attachService(): AttachService {
    return {
      memories: () => this.#memories(),
      flush: () => this.#onAll((shard) => shard.flush()),
      compact: () => this.#onAll((shard) => shard.compact()),
      check: (board) => this.#checkAll(board),
      stats: () => this.#attachStats(),
      releaseClient: async (shard, client) =>
        this.#link(shard).call((it) => it.releaseClient(client)),
      releaseLog: () => this.#durability?.log.takeUp(),
    };
  }

  #memories(): ShardRestart[] {
    return this.#shards.map(({ memory, generation }, shard) => ({ shard, memory, generation }));
  }

  async #onAll(invoke: (shard: Remote<ShardService>) => Promise<Outcome<void>>): Promise<void> {
    await this.#callAll(invoke);
  }

  async #checkAll(board?: SharedArrayBuffer): Promise<CheckReport> {
    const [reports, own] = await Promise.all([
      this.#callAll((shard) => shard.check(board)),
      this.check(board),
    ]);
    return joinReports([...reports, own]);
  }

  async #attachStats(): Promise<AttachStats> {
    const shards = this.#shards.map(async (_, shard) => {
      const reason = this.#control.fencedReason(shard);
      if (reason !== undefined) return fencedStats(shard, reason);
      return this.#link(shard).call((it) => it.stats());
    });
    return { shards: await Promise.all(shards), background: this.stats() };
  }

  // ---- the end --------------------------------------------------------------------------

  beginClose(): void {
    this.#attached.databaseClosing();
  }

  async close(isDurable: boolean): Promise<void> {
    this.#isClosing = true;
    this.#attached.stop();
    try {
      await this.#decisions?.stop();
      await this.#durability?.close(isDurable);
    } finally {
      await this.#scheduler?.close();
      for (const { link } of this.#shards) link?.close();
      this.#attached.close();
    }
  }
}

function unavailable(): ShardUnavailableError {
  return new ShardUnavailableError('Part of the database is not available at present', {
    details: { outcome: 'unknown' },
  });
}
