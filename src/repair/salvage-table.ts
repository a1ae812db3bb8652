/**
 * Reads what can be read of a damaged table, entry by entry in the order they stand in.
 *
 * With a good index every block is tried where the index says it is. Without one, blocks are found
 * by their own checksums, which hold only in their place: from the end of one, every end that its
 * trailer allows is tried for the next; where none fits, every later beginning. What is between two
 * blocks that were found is lost.
 */

import { JobBuffer, type JobMemory } from '../compaction/job-memory.js';
import { LightningError } from '../errors.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import * as layout from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo, TableRef } from '../sstable/table-info.js';
import { blockOffset, openTable, readSections, sectionBytes } from '../sstable/table-reader.js';
import type { RepairLoss } from './report.js';

const TRAILER_BYTES = layout.BLOCK_TRAILER_BYTES;
/** Room for a table's largest blocks; more means that the length is wrong. */
const RAW_BYTES_MAX = 192 * 1024 * 1024;
/** LZ4 makes no more of a byte. */
const LZ4_RATIO_MAX = 255;
/** Without an index: the longest block that is found, and how far behind a hole the next is looked for. */
const WINDOW_BYTES = 256 * 1024;
/** Behind a hole, where a block begins is not known: only blocks of usual sizes are looked for. */
const USUAL_STORED_BYTES = 16 * 1024;
const USUAL_RAW_BYTES = 64 * 1024;
const RAW_BYTES = 64 * 1024;
/** Vector loads may look this far behind a block. */
const SLACK_BYTES = 64;
const ENTRY_BYTES = 32;

/** Memory that salvages share: used by one block at a time. */
export interface SalvageMemory {
  readonly memory: JobMemory;
  readonly stored: JobBuffer;
  /** Where the kernel decodes an entry to. */
  readonly entry: number;
  /** Where it unpacks columns. */
  readonly columnsRoom: number;
}

export function salvageMemory(memory: JobMemory): SalvageMemory {
  return {
    memory,
    stored: new JobBuffer(memory, RAW_BYTES),
    entry: memory.allocate(ENTRY_BYTES),
    columnsRoom: memory.allocate(layout.COLUMNS_ROOM_BYTES),
  };
}

interface Place {
  readonly offset: number;
  readonly bytes: number;
}

export class TableSalvage {
  readonly losses: RepairLoss[] = [];
  readonly ref: TableRef;
  /** The entry that `next` moved to. Its value stands in the kernel's memory until the next call. */
  key: Buffer = Buffer.alloc(0);
  type = 0;
  sequence = 0;
  valueAddress = 0;
  valueBytes = 0;
  entries = 0;
  readonly #kernel: Kernel;
  readonly #shared: SalvageMemory;
  readonly #raw: JobBuffer;
  readonly #file: FileHandle;
  readonly #known: TableInfo | undefined;
  readonly #places: Iterator<Place>;
  #block = 0;
  #count = 0;
  #entry = 0;
  #hasKey = false;
  /** Where a stretch that is lost began, as long as no block has been read behind it. */
  #hole: { readonly offset: number; readonly from: Uint8Array | undefined } | undefined;

  /** `known`: what the manifest says of the table. Throws `IoError` for a file that is not there. */
  constructor(
    fs: FileSystem,
    kernel: Kernel,
    shared: SalvageMemory,
    ref: TableRef,
    known: TableInfo | undefined,
  ) {
    this.ref = ref;
    this.#kernel = kernel;
    this.#shared = shared;
    this.#known = known;
    this.#raw = new JobBuffer(shared.memory, RAW_BYTES);
    this.#file = fs.open(ref.path, 'r');
    const indexed = this.#indexedPlaces(fs);
    this.#places = indexed === undefined ? this.#searchedPlaces() : indexed.values();
  }

  close(): void {
    this.#file.close();
  }

