/** A piece of input in a text area of the load's memory, read on from its file as far as needed. */

import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TextPiece } from './load-jobs.js';
import { type LoadLayout, textAddress } from './load-memory.js';

const NEWLINE = 0x0a;
/** What is read beyond the piece at first: most last records end there. */
const TAIL_BYTES = 64 * 1024;
/** A vector load at the end must stay inside of the area. */
const SLACK_BYTES = 64;

export class TextWindow {
  readonly #kernel: Kernel;
  readonly #piece: TextPiece;
  readonly #base: number;
  readonly #capacity: number;
  readonly #file: FileHandle | undefined;
  readonly #fileBytes: number;
  #loaded: number;

  constructor(fs: FileSystem, kernel: Kernel, layout: LoadLayout, piece: TextPiece) {
    this.#kernel = kernel;
    this.#piece = piece;
    this.#base = textAddress(layout, piece.text);
    this.#capacity = layout.textBytes - SLACK_BYTES;
    this.#loaded = piece.loaded;
    this.#file = piece.path === undefined ? undefined : fs.open(piece.path, 'r');
    this.#fileBytes = this.#file?.size() ?? 0;
    if (this.#file !== undefined) this.#fill(piece.stop - piece.offset + TAIL_BYTES);
  }

  /** Bytes in the area. */
  get loaded(): number {
    return this.#loaded;
  }

  /** Address behind the last byte. */
  get end(): number {
    return this.#base + this.#loaded;
  }

  /** Whether the input ends where the text does. */
  get isFinal(): boolean {
    if (this.#file === undefined) return this.#piece.final;
    return this.#piece.offset + this.#loaded >= this.#fileBytes;
  }

  addressOf(place: number): number {
    return this.#base + Math.min(place - this.#piece.offset, this.#capacity);
  }

  placeOf(address: number): number {
    return address - this.#base + this.#piece.offset;
  }

  /** Reads more; false when there is no more, or no room for it. */
  grow(): boolean {
    const before = this.#loaded;
    if (this.#file === undefined || this.isFinal) return false;
    this.#fill(this.#loaded * 2 + TAIL_BYTES);
    return this.#loaded > before;
  }

  /**
   * Address of the first record; undefined when none begins in the piece. `quotes`: newlines between
   * quotation marks do not end a record.
   */
  findFirst(quotes: boolean): number | undefined {
    const { first, inQuotes, offset, stop } = this.#piece;
    if (first !== undefined) return this.addressOf(first);
    const { exports } = this.#kernel;
    const start = this.addressOf(offset);
    const end = Math.min(this.end, this.addressOf(stop));
    if (quotes) {
      const found = exports.textFindRecord(start, end, inQuotes ? 1 : 0) >>> 0;
      return found === 0 ? undefined : found;
    }
    const newline = exports.textFind(start, end, NEWLINE) >>> 0;
    return newline < end ? newline + 1 : undefined;
  }

  /** Newlines in a stretch of the text. */
  linesBetween(start: number, end: number): number {
    return this.#kernel.exports.textCount(start, end - start, NEWLINE);
  }

  /** Text of a record, for reports: its first bytes, without the end of the line. */
  excerpt(start: number, end: number, bytesMax: number): string {
    const text = this.#kernel.bytes.toString('utf8', start, Math.min(end, start + bytesMax));
    return text.replace(/\r?\n$/, '');
  }

  close(): void {
    this.#file?.close();
  }

  #fill(wanted: number): void {
    if (this.#file === undefined) return;
    const bytes = Math.min(wanted, this.#capacity);
    if (bytes <= this.#loaded) return;
    const target = this.#kernel.bytes.subarray(this.#base + this.#loaded, this.#base + bytes);
    this.#loaded += this.#file.read(target, this.#piece.offset + this.#loaded);
  }
}
