/**
 * The manifest: a log of version edits, from which the shard's Version is rebuilt at open. CURRENT
 * names the one in use.
 *
 * An edit is in force once its frame is durable. A frame that is cut off or damaged at the very end
 * of the log was never in force (the power failed while it was written) and is cut; one with a whole
 * frame after it is corruption. A manifest that has grown large is replaced by a new one that starts
 * with the whole state: written, synced, then named in CURRENT, then the old one is deleted.
 */
import { checkFormatVersion } from '../encoding/format-version.js';
import { placementSeed, xxh64 } from '../encoding/xxh64.js';
import { CorruptionError, LightningError, NoSpaceError, ReadOnlyError } from '../errors.js';
import { CURRENT_NAME, shardFileName } from '../file-system/file-names.js';
import {
  type FileHandle,
  type FileSystem,
  isNotFound,
  replaceFile,
} from '../file-system/file-system.js';
import { EditConflictError, Version } from './version.js';
import {
  decodeVersionEdit,
  EditFormatError,
  encodeVersionEdit,
  type VersionEdit,
} from './version-edit.js';

const MANIFEST_MAGIC = 'LDBMANI1';
const CURRENT_MAGIC = 'LDBCURR1';
const FORMAT_VERSION = 1;
const HEADER_BYTES = 32;
const CURRENT_BYTES = 24;
const FRAME_HEAD_BYTES = 16;
/** A manifest is replaced when it has grown to this, and to several times its first edit. */
const ROLL_BYTES_MIN = 1024 * 1024;
const ROLL_GROWTH = 4;

export interface ManifestOptions {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly shard: number;
  /** XXH64: a kernel's is faster. */
  readonly hash?: typeof xxh64;
}

/** What a manifest says, without opening it for writing. */
export interface ManifestContents {
  readonly number: number;
  readonly version: Version;
  /** End of the last whole frame. */
  readonly bytes: number;
  readonly edits: number;
}

/** Number of the manifest in use; undefined when the shard has none yet. */
export function readCurrent({ fs, directory }: ManifestOptions): number | undefined {
  const file = `${directory}/${CURRENT_NAME}`;
  let bytes: Buffer;
  try {
    bytes = fs.readFile(file);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  if (bytes.length !== CURRENT_BYTES || bytes.toString('latin1', 0, 8) !== CURRENT_MAGIC) {
    throw new CorruptionError('CURRENT is not what it should be', { file, offset: 0 });
  }
  if (bytes.readBigUInt64LE(16) !== xxh64(bytes.subarray(0, 16))) {
    throw new CorruptionError('CURRENT has a wrong checksum', { file, offset: 16 });
  }
  return bytes.readDoubleLE(8);
}

/** Rebuilds the Version that a manifest describes, or described when it had `bytesMax` bytes. */
export function readManifest(
  options: ManifestOptions,
  number: number,
  bytesMax?: number,
): ManifestContents {
  const file = `${options.directory}/${shardFileName('manifest', number)}`;
  let bytes: Buffer;
  try {
    bytes = options.fs.readFile(file).subarray(0, bytesMax);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new CorruptionError('Manifest that CURRENT names is missing', { file, offset: 0 });
  }
  checkHeader(bytes, file, options.shard, number);
  let version = Version.EMPTY;
  let offset = HEADER_BYTES;
  let edits = 0;
  while (offset < bytes.length) {
    const payload = frameAt(options, bytes, number, offset);
    if (payload === undefined) {
      if (edits === 0 || hasFrameAfter(options, bytes, number, offset)) {
        throw new CorruptionError('Manifest frame is damaged', { file, offset });
      }
      break;
    }
    version = applyFrame(version, payload, file, offset);
    offset += FRAME_HEAD_BYTES + payload.length;
    edits++;
  }
  if (edits === 0) throw new CorruptionError('Manifest is empty', { file, offset });
  return { number, version, bytes: offset, edits };
}

/**
 * What can be read of a manifest whose frames are damaged: the Version up to the first bad one.
 * Undefined when not even the first frame, the whole state, is there. For repairs.
 */
export function salvageManifest(options: ManifestOptions, number: number): Version | undefined {
  const file = `${options.directory}/${shardFileName('manifest', number)}`;
  const bytes = options.fs.readFile(file);
  let version: Version | undefined;
  let offset = HEADER_BYTES;
  for (;;) {
    const payload = frameAt(options, bytes, number, offset);
    if (payload === undefined) return version;
    try {
      version = applyFrame(version ?? Version.EMPTY, payload, file, offset);
    } catch (error) {
      if (error instanceof CorruptionError) return version;
      throw error;
    }
    offset += FRAME_HEAD_BYTES + payload.length;
  }
}

function checkHeader(bytes: Buffer, file: string, shard: number, number: number): void {
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MANIFEST_MAGIC) {
    throw new CorruptionError('Not a manifest', { file, offset: 0, expected: MANIFEST_MAGIC });
  }
  if (bytes.readBigUInt64LE(24) !== xxh64(bytes.subarray(0, 24))) {
    throw new CorruptionError('Manifest header has a wrong checksum', { file, offset: 24 });
  }
  checkFormatVersion(bytes.readUInt32LE(8), FORMAT_VERSION, file);
  if (bytes.readUInt32LE(12) !== shard || bytes.readDoubleLE(16) !== number) {
    throw new CorruptionError('Manifest belongs to another shard or number', {
      file,
      offset: 12,
      expected: `shard ${shard}, manifest ${number}`,
      found: `shard ${bytes.readUInt32LE(12)}, manifest ${bytes.readDoubleLE(16)}`,
    });
  }
}

