/**
 * The end of a table file: properties and footer. docs/FORMAT.md gives every byte; blocks, filter
 * and index are made and read by the kernel.
 *
 * Decoding takes hostile bytes: what it returns has been checked field by field.
 */

import { placementSeed, xxh64 } from '../encoding/xxh64.js';
import { CorruptionError } from '../errors.js';
import { KEY_BYTES_MAX, SEQUENCE_MAX } from '../limits.js';
import type { TableInfo } from './table-info.js';

/** 2: blocks may be stored as columns, and the index is packed. */
export const TABLE_FORMAT_VERSION = 2;
export const FOOTER_BYTES = 80;

const MAGIC = 'LDBTABL1';
const MAGIC_OFFSET = 72;
const CHECKSUM_OFFSET = 64;
const CHECKSUM_BYTES = 8;
/** Length in front of the properties, checksum behind them. */
const PROPERTIES_FRAME_BYTES = 4 + CHECKSUM_BYTES;

/** Where the sections of a table are. Lengths include the sections' checksums. */
export interface Footer {
  readonly filterOffset: number;
  readonly filterBytes: number;
  readonly indexOffset: number;
  readonly indexBytes: number;
  readonly propertiesOffset: number;
  readonly propertiesBytes: number;
  /** Of an index that is packed: its blocks, and bytes of its fences; 0 in version 1, where it is not. */
  readonly indexBlocks: number;
  readonly fenceBytes: number;
}

/** A file, for the errors about it. */
export interface TableFile {
  readonly path: string;
  readonly id: number;
}

export function encodeFooter(footer: Footer, tableId: number, footerOffset: number): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  bytes.writeDoubleLE(tableId, 0);
  bytes.writeBigUInt64LE(BigInt(footer.filterOffset), 8);
  bytes.writeUInt32LE(footer.filterBytes, 16);
  bytes.writeUInt32LE(footer.indexBytes, 20);
  bytes.writeBigUInt64LE(BigInt(footer.indexOffset), 24);
  bytes.writeBigUInt64LE(BigInt(footer.propertiesOffset), 32);
  bytes.writeUInt32LE(footer.propertiesBytes, 40);
  bytes.writeUInt32LE(TABLE_FORMAT_VERSION, 44);
  bytes.writeUInt32LE(footer.indexBlocks, 48);
  bytes.writeUInt32LE(footer.fenceBytes, 52);
  const sum = xxh64(bytes.subarray(0, CHECKSUM_OFFSET), placementSeed(tableId, footerOffset));
  bytes.writeBigUInt64LE(sum, CHECKSUM_OFFSET);
  bytes.write(MAGIC, MAGIC_OFFSET, 'latin1');
  return bytes;
}

/** The format version that a footer says, before anything of it is checked. */
export function footerFormat(bytes: Buffer): number {
  return bytes.readUInt32LE(44);
}

/**
 * The footer in `bytes`, the last FOOTER_BYTES of a file of `fileBytes`, and its format version:
 * the caller refuses versions it does not know. Throws `CorruptionError`.
 */
export function decodeFooter(
  bytes: Buffer,
  fileBytes: number,
  file: TableFile,
): { footer: Footer; formatVersion: number } {
  const offset = fileBytes - FOOTER_BYTES;
  const corrupt = (message: string, expected: string | number, found: string | number) =>
    new CorruptionError(message, { file: file.path, offset, expected, found });
  const magic = bytes.toString('latin1', MAGIC_OFFSET, FOOTER_BYTES);
  if (magic !== MAGIC) throw corrupt('A table does not end with its magic', MAGIC, hex(magic));
  const sum = xxh64(bytes.subarray(0, CHECKSUM_OFFSET), placementSeed(file.id, offset));
  const stored = bytes.readBigUInt64LE(CHECKSUM_OFFSET);
  if (sum !== stored) {
    throw corrupt("The checksum of a table's footer is wrong", `${sum}`, `${stored}`);
  }
  const formatVersion = footerFormat(bytes);
  const id = bytes.readDoubleLE(0);
  if (id !== file.id) throw corrupt('A table has the number of another', file.id, id);
  const footer = {
    filterOffset: Number(bytes.readBigUInt64LE(8)),
    filterBytes: bytes.readUInt32LE(16),
    indexOffset: Number(bytes.readBigUInt64LE(24)),
    indexBytes: bytes.readUInt32LE(20),
    propertiesOffset: Number(bytes.readBigUInt64LE(32)),
    propertiesBytes: bytes.readUInt32LE(40),
    indexBlocks: formatVersion < 2 ? 0 : bytes.readUInt32LE(48),
    fenceBytes: formatVersion < 2 ? 0 : bytes.readUInt32LE(52),
  };
  // Sections lie back to back: with the footer's checksum, that leaves no byte unaccounted for.
  if (
    footer.indexOffset !== footer.filterOffset + footer.filterBytes ||
    footer.propertiesOffset !== footer.indexOffset + footer.indexBytes ||
    offset !== footer.propertiesOffset + footer.propertiesBytes ||
    footer.propertiesBytes < PROPERTIES_FRAME_BYTES
  ) {
    throw corrupt("A table's sections do not fill it", fileBytes, JSON.stringify(footer));
  }
  // What memory is reserved for has to be in proportion to the file.
  const { indexBlocks, indexBytes, fenceBytes } = footer;
  const isPossible =
    indexBlocks > 0 && indexBlocks <= indexBytes && fenceBytes <= indexBlocks * KEY_BYTES_MAX;
  if (formatVersion === TABLE_FORMAT_VERSION && !isPossible) {
    throw corrupt("A table's index cannot have that many blocks", indexBytes, indexBlocks);
  }
  return { footer, formatVersion };
}

