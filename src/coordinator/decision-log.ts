/**
 * The coordinator's log: the decisions of commits over several shards, and durability marks.
 *
 * A decision in the log is the commit point of its transaction. A mark `y` says: every commit with a
 * sequence up to `y`, on every shard, is on the medium, and so is every decision that it needs.
 *
 * Guarantees:
 * - Each segment starts with what is still needed of those before it, and gets its name when that is
 *   durable: only the newest segment counts, and older ones are garbage.
 * - When `appendDecisions` returned, the decisions survive the death of the process; with `isSync`,
 *   the loss of power. When it threw `NoSpaceError` nothing was appended; after anything else the
 *   outcome is unknown until the database is opened again, and nothing more is appended.
 * - A mark that was appended is durable, and the newest mark of the log is the one in force.
 * - While nobody here uses the log, clients may append decisions to it (`lendTo`, router/lent-log.ts). What
 *   they appended is taken up before anything else is done.
 * - In a run that syncs its decisions, zeros may follow the frames in the file (zeros-ahead.ts). They
 *   count for nothing.
 *
 * Opening takes two steps, so that a crash between them changes nothing. `open` reads. When nothing
 * has to be cut, it sees to it that the shards' logs are durable and starts a segment that says so.
 * When the power failed, nothing is written before every shard has cut its log (`cutSequence`) and
 * `settle` is called: until then, each open comes to the same cut.
 */
import { CorruptionError, LightningError, NoSpaceError, ReadOnlyError } from '../errors.js';
import { faultPoint } from '../faults.js';
import { Ballast } from '../file-system/ballast.js';
import { TEMPORARY_SUFFIX } from '../file-system/file-names.js';
import { type FileHandle, type FileSystem, fileError } from '../file-system/file-system.js';
import { ZerosAhead } from '../file-system/zeros-ahead.js';
import type { IsAlive } from '../kernel/latch.js';
import type { LentLog } from '../router/lent-log.js';
import {
  type Decision,
  decodeFrame,
  encodeDecisions,
  encodeLogHeader,
  encodeMark,
  encodeRetained,
  type FramePlace,
  frameAt,
  LOG_HEADER_BYTES,
  MARK_EVERYTHING,
} from './log-format.js';
import {
  type LogContents,
  listLogSegments,
  logSegmentName,
  powerLossCut,
  readDecisionLog,
} from './log-reader.js';

/** A segment that has grown to this is replaced by a new one. */
const SEGMENT_BYTES_MAX = 4 * 1024 * 1024;
/** What clients may append before it is taken up: some milliseconds of work. */
const LENT_BYTES_MAX = 64 * 1024;

export interface DecisionLogOptions {
  readonly fs: FileSystem;
  /** The coordinator's directory. */
  readonly directory: string;
  readonly databaseId: string;
  /** Random, new at each open of the database, the same when a coordinator takes another's place. */
  readonly bootId: number;
  readonly systemIdentity: Buffer;
  /** Every commit of this run is synced before it is acknowledged. */
  readonly isSyncRun: boolean;
  /** Makes durable what the shards' logs hold; called when a log of an earlier run is found whole. */
  readonly syncShards: () => void;
  readonly segmentBytesMax?: number;
  /** Nothing is appended any more. */
  readonly onPoison?: (error: unknown) => void;
  /** A segment is full: a barrier would let decisions be forgotten. */
  readonly onFull?: () => void;
}

export interface LogLending {
  readonly lentLog: LentLog;
  readonly isAlive: IsAlive;
  /** A client left a decision in the middle: it is to be decided again, before anything else is. */
  readonly onLeft: () => void;
}

export class DecisionLog {
  /** Grows with each open of the database: the upper part of transaction ids. */
  readonly openCounter: number;
  /** The shards drop every commit above it before they serve; undefined: nothing was lost. */
  readonly cutSequence: number | undefined;
  readonly #options: DecisionLogOptions;
  readonly #decisions: Map<number, Decision>;
  readonly #ballast: Ballast;
  #file: FileHandle | undefined;
  #ahead: ZerosAhead | undefined;
  /** Number of the newest segment. */
  #segment: number;
  #bytes = 0;
  #durableBytes = 0;
  /** At this size the segment is full. */
  #rotateBytes: number;
  /** `onFull` was called about this segment. */
  #isFullTold = false;
  #mark: number;
  #poison: unknown;
  #lending: LogLending | undefined;
  #isLent = false;
  /** How many uses are under way. */
  #holds = 0;

