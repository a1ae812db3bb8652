/**
 * Commits on the client's own thread, for a shard whose worker sleeps and has lent it
 * (shard/lending.ts says why and when).
 *
 * The client takes the latch and does with its own requests what the worker would do: it collects
 * them from its request ring into a group, writes the group to the log, applies it, publishes it. The
 * kernel is the client's own instance over the same memory; what an instance remembers between two
 * calls of that way belongs to one group, or is set anew here.
 *
 * Invariants:
 * 1. Only requests of this client are taken, in their order, from where the worker would take them.
 *    What is not a plain write in one record, or wants more than that, stays there for the worker.
 * 2. Nothing is written that might not fit the active memtable: what stands in the log can be applied.
 * 3. The order is the worker's: numbers (pending from here on) → log → memtable → visible → no longer
 *    pending → the callers are told. The phase in shared memory says how far it has come.
 * 4. A write that fails applies nothing, and the worker learns of it before anything else is written.
 *    What it left in the log for want of room is cut off before anybody is told.
 * 5. No code of the application runs in between, and nobody is waited for.
 *
 * A part of a commit over several shards is committed in steps (direct-batch.ts): `take`, `prepare`, and
 * after the decision `apply` or nothing, then `giveBack`; or `handOver` at any time between.
 */
import { LightningError, NoSpaceError } from '../errors.js';
import { faultPoint, isFaultDue, strike } from '../faults.js';
import { shardFileName } from '../file-system/file-names.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import { H_WAL_BASE } from '../kernel/assembly/layout.js';
import { ringDoorbell } from '../kernel/doorbell.js';
import type { Kernel } from '../kernel/kernel.js';
import {
  LENT_FAILED_POISON,
  LENT_FAILED_ROLL,
  LENT_NOTHING,
  LENT_WRITTEN,
  type LentPrepare,
  LentShard,
} from '../kernel/lent-shard.js';
import {
  giveBackLatch,
  holdsLatch,
  takeLatch,
  takeLatchSoon,
  yieldLatch,
} from '../kernel/shard-latch.js';
import { refusalOf } from '../protocol/refusal.js';
import {
  COMMIT_BODY_BYTES,
  COMMIT_COMMIT,
  COMMIT_PREPARE,
  SEGMENT_BYTES_MAX,
} from '../wal/segment-format.js';
import type { BatchPart } from './batch-part.js';
import type { ControlBlock } from './control-block.js';
import { errnoOf, IdleFile } from './idle-file.js';

/** What groupCollect answers when it has taken all there is (commit.ts). */
const COLLECT_EMPTY = 0;
/** A commit that nobody is told of. */
const NOBODY = 0xffffffff;
/** Room in a group for the COMMIT record of the commit before, and the heads of two commits. */
const RECORD_ROOM_BYTES = 128;
/** Longest wait for a worker that is about to lend its shard again. */
const OFFER_MS_MAX = 1;
/** What an operation takes of a memtable besides its encoded bytes, most of the time. */
const OPERATION_BYTES = 128;

export interface DirectCommitOptions {
  readonly fs: FileSystem;
  /** The shard's own. */
  readonly directory: string;
  readonly shard: number;
  /** Slot of the client. */
  readonly client: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly wallMs: () => number;
  /** Longer records are left to the worker. */
  readonly recordBytesMax: number;
}

/** Told what became of requests. It runs while others wait for the shard: it only notes it. */
export interface DirectAnswers {
  committed(requestId: number, sequence: number): void;
  failed(requestId: number, error: LightningError): void;
}

/** `away`: the shard is not on offer; `all`: nothing is left in the ring; `rest`: the worker was called. */
export type DirectOutcome = 'away' | 'all' | 'rest';

export class DirectCommit {
  readonly #options: DirectCommitOptions;
  readonly #lent: LentShard;
  readonly #files: IdleFile;
  /** Of the commit under way. */
  #file: FileHandle | undefined;
  /** Requests of the group under way, and its time. */
  readonly #requestIds: number[] = [];
  #timestampUs = 0;
  #epoch = 0;
  /** H_UNSETTLED was set here. */
  #hasHidden = false;

  constructor(options: DirectCommitOptions) {
    this.#options = options;
    this.#lent = new LentShard(options.kernel);
    const { fs, directory } = options;
    this.#files = new IdleFile(fs, (segment) => `${directory}/${shardFileName('wal', segment)}`);
    options.kernel.exports.groupRecordMax(options.recordBytesMax);
  }

  /** Commits what this client has published, if the shard can be had now. */
  commit(answers: DirectAnswers): DirectOutcome {
    const { kernel, client } = this.#options;
    if (!takeLatch(kernel.i32, client)) return 'away';
    let isAll = false;
    try {
      isAll = this.#commitLent(answers);
    } catch (error) {
      // Nothing that is foreseen: the phase tells the worker what to do about the group.
      this.#failAll(answers, error);
    }
    if (isAll) {
      giveBackLatch(kernel.i32, client);
      return 'all';
    }
    this.letWorkerSeeToIt();
    return 'rest';
  }

