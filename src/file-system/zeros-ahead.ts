/**
 * Keeps the file of a log longer than the log, by zeros. What is written into blocks that the file has
 * already changes none of the file system's own records, so the sync behind it does without the
 * journal (docs/ARCHITECTURE.md, "Waiting and waking").
 *
 * Invariants:
 * 1. Zeros are written behind the end of the log only, and the log goes on over them from its end on.
 *    So a file is the log, then zeros or nothing: who reads it takes zeros up to the end of the file
 *    for the end of the log.
 * 2. Nothing relies on zeros: whether they reach the medium, and whether what cuts them off does, makes
 *    no difference.
 * 3. They take no room from the log: it goes on in theirs. When there is none for them, what was written
 *    of them is cut off, and none are tried until the log has grown by as much.
 * 4. They are written after what is to be synced, in the same sync. A failure of the write other than for
 *    want of room is a failure of that sync.
 */
import { LightningError, NoSpaceError } from '../errors.js';
import type { FileHandle } from './file-system.js';

/** Zeros for so many syncs like the present one: their own sync is the slow one. */
const SYNCS_AHEAD = 64;
/** No fewer than these, and otherwise no more than there is log before them. */
const AHEAD_BYTES_MIN = 64 * 1024;
const AHEAD_BYTES_MAX = 1024 * 1024;
/** The file ends with a block. */
const BLOCK_BYTES = 4096;
/** When a sync has more log than this, writing everything twice gains nothing. */
const SYNC_BYTES_MAX = 64 * 1024;

const WINDOW_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(AHEAD_BYTES_MAX + BLOCK_BYTES);

export class ZerosAhead {
  readonly #file: FileHandle;
  readonly #fileBytesMax: number;
  /** Where the last zeros end. */
  #end = 0;
  /** None are written while the log ends before. */
  #from = 0;

  /** `fileBytesMax`: the log does not grow beyond. */
  constructor(file: FileHandle, fileBytesMax: number) {
    this.#file = file;
    this.#fileBytesMax = fileBytesMax;
  }

  /**
   * Called just before a sync of the log, which ends at `bytes` and was synced up to `syncedBytes`: the
   * zeros become durable along with it. What it throws, the log's own write could have thrown.
   */
  extend(bytes: number, syncedBytes: number): void {
    const syncBytes = bytes - syncedBytes;
    if (bytes <= this.#end || bytes < this.#from || syncBytes > SYNC_BYTES_MAX) return;
    const wanted = Math.min(SYNCS_AHEAD * syncBytes, bytes, AHEAD_BYTES_MAX);
    const blocks = Math.ceil((bytes + Math.max(wanted, AHEAD_BYTES_MIN)) / BLOCK_BYTES);
    const end = Math.min(blocks * BLOCK_BYTES, this.#fileBytesMax);
    if (end <= bytes) return;
    try {
      this.#file.write(ZEROS.subarray(0, end - bytes), bytes);
      this.#end = end;
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw error;
      this.#file.truncate(bytes);
      this.#from = end;
    }
  }

  /** The file was cut at the end of the log, for want of room. */
  wereCut(bytes: number): void {
    this.#end = bytes;
    this.#from = bytes + AHEAD_BYTES_MIN;
  }

  /** The log ends at `bytes`, for good as it seems: gives back the room. */
  trim(bytes: number): void {
    if (this.#end <= bytes) return;
    try {
      this.#file.truncate(bytes);
      this.wereCut(bytes);
    } catch (error) {
      // They do no harm where they are.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}

/** Whether nothing but zeros, or nothing, stands in the file from `offset` on. */
export function isZeroFrom(file: FileHandle, offset: number): boolean {
  const window = Buffer.allocUnsafe(WINDOW_BYTES);
  for (let at = offset; ; at += window.length) {
    const got = file.read(window, at);
    if (!areZeros(window.subarray(0, got))) return false;
    if (got < window.length) return true;
  }
}

/** Whether all of them are; also when there are none. */
export function areZeros(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const piece = bytes.subarray(at, at + ZEROS.length);
    if (Buffer.compare(piece, ZEROS.subarray(0, piece.length)) !== 0) return false;
  }
  return true;
}