export function encodeProperties(info: TableInfo, offset: number): Buffer {
  const json = Buffer.from(
    JSON.stringify({
      entries: info.entries,
      tombstones: info.tombstones,
      keys: info.keys,
      rawBytes: info.rawBytes,
      smallest: Buffer.from(info.smallest).toString('base64'),
      largest: Buffer.from(info.largest).toString('base64'),
      sequenceMin: info.sequenceMin,
      sequenceMax: info.sequenceMax,
      createdAtMs: info.createdAtMs,
      blobs: info.blobs,
    }),
  );
  const bytes = Buffer.alloc(json.length + PROPERTIES_FRAME_BYTES);
  bytes.writeUInt32LE(json.length, 0);
  json.copy(bytes, 4);
  const end = bytes.length - CHECKSUM_BYTES;
  const sum = xxh64(bytes.subarray(0, end), placementSeed(info.id, offset));
  bytes.writeBigUInt64LE(sum, end);
  return bytes;
}

/** The properties section of a file of `fileBytes`. Throws `CorruptionError`. */
export function decodeProperties(
  bytes: Buffer,
  offset: number,
  fileBytes: number,
  file: TableFile,
): TableInfo {
  const end = bytes.length - CHECKSUM_BYTES;
  const sum = xxh64(bytes.subarray(0, end), placementSeed(file.id, offset));
  const stored = bytes.readBigUInt64LE(end);
  if (sum !== stored) {
    throw new CorruptionError("The checksum of a table's properties is wrong", {
      file: file.path,
      offset,
      expected: `${sum}`,
      found: `${stored}`,
    });
  }
  const info =
    bytes.readUInt32LE(0) === end - 4
      ? infoOf(bytes.toString('utf8', 4, end), file.id, fileBytes)
      : undefined;
  if (info === undefined) {
    throw new CorruptionError("A table's properties cannot be read", { file: file.path, offset });
  }
  return info;
}

function infoOf(json: string, id: number, bytes: number): TableInfo | undefined {
  let fields: Record<string, unknown>;
  try {
    const parsed: unknown = JSON.parse(json);
    if (typeof parsed !== 'object' || parsed === null) return undefined;
    fields = parsed as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const smallest = keyOf(fields['smallest']);
  const largest = keyOf(fields['largest']);
  const blobs = fields['blobs'];
  const info = {
    id,
    bytes,
    entries: fields['entries'],
    tombstones: fields['tombstones'],
    // Tables of earlier builds do not say: none of their versions is known to be an older one.
    keys: fields['keys'] ?? fields['entries'],
    sequenceMin: fields['sequenceMin'],
    sequenceMax: fields['sequenceMax'],
    rawBytes: fields['rawBytes'],
    createdAtMs: fields['createdAtMs'],
  };
  if (!allNatural(info) || smallest === undefined || largest === undefined) return undefined;
  if (!Array.isArray(blobs) || !blobs.every(isNatural)) return undefined;
  if (info.entries === 0 || info.tombstones > info.entries) return undefined;
  if (info.keys === 0 || info.keys > info.entries) return undefined;
  if (info.sequenceMin > info.sequenceMax || info.sequenceMax > SEQUENCE_MAX) return undefined;
  if (Buffer.compare(smallest, largest) > 0) return undefined;
  return { ...info, smallest, largest, blobs };
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function allNatural<Name extends string>(
  fields: Record<Name, unknown>,
): fields is Record<Name, number> {
  return Object.values(fields).every(isNatural);
}

function keyOf(base64: unknown): Uint8Array | undefined {
  if (typeof base64 !== 'string') return undefined;
  // A copy: small Buffers share a pool, which travels along when they are sent to a worker.
  const key = new Uint8Array(Buffer.from(base64, 'base64'));
  return key.length <= KEY_BYTES_MAX ? key : undefined;
}

function hex(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('hex');
}
