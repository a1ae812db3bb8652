/**
 * The large values of a shard: which blob files exist, how they come and go.
 *
 * A blob file is durable before anything refers to it, and is deleted only after a durable Version
 * holds no table that refers to it and no memtable does. What is left over by a crash in between is
 * found at recovery.
 */

import {
  type BlobFiles,
  BlobReader,
  type BlobReference,
  BlobWriter,
  blobPath,
  blobValueBytes,
  type PieceWindow,
} from '../blob/blob-file.js';
import { LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { HeldFiles } from './held-files.js';

export interface BlobStoreOptions {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly shard: number;
  readonly window: PieceWindow;
  readonly allocateFile: () => number;
  readonly held: HeldFiles;
  readonly syncDirectory: () => void;
}

export class BlobStore {
  readonly #options: BlobStoreOptions;
  readonly #files: BlobFiles;
  /** File number → bytes of the value. */
  readonly #blobs = new Map<number, number>();
  #bytes = 0;

  constructor(options: BlobStoreOptions) {
    this.#options = options;
    this.#files = options;
  }

  get count(): number {
    return this.#blobs.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get numbers(): number[] {
    return [...this.#blobs.keys()];
  }

  /** Recovery: notes a file that is there. */
  adopt(blob: number): void {
    this.#note(blob, blobValueBytes(this.#options.fs.fileSize(this.path(blob))));
  }

  #note(blob: number, bytes: number): void {
    this.#bytes += bytes - (this.#blobs.get(blob) ?? 0);
    this.#blobs.set(blob, bytes);
  }

  /** Starts a blob; `written` must be called with what its `finish` returned. */
  begin(): BlobWriter {
    return new BlobWriter(this.#files, this.#options.allocateFile());
  }

  written(reference: BlobReference): void {
    this.#note(reference.blob, reference.bytes);
  }

  /** Writes a value that is whole in memory. */
  put(value: Uint8Array): BlobReference {
    const writer = this.begin();
    try {
      writer.write(value);
      const reference = writer.finish();
      this.written(reference);
      return reference;
    } catch (error) {
      writer.abort();
      throw error;
    }
  }

  open(reference: BlobReference): BlobReader {
    return new BlobReader(this.#files, reference);
  }

  path(blob: number): string {
    return blobPath(this.#options, blob);
  }

  /** Bytes of the value; undefined when there is no such blob. */
  bytesOf(blob: number): number | undefined {
    return this.#blobs.get(blob);
  }

  /** Deletes a blob that nothing refers to any more. */
  delete(blob: number): void {
    const bytes = this.#blobs.get(blob);
    if (bytes === undefined) return;
    this.#blobs.delete(blob);
    this.#bytes -= bytes;
    try {
      this.#options.held.unlink(this.path(blob));
    } catch (error) {
      // It stays as a file that nothing refers to: opening the database deletes it.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}
