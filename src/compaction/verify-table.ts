/** Job: reads a whole table and checks everything that a reader relies on. */

import { LightningError } from '../errors.js';
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
import type { CheckBoard } from './check-board.js';
import { JobBuffer, JobMemory } from './job-memory.js';

/** Something that is not as it was written. */
export interface Problem {
  readonly file: string;
  readonly offset: number;
  readonly message: string;
}

export interface VerifyResult {
  readonly problems: readonly Problem[];
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
 * thread's private memory. What is wrong with the table is returned; what keeps it from being read
 * (`IoError`, a later format version) is thrown.
 */
export function verifyTable(
  fs: FileSystem,
  kernel: Kernel,
  ref: TableRef,
  board?: CheckBoard,
): VerifyResult {
  const problems: Problem[] = [];
  let blocks = 0;
  let entries = 0;
  try {
    const table = openTable(fs, ref);
    try {
      const check = new TableCheck(kernel, table, problems, board);
      check.blocks();
      check.properties();
      blocks = check.blocksRead;
      entries = check.entries;
    } finally {
      table.file.close();
    }
  } catch (error) {
    if (!(error instanceof LightningError) || error.code !== 'LIGHTNING_CORRUPTION') throw error;
    const offset = Number(error.details['offset'] ?? 0);
    problems.push({ file: ref.path, offset, message: error.message });
  }
  return { problems, blocks, entries };
}

class TableCheck {
  readonly #kernel: Kernel;
  readonly #table: OpenTable;
  readonly #problems: Problem[];
  readonly #state: number;
  readonly #meta: number;
  readonly #chunk: JobBuffer;
  readonly #raw: JobBuffer;
  readonly #board: CheckBoard | undefined;
  blocksRead = 0;

  constructor(
    kernel: Kernel,
    table: OpenTable,
    problems: Problem[],
    board: CheckBoard | undefined,
  ) {
    const memory = new JobMemory(kernel);
    this.#kernel = kernel;
    this.#table = table;
    this.#problems = problems;
    this.#board = board;
    this.#state = memory.allocate(job.VERIFY_BYTES);
    const address = memory.allocate(sectionBytes(table, true));
    this.#meta = readSections(kernel, table, { address, filter: true });
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
    const { file } = this.#table;
    const count = kernel.u32[(this.#meta + layout.T_BLOCKS) >>> 2] as number;
    let first = 0;
    while (first < count && this.#problems.length < PROBLEMS_MAX) {
      this.#board?.throwIfCancelled();
      const from = blockOffset(kernel, this.#meta, first);
      let end = first + 1;
      while (end < count && blockOffset(kernel, this.#meta, end + 1) - from <= CHUNK_BYTES) end++;
      const bytes = blockOffset(kernel, this.#meta, end) - from;
      this.#chunk.reserve(bytes);
      const { address } = this.#chunk;
      const read = file.read(kernel.bytes.subarray(address, address + bytes), from);
      if (read !== bytes) {
        this.#report(from + read, 'The table ended while it was read');
        return;
      }
      for (let block = first; block < end; block++) {
        const offset = blockOffset(kernel, this.#meta, block);
        this.#checkBlock(block, address + offset - from, offset);
      }
      this.#board?.count(end - first, bytes);
      first = end;
    }
  }

  /** Compares the properties with what the blocks held; says nothing when blocks are bad. */
  properties(): void {
    if (this.#problems.length > 0) return;
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
    const verify = (): number =>
      exports.verifyBlock(this.#meta, block, address, this.#raw.address, this.#raw.bytes);
    let status = verify();
    if (status === job.VERIFY_RAW) {
      this.#raw.reserve(exports.verifyRawBytes() >>> 0);
      status = verify();
    }
    this.blocksRead++;
    const message = MESSAGES.get(status);
    if (message !== undefined) this.#report(offset, message);
  }

  #report(offset: number, message: string): void {
    this.#problems.push({ file: this.#table.file.path, offset, message });
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
