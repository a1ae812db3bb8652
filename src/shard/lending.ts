/**
 * The shard worker's side of lending: while it sleeps, a client may commit in its place (the client's
 * side is router/direct-commit.ts, the latch kernel/shard-latch.ts).
 *
 * A put that is awaited alone costs 2 µs of work and, by way of the worker, 14 µs and more of two
 * threads waking one another. Handing the writer's role to whoever has something to write saves that
 * (flat combining: Hendler, Incze, Shavit and Tzafrir, SPAA 2010).
 *
 * Invariants:
 * 1. The shard is lent only from a blocking wait, in which neither the loop nor any callback of the
 *    event loop runs, and is taken back before anything else happens. So all else that the worker does
 *    (flushes, versions, syncs, control calls) finds nobody beside it.
 * 2. It is lent only when the commits to come depend on nothing that this thread alone knows
 *    (`CommitLoop.isPlain`): nothing gathered, prepared, held, carried or held up, and no sync of each
 *    group.
 * 3. What the worker keeps of the log and the memtable in its own objects is what was lent, and is
 *    brought up to what was committed when the shard is taken back.
 * 4. A client that stopped in the middle, since its thread died or something unforeseen happened, left
 *    a phase (kernel/lent-shard.ts), by which its group is undone or completed. Nobody was told of it.
 */
import { assert } from '../assert.js';
import type { LightningError } from '../errors.js';
import { fileError } from '../file-system/file-system.js';
import { H_WAL_BASE } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import {
  LENT_APPLIED,
  LENT_FAILED_POISON,
  LENT_FAILED_ROLL,
  LENT_NOTHING,
  LENT_PREPARED,
  LENT_WRITING,
  LENT_WRITTEN,
  type LentCaller,
  type LentPrepare,
  type LentRecord,
  LentShard,
  type LentTerms,
} from '../kernel/lent-shard.js';
import { offerLatch, takeBackLatch, withdrawLatch } from '../kernel/shard-latch.js';
import type { ControlBlock } from '../router/control-block.js';
import { decodeGroupHeader, GROUP_HEADER_BYTES } from '../wal/segment-format.js';
import type { Memtables } from './memtables.js';
import type { WalCommit } from './wal-commit.js';

/** Share of all memtables from which on the worker itself is to look whether writes are to be slowed. */
const FILL_MAX = 0.55;

export interface ShardLendingOptions {
  readonly shard: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly commit: WalCommit;
  readonly memtables: Memtables;
  /** Whether shards are lent at all. */
  readonly isEnabled: boolean;
  /** Most operations of a group. */
  readonly groupOpsMax: number;
  /** Whether commits need nothing of the worker but what is in memory and log. */
  readonly isPlain: () => boolean;
  /** A commit over several shards that a client has prepared, in that segment, and not seen through. */
  readonly adoptPrepared: (
    prepare: LentPrepare,
    caller: LentCaller | undefined,
    segment: number,
  ) => void;
  /** One that it has applied, and may not have let go of. */
  readonly adoptApplied: (prepare: LentPrepare, sequence: number) => void;
  /** The one whose COMMIT record is still to be written, if there is one, and after others were. */
  readonly adoptRecord: (record: LentRecord | undefined) => void;
}

export class ShardLending {
  readonly #options: ShardLendingOptions;
  readonly #lent: LentShard;

  constructor(options: ShardLendingOptions) {
    this.#options = options;
    this.#lent = new LentShard(options.kernel);
  }

  /**
   * Offers the shard to clients, if it can be lent now. True: from here on it is not the worker's, and
   * the worker does nothing but block, then call `takeBack`.
   */
  offer(): boolean {
    const { isEnabled, isPlain, kernel } = this.#options;
    const terms = isEnabled && isPlain() ? this.#terms() : undefined;
    if (terms === undefined) {
      this.withdraw();
      return false;
    }
    this.#lent.begin(terms);
    return offerLatch(kernel.i32);
  }

