/**
 * Blob files: one large value each (docs/FORMAT.md, "Blob"). Values pass through in pieces of
 * 64 KiB, each with a checksum bound to its place; the reference that stands for the value in WAL
 * and tables holds a checksum over all of those.
 */
import { checkFormatVersion } from '../encoding/format-version.js';
import { xxh64 } from '../encoding/xxh64.js';
import { CorruptionError, LightningError } from '../errors.js';
import { shardFileName } from '../file-system/file-names.js';
import { type FileHandle, type FileSystem, isNotFound } from '../file-system/file-system.js';
import { BLOB_REFERENCE_BYTES } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';

const MAGIC = 'LDBBLOB1';
const FORMAT_VERSION = 1;
const HEADER_BYTES = 32;
export const PIECE_BYTES = 64 * 1024;
const CHECKSUM_BYTES = 8;
export const PIECE_WINDOW_BYTES = PIECE_BYTES + CHECKSUM_BYTES;

export interface BlobReference {
  readonly blob: number;
  readonly bytes: number;
  /** xxh64, seed 0, of the checksums of all pieces in order. */
  readonly checksum: bigint;
}

export function encodeBlobReference(reference: BlobReference): Buffer {
  const bytes = Buffer.alloc(BLOB_REFERENCE_BYTES);
  bytes.writeDoubleLE(reference.blob, 0);
  bytes.writeDoubleLE(reference.bytes, 8);
  bytes.writeBigUInt64LE(reference.checksum, 16);
  return bytes;
}

export function decodeBlobReference(bytes: Uint8Array): BlobReference {
  const view = new DataView(bytes.buffer, bytes.byteOffset, BLOB_REFERENCE_BYTES);
  return {
    blob: view.getFloat64(0, true),
    bytes: view.getFloat64(8, true),
    checksum: view.getBigUint64(16, true),
  };
}

/** A window of shared memory in which the kernel hashes pieces. */
export interface PieceWindow {
  /** Room for a piece and its checksum. */
  readonly bytes: Uint8Array;
  /** Writes the checksum of the first `length` bytes behind them. */
  seal(length: number, blob: number, pieceOffset: number): void;
  /** Whether what stands behind the first `length` bytes is their checksum. */
  verify(length: number, blob: number, pieceOffset: number): boolean;
}

/** A window over staged memory. */
export function kernelPieceWindow(kernel: Kernel, address: number): PieceWindow {
  const { exports } = kernel;
  return {
    bytes: kernel.bytes.subarray(address, address + PIECE_WINDOW_BYTES),
    seal: (length, blob, offset) => exports.checksumWrite(address, length, blob, offset),
    verify: (length, blob, offset) => exports.checksumVerify(address, length, blob, offset) !== 0,
  };
}

export interface BlobFiles {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly shard: number;
  readonly window: PieceWindow;
  /** Makes the names in the directory durable; left out: as the file system does it. */
  readonly syncDirectory?: () => void;
}

/** Writes one blob, from pieces of any size. Nothing refers to it before `finish` returned. */
export class BlobWriter {
  readonly blob: number;
  readonly #files: BlobFiles;
  readonly #file: FileHandle;
  /** The piece under way; private, because the window is shared with other blobs. */
  readonly #piece = Buffer.allocUnsafe(PIECE_BYTES);
  #pieceBytes = 0;
  #position = HEADER_BYTES;
  #valueBytes = 0;
  readonly #checksums: Buffer[] = [];

  constructor(files: BlobFiles, blob: number) {
    this.#files = files;
    this.blob = blob;
    this.#file = files.fs.open(blobPath(files, blob), 'create');
    try {
      this.#file.write(encodeHeader(files.shard, blob), 0);
    } catch (error) {
      this.abort();
      throw error;
    }
  }

