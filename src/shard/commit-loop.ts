/**
 * One turn of the shard worker: takes what clients sent, commits it as a group, answers.
 *
 * Nothing here blocks. When there is no memtable for a group, the group waits gathered, unnumbered
 * and unwritten, and turns go on serving reads until a flush has finished; when flushes cannot
 * finish (the disk is full), it is refused instead. A commit that is written is always applied to
 * its end before the next is gathered. A large one may get stuck in its middle when flushes cannot
 * finish: whoever waits for it is told, and so is who comes after it; it goes on by itself once they can.
 */
import type { LightningError } from '../errors.js';
import { H_HEARTBEAT, READER_COUNT, RECORD_FLAG_MORE } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { PREPARE_ALONE } from '../protocol/prepare.js';
import { refusalOf } from '../protocol/refusal.js';
import { disconnectRing } from '../ring/ring-location.js';
import type { ControlBlock } from '../router/control-block.js';
import type { BarrierWait } from './barrier-wait.js';
import { ClientSession } from './client-session.js';
import type { CommitRecords } from './commit-records.js';
import { unknownOutcome } from './conflict.js';
import { ConnectedClients, takeTouched } from './connected-clients.js';
import { GroupWaiters } from './group-waiters.js';
import { MemtableRoom, type MemtableRoomOptions, stuckCommit } from './memtable-room.js';
import type { PreparedCommits } from './prepared-commits.js';
import {
  isWriteKind,
  isWriteToRefuse,
  malformedWrite,
  type RecordIntake,
} from './record-intake.js';
import type { ReadyCommit, RequestHandler } from './request-handler.js';
import type { WalCommit } from './wal-commit.js';
import { WriteStalls } from './write-stalls.js';

/** What groupCollect answers (commit.ts). */
const COLLECT_EMPTY = 0;
const COLLECT_OTHER = 2;
const COLLECT_BLOCKED = 3;
const MALFORMED = -1;
const RECORD_MALFORMED = 0xffffffff;

/** Records of one client that are handled on the host's side in one turn. */
const RECORDS_PER_TURN_MAX = 256;

export interface CommitLoopOptions extends MemtableRoomOptions {
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly commit: WalCommit;
  readonly handler: RequestHandler;
  readonly barrier: BarrierWait;
  readonly prepared: PreparedCommits;
  readonly records: CommitRecords;
  readonly intake: RecordIntake;
  /** Most operations of a group. */
  readonly groupOpsMax: number;
  /** Longer values do not go to memtables. */
  readonly inlineBytesMax: number;
  readonly nowMs: () => number;
  /** Why writes are refused for good; undefined while they are taken. */
  readonly refusal: () => LightningError | undefined;
  /** Milliseconds to hold the next group of such a size up; Infinity: until a compaction ends. */
  readonly delayMs: (groupBytes: number) => number;
  readonly deleteBlobs: (blobs: readonly number[]) => void;
  /** After a group is applied. */
  readonly afterCommit: () => void;
}

export class CommitLoop {
  readonly #options: CommitLoopOptions;
  readonly #room: MemtableRoom;
  readonly #sessions: ClientSession[] = [];
  readonly #connected: ConnectedClients;
  readonly #waiters: GroupWaiters;
  /** Clients that something was sent to, or made room for, in this turn. */
  readonly #touched = new Set<number>();
  /** Clients that have not made room for all their answers. */
  readonly #blocked = new Set<number>();
  /** A group is gathered and not yet written. */
  #isGathered = false;
  /** The commit under way is to be acknowledged when it is durable. */
  #isSync = false;
  /** The group under way came from rings, to be acknowledged by the kernel. */
  #isGroup = false;
  #large: ReadyCommit | undefined;
  /** Whether somebody still waits for the answer to it. */
  #isLargeWanted = true;
  #firstClient = 0;
  #carriedAcks = 0;
  #resumeAtMs = 0;
  #isStopped = false;
  readonly stalls = new WriteStalls();

