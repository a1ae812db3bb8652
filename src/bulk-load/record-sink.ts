/** Where the parsers of a piece put what they find: entries, large values, records that cannot be read. */

import {
  type BlobFiles,
  BlobWriter,
  encodeBlobReference,
  kernelPieceWindow,
  PIECE_BYTES,
} from '../blob/blob-file.js';
import { LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import { KEY_BYTES_MAX } from '../limits.js';
import { ChunkWriter } from './chunk-writer.js';
import type { ChunkEnd, ChunkJob, ChunkReject } from './load-jobs.js';
import { isAbortRequested, RECORD_BYTES_MAX, slotAddress } from './load-memory.js';
import type { TextWindow } from './text-piece.js';
import type { WorkArea } from './work-area.js';

/** More rejected records than this go into another result: messages stay small. */
const REJECTS_PER_JOB = 4096;

export function abortedError(): LightningError {
  return new LightningError(
    'LIGHTNING_ABORTED',
    'The bulk load was aborted: the database is unchanged',
  );
}

/** What a parser left off with. */
export interface ParseEnd {
  readonly end: ChunkEnd;
  /** Address of the next record. */
  readonly cursor: number;
}

interface SinkOptions {
  readonly fs: FileSystem;
  readonly kernel: Kernel;
  readonly work: WorkArea;
  readonly job: ChunkJob;
  readonly input: NonNullable<ChunkJob['input']>;
  readonly window: TextWindow;
}

export class RecordSink {
  readonly kernel: Kernel;
  readonly work: WorkArea;
  readonly window: TextWindow;
  readonly writer: ChunkWriter;
  /** Address of the slot. */
  readonly chunk: number;
  readonly valueBytesMax: number;
  /** Records that begin behind this address belong to the next piece. */
  readonly stop: number;
  readonly rejects: ChunkReject[] = [];
  readonly blobsUsed: number[];
  readonly #options: SinkOptions;
  readonly #pieceWindow: number;
  /** Lines up to the last rejected record, so that counting stays linear. */
  #countedTo = 0;
  #counted = 0;

  constructor(options: SinkOptions) {
    const { kernel, work, job, input, window } = options;
    this.kernel = kernel;
    this.work = work;
    this.window = window;
    this.valueBytesMax = input.valueBytesMax;
    this.stop = window.addressOf(input.piece.stop);
    this.blobsUsed = input.blobs.map(() => 0);
    this.#options = options;
    this.#pieceWindow = work.allocate(PIECE_BYTES + 64);
    this.chunk = slotAddress(job.layout, job.slot);
    kernel.exports.chunkInit(this.chunk, job.layout.slotBytes);
    this.writer = new ChunkWriter(kernel, {
      keyBytesMax: KEY_BYTES_MAX,
      valueBytesMax: input.valueBytesMax,
    });
    this.writer.begin(this.chunk, job.layout.slotBytes);
  }

  begin(start: number): void {
    this.#countedTo = start;
  }

  /** Notes a record that cannot be read; false when the parse must end here. */
  reject(start: number, end: number, reason: string): boolean {
    const { onError, rejectBytes } = this.#options.input;
    this.#counted += this.window.linesBetween(this.#countedTo, start);
    this.#countedTo = start;
    this.rejects.push({
      lines: this.#counted,
      reason,
      text: rejectBytes > 0 ? this.window.excerpt(start, end, rejectBytes) : undefined,
    });
    return onError === 'skip';
  }

  /** Whether another job should go on. */
  get isRejectsFull(): boolean {
    return this.rejects.length >= REJECTS_PER_JOB;
  }

  /** The record that begins at `start` does not end within the longest record allowed. */
  isTooLong(start: number): boolean {
    return this.window.end - start >= RECORD_BYTES_MAX;
  }

  get isAborted(): boolean {
    return isAbortRequested(this.kernel.i32);
  }

  /**
   * Writes a value to a blob file; the bytes that refer to it, or undefined when there is no number
   * left for it.
   */
  writeBlob(key: Uint8Array, value: Uint8Array): Uint8Array | undefined {
    const { fs, job, input } = this.#options;
    const shard = this.#shardOf(key);
    const numbers = input.blobs[shard];
    const used = this.blobsUsed[shard] ?? 0;
    if (numbers === undefined || used >= numbers.count) return undefined;
    if (job.shards !== input.blobs.length) return undefined;
    this.blobsUsed[shard] = used + 1;
    const files: BlobFiles = {
      fs,
      directory: numbers.directory,
      shard,
      window: kernelPieceWindow(this.kernel, this.#pieceWindow),
    };
    const writer = new BlobWriter(files, numbers.first + used);
    try {
      writer.write(value);
      return encodeBlobReference(writer.finish());
    } catch (error) {
      writer.abort();
      throw error;
    }
  }

  #shardOf(key: Uint8Array): number {
    // The piece window is free until the blob is begun; keys are shorter than a piece and its checksum.
    this.kernel.bytes.set(key, this.#pieceWindow);
    const hash = this.kernel.exports.murmur32(this.#pieceWindow, key.length) >>> 0;
    return Math.floor((hash * this.#options.job.shards) / 2 ** 32);
  }
}
