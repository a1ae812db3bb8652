/**
 * Decides a commit over several shards on the client's own thread, which holds all participants
 * (direct-batch.ts), while the coordinator has lent its log (lent-log.ts). It does what the coordinator
 * would do, in the same order (coordinator/decision-loop.ts): number, DECIDING, frame, COMMITTED.
 */
import { encodeDecision } from '../coordinator/log-format.js';
import { logSegmentName } from '../coordinator/log-reader.js';
import { LightningError, NoSpaceError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import type { ControlBlock } from './control-block.js';

/** A file that nothing was written to for so long is closed: the coordinator may have deleted it. */
const IDLE_MS = 1000;
/** Of a decision in the log. */
const FRAME_BYTES = 56;

export interface DirectDecisionOptions {
  readonly fs: FileSystem;
  /** The coordinator's. */
  readonly directory: string;
  /** Slot of the client. */
  readonly client: number;
  readonly control: ControlBlock;
  readonly wallMs: () => number;
}

export class DirectDecision {
  readonly #options: DirectDecisionOptions;
  #file: FileHandle | undefined;
  /** Of `#file`. */
  #segment = 0;
  #usedAtMs = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: DirectDecisionOptions) {
    this.#options = options;
  }

  /**
   * Votes for all participants and decides, if the log can be had now. False: nothing was done. Else the
   * slot says what became of it; what is still DECIDING then is left to the coordinator, which was rung.
   */
  decide(slot: number, word: number): boolean {
    const { control, client } = this.#options;
    const { transactions } = control;
    const { lentLog } = transactions;
    if (!lentLog.take(client, FRAME_BYTES)) return false;
    if (!this.#openFile(lentLog.segment)) {
      lentLog.giveBack(client);
      return false;
    }
    transactions.preparedByAll(slot);
    faultPoint('all-prepared');
    const isLeft = this.#number(slot, word) && !this.#append(slot, word);
    if (!isLeft) lentLog.giveBack(client);
    else {
      transactions.markReady(slot);
      transactions.ring();
    }
    return true;
  }

  /**
   * Something that nobody foresaw ended `decide`: the log, if it is here, goes to the coordinator, with what
   * was begun. Nobody else would ever take it from a thread that lives.
   */
  abandon(slot: number): void {
    const { control, client } = this.#options;
    const { transactions } = control;
    if (!transactions.lentLog.isHeldBy(client)) return;
    transactions.lentLog.leave();
    transactions.markReady(slot);
    transactions.ring();
  }

  /** Gives the commit its number: it is DECIDING then. False: it was aborted. */
  #number(slot: number, word: number): boolean {
    const { control, wallMs } = this.#options;
    const timestampUs = control.nextTimestamp(wallMs() * 1000);
    control.transactions.setSequence(slot, control.allocateDecisions(1), timestampUs);
    const isDeciding = control.transactions.decide(slot, word);
    control.decisionsAllocated();
    return isDeciding;
  }

  /** False: it could not be written, and the log is the coordinator's. */
  #append(slot: number, word: number): boolean {
    const { transactions } = this.#options.control;
    const { lentLog } = transactions;
    faultPoint('deciding');
    const decision = {
      id: transactions.id(slot),
      sequence: transactions.sequence(slot),
      timestampUs: transactions.timestampUs(slot),
      participants: transactions.participants(slot),
    };
    const { segment, bytes: offset, durableBytes } = lentLog;
    const frame = encodeDecision(decision, { segment, offset, durableBytes });
    try {
      this.#file?.write(frame, offset);
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      // For want of room, the coordinator cuts back what was written, and revokes the commit.
      lentLog.leave(error instanceof NoSpaceError ? undefined : errnoOf(error));
      return false;
    }
    faultPoint('decision-appended');
    lentLog.appended(frame.length);
    faultPoint('decision-written');
    transactions.commit(slot, word);
    faultPoint('decided');
    return true;
  }

  // ---- the file -----------------------------------------------------------------------

  /** Closes the file. It is opened again when it is wanted. */
  close(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
    this.#closeFile();
  }

  /** False: it cannot be opened now. */
  #openFile(segment: number): boolean {
    this.#usedAtMs = performance.now();
    if (this.#file !== undefined && this.#segment === segment) return true;
    this.#closeFile();
    const { fs, directory } = this.#options;
    try {
      this.#file = fs.open(`${directory}/${logSegmentName(segment)}`, 'r+');
    } catch (error) {
      // The coordinator has it open.
      if (error instanceof LightningError) return false;
      throw error;
    }
    this.#segment = segment;
    if (this.#idleTimer === undefined) this.#closeWhenIdle(IDLE_MS);
    return true;
  }

  #closeWhenIdle(delayMs: number): void {
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = undefined;
      const idleMs = performance.now() - this.#usedAtMs;
      if (idleMs >= IDLE_MS) this.#closeFile();
      else this.#closeWhenIdle(IDLE_MS - idleMs);
    }, delayMs);
    this.#idleTimer.unref();
  }

  #closeFile(): void {
    const file = this.#file;
    this.#file = undefined;
    try {
      file?.close();
    } catch (error) {
      // What it wrote is with the system, or was refused; the coordinator syncs it.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}

function errnoOf({ details }: LightningError): string {
  const { errno } = details;
  return typeof errno === 'string' ? errno : 'UNKNOWN';
}