  private constructor(
    options: DecisionLogOptions,
    found: LogContents | undefined,
    cutSequence: number | undefined,
  ) {
    const isSameRun = found?.header.bootId === options.bootId;
    const openCounter = found?.header.openCounter ?? 0;
    this.#options = options;
    this.#ballast = new Ballast(options.fs, options.directory);
    this.openCounter = isSameRun ? openCounter : openCounter + 1;
    this.cutSequence = cutSequence;
    this.#decisions = decisionsUpTo(found?.decisions, cutSequence);
    this.#segment = found?.header.segment ?? 0;
    this.#rotateBytes = this.#segmentBytesMax;
    // While shards run, the mark of the coordinator before this one stays in force.
    this.#mark = isSameRun ? (found as LogContents).mark : MARK_EVERYTHING;
  }

  static open(options: DecisionLogOptions): DecisionLog {
    const { fs, directory, databaseId, bootId, systemIdentity } = options;
    // The names that are relied on from here must not go away again.
    fs.syncDirectory(directory);
    deleteUnfinished(fs, directory);
    const found = readDecisionLog(fs, directory, databaseId);
    const cutSequence = powerLossCut(found, systemIdentity);
    const log = new DecisionLog(options, found, cutSequence);
    if (cutSequence === undefined) {
      if (found?.header.bootId !== bootId) options.syncShards();
      log.#startSegment();
    }
    return log;
  }

  /** Decisions that may still be needed, by transaction id, in the order of their sequences. */
  get decisions(): ReadonlyMap<number, Decision> {
    return this.#decisions;
  }

  /** The mark in force. */
  get mark(): number {
    return this.#mark;
  }

  get segment(): number {
    return this.#segment;
  }

  /** What clients have appended is counted. */
  get bytes(): number {
    const { lentLog } = this.#lending ?? {};
    return this.#isLent && lentLog !== undefined ? lentLog.bytes : this.#bytes;
  }

  /** Why nothing is appended any more; undefined while it is. */
  get poison(): unknown {
    return this.#poison;
  }

  /** Every shard has recovered, durably, and holds commits up to `sequence`. Before anything is served. */
  async settle(sequence: number): Promise<void> {
    if (this.#file === undefined) {
      this.#mark = sequence;
      this.#startSegment();
    } else {
      await this.appendMark(sequence);
    }
  }

  // ---- lending ------------------------------------------------------------------------