  // ---- a part of a commit over several shards -------------------------------------------

  /** Takes the shard, if it is on offer and can take the operations as it is. */
  take({ length, count }: BatchPart): boolean {
    const { kernel, client, recordBytesMax } = this.#options;
    if (length > recordBytesMax) return false;
    if (!takeLatchSoon(kernel.i32, client, OFFER_MS_MAX)) return false;
    let takes = false;
    try {
      takes = this.#canTake(length, count);
    } finally {
      if (!takes) giveBackLatch(kernel.i32, client);
    }
    return takes;
  }

  #canTake(length: number, count: number): boolean {
    const { exports } = this.#options.kernel;
    const lent = this.#lent;
    exports.groupBegin();
    this.#hasHidden = false;
    return (
      lent.phase === LENT_NOTHING &&
      lent.failure === 0 &&
      lent.bytes < SEGMENT_BYTES_MAX &&
      count <= lent.opsMax &&
      lent.roomBytes >= length + count * OPERATION_BYTES &&
      exports.groupPlace(length + RECORD_ROOM_BYTES) !== 0 &&
      this.#openFile()
    );
  }

  /**
   * Writes the operations under PREPARE, and before them the COMMIT record that is missing. What cannot
   * be written is returned as the error that refuses the commit: then comes `letWorkerSeeToIt`.
   */
  prepare(
    { slot, word, id }: Pick<LentPrepare, 'slot' | 'word' | 'id'>,
    part: BatchPart,
  ): LightningError | undefined {
    const { kernel, control, shard } = this.#options;
    const { exports } = kernel;
    const lent = this.#lent;
    exports.groupBegin();
    this.#gatherRecord();
    const address = exports.groupPlace(part.length) >>> 0;
    kernel.bytes.set(part.bytes.subarray(0, part.length), address);
    const { length, count } = part;
    if (exports.groupAppend(address, length, count, COMMIT_PREPARE, id, NOBODY, 0) !== 0) {
      throw new Error('Operations that were encoded here are malformed');
    }
    const commits = exports.groupCommits() >>> 0;
    lent.beginGroup();
    const error = this.#tryWrite(control.allocateSequences(shard, commits), true);
    if (error !== undefined) return error;
    // Nothing is applied before the decision.
    control.sequencesApplied(shard);
    const prepare = { slot, word, id, address, bytes: length };
    const bytes = exports.groupBytes() >>> 0;
    const timestampUs = this.#timestampUs;
    const epoch = this.#epoch;
    lent.setPrepared(prepare, { commits, operations: count, bytes, timestampUs, epoch });
    if (commits > 1) faultPoint('recorded', shard);
    faultPoint('prepare-written', shard);
    return undefined;
  }

  /** Adds the COMMIT record of the commit before, if the log has none yet. */
  #gatherRecord(): void {
    const { record } = this.#lent;
    if (record === undefined) return;
    const { exports, bytes } = this.#options.kernel;
    const address = exports.groupPlace(COMMIT_BODY_BYTES) >>> 0;
    bytes.writeDoubleLE(record.sequence, address);
    bytes.writeDoubleLE(record.timestampUs, address + 8);
    exports.groupAppend(address, COMMIT_BODY_BYTES, 0, COMMIT_COMMIT, record.id, NOBODY, 0);
  }

  /**
   * The commit was decided: applies it under its number. It is hidden until all shards have let go. False:
   * the memtable is full; what was applied stays, and the worker has to go on.
   */
  apply(sequence: number, timestampUs: number): boolean {
    const { kernel, control, shard } = this.#options;
    const { exports } = kernel;
    const lent = this.#lent;
    const { id, address, bytes } = lent.prepare;
    faultPoint('commit-seen', shard);
    if (exports.unsettledIfNone(sequence) !== 0) this.#hasHidden = true;
    exports.setActiveMemtable(lent.arena);
    if (exports.applyOps(address, bytes, sequence) !== 0) return false;
    exports.groupPublish(sequence);
    control.raiseUnrecorded(shard, sequence);
    lent.setApplied({ id, sequence, timestampUs });
    faultPoint('applied', shard);
    return true;
  }

  /** The commit is over, and every shard has let go of it; or nothing of it was prepared. */
  giveBack(): void {
    const { kernel, client } = this.#options;
    if (this.#hasHidden) kernel.exports.unsettledFrom(-1);
    this.#hasHidden = false;
    this.#lent.setPhase(LENT_NOTHING);
    giveBackLatch(kernel.i32, client);
  }

  /** The worker sees the prepared commit through, and answers that request. */
  handOver(requestId: number): void {
    this.#lent.handOver({ client: this.#options.client, requestId });
    this.letWorkerSeeToIt();
  }

  /** Gives the shard, if it is here, to its worker, which finds in the phase what is left to do. */
  letWorkerSeeToIt(): void {
    const { client, kernel } = this.#options;
    const { i32 } = kernel;
    if (!holdsLatch(i32, client)) return;
    this.#hasHidden = false;
    yieldLatch(i32);
    ringDoorbell(i32);
  }

  // ---- the file -----------------------------------------------------------------------

  /** Closes the log's file. It is opened again when it is wanted. */
  close(): void {
    this.#files.close();
  }

  /** False: something is left for the worker. */
  #commitLent(answers: DirectAnswers): boolean {
    const { kernel, client, control, shard } = this.#options;
    const { exports } = kernel;
    const lent = this.#lent;
    const room = lent.roomBytes;
    if (room <= 0 || lent.bytes >= SEGMENT_BYTES_MAX || !this.#openFile()) return false;
    exports.groupBegin();
    exports.groupBound(room);
    const isAll = exports.groupCollect(client, lent.opsMax) === COLLECT_EMPTY;
    const commits = exports.groupCommits() >>> 0;
    if (commits === 0) return isAll;
    // They are out of the ring: from here on they are answered here.
    this.#noteRequests(commits);
    lent.beginGroup();
    const first = control.allocateSequences(shard, commits);
    const error = this.#tryWrite(first, false);
    if (error !== undefined) {
      this.#failAll(answers, error);
      return false;
    }
    lent.setPhase(LENT_WRITTEN);
    exports.setActiveMemtable(lent.arena);
    if (exports.groupApply() !== 0) throw new Error('A group that fits its memtable did not');
    const lastSequence = first + commits - 1;
    exports.groupPublish(lastSequence);
    control.sequencesApplied(shard);
    lent.endGroup({
      commits,
      operations: exports.groupOps() >>> 0,
      bytes: exports.groupBytes() >>> 0,
      lastSequence,
      timestampUs: this.#timestampUs,
      epoch: this.#epoch,
    });
    const requestIds = this.#requestIds;
    for (let i = 0; i < commits; i++) answers.committed(requestIds[i] as number, first + i);
    requestIds.length = 0;
    return isAll;
  }

  #noteRequests(commits: number): void {
    const { exports } = this.#options.kernel;
    const requestIds = this.#requestIds;
    for (let i = 0; i < commits; i++) requestIds.push(exports.groupRequestId(i) >>> 0);
  }

  /** Writes the group to the log. An error: it is refused, and nothing of it was. */
  #tryWrite(first: number, mayTear: boolean): LightningError | undefined {
    const { kernel, control, shard, wallMs } = this.#options;
    const lent = this.#lent;
    const { segment, bytes } = lent;
    this.#timestampUs = control.nextTimestamp(wallMs() * 1000);
    this.#epoch = control.epoch();
    const total =
      kernel.exports.groupSeal(
        first,
        this.#timestampUs,
        this.#epoch,
        lent.durableBytes,
        segment,
        bytes,
        0,
      ) >>> 0;
    const base = kernel.u32[H_WAL_BASE >>> 2] as number;
    const file = this.#file as FileHandle;
    if (mayTear && isFaultDue('prepare-torn', shard)) {
      file.write(kernel.bytes.subarray(base, base + total - 8), bytes);
      strike('prepare-torn');
    }
    try {
      file.write(kernel.bytes.subarray(base, base + total), bytes);
      return undefined;
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      this.#refuse(file, error);
      return error;
    }
  }

  /**
   * What was written is cut off before anybody is told that it was refused. The group stays in its
   * phase: the worker takes the numbers back, and the cut up, which has yet to become durable.
   */
  #refuse(file: FileHandle, error: LightningError): void {
    const lent = this.#lent;
    if (error instanceof NoSpaceError) {
      try {
        file.truncate(lent.at);
        // A file that may not grow any more never will; another one may.
        if (errnoOf(error) === 'EFBIG') lent.fail(LENT_FAILED_ROLL, 'EFBIG');
      } catch (cutError) {
        if (!(cutError instanceof LightningError)) throw cutError;
        lent.fail(LENT_FAILED_POISON, errnoOf(cutError));
      }
    } else {
      lent.fail(LENT_FAILED_POISON, errnoOf(error));
    }
  }

  #failAll(answers: DirectAnswers, error: unknown): void {
    const refusal = refusalOf(error);
    for (const requestId of this.#requestIds) answers.failed(requestId, refusal);
    this.#requestIds.length = 0;
  }

  /** Has the segment open that the log goes on in. False: it cannot be opened now, the worker has it. */
  #openFile(): boolean {
    this.#file = this.#files.open(this.#lent.segment);
    return this.#file !== undefined;
  }
}
