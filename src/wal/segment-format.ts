/**
 * The bytes of a WAL segment: a header of 64 bytes, then groups back to back, then zeros or nothing
 * (docs/FORMAT.md).
 *
 * The numbers here are on disk: they never change their meaning.
 */
import { databaseIdBytes, databaseIdText } from '../encoding/database-id.js';
import { checkFormatVersion } from '../encoding/format-version.js';
import { placementSeed, xxh64 } from '../encoding/xxh64.js';
import { CorruptionError } from '../errors.js';

export const SEGMENT_MAGIC = 'LDBWAL01';
export const SEGMENT_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 64;
/** No segment grows beyond this; a new one begins long before. */
export const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;

export const GROUP_MAGIC = 0x50524747;
export const GROUP_HEADER_BYTES = 64;
/** The one commit of this group goes on in the next group. */
export const GROUP_FLAG_CONTINUES = 1;

export const COMMIT_HEADER_BYTES = 24;
export const COMMIT_PLAIN = 0;
export const COMMIT_PREPARE = 1;
export const COMMIT_COMMIT = 2;
export const COMMIT_ABORT = 3;
/** Body of a COMMIT_COMMIT: sequence and timestamp. */
export const COMMIT_BODY_BYTES = 16;
/** Offsets in a commit's header. */
export const COMMIT_KIND = 8;
export const COMMIT_TRANSACTION = 16;

/** Who a segment belongs to, and what came before it. */
export interface SegmentHeader {
  readonly shard: number;
  readonly segment: number;
  /** The run of the operating system that wrote it (`systemRunNumber`); else random. */
  readonly bootId: number;
  /** The database's uuid. */
  readonly databaseId: string;
  /** The segment written before this one (0: none), and where it ended. */
  readonly previousSegment: number;
  readonly previousBytes: number;
  /** Whether all of the previous segment was durable when this one was created. */
  readonly isPreviousDurable: boolean;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.write(SEGMENT_MAGIC, 0, 'latin1');
  bytes.writeUInt32LE(SEGMENT_VERSION, 8);
  bytes.writeUInt32LE(header.shard, 12);
  bytes.writeDoubleLE(header.segment, 16);
  bytes.writeDoubleLE(header.bootId, 24);
  databaseIdBytes(header.databaseId).copy(bytes, 32);
  bytes.writeUInt32LE(header.previousSegment, 48);
  // Twice the bytes, plus one: segments stay below 2 GiB.
  bytes.writeUInt32LE(header.previousBytes * 2 + (header.isPreviousDurable ? 1 : 0), 52);
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, 56)), 56);
  return bytes;
}

/** Throws `CorruptionError` when the bytes are not a whole segment header. */
export function decodeSegmentHeader(bytes: Uint8Array, file: string): SegmentHeader {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < SEGMENT_HEADER_BYTES) {
    throw new CorruptionError('WAL segment is shorter than its header', { file, offset: 0 });
  }
  if (buffer.toString('latin1', 0, 8) !== SEGMENT_MAGIC) {
    throw new CorruptionError('Not a WAL segment', { file, offset: 0, expected: SEGMENT_MAGIC });
  }
  if (buffer.readBigUInt64LE(56) !== xxh64(buffer.subarray(0, 56))) {
    throw new CorruptionError('WAL segment header has a wrong checksum', { file, offset: 56 });
  }
  checkFormatVersion(buffer.readUInt32LE(8), SEGMENT_VERSION, file);
  return {
    shard: buffer.readUInt32LE(12),
    segment: buffer.readDoubleLE(16),
    bootId: buffer.readDoubleLE(24),
    databaseId: databaseIdText(buffer.subarray(32, 48)),
    previousSegment: buffer.readUInt32LE(48),
    previousBytes: buffer.readUInt32LE(52) >>> 1,
    isPreviousDurable: (buffer.readUInt32LE(52) & 1) !== 0,
  };
}

/** Header of a group, as read back. */
export interface GroupHeader {
  readonly bodyBytes: number;
  readonly firstSequence: number;
  readonly timestampUs: number;
  readonly epoch: number;
  /** How far the segment was known to be durable when the group was written. */
  readonly durableBytes: number;
  readonly commits: number;
  readonly continues: boolean;
}

/** Fields of a group header; says nothing about their validity. */
export function decodeGroupHeader(bytes: Uint8Array): GroupHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, GROUP_HEADER_BYTES);
  return {
    bodyBytes: view.getUint32(4, true),
    firstSequence: Number(view.getBigUint64(16, true)),
    timestampUs: view.getFloat64(24, true),
    epoch: Number(view.getBigUint64(32, true)),
    durableBytes: Number(view.getBigUint64(40, true)),
    commits: view.getUint32(48, true),
    continues: (view.getUint32(52, true) & GROUP_FLAG_CONTINUES) !== 0,
  };
}

/** `ok`; `more`: the group, if it is one, goes on behind the bytes at hand; `bad`: it is none. */
export type GroupCheck = 'ok' | 'more' | 'bad';

/** Decides whether `bytes` bytes at the start of `buffer` begin with the group of that place. */
export type CheckGroup = (
  buffer: Uint8Array,
  bytes: number,
  segment: number,
  offset: number,
) => GroupCheck;

/** `CheckGroup` without a kernel: the checksum only, slowly. */
export const checkGroupChecksum: CheckGroup = (buffer, bytes, segment, offset) => {
  if (bytes < GROUP_HEADER_BYTES) return 'more';
  const view = new DataView(buffer.buffer, buffer.byteOffset, bytes);
  if (view.getUint32(0, true) !== GROUP_MAGIC) return 'bad';
  const total = GROUP_HEADER_BYTES + view.getUint32(4, true);
  if (total > bytes) return 'more';
  const sum = xxh64(buffer.subarray(16, total), placementSeed(segment, offset));
  return sum === view.getBigUint64(8, true) ? 'ok' : 'bad';
};