/** Payload of the frame at `offset`, or undefined when there is no whole frame. */
function frameAt(
  { hash = xxh64 }: ManifestOptions,
  bytes: Buffer,
  number: number,
  offset: number,
): Buffer | undefined {
  if (offset + FRAME_HEAD_BYTES > bytes.length) return undefined;
  const payloadBytes = bytes.readUInt32LE(offset);
  const end = offset + FRAME_HEAD_BYTES + payloadBytes;
  if (payloadBytes === 0 || end > bytes.length || bytes.readUInt32LE(offset + 4) !== 0) {
    return undefined;
  }
  const payload = bytes.subarray(offset + FRAME_HEAD_BYTES, end);
  const sum = bytes.readBigUInt64LE(offset + 8);
  return sum === hash(payload, placementSeed(number, offset)) ? payload : undefined;
}

/**
 * Whether a whole frame stands anywhere behind a damaged one. Each edit is durable before the next
 * is written, so such a frame proves that the damaged one had been in force.
 */
function hasFrameAfter(
  options: ManifestOptions,
  bytes: Buffer,
  number: number,
  offset: number,
): boolean {
  // Payloads are JSON objects: only places before a brace can be frames.
  let brace = bytes.indexOf('{', offset + FRAME_HEAD_BYTES + 1);
  while (brace >= 0) {
    if (frameAt(options, bytes, number, brace - FRAME_HEAD_BYTES) !== undefined) return true;
    brace = bytes.indexOf('{', brace + 1);
  }
  return false;
}

function applyFrame(version: Version, payload: Buffer, file: string, offset: number): Version {
  try {
    return version.apply(decodeVersionEdit(payload));
  } catch (error) {
    if (!(error instanceof EditFormatError) && !(error instanceof EditConflictError)) throw error;
    throw new CorruptionError(`Version edit ${error.message}`, { file, offset }, error);
  }
}

export class Manifest {
  #options: ManifestOptions;
  #file: FileHandle;
  #number: number;
  #bytes: number;
  #firstEditEnd: number;
  #version: Version;
  #poison: unknown;

  private constructor(
    options: ManifestOptions,
    file: FileHandle,
    number: number,
    version: Version,
  ) {
    this.#options = options;
    this.#file = file;
    this.#number = number;
    this.#version = version;
    this.#bytes = file.size();
    this.#firstEditEnd = this.#bytes;
  }

  /**
   * Starts a manifest that holds `version`, and makes it the current one. This is also how an
   * existing shard is opened: what was read is written anew, so that nothing is ever appended to a
   * log whose end may have been torn.
   */
  static create(options: ManifestOptions, version: Version, number: number): Manifest {
    const numbered = version.apply({ nextFile: number + 1 });
    const file = writeManifest(options, numbered, number);
    return new Manifest(options, file, number, numbered);
  }

