/**
 * Host side of the kernel's table builder: gives each table its number and file, writes out what the
 * builder has ready, and makes finished tables durable under their names.
 *
 * A table appears as `NNNNNNNNNN.table` only when all its bytes are on the medium, unless it is not to
 * be durable. The caller syncs the directory before it relies on the names. After an error `abort`
 * deletes what was written.
 *
 * Who ends with `finishLater` may have the medium take what is written while more of it is made:
 * `syncBehindBytes`.
 */

import { assert } from '../assert.js';
import { LightningError } from '../errors.js';
import { shardFileName, TEMPORARY_SUFFIX } from '../file-system/file-names.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import * as job from '../kernel/assembly/job-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { encodeFooter, encodeProperties } from './format.js';
import type { TableInfo } from './table-info.js';

/** A TableMeta holds the number in 32 bits. */
const TABLE_ID_MAX = 0xffff_ffff;

/**
 * For `lz4Compress`. Of records as the benchmark's, the quick one takes a sixth less time for the same bytes; of
 * small JSON documents a fiftieth less, for 1.5 % more bytes.
 */
const SKIP_SHIFT = 5;
const SKIP_SHIFT_QUICK = 4;

/** Where tables go and how they are made. */
export interface TableTarget {
  readonly directory: string;
  /** Numbers `firstTableId` to `firstTableId + tableIds - 1` are reserved for the tables. */
  readonly firstTableId: number;
  readonly tableIds: number;
  /** A table ends with the block that reaches this size. */
  readonly tableBytesMax: number;
  readonly blockBytes: number;
  readonly compression: boolean;
  /** Whether blocks are compressed somewhat less in less time, since they are rewritten soon. */
  readonly isShortLived?: boolean | undefined;
  readonly filterBitsPerKey: number;
  /** Whether a table is on the medium before it has its name. Default: true. */
  readonly durable?: boolean | undefined;
  /**
   * After so many bytes each the thread asks for them to be on the medium, and does not wait; tables get
   * their names all together at the end, which is `finishLater`. Undefined: each is waited for.
   */
  readonly syncBehindBytes?: number | undefined;
  /** Default: now. */
  readonly createdAtMs?: number | undefined;
}

/** A 64-byte aligned stretch of the kernel's memory. */
export interface MemoryRegion {
  readonly address: number;
  readonly bytes: number;
}

interface Finished {
  readonly info: TableInfo;
  readonly path: string;
}

/** A table that is written, but perhaps not on the medium, and has no name. */
interface Unnamed extends Finished {
  readonly file: FileHandle;
  readonly syncs: readonly Promise<void>[];
}

export class TableWriter {
  readonly #fs: FileSystem;
  readonly #kernel: Kernel;
  readonly #region: MemoryRegion;
  readonly #target: TableTarget;
  readonly #beforeWrite: (bytes: number) => void;
  readonly #finished: Finished[] = [];
  readonly #unnamed: Unnamed[] = [];
  #id: number;
  #file: FileHandle | undefined;
  #fileBytes = 0;
  #bytesWritten = 0;
  /** Of the file that is open, with `syncBehindBytes`: if any of them fails, the table is worth nothing. */
  #syncs: Promise<void>[] = [];
  #syncedBytes = 0;