  /** Moves to the next entry that can be read; false at the end. */
  next(): boolean {
    for (;;) {
      while (this.#entry < this.#count) {
        if (this.#decode(this.#entry++)) return true;
      }
      const { done, value: place } = this.#places.next();
      if (done === true) {
        this.#endHole(this.#known?.largest, true);
        return false;
      }
      this.#count = 0;
      this.#entry = 0;
      if (!this.#load(place)) this.#beginHole(place.offset);
      else this.#count = this.#kernel.exports.blockCount(this.#block);
    }
  }

  // ---- where blocks are ---------------------------------------------------------------

  #indexedPlaces(fs: FileSystem): Place[] | undefined {
    const { memory } = this.#shared;
    try {
      const table = openTable(fs, this.ref);
      try {
        const address = memory.allocate(sectionBytes(table, false));
        const meta = readSections(this.#kernel, table, { address, filter: false });
        const blocks = this.#kernel.u32[(meta + layout.T_BLOCKS) >>> 2] as number;
        return Array.from({ length: blocks }, (_, i) => {
          const offset = blockOffset(this.#kernel, meta, i);
          return { offset, bytes: blockOffset(this.#kernel, meta, i + 1) - offset };
        });
      } finally {
        table.file.close();
      }
    } catch (error) {
      if (error instanceof LightningError && error.code === 'LIGHTNING_CORRUPTION')
        return undefined;
      throw error;
    }
  }

  *#searchedPlaces(): Generator<Place> {
    const fileBytes = this.#file.size();
    const window = new Window(this.#kernel, this.#file, this.#shared.memory, this.ref.id);
    let at = 0;
    while (at < fileBytes) {
      const next = window.blockAt(at);
      // Filter, index and what follows are no blocks: all entries may have been found before.
      const isDone = this.entries > 0 && this.entries === this.#known?.entries;
      const place = next ?? (isDone ? undefined : window.blockBehind(at));
      if (place === undefined && isDone) return;
      if (next === undefined) this.#beginHole(at);
      if (place === undefined) return;
      yield place;
      at = place.offset + place.bytes;
    }
  }

  // ---- blocks -------------------------------------------------------------------------

  /** Reads a block and decompresses it into this salvage's own memory; false when it is bad. */
  #load({ offset, bytes }: Place): boolean {
    const { stored } = this.#shared;
    const kernel = this.#kernel;
    if (bytes <= TRAILER_BYTES || bytes > RAW_BYTES_MAX) return false;
    stored.reserve(bytes + SLACK_BYTES);
    const { address } = stored;
    if (this.#file.read(kernel.bytes.subarray(address, address + bytes), offset) < bytes)
      return false;
    const { exports } = kernel;
    if (exports.storedVerify(address, bytes, this.ref.id, offset) === 0) return false;
    const rawBytes = exports.storedRawBytes(address, bytes) >>> 0;
    if (rawBytes > RAW_BYTES_MAX || exports.storedIsPossible(address, bytes) === 0) return false;
    this.#raw.reserve(rawBytes + SLACK_BYTES);
    this.#block = this.#raw.address;
    return exports.storedUnpack(address, bytes, this.#block, this.#shared.columnsRoom) !== 0;
  }

  /** Decodes entry `i` of the block; false when it is out of order. */
  #decode(i: number): boolean {
    const { bytes, exports, u32 } = this.#kernel;
    const { entry } = this.#shared;
    const block = this.#block;
    exports.blockEntry(block, i, entry);
    const word = entry >>> 2;
    const prefix = exports.blockPrefixPtr(block) >>> 0;
    const suffix = u32[word] as number;
    const key = Buffer.concat([
      bytes.subarray(prefix, prefix + exports.blockPrefixLen(block)),
      bytes.subarray(suffix, suffix + (u32[word + 1] as number)),
    ]);
    const sequence = Number(this.#kernel.u64[(entry + 24) >>> 3]);
    const order = this.#hasKey ? Buffer.compare(this.key, key) : -1;
    if (order > 0 || (order === 0 && sequence >= this.sequence)) return false;
    this.#endHole(key, false);
    this.key = key;
    this.#hasKey = true;
    this.sequence = sequence;
    this.valueAddress = u32[word + 2] as number;
    this.valueBytes = u32[word + 3] as number;
    this.type = u32[word + 4] as number;
    this.entries++;
    return true;
  }

  // ---- what is lost -------------------------------------------------------------------

  #beginHole(offset: number): void {
    const from = this.#hasKey ? this.key : this.#known?.smallest;
    this.#hole ??= { offset, from };
  }

  #endHole(to: Uint8Array | undefined, isToIncluded: boolean): void {
    const hole = this.#hole;
    if (hole === undefined) return;
    this.#hole = undefined;
    this.losses.push({
      file: this.ref.path,
      offset: hole.offset,
      message: 'Blocks of a table cannot be read: their keys are missing, or have older values',
      ...(hole.from === undefined ? {} : { from: hole.from }),
      ...(to === undefined ? {} : { to, isToIncluded }),
    });
  }
}

/** A stretch of a file in the kernel's memory, in which blocks are looked for. */
class Window {
  readonly #kernel: Kernel;
  readonly #file: FileHandle;
  readonly #address: number;
  readonly #table: number;
  #start = 0;
  #end = 0;

  constructor(kernel: Kernel, file: FileHandle, memory: JobMemory, table: number) {
    this.#kernel = kernel;
    this.#file = file;
    this.#table = table;
    this.#address = memory.allocate(WINDOW_BYTES + SLACK_BYTES);
  }

  /** The block that begins at `at`. */
  blockAt(at: number): Place | undefined {
    this.#fill(at);
    for (let end = at + TRAILER_BYTES + 1; end <= this.#end; end++) {
      const stored = end - at - TRAILER_BYTES;
      const isPossible = this.#isPossible(this.#word(end - TRAILER_BYTES), stored);
      if (isPossible && this.#isBlock(at, end)) return { offset: at, bytes: end - at };
    }
    return undefined;
  }

  /** Whether a trailer that begins with the word may stand behind as many bytes. */
  #isPossible(word: number, stored: number): boolean {
    const rawBytes = rawBytesOf(word);
    if ((word & layout.STORED_COMPRESSED) === 0) return word === stored * 2;
    const most = isColumns(word) ? layout.COLUMNS_RAW_BYTES_MAX : stored * LZ4_RATIO_MAX;
    return rawBytes >= stored / 2 && rawBytes <= most;
  }

  /** The first block of a usual size that begins behind `hole`. */
  blockBehind(hole: number): Place | undefined {
    this.#fill(hole);
    for (let end = hole + TRAILER_BYTES + 2; end <= this.#end; end++) {
      const word = this.#word(end - TRAILER_BYTES);
      const rawBytes = rawBytesOf(word);
      if (rawBytes === 0 || rawBytes > USUAL_RAW_BYTES) continue;
      const start =
        (word & 1) === 0 ? this.#startOfPlain(end, rawBytes, hole) : this.#startOfPacked(end, hole);
      if (start !== undefined) return { offset: start, bytes: end - start };
    }
    return undefined;
  }

  /** An uncompressed block's length is in its trailer. */
  #startOfPlain(end: number, rawBytes: number, hole: number): number | undefined {
    const start = end - TRAILER_BYTES - rawBytes;
    return start > hole && this.#isBlock(start, end) ? start : undefined;
  }

  #startOfPacked(end: number, hole: number): number | undefined {
    const first = Math.max(hole + 1, end - TRAILER_BYTES - USUAL_STORED_BYTES);
    for (let start = first; start < end - TRAILER_BYTES; start++) {
      if (this.#isBlock(start, end)) return start;
    }
    return undefined;
  }

  #isBlock(start: number, end: number): boolean {
    const address = this.#address + (start - this.#start);
    const bytes = end - start - (TRAILER_BYTES - 4);
    return this.#kernel.exports.checksumVerify(address, bytes, this.#table, start) !== 0;
  }

  #word(at: number): number {
    return this.#kernel.bytes.readUInt32LE(this.#address + (at - this.#start));
  }

  #fill(at: number): void {
    const view = this.#kernel.bytes.subarray(this.#address, this.#address + WINDOW_BYTES);
    this.#start = at;
    this.#end = at + this.#file.read(view, at);
  }
}

function isColumns(word: number): boolean {
  return word >= layout.STORED_COLUMNS;
}

function rawBytesOf(word: number): number {
  return (isColumns(word) ? word - layout.STORED_COLUMNS : word) >>> 1;
}
