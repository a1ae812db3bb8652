/**
 * Appends sealed groups to one WAL segment.
 *
 * Guarantees:
 * - A new segment's header and name are durable before its first group is written.
 * - After `append` returned, the group is with the operating system (it survives the death of the
 *   process); after `sync` returned, it is on the medium.
 * - A write that fails for want of room is cut back to the last good end; the next one may succeed.
 *   Any other failure, and every failed sync, poisons the segment for good: what of it is on the
 *   medium is unknown, and only recovery can tell.
 * - Where each group is synced, zeros may follow the groups in the file (zeros-ahead.ts). They count for
 *   nothing: `bytes` and `durableBytes` are of groups, and a group is written at `bytes` whether zeros
 *   stand there or nothing. They are written by `sync` alone, so never between the groups of a chain.
 */
import { assert } from '../assert.js';
import { LightningError, NoSpaceError, ReadOnlyError } from '../errors.js';
import { shardFileName } from '../file-system/file-names.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import { ZerosAhead } from '../file-system/zeros-ahead.js';
import {
  encodeSegmentHeader,
  SEGMENT_BYTES_MAX,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './segment-format.js';

export interface SegmentPlace {
  readonly fs: FileSystem;
  readonly directory: string;
  /** Each group is synced: the file is kept longer than what is written. */
  readonly writesAhead: boolean;
}

export class SegmentWriter {
  readonly header: SegmentHeader;
  readonly path: string;
  #file: FileHandle;
  readonly #ahead: ZerosAhead | undefined;
  #bytes = SEGMENT_HEADER_BYTES;
  #durableBytes = SEGMENT_HEADER_BYTES;
  #cuts = 0;
  #durableCuts = 0;
  #poison: unknown;
  #isClosed = false;

  private constructor(file: FileHandle, header: SegmentHeader, writesAhead: boolean) {
    this.#file = file;
    this.#ahead = writesAhead ? new ZerosAhead(file, SEGMENT_BYTES_MAX) : undefined;
    this.path = file.path;
    this.header = header;
  }

  /** Creates the segment's file, durably. A file that was half made is removed again. */
  static create(place: SegmentPlace, header: SegmentHeader): SegmentWriter {
    const { fs, directory, writesAhead } = place;
    const path = `${directory}/${shardFileName('wal', header.segment)}`;
    const file = fs.open(path, 'create');
    try {
      file.write(encodeSegmentHeader(header), 0);
      file.datasync();
      fs.syncDirectory(directory);
      return new SegmentWriter(file, header, writesAhead);
    } catch (error) {
      file.close();
      remove(fs, path);
      throw error;
    }
  }

  get segment(): number {
    return this.header.segment;
  }

  /** Where the next group goes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Everything before this offset is on the medium. */
  get durableBytes(): number {
    return this.#durableBytes;
  }

  /** Also after a cut: what was cut off may be back after a power loss. */
  get isDirty(): boolean {
    return this.#durableBytes < this.#bytes || this.#durableCuts < this.#cuts;
  }

  /** Whether the segment refuses everything since a failure that only recovery can sort out. */
  get isPoisoned(): boolean {
    return this.#poison !== undefined;
  }

  /** Appends a sealed group. `NoSpaceError`: nothing was appended, try again later. */
  append(group: Uint8Array): void {
    this.#checkPoison();
    try {
      this.#file.write(group, this.#bytes);
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw this.#poisoned(error);
      this.cutBack(this.#bytes);
      throw error;
    }
    this.#bytes += group.length;
  }

  /** Others have appended whole groups up to `bytes` through a handle of their own. */
  adopt(bytes: number): void {
    assert(bytes >= this.#bytes, 'a segment only grows');
    this.#bytes = bytes;
  }

  /** A write that others made has failed: what of it is on the medium is unknown. */
  poisonWith(error: unknown): void {
    this.#poison ??= error;
  }

  /** Takes back what was appended at and after `bytes`, none of which was acknowledged or synced. */
  cutBack(bytes: number): void {
    try {
      this.#file.truncate(bytes);
    } catch (error) {
      throw this.#poisoned(error);
    }
    this.#ahead?.wereCut(bytes);
    this.#cuts++;
    this.#bytes = bytes;
    this.#durableBytes = Math.min(this.#durableBytes, bytes);
  }

  /** Makes every appended group durable (one fdatasync). */
  sync(): void {
    this.#checkPoison();
    if (!this.isDirty) return;
    const bytes = this.#bytes;
    const cuts = this.#cuts;
    try {
      this.#ahead?.extend(bytes, this.#durableBytes);
      this.#file.datasync();
    } catch (error) {
      throw this.#poisoned(error);
    }
    this.#durableBytes = bytes;
    this.#durableCuts = cuts;
  }

  /**
   * As `sync`, without holding up the thread: what was appended before the call is durable when it
   * resolves. A segment that was closed meanwhile is durable, or not needed any more.
   */
  async syncLater(): Promise<void> {
    if (this.#isClosed) return;
    this.#checkPoison();
    if (!this.isDirty) return;
    const bytes = this.#bytes;
    const cuts = this.#cuts;
    try {
      await this.#file.datasyncLater();
    } catch (error) {
      throw this.#poisoned(error);
    }
    this.#durableBytes = Math.max(this.#durableBytes, bytes);
    this.#durableCuts = Math.max(this.#durableCuts, cuts);
  }

  /** No groups come for now: gives back what the file is longer than they are. */
  trim(): void {
    if (!this.isPoisoned) this.#ahead?.trim(this.#bytes);
  }

  close(): void {
    this.trim();
    this.#isClosed = true;
    this.#file.close();
  }

  #poisoned(error: unknown): unknown {
    this.#poison = error;
    return error;
  }

  #checkPoison(): void {
    if (this.#poison === undefined) return;
    throw new ReadOnlyError(
      `Cannot write to "${this.path}": an earlier write or sync failed; reopen the database to recover`,
      { cause: this.#poison, details: { path: this.path } },
    );
  }
}

/**
 * Also after a sync has failed: a name of which nobody knows whether it is on the medium must not be
 * found by the next open, which would rely on it.
 */
function remove(fs: FileSystem, path: string): void {
  try {
    fs.unlink(path);
  } catch (error) {
    // Nothing was written behind its header.
    if (!(error instanceof LightningError)) throw error;
  }
}