  write(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const taken = Math.min(bytes.length - at, PIECE_BYTES - this.#pieceBytes);
      this.#piece.set(bytes.subarray(at, at + taken), this.#pieceBytes);
      this.#pieceBytes += taken;
      at += taken;
      if (this.#pieceBytes === PIECE_BYTES) this.#writePiece();
    }
    this.#valueBytes += bytes.length;
  }

  /** Makes the blob and its name durable; returns what refers to it. */
  finish(): BlobReference {
    if (this.#pieceBytes > 0) this.#writePiece();
    this.#file.datasync();
    this.#file.close();
    const { fs, directory, syncDirectory = () => fs.syncDirectory(directory) } = this.#files;
    syncDirectory();
    const checksum = xxh64(Buffer.concat(this.#checksums));
    return { blob: this.blob, bytes: this.#valueBytes, checksum };
  }

  /** Removes the file again: the value is not wanted, or could not be written. */
  abort(): void {
    this.#file.close();
    try {
      this.#files.fs.unlink(this.#file.path);
    } catch (error) {
      // It stays as a file that nothing refers to: opening the database deletes it.
      if (!(error instanceof LightningError)) throw error;
    }
  }

  #writePiece(): void {
    const length = this.#pieceBytes;
    const { window } = this.#files;
    window.bytes.set(this.#piece.subarray(0, length));
    window.seal(length, this.blob, this.#position);
    const sealed = window.bytes.subarray(0, length + CHECKSUM_BYTES);
    this.#file.write(sealed, this.#position);
    this.#checksums.push(Buffer.from(sealed.subarray(length)));
    this.#position += sealed.length;
    this.#pieceBytes = 0;
  }
}

/** Reads one blob piece by piece, verifying each. */
export class BlobReader {
  readonly reference: BlobReference;
  readonly #files: BlobFiles;
  readonly #file: FileHandle;
  readonly #isReferenceKnown: boolean;
  #position = HEADER_BYTES;
  #valueBytesRead = 0;
  readonly #checksums: Buffer[] = [];

  /**
   * Throws `CorruptionError` when the file is missing or is not that blob. Without knowing what
   * refers to it, `isReferenceKnown` false, only the pieces themselves are verified.
   */
  constructor(files: BlobFiles, reference: BlobReference, isReferenceKnown = true) {
    this.#files = files;
    this.reference = reference;
    this.#isReferenceKnown = isReferenceKnown;
    const path = blobPath(files, reference.blob);
    try {
      this.#file = files.fs.open(path, 'r');
    } catch (error) {
      if (!isNotFound(error)) throw error;
      throw new CorruptionError('Blob file is missing', { file: path, offset: 0 }, error);
    }
    const header = Buffer.alloc(HEADER_BYTES);
    const expected = encodeHeader(files.shard, reference.blob);
    try {
      const got = this.#file.read(header, 0);
      if (got === HEADER_BYTES && header.equals(expected)) return;
      // Only a header that is whole speaks for its version.
      const isWhole = header.readBigUInt64LE(24) === xxh64(header.subarray(0, 24));
      const isMagic = header.subarray(0, 8).equals(expected.subarray(0, 8));
      if (got === HEADER_BYTES && isWhole && isMagic) {
        checkFormatVersion(header.readUInt32LE(8), FORMAT_VERSION, path);
      }
      throw new CorruptionError('Blob header is damaged', { file: path, offset: 0 });
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /** Bytes of the value. */
  get bytes(): number {
    return this.reference.bytes;
  }

  /** The next bytes of the value, a copy; the last ones only after the whole has been verified. */
  next(): Buffer | undefined {
    const length = Math.min(PIECE_BYTES, this.reference.bytes - this.#valueBytesRead);
    if (length <= 0) return undefined;
    const { window } = this.#files;
    const sealed = window.bytes.subarray(0, length + CHECKSUM_BYTES);
    const got = this.#file.read(sealed, this.#position);
    const { blob } = this.reference;
    if (got < sealed.length || !window.verify(length, blob, this.#position)) {
      throw new CorruptionError('Piece of a blob is damaged', {
        file: this.#file.path,
        offset: this.#position,
      });
    }
    this.#checksums.push(Buffer.from(sealed.subarray(length)));
    this.#position += sealed.length;
    this.#valueBytesRead += length;
    const isLast = this.#valueBytesRead === this.reference.bytes;
    if (isLast && this.#isReferenceKnown) this.#verifyAll();
    return Buffer.from(sealed.subarray(0, length));
  }

  close(): void {
    this.#file.close();
  }

  #verifyAll(): void {
    const found = xxh64(Buffer.concat(this.#checksums));
    if (found === this.reference.checksum) return;
    throw new CorruptionError('Blob is not the one that is referred to', {
      file: this.#file.path,
      offset: HEADER_BYTES,
      expected: this.reference.checksum.toString(16),
      found: found.toString(16),
    });
  }
}

/** Bytes of the value in a blob file of `fileBytes`. */
export function blobValueBytes(fileBytes: number): number {
  const sealed = Math.max(0, fileBytes - HEADER_BYTES);
  const pieces = Math.ceil(sealed / (PIECE_BYTES + CHECKSUM_BYTES));
  return Math.max(0, sealed - pieces * CHECKSUM_BYTES);
}

export function blobPath(files: Pick<BlobFiles, 'directory'>, blob: number): string {
  return `${files.directory}/${shardFileName('blob', blob)}`;
}

function encodeHeader(shard: number, blob: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt32LE(FORMAT_VERSION, 8);
  header.writeUInt32LE(shard, 12);
  header.writeDoubleLE(blob, 16);
  header.writeBigUInt64LE(xxh64(header.subarray(0, 24)), 24);
  return header;
}
