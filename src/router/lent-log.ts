/**
 * The coordinator's log, lent: while the coordinator does not use it, a client that holds all participants
 * of a commit decides that commit itself (direct-decision.ts), and wakes nobody. What goes along stands
 * here, in the transaction table, beside the latch (kernel/latch.ts).
 *
 * Invariants:
 * 1. Decisions are made, and the log is written, only by whoever has the latch: so numbers and frames have
 *    one order, and `decidingMin` one writer. The coordinator has it whenever it uses its log.
 * 2. A client does all of it before it gives the latch back: number, DECIDING, frame, `bytes`, COMMITTED.
 *    So who takes it back finds every decision that has a number in the log, up to `bytes`, or learns that
 *    one was left in the middle (`isLeft`, or a dead holder) and decides that one again, under its number,
 *    before anything else is written (decision-loop.ts).
 * 3. The holder holds shards, too; it waits for nothing but its write to the file. Who waits for this latch
 *    holds no shard.
 * 4. It is lent only where the system tells of a thread's end: nobody but the coordinator could tell it.
 *    The slot of a client that has died is not given to another thread before the log was taken back.
 */
import {
  giveBackAt,
  type IsAlive,
  isHeldAt,
  offerAt,
  takeAt,
  takeBackAt,
  yieldAt,
} from '../kernel/latch.js';

const LATCH = 0;
const LEFT = 4;
const SEGMENT = 8;
const BYTES = 16;
const DURABLE_BYTES = 24;
const LIMIT_BYTES = 32;
const ERRNO = 40;
const ERRNO_BYTES = 24;

/** A decision is left DECIDING. `FAILED`: what is in the log behind `bytes` is unknown for good. */
const LEFT_NOTHING = 0;
const LEFT_DECIDING = 1;
const LEFT_FAILED = 2;

export interface LentLogTerms {
  readonly segment: number;
  /** Where the next frame goes. */
  readonly bytes: number;
  /** Up to here the segment is on the medium. */
  readonly durableBytes: number;
  /** What would end behind this is the coordinator's. */
  readonly limitBytes: number;
}

export class LentLog {
  static readonly BYTES = ERRNO + ERRNO_BYTES;
  readonly #i32: Int32Array;
  readonly #f64: Float64Array;
  readonly #errno: Buffer;
  readonly #base: number;
  readonly #latch: number;

  constructor(buffer: SharedArrayBuffer, base: number) {
    this.#i32 = new Int32Array(buffer);
    this.#f64 = new Float64Array(buffer);
    this.#errno = Buffer.from(buffer, base + ERRNO, ERRNO_BYTES);
    this.#base = base;
    this.#latch = (base + LATCH) >>> 2;
  }

  // ---- the coordinator ----------------------------------------------------------------

  /** From here on the log is anybody's, until `takeBack`. */
  offer(terms: LentLogTerms): void {
    const base = this.#base;
    this.#i32[(base + LEFT) >>> 2] = LEFT_NOTHING;
    this.#f64[(base + SEGMENT) >>> 3] = terms.segment;
    this.#f64[(base + BYTES) >>> 3] = terms.bytes;
    this.#f64[(base + DURABLE_BYTES) >>> 3] = terms.durableBytes;
    this.#f64[(base + LIMIT_BYTES) >>> 3] = terms.limitBytes;
    offerAt(this.#i32, this.#latch);
  }

  /**
   * The log is the coordinator's again; waits for a client that is writing. False: that client has died,
   * or left a decision in the middle.
   */
  takeBack(isAlive: IsAlive): boolean {
    const isWhole = takeBackAt(this.#i32, this.#latch, isAlive);
    return isWhole && this.#i32[(this.#base + LEFT) >>> 2] === LEFT_NOTHING;
  }

  /** The system's code of an error after which nothing may be appended; undefined: there was none. */
  get failure(): string | undefined {
    if (this.#i32[(this.#base + LEFT) >>> 2] !== LEFT_FAILED) return undefined;
    return this.#errno.toString('latin1').split('\0')[0];
  }

  // ---- clients ------------------------------------------------------------------------

  /** Takes the log, if it is on offer and has room for a frame of so many bytes. */
  take(client: number, frameBytes: number): boolean {
    if (!takeAt(this.#i32, this.#latch, client)) return false;
    if (this.bytes + frameBytes <= (this.#f64[(this.#base + LIMIT_BYTES) >>> 3] as number)) {
      return true;
    }
    this.giveBack(client);
    return false;
  }

  get segment(): number {
    return this.#f64[(this.#base + SEGMENT) >>> 3] as number;
  }

  get bytes(): number {
    return this.#f64[(this.#base + BYTES) >>> 3] as number;
  }

  get durableBytes(): number {
    return this.#f64[(this.#base + DURABLE_BYTES) >>> 3] as number;
  }

  /** A frame is in the log. */
  appended(frameBytes: number): void {
    this.#f64[(this.#base + BYTES) >>> 3] = this.bytes + frameBytes;
  }

  isHeldBy(client: number): boolean {
    return isHeldAt(this.#i32, this.#latch, client);
  }

  giveBack(client: number): void {
    giveBackAt(this.#i32, this.#latch, client);
  }

  /**
   * Leaves a commit DECIDING to the coordinator, which has to be rung. `errno`: for that the log takes no
   * more; without it, there was no room.
   */
  leave(errno?: string): void {
    this.#errno.fill(0);
    if (errno !== undefined) this.#errno.write(errno, 0, ERRNO_BYTES - 1, 'latin1');
    this.#i32[(this.#base + LEFT) >>> 2] = errno === undefined ? LEFT_DECIDING : LEFT_FAILED;
    yieldAt(this.#i32, this.#latch);
  }
}