  /** From now on the log is lent to clients while it is not held. */
  lendTo(lending: LogLending): void {
    this.#lending = lending;
    if (this.#holds === 0) this.#offer();
  }

  stopLending(): void {
    this.hold();
    this.#lending = undefined;
    this.letGo();
  }

  /** Nobody else decides, or appends, until `letGo`. What clients have appended is taken up. */
  hold(): void {
    if (this.#holds++ === 0) this.#takeBack();
  }

  letGo(): void {
    if (--this.#holds === 0) this.#offer();
  }

  /** What clients have appended is taken up, and what one that died has left in the middle is decided. */
  takeUp(): void {
    this.hold();
    this.letGo();
  }

  #held<T>(use: () => T): T {
    this.hold();
    try {
      return use();
    } finally {
      this.letGo();
    }
  }

  #offer(): void {
    const lending = this.#lending;
    if (lending === undefined || this.#file === undefined || this.#poison !== undefined) return;
    this.#isLent = true;
    lending.lentLog.offer({
      segment: this.#segment,
      bytes: this.#bytes,
      durableBytes: this.#durableBytes,
      limitBytes: Math.min(this.#rotateBytes, this.#bytes + LENT_BYTES_MAX),
    });
  }

  #takeBack(): void {
    const lending = this.#lending;
    if (!this.#isLent || lending === undefined) return;
    const { lentLog, isAlive, onLeft } = lending;
    this.#isLent = false;
    const isWhole = lentLog.takeBack(isAlive);
    this.#adopt(lentLog.bytes);
    const { failure } = lentLog;
    if (failure !== undefined) {
      this.#poisoned(fileError({ code: failure }, 'write', this.#file?.path ?? ''));
    }
    if (!isWhole) onLeft();
  }

  /** Takes up the decisions that clients have appended up to `end`. */
  #adopt(end: number): void {
    const start = this.#bytes;
    if (end === start || this.#file === undefined) return;
    const { path } = this.#file;
    try {
      const bytes = Buffer.allocUnsafe(end - start);
      const length = this.#file.read(bytes, start);
      while (this.#bytes < end) {
        const frame = frameAt(bytes.subarray(0, length), this.#segment, this.#bytes, start);
        const content = frame && decodeFrame(frame, path, this.#bytes);
        if (frame === undefined || content?.kind !== 'decision') {
          throw new CorruptionError('What was written to the coordinator log cannot be read back', {
            file: path,
            offset: this.#bytes,
          });
        }
        this.#decisions.set(content.decision.id, content.decision);
        this.#bytes += frame.bytes;
      }
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      // They are in force, and would be forgotten with the segment.
      this.#poisoned(error);
    }
  }

  // ---- what is appended ---------------------------------------------------------------

  /** Their transactions take place from now on. See the head of this file for what may go wrong. */
  appendDecisions(decisions: readonly Decision[], isSync: boolean): void {
    this.#held(() => {
      const file = this.#writable();
      this.#append(file, (place) => encodeDecisions(decisions, place));
      // Also before the sync: if that fails, they may be in force all the same.
      for (const decision of decisions) this.#decisions.set(decision.id, decision);
      faultPoint('decision-appended');
      if (isSync) this.sync();
      this.#rotateIfFull();
    });
  }

  /** Makes every decision appended so far durable. A failure poisons the log. */
  sync(): void {
    this.#held(() => this.#sync());
  }

  #sync(): void {
    const file = this.#writable();
    if (this.#durableBytes === this.#bytes) return;
    const bytes = this.#bytes;
    try {
      this.#ahead?.extend(bytes, this.#durableBytes);
      file.datasync();
    } catch (error) {
      throw this.#poisoned(error);
    }
    this.#durableBytes = bytes;
  }

  /**
   * Every commit up to `sequence` is on the medium. Resolves when the mark is, too: from then on it
   * is in force. The thread is not held up by the sync.
   */
  async appendMark(sequence: number): Promise<void> {
    const { file, bytes } = this.#held(() => {
      const segment = this.#writable();
      this.#appendMarkFrame(segment, sequence);
      this.#mark = sequence;
      return { file: segment, bytes: this.#bytes };
    });
    try {
      await file.datasyncLater();
    } catch (error) {
      this.#poisoned(error);
      // It was lent meanwhile: from now on it is not.
      this.takeUp();
      throw error;
    }
    if (this.#file === file) this.#durableBytes = Math.max(this.#durableBytes, bytes);
    if (this.#isFull && this.#bytes >= 2 * this.#rotateBytes) this.#held(() => this.#tryRotate());
  }

  /**
   * The decisions up to `sequence` are not needed any more: every participant has applied them, and
   * what it wrote about that is durable. A full segment is left for one that begins without them.
   */
  forget(sequence: number): void {
    this.#held(() => {
      for (const [id, decision] of this.#decisions) {
        if (decision.sequence > sequence) break;
        this.#decisions.delete(id);
      }
      if (this.#isFull) this.#tryRotate();
    });
  }

  /** Goes on in a new segment. `NoSpaceError`: goes on in the old one. */
  rotate(): void {
    this.#held(() => {
      this.#writable();
      this.#startSegment();
    });
  }

  /** Nothing is to be decided any more: gives back what the file is longer than the frames. */
  trim(): void {
    this.#held(() => {
      if (this.#poison === undefined) this.#ahead?.trim(this.#bytes);
    });
  }

  close(): void {
    this.stopLending();
    this.#file?.close();
    this.#file = undefined;
    this.#poison ??= new ReadOnlyError('The coordinator log is closed');
  }

  #append(file: FileHandle, encode: (place: FramePlace) => Buffer): void {
    const bytes = encode({
      segment: this.#segment,
      offset: this.#bytes,
      durableBytes: this.#durableBytes,
    });
    try {
      file.write(bytes, this.#bytes);
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw this.#poisoned(error);
      this.#cutBack(file);
      throw error;
    }
    this.#bytes += bytes.length;
  }

  /** Tables wait for a mark, and room for tables: for it, there is ballast. */
  #appendMarkFrame(file: FileHandle, sequence: number): void {
    const encode = (place: FramePlace): Buffer => encodeMark(sequence, place);
    try {
      this.#append(file, encode);
      this.#ballast.fill();
    } catch (error) {
      const isFull = error instanceof NoSpaceError && this.#poison === undefined;
      if (!isFull || !this.#ballast.release()) throw error;
      this.#append(file, encode);
    }
  }

  /**
   * Takes a part of a frame away again, so that nothing whole comes to stand behind it. All of it may have
   * been written, and its decision is refused now: where marks do not keep it from coming back after a
   * power loss, what takes it away is durable.
   */
  #cutBack(file: FileHandle): void {
    try {
      file.truncate(this.#bytes);
      if (this.#options.isSyncRun) file.datasync();
    } catch (error) {
      throw this.#poisoned(error);
    }
    this.#ahead?.wereCut(this.#bytes);
  }

  get #segmentBytesMax(): number {
    return this.#options.segmentBytesMax ?? SEGMENT_BYTES_MAX;
  }

