/**
 * The bytes of a segment of the coordinator's log: a header, then frames back to back
 * (docs/FORMAT.md).
 *
 * The numbers here are on disk: they never change their meaning.
 */
import { databaseIdBytes, databaseIdText } from '../encoding/database-id.js';
import { checkFormatVersion } from '../encoding/format-version.js';
import { placementSeed, xxh64 } from '../encoding/xxh64.js';
import { CorruptionError } from '../errors.js';
import { SYSTEM_IDENTITY_BYTES } from '../file-system/system-identity.js';

const LOG_MAGIC = 'LDBCLOG1';
const LOG_VERSION = 1;
export const LOG_HEADER_BYTES = 96;
const LOG_CHECKED_BYTES = 88;
/** The run synced every commit before it acknowledged it: power loss leaves nothing to cut. */
const FLAG_SYNC_RUN = 1;

export const FRAME_HEAD_BYTES = 24;
const FRAME_DECISION = 1;
const FRAME_MARK = 2;
const FRAME_RETAIN = 3;
const DECISION_BYTES = 32;
export const DECISION_FRAME_BYTES = FRAME_HEAD_BYTES + DECISION_BYTES;
const MARK_BYTES = 8;
/** No frame has a longer payload. */
export const FRAME_PAYLOAD_BYTES_MAX = 4096;

/** As a mark: whatever came before this segment is durable, however high its sequence. */
export const MARK_EVERYTHING = Number.MAX_SAFE_INTEGER;

export interface LogHeader {
  readonly segment: number;
  /** Grows with each open of the database: the upper part of transaction ids. */
  readonly openCounter: number;
  /** Random, new at each open. */
  readonly bootId: number;
  readonly databaseId: string;
  /** Of the operating system: tells a power loss from the death of the process. */
  readonly systemIdentity: Buffer;
  /** Every commit of the run is synced before it is acknowledged. */
  readonly isSyncRun: boolean;
  /** Up to here the segment was durable before it got its name. */
  readonly bornBytes: number;
}

/** That a commit over several shards takes place. */
export interface Decision {
  /** Transaction id; never used twice. */
  readonly id: number;
  /** Sequence number of the commit, on all shards. */
  readonly sequence: number;
  readonly timestampUs: number;
  /** Bit i: shard i takes part. */
  readonly participants: bigint;
}

export type LogFrame =
  | { readonly kind: 'decision'; readonly decision: Decision }
  /** Every commit up to `sequence`, on every shard, is durable, and so are the decisions it needs. */
  | { readonly kind: 'mark'; readonly sequence: number };

export function encodeLogHeader(header: LogHeader): Buffer {
  const bytes = Buffer.alloc(LOG_HEADER_BYTES);
  bytes.write(LOG_MAGIC, 0, 'latin1');
  bytes.writeUInt32LE(LOG_VERSION, 8);
  bytes.writeUInt32LE(header.isSyncRun ? FLAG_SYNC_RUN : 0, 12);
  bytes.writeDoubleLE(header.segment, 16);
  bytes.writeDoubleLE(header.openCounter, 24);
  bytes.writeDoubleLE(header.bootId, 32);
  databaseIdBytes(header.databaseId).copy(bytes, 40);
  header.systemIdentity.copy(bytes, 56, 0, SYSTEM_IDENTITY_BYTES);
  bytes.writeDoubleLE(header.bornBytes, 72);
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(0, LOG_CHECKED_BYTES)), LOG_CHECKED_BYTES);
  return bytes;
}

/** Throws `CorruptionError`: a segment gets its name only when it is whole. */
export function decodeLogHeader(bytes: Buffer, file: string): LogHeader {
  if (bytes.length < LOG_HEADER_BYTES || bytes.toString('latin1', 0, 8) !== LOG_MAGIC) {
    throw new CorruptionError('Not a segment of the coordinator log', {
      file,
      offset: 0,
      expected: LOG_MAGIC,
    });
  }
  const sum = bytes.readBigUInt64LE(LOG_CHECKED_BYTES);
  if (sum !== xxh64(bytes.subarray(0, LOG_CHECKED_BYTES))) {
    throw new CorruptionError('Header of the coordinator log has a wrong checksum', {
      file,
      offset: LOG_CHECKED_BYTES,
    });
  }
  checkFormatVersion(bytes.readUInt32LE(8), LOG_VERSION, file);
  return {
    isSyncRun: (bytes.readUInt32LE(12) & FLAG_SYNC_RUN) !== 0,
    segment: bytes.readDoubleLE(16),
    openCounter: bytes.readDoubleLE(24),
    bootId: bytes.readDoubleLE(32),
    databaseId: databaseIdText(bytes.subarray(40, 56)),
    systemIdentity: Buffer.from(bytes.subarray(56, 56 + SYSTEM_IDENTITY_BYTES)),
    bornBytes: bytes.readDoubleLE(72),
  };
}

