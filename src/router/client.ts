/**
 * The client side of a database on one thread: a slot in the control block, a connection to every
 * shard, and what they share: the key scratch, the pump for answers, the flush at the end of a turn.
 *
 * Works with encoded keys; the key of the current call is in `key`. Typed access, closing and
 * arguments' checks are the business of `LightningDb` and `Snapshot`.
 */

import { ClosedError, LightningError } from '../errors.js';
import { armFaults } from '../faults.js';
import { shardDirectoryName } from '../file-system/file-names.js';
import { nodeFileSystem } from '../file-system/node.js';
import { COORDINATOR_DIRECTORY } from '../version/database-file.js';
import type { ClientDoorbell } from './client-doorbell.js';
import {
  type AcquiredSnapshot,
  type ControlBlock,
  SHARD_FENCED,
  SHARD_READ_ONLY,
  SHARD_SERVING,
} from './control-block.js';
import { DirectBatch } from './direct-batch.js';
import { DirectChoice } from './direct-choice.js';
import { DirectDecision } from './direct-decision.js';
import { GatheredGets } from './gathered-gets.js';
import { KeepAlive } from './keep-alive.js';
import { KeyScratch } from './key-scratch.js';
import { shardOf } from './murmur3.js';
import { ReadsInFlight } from './reads-in-flight.js';
import { ResponsePump } from './response-pump.js';
import type { KeptSink } from './response-sink.js';
import { type RequestListener, ShardClient, unavailable } from './shard-client.js';
import {
  type CommitState,
  endWaiting,
  newCommitState,
  startWaiting,
} from './transaction-commit.js';

/** A wait on the thread is cut into slices: between two of them the shard's health is looked at. */
const WAIT_SLICE_MS = 50;
/** A shard worker whose heart stood still this long is not coming back in time. */
const HEARTBEAT_MS_MAX = 10_000;
/** No wait on the thread is longer. */
const WAIT_MS_MAX = 30_000;
/** A read from disk is often answered before a wait would have begun. */
const SPIN_MS = 0.03;

export interface ShardConnection {
  readonly memory: WebAssembly.Memory;
  readonly generation: number;
}

export interface ClientFiles {
  /** Of the database. */
  readonly directory: string;
  /** Whether this thread may commit for shards whose workers sleep. */
  readonly directCommits: boolean;
}

interface UnsentPrepare {
  readonly shard: number;
  readonly slot: number;
  readonly word: number;
}

export class Client implements RequestListener {
  readonly control: ControlBlock;
  readonly slot: number;
  readonly shards: readonly ShardClient[];
  readonly key = new KeyScratch();
  readonly keepAlive = new KeepAlive();
  readonly reads = new ReadsInFlight();
  readonly gathered = new GatheredGets(this);
  /** Commits over several shards. */
  readonly commits: CommitState;
  /** Commits batches over several shards that have been lent. */
  readonly directBatch: DirectBatch;
  /** Prepares that a shard which was away never got, and has to be let go of in its place. */
  #unsent: UnsentPrepare[] = [];
  readonly #module: WebAssembly.Module;
  readonly #doorbell: ClientDoorbell;
  readonly #pump: ResponsePump;
  #flushScheduled = false;
  /** Requests of this turn. */
  #requests = 0;
  readonly #choice = new DirectChoice();

  /** `files`: what this thread may do itself; without it, no file is opened here. */
  constructor(
    control: ControlBlock,
    slot: number,
    module: WebAssembly.Module,
    connections: readonly ShardConnection[],
    files?: ClientFiles,
  ) {
    armFaults();
    this.control = control;
    this.slot = slot;
    this.#module = module;
    this.shards = connections.map(({ memory, generation }, index) => {
      const directory = files && `${files.directory}/${shardDirectoryName(index)}`;
      const shard = new ShardClient({
        shard: index,
        control,
        client: slot,
        listener: this,
        directory,
        directCommits: files?.directCommits === true,
      });
      shard.connect(module, memory, generation);
      return shard;
    });
    this.directBatch = new DirectBatch(this, this.#newDirectDecision(files));
    this.commits = newCommitState({ transactions: control.transactions, shards: this.shards });
    this.#doorbell = control.clientDoorbell(slot);
    this.#pump = new ResponsePump(this.#doorbell, this.shards, this.keepAlive, () =>
      this.checkShards(),
    );
  }