  get number(): number {
    return this.#number;
  }

  get version(): Version {
    return this.#version;
  }

  get path(): string {
    return this.#file.path;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isPoisoned(): boolean {
    return this.#poison !== undefined;
  }

  /**
   * Makes an edit durable and returns the Version after it. `NoSpaceError`: nothing has changed.
   * After any other failure the manifest takes no more edits; reopening tells what is in force.
   */
  append(edit: VersionEdit): Version {
    if (this.#poison !== undefined) {
      throw new ReadOnlyError(
        `Cannot write to "${this.path}": an earlier write or sync failed; reopen the database to recover`,
        { cause: this.#poison, details: { path: this.path } },
      );
    }
    const next = this.#version.apply(edit);
    const frame = encodeFrame(this.#options, edit, this.#number, this.#bytes);
    try {
      this.#file.write(frame, this.#bytes);
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw this.#poisoned(error);
      this.#cutBack();
      throw error;
    }
    try {
      this.#file.datasync();
    } catch (error) {
      throw this.#poisoned(error);
    }
    this.#bytes += frame.length;
    this.#version = next;
    return next;
  }

  get shouldRoll(): boolean {
    return this.#bytes > Math.max(ROLL_BYTES_MIN, this.#firstEditEnd * ROLL_GROWTH);
  }

  /**
   * Goes on in a new manifest; returns the path of the old one, which may be deleted.
   * `NoSpaceError`: goes on in the old one, try again later.
   */
  roll(number: number): string {
    const version = this.#version.apply({ nextFile: number + 1 });
    const old = this.#file;
    try {
      this.#file = writeManifest(this.#options, version, number);
    } catch (error) {
      // From the moment CURRENT may name the new one, the old one must not grow any more.
      const isStaying = error instanceof NoSpaceError && this.#isCurrent();
      throw isStaying ? error : this.#poisoned(error);
    }
    this.#version = version;
    this.#number = number;
    this.#bytes = this.#file.size();
    this.#firstEditEnd = this.#bytes;
    old.close();
    return old.path;
  }

  close(): void {
    this.#file.close();
  }

  /** Whether CURRENT names this manifest, for sure. */
  #isCurrent(): boolean {
    try {
      return readCurrent(this.#options) === this.#number;
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      return false;
    }
  }

  #cutBack(): void {
    try {
      this.#file.truncate(this.#bytes);
    } catch (error) {
      throw this.#poisoned(error);
    }
  }

  #poisoned(error: unknown): unknown {
    this.#poison = error;
    return error;
  }
}

function writeManifest(options: ManifestOptions, version: Version, number: number): FileHandle {
  const { fs, directory, shard } = options;
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MANIFEST_MAGIC, 0, 'latin1');
  header.writeUInt32LE(FORMAT_VERSION, 8);
  header.writeUInt32LE(shard, 12);
  header.writeDoubleLE(number, 16);
  header.writeBigUInt64LE(xxh64(header.subarray(0, 24)), 24);
  const file = fs.open(`${directory}/${shardFileName('manifest', number)}`, 'create');
  try {
    file.write(
      Buffer.concat([header, encodeFrame(options, version.toEdit(), number, HEADER_BYTES)]),
      0,
    );
    file.datasync();
    fs.syncDirectory(directory);
    replaceFile(fs, directory, CURRENT_NAME, encodeCurrent(number));
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

function encodeFrame(
  { hash = xxh64 }: ManifestOptions,
  edit: VersionEdit,
  number: number,
  offset: number,
): Buffer {
  const payload = encodeVersionEdit(edit);
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUInt32LE(payload.length, 0);
  head.writeBigUInt64LE(hash(payload, placementSeed(number, offset)), 8);
  return Buffer.concat([head, payload]);
}

function encodeCurrent(number: number): Buffer {
  const bytes = Buffer.alloc(CURRENT_BYTES);
  bytes.write(CURRENT_MAGIC, 0, 'latin1');
  bytes.writeDoubleLE(number, 8);
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, 16)), 16);
  return bytes;
}
