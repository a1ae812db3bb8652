/**
 * The worker threads of an open database, seen from the thread that opened it: starts them, replaces
 * those that die, ends them. A shard that keeps dying is fenced: its data is out of reach until the
 * database is opened again, the other shards go on. A coordinator that keeps dying leaves them alone.
 */

import { randomBytes } from 'node:crypto';
import { MessageChannel, threadId } from 'node:worker_threads';
import { transfer } from 'comlink';
import type { Artifacts } from '../artifacts.js';
import { CheckBoard } from '../compaction/check-board.js';
import type { ResolvedConfig } from '../config.js';
import type {
  CheckReport,
  CoordinatorControl,
  CoordinatorInit,
  CoordinatorStats,
  RecoveredLog,
  ShardControl,
  ShardInit,
  ShardStats,
} from '../coordinator/control-plane.js';
import { ClosedError, serializeError } from '../errors.js';
import { shardDirectoryName } from '../file-system/file-names.js';
import { nodeFileSystem } from '../file-system/node.js';
import { announceMessage } from '../kernel/doorbell.js';
import { revokeLatch } from '../kernel/shard-latch.js';
import {
  createShardMemory,
  readOnlyArenas,
  type ShardMemoryOptions,
} from '../kernel/shard-memory.js';
import type { LinkIntent } from '../version/link-intent.js';
import { segmentBytes } from '../wal/segment-files.js';
import type { AttachService } from './attached-threads.js';
import { isLeftClean } from './clean-close.js';
import type { ShardConnection } from './client.js';
import {
  type ControlBlock,
  DATABASE_CLOSED,
  DATABASE_CLOSING,
  DATABASE_SERVING,
  SHARD_CLOSED,
  SHARD_DOWN,
  SHARD_STARTING,
} from './control-block.js';
import { CoordinatorStandIn } from './coordinator-stand-in.js';
import { coordinatorAway, coordinatorFenced, fenced } from './fence-reasons.js';
import { fencedStats, joinReports } from './reports.js';
import { EngineWorker, type WorkerEnd } from './spawn.js';
import {
  ABORT_UNAVAILABLE,
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_COMMITTED,
  TRANSACTION_UNKNOWN,
} from './transaction-table.js';

/** Deaths of one worker within the window after which it is not replaced any more. */
const RESTARTS_MAX = 3;
/** How soon commits that a fenced shard takes part in are looked at again. */
const LET_GO_MS = 10;
const RESTART_WINDOW_MS = 60_000;
/** How soon a client that commits in the memory of a worker that died is looked at again. */
const REVOKE_MS = 1;
/** How long one may hold up the end of the database. */
const REVOKE_MS_MAX = 5000;
/** How long the end of the coordinator may hold up a close. */
const COORDINATOR_CLOSE_MS_MAX = 30_000;

export interface SupervisorOptions {
  readonly path: string;
  readonly databaseId: string;
  readonly config: ResolvedConfig;
  readonly artifacts: Artifacts;
  readonly module: WebAssembly.Module;
  readonly control: ControlBlock;
  /** A shard has a new worker and memory. */
  readonly onShardRestarted: (shard: number, connection: ShardConnection) => void;
}

interface RunningShard {
  worker: EngineWorker<ShardControl>;
  connection: ShardConnection;
  /** When the worker died, lately. */
  readonly deathsMs: number[];
  fencedReason: string | undefined;
  /** Memories of workers that died, which clients may still be reading. */
  stale: WebAssembly.Memory[];
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #bootId = randomBytes(6).readUIntLE(0, 6);
  readonly #systemIdentity = Uint8Array.from(nodeFileSystem.systemIdentity());
  readonly #shards: RunningShard[] = [];
  #coordinator: EngineWorker<CoordinatorControl> | undefined;
  /** When the coordinator is not replaced any more. */
  #standIn: CoordinatorStandIn | undefined;
  readonly #coordinatorDeathsMs: number[] = [];
  /** Replacements under way. */
  readonly #restarts = new Set<Promise<void>>();
  /**
   * One at a time connects a coordinator and shards: when both are replaced at once, each shard's
   * worker and the coordinator end up with the two ends of one channel.
   */
  #connected: Promise<void> = Promise.resolve();
  #closing = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** The shards' present memories. */
  get connections(): readonly ShardConnection[] {
    return this.#shards.map(({ connection }) => connection);
  }