  /** The shard will not be offered in the next moments. */
  withdraw(): void {
    withdrawLatch(this.#options.kernel.i32);
  }

  #terms(): LentTerms | undefined {
    const { commit, memtables, groupOpsMax } = this.#options;
    const { wal } = commit;
    if (wal === undefined) return undefined;
    return {
      segment: wal.segment,
      bytes: wal.bytes,
      durableBytes: wal.durableBytes,
      arena: memtables.active.arena,
      reserveBytes: this.#reserveBytes(),
      opsMax: groupOpsMax,
    };
  }

  /** What of the active memtable is to stay free, lest writes are not slowed when they should be. */
  #reserveBytes(): number {
    const { memtables } = this.#options;
    const { active, arenaBytes, arenaCount } = memtables;
    const mayFillBytes = Math.max(0, FILL_MAX - memtables.fill) * arenaCount * arenaBytes;
    return Math.max(0, Math.ceil(memtables.bytesFree(active) - mayFillBytes));
  }

  /**
   * Takes the shard back after it was offered, and takes up what was committed meanwhile. True when
   * there was something. Throws when what a client left cannot be sorted out.
   */
  takeBack(): boolean {
    const { kernel, control, commit } = this.#options;
    const lent = this.#lent;
    takeBackLatch(kernel.i32, (client) => control.isClientAlive(client));
    const { phase, failure } = lent;
    if (phase === LENT_WRITTEN) this.#complete();
    const hasCommitted = lent.groups > 0;
    if (hasCommitted) commit.adopt(lent);
    if (hasCommitted) this.#options.adoptRecord(lent.record);
    if (phase === LENT_WRITING) this.#undo(failure !== LENT_FAILED_POISON);
    if (phase === LENT_PREPARED || phase === LENT_APPLIED) this.#adopt(phase);
    if (failure !== 0) commit.adoptFailure(this.#error(), failure === LENT_FAILED_ROLL);
    return hasCommitted;
  }

  /**
   * The group has numbers, or was about to get some, and may be in the log in part. A log that is not
   * written to any more is left as it is.
   */
  #undo(isCut: boolean): void {
    const { commit, control, shard } = this.#options;
    if (isCut) commit.cutBack(this.#lent.at);
    control.sequencesApplied(shard);
    this.#lent.setPhase(LENT_NOTHING);
  }

  /** A commit over several shards was left where it was: it is the worker's from now on. */
  #adopt(phase: number): void {
    const { control, shard, kernel, adoptApplied, adoptPrepared } = this.#options;
    const lent = this.#lent;
    const { prepare } = lent;
    control.sequencesApplied(shard);
    if (phase === LENT_APPLIED) adoptApplied(prepare, lent.lastSequence);
    else if (control.transactions.concerns(prepare.slot, prepare.word, shard)) {
      // The owner may have died waiting: what is decided from here on, the shards are told.
      control.transactions.stopAwaiting(prepare.slot);
      adoptPrepared(prepare, lent.caller, lent.segment);
    } else {
      // It was aborted, and its client may have died before the slot was free.
      control.letGo(prepare.slot, prepare.word, shard);
    }
    kernel.exports.groupBegin();
    lent.setPhase(LENT_NOTHING);
  }

  /** The group is in the log: it is applied, once more where that had been done. */
  #complete(): void {
    const { kernel, control, shard } = this.#options;
    const { exports, u32, bytes } = kernel;
    const lent = this.#lent;
    const total = exports.groupBytesWanted() >>> 0;
    const opened = exports.groupOpen(total, lent.segment, lent.at);
    assert(opened === 0, 'what was written to the log stands in its buffer');
    const base = u32[H_WAL_BASE >>> 2] as number;
    const group = decodeGroupHeader(bytes.subarray(base, base + GROUP_HEADER_BYTES));
    // When that takes more room than there is, the log has it all: the worker is replaced.
    assert(exports.groupApply() === 0, 'a group that was begun in a memtable fits there');
    const lastSequence = group.firstSequence + group.commits - 1;
    exports.groupPublish(lastSequence);
    control.sequencesApplied(shard);
    const { commits, timestampUs, epoch } = group;
    const operations = exports.groupOps() >>> 0;
    lent.endGroup({ commits, operations, bytes: total, lastSequence, timestampUs, epoch });
    exports.groupBegin();
  }

  #error(): LightningError {
    const { wal } = this.#options.commit;
    return fileError({ code: this.#lent.errno }, 'write', wal?.path ?? '');
  }
}
