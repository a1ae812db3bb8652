/**
 * Reads the groups of one WAL segment, in order, at recovery.
 *
 * Zeros up to the end of the file are the end of the segment, as the end of the file is (the writer may
 * keep the file longer than the groups: zeros-ahead.ts).
 *
 * A group that is not what it should be ends the segment, too. Which end it is: a *torn tail*, when
 * nothing shows that the bytes were ever there (the last write before the death of process or
 * system; after that of the system, later groups may even be whole, since unsynced appends reach the
 * medium in any order); or *corruption*, when a later group is whole and the system has not gone down
 * since, or the group states that the medium held the bad place already. A torn tail is cut;
 * corruption is thrown. Both are so when the bad bytes are zeros with a group behind them.
 */
import { CorruptionError } from '../errors.js';
import type { FileHandle } from '../file-system/file-system.js';
import { isZeroFrom } from '../file-system/zeros-ahead.js';
import {
  type CheckGroup,
  decodeGroupHeader,
  decodeSegmentHeader,
  GROUP_HEADER_BYTES,
  GROUP_MAGIC,
  type GroupHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './segment-format.js';

/** Bytes searched at once for whole groups behind a bad one. */
const SEARCH_BYTES = 256 * 1024;

const MAGIC_BYTES = Buffer.alloc(4);
MAGIC_BYTES.writeUInt32LE(GROUP_MAGIC);

export interface SegmentReaderOptions {
  /** Groups are read to the start of this buffer; one that is larger is not a group. */
  readonly buffer: Uint8Array;
  readonly check: CheckGroup;
  /** This run of the system, as segment headers name it. Unknown: nothing is concluded from it. */
  readonly bootId?: number | undefined;
}

export interface Group extends GroupHeader {
  /** Where it stands in the segment. */
  readonly offset: number;
  /** Header and body. */
  readonly bytes: number;
}

export class SegmentReader {
  readonly header: SegmentHeader;
  #file: FileHandle;
  #buffer: Uint8Array;
  #check: CheckGroup;
  #bootId: number | undefined;
  #fileBytes: number;
  #offset = SEGMENT_HEADER_BYTES;
  #ended = false;
  #torn = false;

  /** Throws `CorruptionError` when the header is not whole. */
  constructor(file: FileHandle, options: SegmentReaderOptions) {
    const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
    const got = file.read(head, 0);
    this.header = decodeSegmentHeader(head.subarray(0, got), file.path);
    this.#file = file;
    this.#buffer = options.buffer;
    this.#check = options.check;
    this.#bootId = options.bootId;
    this.#fileBytes = file.size();
  }

  /** End of the last good group that `next` returned: where zeros or a torn tail begin after the last. */
  get offset(): number {
    return this.#offset;
  }

  /** Whether what follows `offset` is neither a group nor zeros. Known after `next` returned undefined. */
  get isTorn(): boolean {
    return this.#torn;
  }

  /** Whether the system has run on since the segment was written: what was appended is there. */
  get isOfThisBoot(): boolean {
    return this.#bootId !== undefined && this.header.bootId === this.#bootId;
  }

  /** Goes back, to read groups again from `offset` on. */
  seek(offset: number): void {
    this.#offset = offset;
    this.#ended = false;
    this.#torn = false;
  }

  /** The next group, its bytes at the start of the buffer; undefined at the end. */
  next(): Group | undefined {
    if (this.#ended || this.#offset >= this.#fileBytes) return undefined;
    const group = this.#groupAt(this.#offset);
    if (group === undefined) {
      this.#ended = true;
      this.#torn = !isZeroFrom(this.#file, this.#offset);
      if (this.#torn) this.#refuseRot(this.#offset);
      return undefined;
    }
    this.#offset += group.bytes;
    return group;
  }

  /** The group at `offset`, when it is whole and states at least `durableBytesMin`. */
  #groupAt(offset: number, durableBytesMin = 0): Group | undefined {
    const head = this.#buffer.subarray(0, GROUP_HEADER_BYTES);
    if (this.#file.read(head, offset) < GROUP_HEADER_BYTES) return undefined;
    const header = decodeGroupHeader(head);
    const bytes = GROUP_HEADER_BYTES + header.bodyBytes;
    if (bytes > this.#buffer.length || offset + bytes > this.#fileBytes) return undefined;
    if (header.durableBytes < durableBytesMin) return undefined;
    if (Buffer.compare(head.subarray(0, 4), MAGIC_BYTES) !== 0) return undefined;
    const body = this.#buffer.subarray(GROUP_HEADER_BYTES, bytes);
    if (this.#file.read(body, offset + GROUP_HEADER_BYTES) < body.length) return undefined;
    if (this.#check(this.#buffer, bytes, this.header.segment, offset) !== 'ok') return undefined;
    return { ...header, offset, bytes };
  }

  /** Throws when a later whole group proves that the bytes at `offset` had been another group. */
  #refuseRot(offset: number): void {
    const durableBytesMin = this.isOfThisBoot ? 0 : offset + 1;
    const window = Buffer.alloc(SEARCH_BYTES);
    let at = offset + 1;
    while (at + GROUP_HEADER_BYTES <= this.#fileBytes) {
      const got = this.#file.read(window, at);
      const searched = window.subarray(0, got);
      let found = searched.indexOf(MAGIC_BYTES);
      while (found >= 0) {
        if (this.#groupAt(at + found, durableBytesMin) !== undefined) {
          throw new CorruptionError('WAL group is damaged', {
            file: this.#file.path,
            offset,
            expected: 'a group: a later one proves that it was there',
          });
        }
        found = searched.indexOf(MAGIC_BYTES, found + 1);
      }
      if (got < SEARCH_BYTES) return;
      at += got - MAGIC_BYTES.length + 1;
    }
  }
}