/** Where a frame goes, and how far its segment is on the medium when it is written. */
export interface FramePlace {
  readonly segment: number;
  readonly offset: number;
  readonly durableBytes: number;
}

export function encodeDecision(decision: Decision, place: FramePlace): Buffer {
  return encodeDecisions([decision], place);
}

/** Decisions, one behind the other. */
export function encodeDecisions(decisions: readonly Decision[], place: FramePlace): Buffer {
  const bytes = Buffer.allocUnsafe(decisions.length * DECISION_FRAME_BYTES);
  for (let i = 0; i < decisions.length; i++) {
    const at = i * DECISION_FRAME_BYTES;
    writeDecisionFrame(bytes, at, decisions[i] as Decision, FRAME_DECISION, place);
  }
  return bytes;
}

/** A decision of an earlier segment that is still needed. */
export function encodeRetained(decision: Decision, place: FramePlace): Buffer {
  const frame = Buffer.allocUnsafe(DECISION_FRAME_BYTES);
  writeDecisionFrame(frame, 0, decision, FRAME_RETAIN, place);
  return frame;
}

export function encodeMark(sequence: number, place: FramePlace): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + MARK_BYTES);
  frame.writeDoubleLE(sequence, FRAME_HEAD_BYTES);
  sealFrame(frame, 0, MARK_BYTES, FRAME_MARK, place);
  return frame;
}

/** `place` is that of what stands at the start of `bytes`. */
function writeDecisionFrame(
  bytes: Buffer,
  at: number,
  decision: Decision,
  type: number,
  place: FramePlace,
): void {
  const payload = at + FRAME_HEAD_BYTES;
  bytes.writeDoubleLE(decision.id, payload);
  bytes.writeDoubleLE(decision.sequence, payload + 8);
  bytes.writeDoubleLE(decision.timestampUs, payload + 16);
  bytes.writeBigUInt64LE(decision.participants, payload + 24);
  sealFrame(bytes, at, DECISION_BYTES, type, place);
}

function sealFrame(
  bytes: Buffer,
  at: number,
  payloadBytes: number,
  type: number,
  { segment, offset, durableBytes }: FramePlace,
): void {
  bytes.writeUInt32LE(payloadBytes, at + 8);
  bytes.writeUInt32LE(type, at + 12);
  bytes.writeDoubleLE(durableBytes, at + 16);
  const frame = bytes.subarray(at, at + FRAME_HEAD_BYTES + payloadBytes);
  bytes.writeBigUInt64LE(checksumOf(frame, segment, offset + at), at);
}

function checksumOf(frame: Uint8Array, segment: number, offset: number): bigint {
  return xxh64(frame.subarray(8), placementSeed(segment, offset));
}

export interface FrameAt {
  readonly bytes: number;
  readonly type: number;
  readonly durableBytes: number;
  readonly payload: Buffer;
}

/** The frame at `offset` of a segment, of which `bytes` begin at `start`; undefined: there is no whole one. */
export function frameAt(
  bytes: Buffer,
  segment: number,
  offset: number,
  start = 0,
): FrameAt | undefined {
  const at = offset - start;
  if (at + FRAME_HEAD_BYTES > bytes.length) return undefined;
  const payloadBytes = bytes.readUInt32LE(at + 8);
  const end = at + FRAME_HEAD_BYTES + payloadBytes;
  if (payloadBytes > FRAME_PAYLOAD_BYTES_MAX || end > bytes.length) return undefined;
  const frame = bytes.subarray(at, end);
  if (frame.readBigUInt64LE(0) !== checksumOf(frame, segment, offset)) return undefined;
  return {
    bytes: frame.length,
    type: frame.readUInt32LE(12),
    durableBytes: frame.readDoubleLE(16),
    payload: frame.subarray(FRAME_HEAD_BYTES),
  };
}

/** What a frame says. Throws `CorruptionError`: its checksum is right, so nobody tore it. */
export function decodeFrame(frame: FrameAt, file: string, offset: number): LogFrame {
  const { type, payload } = frame;
  if (type === FRAME_MARK && payload.length === MARK_BYTES) {
    const sequence = payload.readDoubleLE(0);
    if (isNatural(sequence)) return { kind: 'mark', sequence };
  }
  if ((type === FRAME_DECISION || type === FRAME_RETAIN) && payload.length === DECISION_BYTES) {
    const decision: Decision = {
      id: payload.readDoubleLE(0),
      sequence: payload.readDoubleLE(8),
      timestampUs: payload.readDoubleLE(16),
      participants: payload.readBigUInt64LE(24),
    };
    const { id, sequence, timestampUs } = decision;
    if (isNatural(id) && isNatural(sequence) && isNatural(timestampUs)) {
      return { kind: 'decision', decision };
    }
  }
  throw new CorruptionError('Frame of the coordinator log is malformed', {
    file,
    offset,
    found: `type ${type} with ${payload.length} bytes`,
  });
}

function isNatural(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