  /** Starts everything; resolves when all shards serve. After a failure, call `terminate`. */
  async start(): Promise<void> {
    const { control, config } = this.#options;
    const channels = Array.from({ length: config.shards }, () => new MessageChannel());
    const connections = channels.map((_, shard) => this.#newConnection(shard));
    // Looked at while the threads start.
    const isClean = Promise.resolve().then(() => this.#isLeftClean());
    // After a crash the shards wait for what it has to say, so it comes first.
    const recovery = this.#startCoordinator(
      channels.map(({ port2 }) => port2),
      connections,
      isClean,
    );
    recovery.catch(ignore);
    for (const [shard, connection] of connections.entries()) {
      const { port1 } = channels[shard] as MessageChannel;
      const worker = this.#spawnShard(shard, connection, port1);
      this.#shards.push({ worker, connection, deathsMs: [], fencedReason: undefined, stale: [] });
    }
    const recovered = (await isClean) ? {} : await recovery;
    const starts = this.#shards.map(({ worker }) => worker.call((shard) => shard.start(recovered)));
    const outcomes = await Promise.allSettled([recovery, ...starts]);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    for (const [shard, { worker }] of this.#shards.entries()) this.#watchShard(shard, worker);
    await this.#coordinator?.call((it) => it.settle());
    control.setDatabaseState(DATABASE_SERVING);
  }

  #isLeftClean(): boolean {
    const { path, databaseId, config } = this.#options;
    return isLeftClean(nodeFileSystem, { path, databaseId, shards: config.shards });
  }

  // ---- calls to all shards ------------------------------------------------------------

  async flush(): Promise<void> {
    await this.#callAll((worker) => worker.call((shard) => shard.flush()));
  }

  async compact(): Promise<void> {
    await this.#callAll((worker) => worker.call((shard) => shard.compact()));
  }

  async check(board?: CheckBoard): Promise<CheckReport> {
    const buffer = board?.buffer;
    const coordinator = this.#presentCoordinator();
    const [reports, own] = await Promise.all([
      this.#callAll((worker) => worker.call((shard) => shard.check(buffer))),
      coordinator.call((control) => control.check(buffer)),
    ]);
    return joinReports([...reports, own]);
  }

  async shardStats(): Promise<readonly ShardStats[]> {
    return Promise.all(
      this.#shards.map(({ worker, fencedReason }, shard) =>
        fencedReason === undefined
          ? worker.call((it) => it.stats())
          : fencedStats(shard, fencedReason),
      ),
    );
  }

