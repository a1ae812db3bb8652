/** Reads a whole table and checks everything that a reader relies on. */

import { type BlobReference, decodeBlobReference } from '../blob/blob-file.js';
import { IoError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import * as job from '../kernel/assembly/job-layout.js';
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
import { JobBuffer, JobMemory } from './job-memory.js';
import { type Problem, problemOf } from './problem.js';
import type { ReadCount } from './read-count.js';

/** An entry whose value is in a blob file. */
export interface BlobEntry {
  readonly key: Uint8Array;
  readonly sequence: number;
  readonly reference: BlobReference;
}

export interface TableVerification {
  readonly problems: readonly Problem[];
  /**
   * How much of the table is bad: only its filter, some blocks, or what is needed to find any.
   * Undefined: nothing.
   */
  readonly extent: 'filter' | 'blocks' | 'table' | undefined;
  readonly blobs: readonly BlobEntry[];
  /** Blocks and entries that were read. */
  readonly blocks: number;
  readonly entries: number;
}

const CHUNK_BYTES = 1024 * 1024;
const RAW_BYTES = 64 * 1024;
/** A rotten table is not listed block by block to the end. */
const PROBLEMS_MAX = 100;

const MESSAGES: ReadonlyMap<number, string> = new Map([
  [job.VERIFY_CHECKSUM, 'The checksum of a block is wrong'],
  [job.VERIFY_COMPRESSION, 'A block cannot be decompressed'],
  [job.VERIFY_MALFORMED, 'A block is malformed'],
  [job.VERIFY_ORDER, 'A block does not begin above the one before'],
  [job.VERIFY_FENCE, 'The index leads elsewhere than to the block of a key'],
  [job.VERIFY_FINGERPRINT, 'A fingerprint is not that of its key'],
  [job.VERIFY_FILTER, 'The filter denies a key of the table'],
]);

/**
 * Checks every checksum, the order of keys, fingerprints, filter, index and properties, in a pool
 * thread's private memory. What is wrong with the table, or cannot be read, is returned; what keeps
 * one from looking (a later format version, no room to open files) is thrown.
 */
export function verifyTable(
  fs: FileSystem,
  kernel: Kernel,
  ref: TableRef,
  count?: ReadCount,
): TableVerification {
  let table: OpenTable;
  try {
    table = openTable(fs, ref);
  } catch (error) {
    return unreadable([problemOf(error, ref.path)]);
  }
  try {
    return checkOpenTable(kernel, table, count);
  } finally {
    table.file.close();
  }
}

function checkOpenTable(
  kernel: Kernel,
  table: OpenTable,
  count: ReadCount | undefined,
): TableVerification {
  const problems: Problem[] = [];
  let check: TableCheck;
  try {
    check = new TableCheck(kernel, table, problems, count);
  } catch (error) {
    problems.push(problemOf(error, table.file.path, table.footer.filterOffset));
    try {
      check = new TableCheck(kernel, table, problems, count, false);
    } catch {
      // What the first attempt met is the same, or comes first in the file.
      return unreadable(problems);
    }
  }
  check.blocks();
  check.properties();
  const { blocksRead: blocks, entries, blobs, areBlocksBad } = check;
  const isFilterBad = problems.length > 0;
  const extent = areBlocksBad ? 'blocks' : isFilterBad ? 'filter' : undefined;
  return { problems, extent, blocks, entries, blobs };
}

function unreadable(problems: readonly Problem[]): TableVerification {
  return { problems, extent: 'table', blocks: 0, entries: 0, blobs: [] };
}

class TableCheck {
  readonly #kernel: Kernel;
  readonly #table: OpenTable;
  readonly #problems: Problem[];
  readonly #state: number;
  readonly #meta: number;
  /** Room for a decoded entry. */
  readonly #entry: number;
  readonly #chunk: JobBuffer;
  readonly #raw: JobBuffer;
  readonly #count: ReadCount | undefined;
  readonly blobs: BlobEntry[] = [];
  blocksRead = 0;
  /** Something else than the filter is not as it should be. */
  areBlocksBad = false;

  constructor(
    kernel: Kernel,
    table: OpenTable,
    problems: Problem[],
    count: ReadCount | undefined,
    filter = true,
  ) {
    const memory = new JobMemory(kernel);
    this.#kernel = kernel;
    this.#table = table;
    this.#problems = problems;
    this.#count = count;
    this.#state = memory.allocate(job.VERIFY_BYTES);
    this.#entry = memory.allocate(job.VERIFY_ENTRY_BYTES);
    const address = memory.allocate(sectionBytes(table, filter));
    this.#meta = readSections(kernel, table, { address, filter });
    this.#chunk = new JobBuffer(memory, CHUNK_BYTES);
    this.#raw = new JobBuffer(memory, RAW_BYTES);
    kernel.exports.verifyInit(this.#state);
  }

  get entries(): number {
    return this.#number(job.VERIFY_ENTRIES);
  }

  /** Reads and checks all blocks. */
  blocks(): void {
    const kernel = this.#kernel;
    const count = kernel.u32[(this.#meta + layout.T_BLOCKS) >>> 2] as number;
    let first = 0;
    while (first < count && this.#problems.length < PROBLEMS_MAX) {
      const from = blockOffset(kernel, this.#meta, first);
      let end = first + 1;
      while (end < count && blockOffset(kernel, this.#meta, end + 1) - from <= CHUNK_BYTES) end++;
      const bytes = blockOffset(kernel, this.#meta, end) - from;
      if (this.#readChunk(from, bytes)) {
        for (let block = first; block < end; block++) {
          const offset = blockOffset(kernel, this.#meta, block);
          this.#checkBlock(block, this.#chunk.address + offset - from, offset);
        }
      }
      this.#count?.add(end - first, bytes);
      first = end;
    }
  }

  #readChunk(from: number, bytes: number): boolean {
    const { file } = this.#table;
    this.#chunk.reserve(bytes);
    const { address } = this.#chunk;
    try {
      const read = file.read(this.#kernel.bytes.subarray(address, address + bytes), from);
      if (read === bytes) return true;
      this.#report(from + read, 'The table ended while it was read');
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.#report(from, error.message, 'LIGHTNING_IO');
    }
    return false;
  }

  /** Compares the properties with what the blocks held; says nothing when blocks are bad. */
  properties(): void {
    if (this.areBlocksBad) return;
    const { info, footer } = this.#table;
    const found: readonly [keyof TableInfo, number][] = [
      ['entries', this.entries],
      ['tombstones', this.#number(job.VERIFY_TOMBSTONES)],
      ['rawBytes', this.#number(job.VERIFY_RAW_BYTES)],
      ['sequenceMin', this.#number(job.VERIFY_SEQUENCE_MIN)],
      ['sequenceMax', this.#number(job.VERIFY_SEQUENCE_MAX)],
    ];
    const wrong = found.filter(([name, value]) => info[name] !== value).map(([name]) => name);
    // Equal to the entries is what a table of an earlier build, which does not say, is taken for.
    if (info.keys !== info.entries && info.keys !== this.#number(job.VERIFY_KEYS)) {
      wrong.push('keys');
    }
    const blobSum = info.blobs.reduce((sum, blob) => sum + blob, 0);
    if (
      info.blobs.length !== this.#number(job.VERIFY_BLOBS) ||
      blobSum !== this.#number(job.VERIFY_BLOB_SUM)
    ) {
      wrong.push('blobs');
    }
    if (!this.#keyIs(job.VERIFY_FIRST, job.VERIFY_FIRST_BYTES, info.smallest)) {
      wrong.push('smallest');
    }
    if (!this.#keyIs(job.VERIFY_LAST, job.VERIFY_LAST_BYTES, info.largest)) wrong.push('largest');
    for (const name of wrong) {
      this.#report(footer.propertiesOffset, `The property "${name}" does not fit the blocks`);
    }
  }

  #checkBlock(block: number, address: number, offset: number): void {
    const { exports } = this.#kernel;
    const blobs = this.#number(job.VERIFY_BLOBS);
    const verify = (): number =>
      exports.verifyBlock(this.#meta, block, address, this.#raw.address, this.#raw.bytes);
    let status = verify();
    if (status === job.VERIFY_RAW) {
      this.#raw.reserve(exports.verifyRawBytes() >>> 0);
      status = verify();
    }
    this.blocksRead++;
    if (this.#number(job.VERIFY_BLOBS) > blobs) this.#noteBlobs(block, address);
    const message = MESSAGES.get(status);
    if (message === undefined) return;
    const { areBlocksBad } = this;
    this.#report(offset, message);
    // A merge makes another filter.
    if (status === job.VERIFY_FILTER) this.areBlocksBad = areBlocksBad;
  }

  /** Of a block that stands at `address`, and decompressed in the raw buffer if it was packed. */
  #noteBlobs(block: number, address: number): void {
    const kernel = this.#kernel;
    const { exports, bytes, u32, u64 } = kernel;
    const { BLOCK_TRAILER_BYTES, OP_PUT_BLOB } = layout;
    const end = blockOffset(kernel, this.#meta, block + 1) - blockOffset(kernel, this.#meta, block);
    const isPacked = (bytes.readUInt32LE(address + end - BLOCK_TRAILER_BYTES) & 1) !== 0;
    const raw = isPacked ? this.#raw.address : address;
    const prefix = exports.blockPrefixPtr(raw) >>> 0;
    const prefixBytes = exports.blockPrefixLen(raw);
    const word = this.#entry >>> 2;
    for (let i = 0; i < exports.blockCount(raw); i++) {
      exports.blockEntry(raw, i, this.#entry);
      if (u32[word + 4] !== OP_PUT_BLOB) continue;
      const suffix = u32[word] as number;
      const suffixBytes = u32[word + 1] as number;
      // Of its own, not of a pool: it goes to another thread.
      const key = new Uint8Array(prefixBytes + suffixBytes);
      key.set(bytes.subarray(prefix, prefix + prefixBytes));
      key.set(bytes.subarray(suffix, suffix + suffixBytes), prefixBytes);
      const sequence = Number(u64[(this.#entry + layout.ENTRY_SEQUENCE) >>> 3]);
      const reference = decodeBlobReference(bytes.subarray(u32[word + 2] as number));
      this.blobs.push({ key, sequence, reference });
    }
  }

  #report(offset: number, message: string, code: Problem['code'] = 'LIGHTNING_CORRUPTION'): void {
    this.areBlocksBad = true;
    this.#problems.push({ code, file: this.#table.file.path, offset, message });
  }

  #number(field: number): number {
    return this.#kernel.f64[(this.#state + field) >>> 3] as number;
  }

  #keyIs(field: number, bytesField: number, key: Uint8Array): boolean {
    const address = this.#kernel.u32[(this.#state + field) >>> 2] as number;
    const bytes = this.#kernel.u32[(this.#state + bytesField) >>> 2] as number;
    return Buffer.compare(this.#kernel.bytes.subarray(address, address + bytes), key) === 0;
  }
}