  #newDirectDecision(files: ClientFiles | undefined): DirectDecision | undefined {
    if (files?.directCommits !== true) return undefined;
    return new DirectDecision({
      fs: nodeFileSystem,
      directory: `${files.directory}/${COORDINATOR_DIRECTORY}`,
      client: this.slot,
      control: this.control,
      wallMs: Date.now,
    });
  }

  /** The shard of the key in the scratch. */
  route(): ShardClient {
    const { shards } = this;
    const index = shards.length === 1 ? 0 : shardOf(this.key.hash, shards.length);
    return shards[index] as ShardClient;
  }

  /** A shard has a new worker and memory. */
  reconnect(shard: number, { memory, generation }: ShardConnection): void {
    const connection = this.shards[shard] as ShardClient;
    connection.failAll();
    connection.connect(this.#module, memory, generation);
    const unsent = this.#unsent;
    this.#unsent = unsent.filter((prepare) => prepare.shard !== shard);
    for (const { slot, word, shard: from } of unsent) {
      if (from === shard) this.control.letGo(slot, word, shard);
    }
  }

  /**
   * A prepare could not be sent: the commit is aborted. A shard that serves has never heard of it; one
   * that is away lets go of it when it recovers, or had done so with others before: then it is done
   * when the shard is back.
   */
  dropUnsent(shard: number, slot: number, word: number): void {
    const isFenced = this.control.shardState(shard) === SHARD_FENCED;
    if (isFenced || this.shards[shard]?.isServing() === true) {
      this.control.letGo(slot, word, shard);
    } else this.#unsent.push({ shard, slot, word });
  }

  /** A commit over several shards has come to its end: its slot may be free. */
  commitEnded(): void {
    if (this.commits.waiting.length > 0) startWaiting(this);
  }

  // ---- the end of a turn ----------------------------------------------------------

  /** Publishes all requests of a turn together, when the turn's own code is done. */
  requestMade(): void {
    this.#requests++;
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    const isDirect = this.#choice.isDirect(this.#requests);
    this.#requests = 0;
    for (const shard of this.shards) {
      if (!shard.isDirty) continue;
      if (isDirect) shard.commit();
      else shard.flush();
    }
    this.#pump.start();
  };

  /** Fails what waits for shards that have stopped. */
  checkShards(): void {
    for (const shard of this.shards) {
      if (shard.pending > 0 && !shard.isServing()) shard.failAll();
    }
  }

  /** Requests without an answer, on all shards, and commits that have yet to be sent. */
  pending(): number {
    let pending = this.commits.waiting.length;
    for (const shard of this.shards) pending += shard.pending;
    return pending;
  }

  // ---- waiting on the thread --------------------------------------------------------

  /**
   * Waits on this thread for the answer to a request of `shard`. The sink is settled when this
   * returns; a shard that died or hangs settles it too.
   */
  waitSync(shard: ShardClient, sink: KeptSink): void {
    const { words, doorbell, waiting } = this.#doorbell;
    const startMs = performance.now();
    let heartbeat = shard.heartbeat();
    let heartbeatMs = startMs;
    shard.flush();
    try {
      for (;;) {
        Atomics.store(words, waiting, 1);
        const rings = Atomics.load(words, doorbell);
        shard.receive();
        if (shard.hasQueued) shard.flush();
        if (sink.settled) return;
        const nowMs = performance.now();
        if (nowMs - startMs < SPIN_MS) continue;
        if (shard.heartbeat() !== heartbeat) {
          heartbeat = shard.heartbeat();
          heartbeatMs = nowMs;
        }
        if (!shard.isServing()) shard.failAll();
        else if (nowMs - heartbeatMs > HEARTBEAT_MS_MAX || nowMs - startMs > WAIT_MS_MAX) {
          sink.fail(unavailable('unknown'));
        } else if (Atomics.wait(words, doorbell, rings, WAIT_SLICE_MS) === 'timed-out') {
          // Who would start the next worker may be this very thread.
          if (this.control.systemThreads.isShardGone(shard.shard))
            sink.fail(unavailable('unknown'));
        }
        if (sink.settled) return;
      }
    } finally {
      this.#pump.restoreWaiting();
    }
  }

  // ---- snapshots --------------------------------------------------------------------

  /**
   * Registers a snapshot that covers every write acknowledged so far, to whichever thread. Waits, on
   * this thread, for commits with smaller numbers that are still being applied: at most the time of
   * a group commit.
   */
  acquireSnapshot(): AcquiredSnapshot {
    const wanted = this.visibleSequence();
    const startMs = performance.now();
    for (;;) {
      const snapshot = this.#tryAcquire(wanted);
      if (snapshot !== undefined) return snapshot;
      this.#checkPendingShards(startMs);
      this.control.waitStableSync(wanted, WAIT_SLICE_MS);
    }
  }

  /** As `acquireSnapshot`, without holding up the thread. */
  async acquireSnapshotAsync(): Promise<AcquiredSnapshot> {
    const wanted = this.visibleSequence();
    const startMs = performance.now();
    for (;;) {
      const snapshot = this.#tryAcquire(wanted);
      if (snapshot !== undefined) return snapshot;
      this.#checkPendingShards(startMs);
      const isLong = performance.now() - startMs > 1;
      await new Promise<void>((resolve) => {
        if (isLong) setTimeout(resolve, 1);
        else setImmediate(resolve);
      });
    }
  }

  /** As `acquireSnapshot`; undefined when it would have to wait. */
  tryAcquireSnapshot(): AcquiredSnapshot | undefined {
    return this.#tryAcquire(this.visibleSequence());
  }

  /**
   * A snapshot for somebody who wanted one when `visibleSequence` was `wanted`; undefined while it
   * has to be waited for, since `startMs` by now. Throws when there is no hope.
   */
  pollSnapshot(wanted: number, startMs: number): AcquiredSnapshot | undefined {
    const snapshot = this.#tryAcquire(wanted);
    if (snapshot === undefined) this.#checkPendingShards(startMs);
    return snapshot;
  }

  /** A snapshot of the moment of one that is open, here or on another thread. */
  adoptSnapshot(source: AcquiredSnapshot): AcquiredSnapshot {
    const adopted = this.control.adoptSnapshot(this.slot, source);
    if (adopted === 'full') throw tooManySnapshots();
    if (adopted !== undefined) return adopted;
    throw new ClosedError(
      'The snapshot is closed: keep it open until every thread has taken it over',
    );
  }

  /** Gives the slot back when the reads that are under way as of the snapshot have their answers. */
  releaseSnapshot({ slot, sequence }: AcquiredSnapshot): void {
    this.reads.afterReadsOf(sequence, () => this.control.releaseSnapshot(slot));
  }

  #tryAcquire(wanted: number): AcquiredSnapshot | undefined {
    const snapshot = this.control.acquireSnapshot(this.slot);
    if (snapshot === undefined) throw tooManySnapshots();
    if (snapshot.sequence >= wanted) return snapshot;
    this.control.releaseSnapshot(snapshot.slot);
    return undefined;
  }

  /** The highest sequence number that any read may have seen. */
  visibleSequence(): number {
    let visible = 0;
    for (const shard of this.shards) visible = Math.max(visible, shard.visibleSequence());
    return visible;
  }

  #checkPendingShards(startMs: number): void {
    const { control } = this;
    const waitedMs = performance.now() - startMs;
    // Who would start the next worker may be this very thread, and not have heard yet.
    const mayBeGone = waitedMs > WAIT_SLICE_MS;
    let isReleaseAwaited = false;
    for (const { shard } of this.shards) {
      const isUnreleased = control.transactions.isUnreleasedAt(shard);
      if (!isUnreleased && !control.hasPendingSequences(shard)) continue;
      isReleaseAwaited ||= isUnreleased;
      const state = control.shardState(shard);
      if (state !== SHARD_SERVING && state !== SHARD_READ_ONLY) throw unavailable('none');
      if (mayBeGone && control.systemThreads.isShardGone(shard)) throw unavailable('none');
    }
    if (isReleaseAwaited && mayBeGone && control.systemThreads.isCoordinatorGone()) {
      throw unavailable('none');
    }
    if (waitedMs > WAIT_MS_MAX) throw unavailable('none');
  }

  // ---- the end ------------------------------------------------------------------------

  /** Lets every request that is under way get its answer, for as long as `millisecondsMax`. */
  async drain(millisecondsMax: number): Promise<void> {
    this.gathered.read();
    const startMs = performance.now();
    while (performance.now() - startMs < millisecondsMax) {
      for (const shard of this.shards) if (shard.isDirty) shard.flush();
      this.checkShards();
      if (this.pending() === 0) return;
      this.#pump.start();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Fails what is left and lets go of everything but the slot. */
  close(): void {
    endWaiting(this);
    for (const shard of this.shards) {
      shard.failAll();
      shard.close();
    }
    this.directBatch.close();
    this.commits.watch.close();
    this.#pump.stop();
    this.keepAlive.close();
    this.reads.forget();
    this.control.releaseSnapshotsOf(this.slot);
  }
}

function tooManySnapshots(): LightningError {
  return new LightningError(
    'LIGHTNING_LIMIT_EXCEEDED',
    'Too many snapshots and scans are open: close some of them',
  );
}