  constructor(options: CommitLoopOptions) {
    this.#options = options;
    this.#room = new MemtableRoom(options);
    this.#connected = new ConnectedClients(options.kernel.i32);
    this.#waiters = new GroupWaiters(options.kernel, (client, requestId, error) => {
      this.session(client).responses.error(requestId, error);
      this.#touched.add(client);
    });
    options.kernel.exports.groupRecordMax(options.inlineBytesMax);
    for (let client = 0; client < READER_COUNT; client++) {
      this.#sessions.push(new ClientSession(options.kernel, client));
    }
  }

  /** Does what there is to do; true when there was something. */
  turn(): boolean {
    const { kernel, handler } = this.#options;
    Atomics.add(kernel.u32, H_HEARTBEAT >>> 2, 1);
    const nowMs = this.#options.nowMs();
    let worked = this.#sendWaiting();
    if (handler.hasWaiting) {
      for (const session of handler.retryWaiting(nowMs)) {
        this.#touched.add(session.client);
        worked = true;
      }
    }
    worked = this.#options.prepared.poll() || worked;
    worked = this.#progress(nowMs) || worked;
    worked = this.#collect(nowMs) || worked;
    if (worked) this.#progress(nowMs);
    this.#options.prepared.ringCoordinator();
    this.#ringClients();
    return worked;
  }

  /** Whether a turn would find requests it can take. For the moment before parking. */
  get hasRequests(): boolean {
    const isHeldUp = this.#resumeAtMs > this.#options.nowMs();
    const takesWrites = !this.#isHolding && !this.#isStopped && !isHeldUp;
    return this.#connected.slots().some((client) => {
      if (!this.#connected.hasRequests(client)) return false;
      const session = this.session(client);
      if (this.#isUnanswerable(session) || session.isStalled) return false;
      return takesWrites || !isWriteKind(session.nextKind());
    });
  }

  /** Whether nothing is under way, held up or owed to a client, and no request has come in part. */
  get isPlain(): boolean {
    if (this.isBusy || this.hasUnsent || this.#isStopped) return false;
    if (this.#resumeAtMs > this.#options.nowMs()) return false;
    return this.#connected.slots().every((client) => this.session(client).isPlain);
  }

  /** Milliseconds until held up writes go on; undefined when nothing is held up by time. */
  resumesInMs(nowMs: number): number | undefined {
    if (this.#isStopped) return undefined;
    return this.#resumeAtMs > nowMs ? this.#resumeAtMs - nowMs : undefined;
  }

  /** Whether a commit is under way or held: something that must end before the shard closes. */
  get isBusy(): boolean {
    const { handler } = this.#options;
    return this.#isHolding || handler.hasWaiting;
  }

  /** Something went out to the client, or room was made. */
  touch(session: ClientSession): void {
    this.#touched.add(session.client);
  }

  /** Whether a commit that was written is not answered yet. */
  get isCommitting(): boolean {
    return this.#options.commit.isApplying || this.#options.barrier.isWaiting;
  }

  /** Whether responses wait for room in some client's ring. */
  get hasUnsent(): boolean {
    return this.#carriedAcks > 0 || this.#blocked.size > 0;
  }

  /** Requests of a client that does not take its answers stay where they are. */
  #isUnanswerable(session: ClientSession): boolean {
    return session.responses.isBlocked || (this.#carriedAcks > 0 && session.isResponseBlocked);
  }

  get #isHolding(): boolean {
    const { commit, barrier, prepared } = this.#options;
    const isUnderWay = commit.isApplying || barrier.isWaiting || prepared.hasDue;
    return this.#isGathered || this.#large !== undefined || isUnderWay;
  }

  /** The client is gone: forgets its requests and answers. Its rings are empty afterwards. */
  releaseClient(client: number): void {
    const session = this.session(client);
    this.#options.kernel.exports.groupForget(client);
    this.#options.handler.forget(session);
    this.#options.prepared.releaseClient(session);
    session.clear();
    this.#blocked.delete(client);
    disconnectRing(this.#options.kernel, client);
    if (this.#large?.session === session) this.#isLargeWanted = false;
  }

  /** Answers every request that is in the rings with an error: the shard closes. */
  refuseAll(error: LightningError): void {
    for (const session of this.#sessions) {
      const { requests } = session;
      requests.reload();
      while (requests.next()) {
        if ((requests.flags & RECORD_FLAG_MORE) === 0) this.#options.intake.refuse(session, error);
        this.#touched.add(session.client);
      }
      requests.release();
    }
    this.#ringClients();
  }

  session(client: number): ClientSession {
    return this.#sessions[client] as ClientSession;
  }

  // ---- commits under way ------------------------------------------------------------

  /** Moves the commit that is held or being applied on. True when something happened. */
  #progress(nowMs: number): boolean {
    const { commit, barrier, prepared } = this.#options;
    let progress = false;
    for (;;) {
      const below = commit.appliesBelow;
      if (prepared.hasDueBelow(below)) {
        if (!prepared.advance(below)) return progress;
        this.#options.afterCommit();
      } else if (commit.isApplying && prepared.isDoubtfulBelow(below)) {
        this.#giveUp();
      } else if (commit.isApplying && below > 0 && prepared.isDecisionNear(below)) {
        // Its number is the lower one: it goes first. Who decides rings the doorbell.
        if (!prepared.poll()) return progress;
      } else if (commit.isApplying) {
        if (!commit.advance()) {
          this.#answerStuck();
          return progress;
        }
        if (this.#isSync && barrier.isUsed) barrier.start(commit.lastSequence);
        else this.#acknowledge();
        this.#options.afterCommit();
      } else if (barrier.isWaiting) {
        if (!this.#endWait()) return progress;
      } else if (this.#isGathered) {
        if (!this.#writeGathered(nowMs)) return progress;
      } else if (this.#large !== undefined) {
        if (!this.#writeLarge(this.#large, nowMs)) return progress;
      } else {
        return progress;
      }
      progress = true;
    }
  }

  /** Something with a lower number may have to go first, and nobody can say whether. */
  #giveUp(): void {
    this.#options.commit.giveUp();
    if (this.#isGroup) this.#refuseGathered(unknownOutcome());
    else if (this.#large !== undefined) this.#refuseLarge(this.#large, unknownOutcome());
  }

  /** Why a commit that is being applied does not come to its end; undefined: it does, or soon may. */
  get #stuck(): LightningError | undefined {
    const { commit, prepared } = this.#options;
    return commit.isApplying || prepared.hasDue ? this.#room.blocked : undefined;
  }

  /** Tells who waits for a commit that it is stuck: it stands in the log, and will be applied. */
  #answerStuck(): void {
    const ready = this.#large;
    const error = this.#stuck;
    if (error === undefined) return;
    const told = stuckCommit(error);
    if (this.#isGroup) this.#waiters.tell(told);
    if (this.#isGroup || ready === undefined || !this.#isLargeWanted) return;
    this.#answerLarge(ready, () => this.#options.intake.refuseReady(ready, told));
    this.#isLargeWanted = false;
  }

  /** Answers the commit that waited for its barrier. False: it goes on waiting. */
  #endWait(): boolean {
    const outcome = this.#options.barrier.take();
    if (outcome === undefined) return false;
    if (outcome.isDurable) {
      this.#acknowledge();
    } else if (this.#isGroup) {
      this.#refuseGathered(outcome.error);
    } else if (this.#large !== undefined) {
      this.#refuseLarge(this.#large, outcome.error);
    }
    return true;
  }

  /** Writes the gathered group, or refuses it. False: it goes on waiting. */
  #writeGathered(nowMs: number): boolean {
    const { exports } = this.#options.kernel;
    const { commit, prepared, records } = this.#options;
    const bytes = exports.groupBytes() >>> 0;
    const isRecords = exports.groupCommits() >>> 0 === records.gatheredCount;
    const refusal = isRecords
      ? this.#options.refusal()
      : this.#admit(bytes, exports.groupOps() >>> 0, nowMs);
    if (refusal === 'wait') return false;
    if (refusal !== undefined) {
      this.#refuseGathered(refusal);
      return true;
    }
    this.#isSync = this.#options.intake.isSync || exports.groupSync() !== 0;
    const outcome = commit.writeGroup(this.#isSync, [], isRecords);
    if (outcome.kind === 'refused') {
      this.#refuseGathered(refusalOf(outcome.error));
      return true;
    }
    this.#isGathered = false;
    this.#isGroup = true;
    prepared.written(commit.applyingSegment ?? 0);
    records.written();
    return true;
  }

  #refuseGathered(error: LightningError): void {
    this.#options.records.refused(this.#options.nowMs());
    this.#options.prepared.refuseGathered(error);
    this.#isGathered = false;
    this.#waiters.refuse(error);
  }

  #writeLarge(ready: ReadyCommit, nowMs: number): boolean {
    const { operations } = ready;
    const refusal = this.#admit(operations.length, 0, nowMs);
    if (refusal === 'wait') return false;
    let error: LightningError | undefined = refusal;
    const verdict = error === undefined ? this.#options.intake.admitLarge(ready) : undefined;
    error ??= verdict?.error;
    if (error === undefined) {
      const { commit } = this.#options;
      const { prepare } = ready;
      const outcome =
        prepare === undefined || prepare.head.slot === PREPARE_ALONE
          ? commit.writeLarge(ready)
          : commit.writePrepare(ready, prepare.head.id);
      if (outcome.kind === 'written') {
        this.#isGroup = false;
        this.#isSync = ready.isSync;
        if (!commit.isApplying && prepare !== undefined) {
          this.#large = undefined;
          const session = this.#isLargeWanted ? ready.session : undefined;
          this.#isLargeWanted = true;
          const large = { ready, prepare, session };
          const isKept = this.#options.intake.addLarge(large, commit.wal?.segment ?? 0);
          if (!isKept) this.#options.deleteBlobs(ready.blobs);
        }
        return true;
      }
      error = refusalOf(outcome.error);
    }
    // When the write may survive, so must what it refers to; recovery knows.
    if (this.#options.commit.poison === undefined) this.#options.deleteBlobs(ready.blobs);
    this.#refuseLarge(ready, error, verdict?.reason);
    return true;
  }

  #refuseLarge(ready: ReadyCommit, error: LightningError, reason?: number): void {
    this.#large = undefined;
    this.#answerLarge(ready, () => this.#options.intake.refuseReady(ready, error, reason));
  }

  /** Whether there is room in memory to write a commit now. An error when it is to be refused. */
  #admit(bytes: number, operations: number, nowMs: number): LightningError | 'wait' | undefined {
    const { commit } = this.#options;
    const refusal = this.#options.refusal();
    if (refusal !== undefined) return refusal;
    if (nowMs < this.#resumeAtMs) return 'wait';
    if (commit.isApplying) return 'wait';
    const admission = this.#room.admit(bytes, operations);
    if (admission === 'wait') this.stalls.stop(nowMs);
    return admission;
  }

  #acknowledge(): void {
    const { commit } = this.#options;
    this.stalls.resume(this.#options.nowMs);
    if (this.#isGroup) {
      this.#carriedAcks = this.#waiters.acknowledge();
      return;
    }
    const ready = this.#large;
    this.#large = undefined;
    if (ready === undefined) return;
    this.#answerLarge(ready, ({ responses }) => responses.ok(ready.requestId, commit.lastSequence));
  }

  /** Answers, unless the client is gone: another may have its slot by now. */
  #answerLarge({ session }: ReadyCommit, answer: (session: ClientSession) => void): void {
    if (this.#isLargeWanted) {
      answer(session);
      this.#touched.add(session.client);
    }
    this.#isLargeWanted = true;
  }

  // ---- taking requests ----------------------------------------------------------------

  #collect(nowMs: number): boolean {
    const { prepared, records, intake } = this.#options;
    const { exports } = this.#options.kernel;
    const mayGather = !this.#isHolding;
    const takesWrites = mayGather && this.#mayWrite(nowMs);
    let worked = false;
    let isFull = false;
    const areRecordsDue = mayGather && records.isDue(nowMs);
    if (takesWrites || areRecordsDue) {
      exports.groupBegin();
      intake.begin();
      if (this.#options.refusal() !== undefined) records.refuseAll();
      else if (areRecordsDue) records.gather();
    }
    const clients = this.#connected.slots();
    const first = Math.max(clients.indexOf(this.#firstClient), 0);
    for (let i = 0; i < clients.length; i++) {
      const client = clients[(first + i) % clients.length] as number;
      if (!this.#connected.hasRequests(client)) continue;
      const session = this.session(client);
      if (session.responses.isBlocked) continue;
      const canWrite = takesWrites && !isFull && this.#large === undefined;
      const outcome = canWrite
        ? this.#collectFrom(session, nowMs)
        : this.#serveReads(session, nowMs);
      worked = worked || outcome !== 'nothing';
      if (outcome === 'full') {
        isFull = true;
        // Who found no room comes first next time.
        this.#firstClient = session.client;
      }
      if (outcome !== 'nothing' && session.takeBlocked()) this.#touched.add(session.client);
    }
    if (!isFull) this.#firstClient = 0;
    // Those about which nothing has to be written.
    if (mayGather) worked = prepared.voteUnwritten() || worked;
    // What is held already keeps its own delay.
    if (!mayGather || (!takesWrites && records.gatheredCount === 0)) return worked;
    const commits = exports.groupCommits() >>> 0;
    if (commits === 0) return worked;
    this.#isGathered = true;
    const isRecords = commits === records.gatheredCount;
    if (!areRecordsDue) records.gather();
    if (!isRecords) this.#holdUp(exports.groupBytes() >>> 0, nowMs);
    return true;
  }

  /** Holds up the group that was gathered, as pressure demands. */
  #holdUp(groupBytes: number, nowMs: number): void {
    const delayMs = this.#options.delayMs(groupBytes);
    if (delayMs <= 0 || !Number.isFinite(delayMs)) return;
    this.#resumeAtMs = nowMs + delayMs;
    this.stalls.delay(delayMs);
  }

  #mayWrite(nowMs: number): boolean {
    this.#isStopped =
      this.#options.refusal() === undefined &&
      this.#options.delayMs(0) === Number.POSITIVE_INFINITY;
    if (this.#isStopped) this.stalls.stop(nowMs);
    return !this.#isStopped && nowMs >= this.#resumeAtMs;
  }

  #collectFrom(session: ClientSession, nowMs: number): 'nothing' | 'some' | 'full' {
    const { kernel, groupOpsMax } = this.#options;
    const refusal = this.#options.refusal();
    for (let records = 0; records < RECORDS_PER_TURN_MAX; records++) {
      if (refusal === undefined && session.partial.size === 0 && session.undecided === 0) {
        session.isStalled = false;
        const status = kernel.exports.groupCollect(session.client, groupOpsMax);
        if (status === COLLECT_EMPTY || status === COLLECT_BLOCKED) return 'some';
        if (status === MALFORMED) {
          this.#refuseMalformed(session);
          continue;
        }
        if (status !== COLLECT_OTHER) return 'full';
      }
      const outcome = this.#takeRecord(session, nowMs, refusal);
      if (outcome === 'none') return records === 0 ? 'nothing' : 'some';
      if (outcome === 'full') return 'full';
    }
    return 'some';
  }

  /** Answers reads, and refuses writes, while a commit is stuck. */
  #refuseFrom(session: ClientSession, nowMs: number): 'nothing' | 'some' {
    const error = this.#options.refusal() ?? this.#stuck;
    for (let records = 0; records < RECORDS_PER_TURN_MAX; records++) {
      if (this.#takeRecord(session, nowMs, error) === 'taken') continue;
      return records === 0 ? 'nothing' : 'some';
    }
    return 'some';
  }

  /** Handles one record that the kernel does not. `full`: it stays until the group is written. */
  #takeRecord(
    session: ClientSession,
    nowMs: number,
    error: LightningError | undefined,
  ): 'taken' | 'none' | 'full' {
    const { requests, responses } = session;
    if (responses.isBlocked) return 'none';
    requests.reload();
    if (!requests.next()) return 'none';
    if (error !== undefined && isWriteToRefuse(session)) {
      this.#touched.add(session.client);
      // Of one that comes in pieces, the last is answered.
      if ((requests.flags & RECORD_FLAG_MORE) === 0) this.#options.intake.refuse(session, error);
      requests.release();
      return 'taken';
    }
    const status = this.#options.intake.take(session);
    if (status === 'full') return 'full';
    if (status === 'stalled') return 'none';
    if (status === 'gathered') {
      // The client of a prepare need not look up: it is answered after the decision.
      if (requests.release() || responses.takeUsed()) this.#touched.add(session.client);
      return 'taken';
    }
    this.#touched.add(session.client);
    const ready = this.#options.handler.take(session, nowMs);
    requests.release();
    if (ready === undefined) return 'taken';
    if (error === undefined) {
      this.#large = ready;
      return 'full';
    }
    // Another one waits to be written, or is being applied.
    this.#options.deleteBlobs(ready.blobs);
    this.#options.intake.refuseReady(ready, error);
    return 'taken';
  }

  #refuseMalformed(session: ClientSession): void {
    const { exports, u32 } = this.#options.kernel;
    const record = exports.groupMalformed() >>> 0;
    this.#touched.add(session.client);
    if (record === RECORD_MALFORMED) {
      // What it published is no record: there is no telling where the next one starts.
      session.requests.reload();
      session.requests.skipAll();
      return;
    }
    const requestId = u32[(record + 8) >>> 2] as number;
    exports.ringPop(session.client);
    session.responses.error(requestId, malformedWrite());
  }

  /** Answers reads up to the first write, while writes have to wait. */
  #serveReads(session: ClientSession, nowMs: number): 'nothing' | 'some' {
    if (this.#stuck !== undefined) return this.#refuseFrom(session, nowMs);
    const { requests, responses } = session;
    let outcome: 'nothing' | 'some' = 'nothing';
    for (let records = 0; records < RECORDS_PER_TURN_MAX; records++) {
      requests.reload();
      if (responses.isBlocked || !requests.next()) break;
      if (isWriteKind(requests.kind)) break;
      this.#options.handler.take(session, nowMs);
      requests.release();
      this.#touched.add(session.client);
      outcome = 'some';
    }
    requests.reload();
    return outcome;
  }

  // ---- answers --------------------------------------------------------------------

  #sendWaiting(): boolean {
    let progress = false;
    for (const client of this.#blocked) {
      const { responses } = this.session(client);
      if (responses.pump()) {
        this.#touched.add(client);
        progress = true;
      }
      if (!responses.isBlocked) this.#blocked.delete(client);
    }
    if (this.#carriedAcks > 0) {
      const before = this.#carriedAcks;
      this.#carriedAcks = this.#options.kernel.exports.groupAckRetry();
      progress = progress || this.#carriedAcks < before;
    }
    return progress;
  }

  #ringClients(): void {
    const { kernel, control } = this.#options;
    takeTouched(kernel.u32, this.#touched);
    if (this.#touched.size === 0) return;
    for (const client of this.#touched) {
      control.ringClient(client);
      if (this.session(client).responses.isBlocked) this.#blocked.add(client);
    }
    this.#touched.clear();
  }
}