  get #isFull(): boolean {
    return this.#bytes >= this.#rotateBytes && this.#poison === undefined;
  }

  /** Lets decisions be forgotten first, so that they need not be carried over; not for ever. */
  #rotateIfFull(): void {
    if (!this.#isFull) return;
    const { onFull } = this.#options;
    if (onFull !== undefined && !this.#isFullTold) {
      this.#isFullTold = true;
      onFull();
    }
    if (onFull === undefined || this.#bytes >= 2 * this.#rotateBytes) this.#tryRotate();
  }

  #tryRotate(): void {
    const max = this.#segmentBytesMax;
    this.#isFullTold = false;
    try {
      this.#startSegment();
      // When most of it had to be carried over, the next try is far enough away.
      this.#rotateBytes = Math.max(max, this.#bytes * 2);
    } catch (error) {
      if (!(error instanceof NoSpaceError) || this.#poison !== undefined) throw error;
      this.#rotateBytes = this.#bytes + max;
    }
  }

  /** Starts a segment with what is in force. It counts from its rename on. */
  #startSegment(): void {
    const { fs, directory } = this.#options;
    const segment = this.#segment + 1;
    const path = `${directory}/${logSegmentName(segment)}`;
    const content = this.#firstFrames(segment);
    const temporary = `${path}${TEMPORARY_SUFFIX}`;
    let file: FileHandle | undefined;
    try {
      file = fs.open(temporary, 'create');
      file.write(content, 0);
      file.datasync();
    } catch (error) {
      file?.close();
      // Nothing has its name yet, so the old segment goes on, unless the disk is broken.
      if (!(error instanceof NoSpaceError) && this.#file !== undefined) throw this.#poisoned(error);
      throw error;
    }
    try {
      fs.rename(temporary, path);
      fs.syncDirectory(directory);
    } catch (error) {
      file.close();
      throw this.#poisoned(error);
    }
    this.#file?.close();
    this.#file = file;
    const bytesMax = 2 * this.#segmentBytesMax;
    this.#ahead = this.#options.isSyncRun ? new ZerosAhead(file, bytesMax) : undefined;
    this.#segment = segment;
    this.#bytes = content.length;
    this.#durableBytes = content.length;
    deleteOlder(fs, directory, segment);
  }

  /** Header, mark and decisions. */
  #firstFrames(segment: number): Buffer {
    const { bootId, databaseId, systemIdentity, isSyncRun } = this.#options;
    const frames: Buffer[] = [];
    let offset = LOG_HEADER_BYTES;
    const add = (encode: (place: FramePlace) => Buffer): void => {
      const frame = encode({ segment, offset, durableBytes: 0 });
      offset += frame.length;
      frames.push(frame);
    };
    add((place) => encodeMark(this.#mark, place));
    for (const decision of this.#decisions.values()) {
      add((place) => encodeRetained(decision, place));
    }
    const header = encodeLogHeader({
      segment,
      openCounter: this.openCounter,
      bootId,
      databaseId,
      systemIdentity,
      isSyncRun,
      bornBytes: offset,
    });
    return Buffer.concat([header, ...frames]);
  }

  #writable(): FileHandle {
    if (this.#poison === undefined && this.#file !== undefined) return this.#file;
    throw refusal(this.#poison);
  }

  #poisoned(error: unknown): unknown {
    if (this.#poison === undefined) {
      this.#poison = error;
      this.#options.onPoison?.(error);
    }
    return error;
  }
}

function refusal(cause: unknown): LightningError {
  return new ReadOnlyError(
    'Nothing is written to the coordinator log since a write or sync of it failed; reopen the database to recover',
    { cause },
  );
}

/** A commit above the cut takes place nowhere. */
function decisionsUpTo(
  decisions: ReadonlyMap<number, Decision> = new Map(),
  cutSequence = Number.POSITIVE_INFINITY,
): Map<number, Decision> {
  return new Map([...decisions].filter(([, { sequence }]) => sequence <= cutSequence));
}

function deleteUnfinished(fs: FileSystem, directory: string): void {
  for (const name of fs.readdir(directory)) {
    if (name.endsWith(`.log${TEMPORARY_SUFFIX}`)) fs.unlink(`${directory}/${name}`);
  }
}

/** Segments before the newest are garbage; what cannot be deleted now is deleted at the next open. */
function deleteOlder(fs: FileSystem, directory: string, newest: number): void {
  try {
    for (const segment of listLogSegments(fs, directory)) {
      if (segment < newest) fs.unlink(`${directory}/${logSegmentName(segment)}`);
    }
  } catch (error) {
    // A file too many does no harm.
    if (!(error instanceof LightningError)) throw error;
  }
}
