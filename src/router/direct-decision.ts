/**
 * Decides a commit over several shards on the client's own thread, which holds all participants
 * (direct-batch.ts), while the coordinator has lent its log (lent-log.ts). It does what the coordinator
 * would do, in the same order (coordinator/decision-loop.ts): number, DECIDING, frame, COMMITTED.
 */
import { DECISION_FRAME_BYTES, encodeDecision } from '../coordinator/log-format.js';
import { logSegmentName } from '../coordinator/log-reader.js';
import { LightningError, NoSpaceError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import type { ControlBlock } from './control-block.js';
import { errnoOf, IdleFile } from './idle-file.js';

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
  /** A segment of the coordinator's log. */
  readonly #file: IdleFile;

  constructor(options: DirectDecisionOptions) {
    this.#options = options;
    const { fs, directory } = options;
    this.#file = new IdleFile(fs, (segment) => `${directory}/${logSegmentName(segment)}`);
  }

  /**
   * Votes for all participants and decides, if the log can be had now. False: nothing was done. Else the
   * slot says what became of it; what is still DECIDING then is left to the coordinator, which was rung.
   */
  decide(slot: number, word: number): boolean {
    const { control, client } = this.#options;
    const { transactions } = control;
    const { lentLog } = transactions;
    if (!lentLog.take(client, DECISION_FRAME_BYTES)) return false;
    const file = this.#file.open(lentLog.segment);
    if (file === undefined) {
      lentLog.giveBack(client);
      return false;
    }
    transactions.preparedByAll(slot);
    faultPoint('all-prepared');
    const isLeft = this.#number(slot, word) && !this.#append(file, slot, word);
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
  #append(file: FileHandle, slot: number, word: number): boolean {
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
      file.write(frame, offset);
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

  /** Lets go of the file. It is opened again when it is wanted. */
  close(): void {
    this.#file.close();
  }
}