  async coordinatorStats(): Promise<CoordinatorStats> {
    const coordinator = this.#coordinator;
    if (coordinator === undefined) {
      return { queued: 0, running: 0, attachedClients: this.#standIn?.attachedClients ?? 0 };
    }
    return coordinator.call((control) => control.stats());
  }

  #presentCoordinator(): EngineWorker<CoordinatorControl> {
    if (this.#coordinator !== undefined) return this.#coordinator;
    if (this.#closing) throw new ClosedError();
    const reason = this.#options.control.coordinator.fencedReason();
    throw reason === undefined ? coordinatorAway() : coordinatorFenced(reason);
  }

  // ---- bulk load ------------------------------------------------------------------------

  async reserveFiles(shard: number, count: number): Promise<number> {
    const running = this.#shards[shard];
    if (running === undefined) throw new RangeError(`There is no shard ${shard}`);
    return running.worker.call((control) => control.reserveFiles(count));
  }

  async link(intent: LinkIntent): Promise<void> {
    await this.#callAll((worker) => worker.call((shard) => shard.link(intent)));
  }

  /** Waits for every shard before it reports the first failure. */
  async #callAll<T>(call: (worker: EngineWorker<ShardControl>) => Promise<T>): Promise<T[]> {
    const outcomes = await Promise.allSettled(
      this.#shards.map(({ worker, fencedReason }, shard) => {
        if (fencedReason === undefined) return call(worker);
        return Promise.reject(fenced(shard, fencedReason));
      }),
    );
    return outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  }

  // ---- the end --------------------------------------------------------------------------

  /**
   * The database takes no more work from attached threads. A coordinator that has just died is still
   * replaced: the shards need one for their last flushes. From then on, dead workers stay dead.
   */
  async beginClose(): Promise<void> {
    this.#options.control.setDatabaseState(DATABASE_CLOSING);
    for (let tries = 0; tries <= RESTARTS_MAX; tries++) {
      await Promise.allSettled(this.#restarts);
      // Without a coordinator there is nobody to tell.
      const coordinator = this.#coordinator;
      if (coordinator === undefined || (await isTold(coordinator))) break;
    }
    this.#standIn?.databaseClosing();
    this.#closing = true;
    await Promise.allSettled(this.#restarts);
  }

  /** Closes shards, then the coordinator; workers end last. Throws the first failure, at the end. */
  async close(): Promise<void> {
    const outcomes: PromiseSettledResult<unknown>[] = await Promise.allSettled(
      this.#shards
        .filter(({ fencedReason }) => fencedReason === undefined)
        .map(({ worker }) => worker.call((shard) => shard.close())),
    );
    const isDurable =
      outcomes.length === this.#shards.length &&
      outcomes.every((outcome) => outcome.status === 'fulfilled' && outcome.value);
    const coordinator = this.#coordinator?.call((control) => control.close(isDurable));
    if (coordinator !== undefined) {
      outcomes.push(...(await Promise.allSettled([within(COORDINATOR_CLOSE_MS_MAX, coordinator)])));
    }
    await this.terminate();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Ends every worker, whatever it does. Idempotent. */
  async terminate(): Promise<void> {
    this.#closing = true;
    const workers = [...this.#shards.map(({ worker }) => worker), this.#coordinator];
    await Promise.all(workers.map((worker) => worker?.terminate()));
    await Promise.all(this.#shards.map(({ connection }) => this.#revoke(connection)));
    const { control } = this.#options;
    for (let shard = 0; shard < this.#shards.length; shard++) {
      control.setShardState(shard, SHARD_CLOSED);
    }
    this.#standIn?.close();
    control.coordinator.setThread(undefined);
    control.setDatabaseState(DATABASE_CLOSED);
  }

  // ---- shards -----------------------------------------------------------------------------

  #newConnection(shard: number): ShardConnection {
    const { control, config } = this.#options;
    const generation = control.nextShardGeneration(shard);
    control.setShardState(shard, SHARD_STARTING);
    const options: ShardMemoryOptions = {
      shard,
      cacheBytes: config.cacheBytesPerShard,
      arenaBytes: config.arenaBytes,
      arenaCount: config.arenaCount,
      requestRingBytes: config.requestRingBytes,
      responseRingBytes: config.responseRingBytes,
    };
    const arenas = config.readOnly ? readOnlyArenas(options, this.#logBytes(shard)) : {};
    const memory = createShardMemory({ ...options, ...arenas });
    return { memory, generation };
  }

  #logBytes(shard: number): number {
    return segmentBytes(nodeFileSystem, `${this.#options.path}/${shardDirectoryName(shard)}`);
  }

  #spawnShard(
    shard: number,
    { memory, generation }: ShardConnection,
    coordinator: MessageChannel['port1'],
    stale: readonly WebAssembly.Memory[] = [],
  ): EngineWorker<ShardControl> {
    const { path, databaseId, config, module, control, artifacts } = this.#options;
    const workerData: ShardInit = {
      shard,
      databaseId,
      path,
      config,
      bootId: this.#bootId,
      systemIdentity: this.#systemIdentity,
      generation,
      memory,
      stale,
      module,
      control: control.buffer,
      coordinator,
    };
    return new EngineWorker<ShardControl>({
      location: artifacts.shardWorker,
      name: `lightning-db shard ${shard}`,
      workerData,
      transferList: [coordinator],
      posted: () => announceMessage(new Int32Array(memory.buffer)),
    });
  }

  #watchShard(shard: number, worker: EngineWorker<ShardControl>): void {
    void worker.ended.then((end) => {
      if (this.#closing || end.expected) return;
      const restart = this.#restartShard(shard, end);
      this.#restarts.add(restart);
      void restart.finally(() => this.#restarts.delete(restart));
    });
  }

  /** Replaces a dead worker, as often as that is sensible. Never rejects. */
  async #restartShard(shard: number, end: WorkerEnd): Promise<void> {
    const { control } = this.#options;
    const running = this.#shards[shard] as RunningShard;
    let reason = end.reason;
    for (;;) {
      control.setShardState(shard, SHARD_DOWN);
      await this.#revoke(running.connection);
      await this.#coordinator?.call((it) => it.shardDown(shard)).catch(ignore);
      if (this.#closing) return;
      if (!mayRestart(running.deathsMs)) {
        this.#fence(shard, running, reason);
        return;
      }
      try {
        await this.#startAgain(shard, running);
        return;
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error);
        await running.worker.terminate();
      }
    }
  }

  /**
   * Its worker is gone, but clients may go on committing in its memory (shard-latch.ts): not after this.
   */
  async #revoke({ memory }: ShardConnection): Promise<void> {
    const { control } = this.#options;
    const words = new Int32Array(memory.buffer);
    const startMs = performance.now();
    while (!revokeLatch(words, (client) => control.isClientAlive(client))) {
      // While the database is ended, nobody finds out who has died.
      if (this.#closing && performance.now() - startMs > REVOKE_MS_MAX) return;
      await new Promise((resolve) => setTimeout(resolve, REVOKE_MS));
    }
  }

  async #startAgain(shard: number, running: RunningShard): Promise<void> {
    const { onShardRestarted } = this.#options;
    const told = await this.#connecting(async () => {
      const connection = this.#newConnection(shard);
      const { port1, port2 } = new MessageChannel();
      running.stale.push(running.connection.memory);
      running.worker = this.#spawnShard(shard, connection, port1, running.stale);
      running.connection = connection;
      const restart = { shard, ...connection };
      // A coordinator that has just died, too, is replaced by one that connects to this worker.
      const answer = this.#coordinator?.call((it) =>
        it.shardRestarted(restart, transfer(port2, [port2])),
      );
      this.#standIn?.shardRestarted(restart);
      const reason = this.#options.control.coordinator.fencedReason();
      if (reason !== undefined) void this.#endCoordinatorOf(running.worker, reason);
      return { answer: answer?.catch(ignore) };
    });
    await told.answer;
    const { worker, connection } = running;
    // Whatever was cut at the open of the database is gone.
    await worker.call((it) => it.start({}));
    running.stale = [];
    this.#watchShard(shard, worker);
    onShardRestarted(shard, connection);
  }

  async #connecting<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#connected.then(work);
    this.#connected = done.then(ignore, ignore);
    return done;
  }

  #fence(shard: number, running: RunningShard, reason: string): void {
    running.fencedReason = reason;
    // Snapshots must not wait for commits that nobody will finish.
    this.#options.control.sequencesApplied(shard);
    this.#options.control.fenceShard(shard, reason);
    this.#letGoFor(shard);
  }

  /**
   * Lets go of commits over several shards in the place of a shard that is fenced. What is decided
   * becomes visible without its part, which is out of reach until the database is opened again: then
   * the decision is wanted.
   */
  #letGoFor(shard: number): void {
    const { control } = this.#options;
    const { transactions } = control;
    let isOpen = false;
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      if (!transactions.concerns(slot, word, shard)) continue;
      transactions.abort(slot, word, ABORT_UNAVAILABLE);
      const state = stateOf(transactions.word(slot));
      if (state === TRANSACTION_COMMITTED) transactions.retainDecisions();
      if (state === TRANSACTION_COMMITTED || state === TRANSACTION_ABORTED) {
        control.letGo(slot, word, shard);
      } else if (state !== TRANSACTION_UNKNOWN) {
        isOpen = true;
      }
    }
    // What is being decided, or about to be sent, comes to one of the two.
    if (isOpen && !this.#closing) setTimeout(() => this.#letGoFor(shard), LET_GO_MS).unref();
  }

  // ---- the coordinator --------------------------------------------------------------------

  async #startCoordinator(
    ports: readonly MessageChannel['port1'][],
    connections: readonly ShardConnection[],
    isClean: Promise<boolean> | boolean = false,
  ): Promise<RecoveredLog> {
    const { path, databaseId, config, module, control, artifacts } = this.#options;
    const workerData: CoordinatorInit = {
      databaseId,
      path,
      config,
      bootId: this.#bootId,
      systemIdentity: this.#systemIdentity,
      memories: connections.map(({ memory }) => memory),
      generations: connections.map(({ generation }) => generation),
      module,
      control: control.buffer,
      shards: ports,
      jobWorker: artifacts.jobWorker.href,
      openerThread: threadId,
    };
    const coordinator = new EngineWorker<CoordinatorControl>({
      location: artifacts.coordinatorWorker,
      name: 'lightning-db coordinator',
      workerData,
      transferList: ports,
    });
    this.#coordinator = coordinator;
    const areLogsEmpty = await isClean;
    const recovered = await coordinator.call((it) => it.start(areLogsEmpty));
    control.coordinator.setThread(coordinator.threadId);
    void coordinator.ended.then((end) => {
      if (this.#closing || end.expected) return;
      const restart = this.#restartCoordinator(end);
      this.#restarts.add(restart);
      void restart.finally(() => this.#restarts.delete(restart));
    });
    return recovered;
  }

  /** A new coordinator, connected to the shards that are there. Never rejects. */
  async #restartCoordinator(end: WorkerEnd): Promise<void> {
    const { control } = this.#options;
    control.coordinator.setThread(undefined);
    this.#coordinator = undefined;
    let { reason } = end;
    while (!this.#closing) {
      if (!mayRestart(this.#coordinatorDeathsMs)) {
        await this.#fenceCoordinator(reason);
        return;
      }
      try {
        const { connects } = await this.#connecting(() => this.#startNextCoordinator());
        await Promise.allSettled(connects);
        return;
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error);
        await (this.#coordinator as EngineWorker<CoordinatorControl> | undefined)?.terminate();
        this.#coordinator = undefined;
      }
    }
  }

  /** The coordinator is not replaced any more: shards serve what they can serve alone. */
  async #fenceCoordinator(reason: string): Promise<void> {
    const { control, databaseId } = this.#options;
    control.coordinator.fence(reason);
    this.#standIn = new CoordinatorStandIn({
      databaseId,
      control,
      service: this.#attachService(),
      connections: () => this.connections,
    });
    this.#standIn.start();
    await Promise.all(this.#shards.map(({ worker }) => this.#endCoordinatorOf(worker, reason)));
  }

  /** Never rejects: a worker that dies is replaced by one that is told, too. */
  async #endCoordinatorOf(worker: EngineWorker<ShardControl>, reason: string): Promise<void> {
    const error = serializeError(coordinatorFenced(reason));
    await worker.call((shard) => shard.endCoordinator(error)).catch(ignore);
  }

  #attachService(): AttachService {
    return {
      memories: () => this.#shards.map(({ connection }, shard) => ({ shard, ...connection })),
      flush: () => this.flush(),
      compact: () => this.compact(),
      check: (board) => this.check(board && new CheckBoard(board)),
      stats: async () => ({
        shards: await this.shardStats(),
        background: await this.coordinatorStats(),
      }),
      releaseClient: async (shard, client) =>
        this.#shards[shard]?.worker.call((it) => it.releaseClient(client)),
    };
  }

  /** The calls that connect the shards to it are made, and may never be answered. */
  async #startNextCoordinator(): Promise<{ readonly connects: Promise<void>[] }> {
    const channels = this.#shards.map(() => new MessageChannel());
    await this.#startCoordinator(
      channels.map(({ port2 }) => port2),
      this.connections,
    );
    const connects = this.#shards.map(async ({ worker, fencedReason }, shard) => {
      const port = (channels[shard] as MessageChannel).port1;
      if (fencedReason !== undefined) return;
      await worker.call((it) => it.connectCoordinator(transfer(port, [port])));
    });
    return { connects };
  }
}

/** Tells the coordinator that the database closes. False: it has died, and its replacement begun. */
async function isTold(coordinator: EngineWorker<CoordinatorControl>): Promise<boolean> {
  try {
    await coordinator.call((control) => control.beginClose());
    return true;
  } catch {
    // The end of a worker is noted in the turn in which its calls are rejected.
    const isAlive = new Promise<boolean>((resolve) => setImmediate(() => resolve(true)));
    return Promise.race([coordinator.ended.then(() => false), isAlive]);
  }
}

/** Notes a death; true when there were not too many of them lately. */
function mayRestart(deathsMs: number[]): boolean {
  const nowMs = performance.now();
  deathsMs.push(nowMs);
  while ((deathsMs[0] as number) < nowMs - RESTART_WINDOW_MS) deathsMs.shift();
  return deathsMs.length <= RESTARTS_MAX;
}

async function within<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), milliseconds);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function ignore(): void {}
