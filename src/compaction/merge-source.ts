/** One run as a merge reads it: table by table, in stretches of whole blocks. */

import { CorruptionError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import * as layout from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo, TableRef } from '../sstable/table-info.js';
import {
  blockOffset,
  type OpenTable,
  openTable,
  readSections,
  sectionBytes,
} from '../sstable/table-reader.js';
import { JobBuffer, type JobMemory } from './job-memory.js';

/** Bytes read at once, unless a block is longer. */
const CHUNK_BYTES = 512 * 1024;
const RAW_BYTES = 64 * 1024;
/** Room for an index that most tables need. */
const SECTIONS_BYTES = 64 * 1024;

export interface KeyRange {
  /** Inclusive. */
  readonly start?: Uint8Array | undefined;
  /** Exclusive. */
  readonly end?: Uint8Array | undefined;
}

/** A key range in the kernel's memory; `bytes` of -1 means no bound. */
export interface PlacedRange {
  readonly start: { readonly address: number; readonly bytes: number };
  readonly end: { readonly address: number; readonly bytes: number };
}

export interface SourceTable {
  readonly ref: TableRef;
  readonly info: TableInfo;
}

/** Those of the tables that have keys in the range, with what their footers say. */
export function surveyTables(
  fs: FileSystem,
  refs: readonly TableRef[],
  { start, end }: KeyRange,
): SourceTable[] {
  const tables: SourceTable[] = [];
  for (const ref of refs) {
    const { file, info } = openTable(fs, ref);
    file.close();
    if (start !== undefined && Buffer.compare(info.largest, start) < 0) continue;
    if (end !== undefined && Buffer.compare(info.smallest, end) >= 0) continue;
    tables.push({ ref, info });
  }
  return tables;
}

export class MergeSource {
  readonly #fs: FileSystem;
  readonly #kernel: Kernel;
  readonly #index: number;
  readonly #tables: readonly SourceTable[];
  readonly #range: PlacedRange;
  readonly #chunk: JobBuffer;
  readonly #sections: JobBuffer;
  readonly #raw: JobBuffer;
  /** Number of the next table to open. */
  #nextTable = 0;
  #table: OpenTable | undefined;
  #meta = 0;
  #nextBlock = 0;
  #endBlock = 0;

  constructor(
    fs: FileSystem,
    kernel: Kernel,
    memory: JobMemory,
    index: number,
    tables: readonly SourceTable[],
    range: PlacedRange,
  ) {
    this.#fs = fs;
    this.#kernel = kernel;
    this.#index = index;
    this.#tables = tables;
    this.#range = range;
    this.#chunk = new JobBuffer(memory, CHUNK_BYTES);
    this.#sections = new JobBuffer(memory, SECTIONS_BYTES);
    this.#raw = new JobBuffer(memory, RAW_BYTES);
    this.reserveRaw(RAW_BYTES);
  }

  /** Gives the kernel the next blocks, or tells it that there are none. */
  feed(): void {
    while (this.#nextBlock === this.#endBlock) {
      if (!this.#openNext()) {
        this.#kernel.exports.mergeEnd(this.#index);
        return;
      }
    }
    const kernel = this.#kernel;
    const table = this.#table as OpenTable;
    const first = this.#nextBlock;
    const from = blockOffset(kernel, this.#meta, first);
    let end = first + 1;
    let to = blockOffset(kernel, this.#meta, end);
    while (end < this.#endBlock) {
      const further = blockOffset(kernel, this.#meta, end + 1);
      if (further - from > CHUNK_BYTES) break;
      to = further;
      end++;
    }
    this.#chunk.reserve(to - from);
    const { address } = this.#chunk;
    const read = table.file.read(kernel.bytes.subarray(address, address + to - from), from);
    if (read !== to - from) {
      throw new CorruptionError('A table ended while it was read', {
        file: table.file.path,
        offset: from + read,
      });
    }
    kernel.exports.mergeFeed(this.#index, this.#meta, first, end - first, address);
    this.#nextBlock = end;
  }

  /** Makes room for decompressed blocks of that size. */
  reserveRaw(bytes: number): void {
    this.#raw.reserve(bytes);
    this.#kernel.exports.mergeRaw(this.#index, this.#raw.address, this.#raw.bytes);
  }

  /** Where a block of the current table is. */
  placeOf(block: number): { file: string; offset: number } {
    const table = this.#table as OpenTable;
    return { file: table.file.path, offset: blockOffset(this.#kernel, this.#meta, block) };
  }

  close(): void {
    this.#table?.file.close();
    this.#table = undefined;
  }

  #openNext(): boolean {
    this.close();
    const next = this.#tables[this.#nextTable];
    if (next === undefined) return false;
    this.#nextTable++;
    const kernel = this.#kernel;
    const table = openTable(this.#fs, next.ref);
    this.#table = table;
    this.#sections.reserve(sectionBytes(table, false));
    this.#meta = readSections(kernel, table, { address: this.#sections.address, filter: false });
    const { start, end } = this.#range;
    const { exports } = kernel;
    const find = (key: PlacedRange['start']): number =>
      exports.tableFindBlock(this.#meta, key.address, key.bytes);
    this.#nextBlock = start.bytes < 0 ? 0 : find(start);
    this.#endBlock =
      end.bytes < 0 ? (kernel.u32[(this.#meta + layout.T_BLOCKS) >>> 2] as number) : find(end) + 1;
    return true;
  }
}