  /**
   * The region has at least 6 MiB; the kernel's builder is this writer's until it is finished.
   * `beforeWrite` may hold up what is about to be written.
   */
  constructor(
    fs: FileSystem,
    kernel: Kernel,
    region: MemoryRegion,
    target: TableTarget,
    beforeWrite: (bytes: number) => void = () => {},
  ) {
    this.#beforeWrite = beforeWrite;
    this.#fs = fs;
    this.#kernel = kernel;
    this.#region = region;
    this.#target = target;
    this.#id = target.firstTableId;
    if (kernel.exports.builderInit(region.address, region.bytes) === 0) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        `Cannot build tables in ${region.bytes} bytes of memory: 6 MiB are needed`,
      );
    }
    this.#begin();
  }

  /** Bytes written to files so far. */
  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  /**
   * Runs a step of the kernel until it asks for something that is not the builder's: writes output
   * and goes on to the next table as asked. Returns the other status (JOB_*), JOB_DONE among them.
   */
  run(step: () => number): number {
    while (true) {
      const status = step();
      if (status === job.JOB_DRAIN) this.#drain();
      else if (status === job.JOB_FULL) this.#next();
      else return status;
    }
  }

  /** Ends the last table. Returns all of them, in key order. Not with `syncBehindBytes`. */
  finish(): TableInfo[] {
    this.#finishTable();
    assert(this.#unnamed.length === 0, 'tables have their names');
    return this.#finished.map(({ info }) => info);
  }

  /** As `finish`, once the tables are on the medium. */
  async finishLater(): Promise<TableInfo[]> {
    this.#finishTable();
    for (const { syncs } of this.#unnamed) await Promise.all(syncs);
    for (let next = this.#unnamed[0]; next !== undefined; next = this.#unnamed[0]) {
      const { file, info, path } = next;
      file.close();
      this.#fs.rename(file.path, path);
      this.#unnamed.shift();
      this.#finished.push({ info, path });
    }
    return this.#finished.map(({ info }) => info);
  }

  /** Deletes everything this writer has written. Never throws: the error that led here counts. */
  abort(): void {
    const paths = this.#finished.map(({ path }) => path);
    for (const { file } of this.#unnamed.splice(0)) {
      paths.push(file.path);
      file.close();
    }
    if (this.#file !== undefined) {
      paths.push(this.#file.path);
      this.#file.close();
      this.#file = undefined;
    }
    for (const path of paths) {
      try {
        this.#fs.unlink(path);
      } catch {
        // It stays as a file that no Version names: opening the database deletes it.
      }
    }
  }

  #begin(): void {
    const { blockBytes, tableBytesMax, compression, isShortLived, filterBitsPerKey } = this.#target;
    this.#kernel.exports.builderBegin(
      this.#id,
      blockBytes,
      tableBytesMax,
      compression ? (isShortLived ? SKIP_SHIFT_QUICK : SKIP_SHIFT) : 0,
      filterBitsPerKey,
    );
  }

  #next(): void {
    this.#finishTable();
    this.#id++;
    this.#begin();
  }

  #word(field: number): number {
    return this.#kernel.u32[(this.#region.address + field) >>> 2] as number;
  }

  #number(field: number): number {
    return this.#kernel.f64[(this.#region.address + field) >>> 3] as number;
  }

  #view(field: number, bytesField: number): Buffer {
    const address = this.#word(field);
    return this.#kernel.bytes.subarray(address, address + this.#word(bytesField));
  }

  #write(bytes: Uint8Array): void {
    this.#file ??= this.#create();
    this.#beforeWrite(bytes.length);
    this.#file.write(bytes, this.#fileBytes);
    this.#fileBytes += bytes.length;
    this.#bytesWritten += bytes.length;
    const { syncBehindBytes, durable } = this.#target;
    if (syncBehindBytes === undefined || durable === false) return;
    if (this.#fileBytes - this.#syncedBytes >= syncBehindBytes) this.#syncBehind(this.#file);
  }

  #syncBehind(file: FileHandle): void {
    const sync = file.datasyncLater();
    // It is awaited at the end.
    sync.catch(() => {});
    this.#syncs.push(sync);
    this.#syncedBytes = this.#fileBytes;
  }

  #create(): FileHandle {
    const { firstTableId, tableIds } = this.#target;
    assert(this.#id <= TABLE_ID_MAX, 'file numbers of tables fit 32 bits');
    if (this.#id >= firstTableId + tableIds) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        `Cannot write more than ${tableIds} tables in one job: reserve more file numbers`,
        { details: { firstTableId, tableIds } },
      );
    }
    return this.#fs.open(`${this.#path()}${TEMPORARY_SUFFIX}`, 'create');
  }

  #path(): string {
    return `${this.#target.directory}/${shardFileName('table', this.#id)}`;
  }

  #drain(): void {
    this.#write(this.#view(job.BUILDER_OUT, job.BUILDER_OUT_BYTES));
    this.#kernel.exports.builderDrained();
  }

  /** Writes sections and footer, and gives the file its name. Does nothing when there is no entry. */
  #finishTable(): void {
    while (this.#kernel.exports.builderFinish() === job.JOB_DRAIN) this.#drain();
    if (this.#file === undefined) return;
    const filterOffset = this.#fileBytes;
    const filter = this.#view(job.BUILDER_FILTER, job.BUILDER_FILTER_BYTES);
    this.#write(filter);
    const indexOffset = this.#fileBytes;
    const index = this.#view(job.BUILDER_INDEX, job.BUILDER_INDEX_BYTES);
    this.#write(index);
    const propertiesOffset = this.#fileBytes;
    const described = this.#describe();
    const properties = encodeProperties(described, propertiesOffset);
    const footer = encodeFooter(
      {
        filterOffset,
        filterBytes: filter.length,
        indexOffset,
        indexBytes: index.length,
        indexBlocks: this.#word(job.BUILDER_BLOCKS),
        fenceBytes: this.#word(job.BUILDER_FENCE_BYTES),
        propertiesOffset,
        propertiesBytes: properties.length,
      },
      this.#id,
      propertiesOffset + properties.length,
    );
    this.#write(Buffer.concat([properties, footer]));
    this.#finishFile(this.#file, {
      info: { ...described, bytes: this.#fileBytes },
      path: this.#path(),
    });
    this.#file = undefined;
    this.#fileBytes = 0;
    this.#syncs = [];
    this.#syncedBytes = 0;
  }

  #finishFile(file: FileHandle, finished: Finished): void {
    const { syncBehindBytes, durable } = this.#target;
    if (syncBehindBytes !== undefined && durable !== false) {
      if (this.#syncedBytes < this.#fileBytes) this.#syncBehind(file);
      this.#unnamed.push({ ...finished, file, syncs: this.#syncs });
      return;
    }
    if (durable !== false) file.datasync();
    file.close();
    this.#fs.rename(file.path, finished.path);
    this.#finished.push(finished);
  }

  /** The table's properties, from the builder's state. */
  #describe(): TableInfo {
    const blobAddress = this.#word(job.BUILDER_BLOBS) >>> 3;
    const blobCount = this.#word(job.BUILDER_BLOB_COUNT);
    const blobs = this.#kernel.f64.subarray(blobAddress, blobAddress + blobCount);
    return {
      id: this.#id,
      bytes: 0,
      entries: this.#number(job.BUILDER_ENTRIES),
      tombstones: this.#number(job.BUILDER_TOMBSTONES),
      keys: this.#word(job.BUILDER_KEYS),
      smallest: privateCopy(this.#view(job.BUILDER_SMALLEST, job.BUILDER_SMALLEST_BYTES)),
      largest: privateCopy(this.#view(job.BUILDER_LARGEST, job.BUILDER_LARGEST_BYTES)),
      sequenceMin: this.#number(job.BUILDER_SEQUENCE_MIN),
      sequenceMax: this.#number(job.BUILDER_SEQUENCE_MAX),
      rawBytes: this.#number(job.BUILDER_RAW_BYTES),
      blobs: [...blobs],
      createdAtMs: this.#target.createdAtMs ?? Date.now(),
    };
  }
}

/** The bytes outside of shared memory, alone in their buffer. */
function privateCopy(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}
