/**
 * Reads the coordinator's log as an open finds it: the newest segment, which repeats what is still
 * needed of those before it.
 *
 * A segment gets its name when its header and first frames are durable, so damage there is
 * corruption. Behind them, zeros up to the end of the file end the log, as the end of the file does
 * (the writer may keep the file longer than the frames: zeros-ahead.ts). A frame that is not whole ends
 * it, too: it is a *torn tail* when nothing shows that it was ever durable, and *corruption* when a later
 * whole frame states that the medium held it already.
 */
import { CorruptionError } from '../errors.js';
import { type FileSystem, isNotFound } from '../file-system/file-system.js';
import { isSameSystemRun } from '../file-system/system-identity.js';
import { areZeros } from '../file-system/zeros-ahead.js';
import {
  type Decision,
  decodeFrame,
  decodeLogHeader,
  FRAME_HEAD_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  frameAt,
  LOG_HEADER_BYTES,
  type LogHeader,
  MARK_EVERYTHING,
} from './log-format.js';

const NAME_PATTERN = /^(\d{10,16})\.log$/;
const NUMBER_DIGITS = 10;

export interface LogContents {
  readonly header: LogHeader;
  /** By transaction id, in the order of their sequence numbers. */
  readonly decisions: ReadonlyMap<number, Decision>;
  /** The last durability mark. */
  readonly mark: number;
  /** End of the last whole frame. */
  readonly bytes: number;
  readonly isTorn: boolean;
}

export function logSegmentName(segment: number): string {
  return `${String(segment).padStart(NUMBER_DIGITS, '0')}.log`;
}

/** Numbers of the segments in the coordinator's directory, ascending. */
export function listLogSegments(fs: FileSystem, directory: string): number[] {
  let names: string[];
  try {
    names = fs.readdir(directory);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
  return names
    .map((name) => Number(NAME_PATTERN.exec(name)?.[1] ?? 0))
    .filter((segment) => segment > 0)
    .sort((left, right) => left - right);
}

/**
 * What the log says; undefined when there is none. With a `place`: what that segment said when it had
 * so many bytes.
 */
export function readDecisionLog(
  fs: FileSystem,
  directory: string,
  databaseId: string,
  place?: { readonly segment: number; readonly bytes: number },
): LogContents | undefined {
  const segment = place?.segment ?? listLogSegments(fs, directory).at(-1);
  if (segment === undefined) return undefined;
  const file = `${directory}/${logSegmentName(segment)}`;
  const bytes = fs.readFile(file).subarray(0, place?.bytes);
  const header = decodeLogHeader(bytes, file);
  if (header.segment !== segment || header.databaseId !== databaseId) {
    throw new CorruptionError('Segment of the coordinator log belongs elsewhere', {
      file,
      offset: 16,
      expected: `segment ${segment} of ${databaseId}`,
      found: `segment ${header.segment} of ${header.databaseId}`,
    });
  }
  return readFrames(bytes, header, file);
}

/**
 * The decisions in the log, while a coordinator may be writing it: a frame that is not whole is one
 * that is being written, and whose decision nobody acts on yet.
 */
export function readDecisions(
  fs: FileSystem,
  directory: string,
  databaseId: string,
): ReadonlyMap<number, Decision> {
  for (;;) {
    const newest = listLogSegments(fs, directory).at(-1);
    try {
      return readDecisionLog(fs, directory, databaseId)?.decisions ?? new Map();
    } catch (error) {
      // Another segment took its place just now.
      if (!isNotFound(error) || listLogSegments(fs, directory).at(-1) === newest) throw error;
    }
  }
}

/**
 * After what sequence number the shards' logs end: what lies above may have holes, since the power
 * failed. Undefined when nothing was lost: the system has been running since, or every commit had
 * been synced before it was acknowledged.
 */
export function powerLossCut(
  log: LogContents | undefined,
  systemIdentity: Buffer,
): number | undefined {
  if (log === undefined || log.header.isSyncRun || log.mark === MARK_EVERYTHING) return undefined;
  return isSameSystemRun(log.header.systemIdentity, systemIdentity) ? undefined : log.mark;
}

function readFrames(bytes: Buffer, header: LogHeader, file: string): LogContents {
  const decisions = new Map<number, Decision>();
  let mark: number | undefined;
  let offset = LOG_HEADER_BYTES;
  let isTorn = false;
  while (offset < Math.max(bytes.length, header.bornBytes)) {
    const frame = frameAt(bytes, header.segment, offset);
    if (frame === undefined) {
      if (offset < header.bornBytes)
        throw damaged(file, offset, 'a frame that the segment began with');
      isTorn = !areZeros(bytes.subarray(offset));
      if (isTorn) refuseRot(bytes, header.segment, offset, file);
      break;
    }
    const content = decodeFrame(frame, file, offset);
    if (content.kind === 'mark') mark = content.sequence;
    else decisions.set(content.decision.id, content.decision);
    offset += frame.bytes;
  }
  if (mark === undefined) throw damaged(file, offset, 'a mark');
  return { header, decisions, mark, bytes: offset, isTorn };
}

/** Throws when a later whole frame proves that the bad bytes at `offset` had been durable. */
function refuseRot(bytes: Buffer, segment: number, offset: number, file: string): void {
  const last = bytes.length - FRAME_HEAD_BYTES;
  for (let at = offset + 1; at <= last; at++) {
    // Most places are none of a frame at the first look: its length is small.
    if (bytes.readUInt32LE(at + 8) > FRAME_PAYLOAD_BYTES_MAX) continue;
    if (!(bytes.readDoubleLE(at + 16) > offset)) continue;
    const frame = frameAt(bytes, segment, at);
    if (frame === undefined || frame.durableBytes <= offset) continue;
    throw damaged(file, offset, 'a frame: a later one proves that it was durable');
  }
}

function damaged(file: string, offset: number, expected: string): CorruptionError {
  return new CorruptionError('Coordinator log is damaged', { file, offset, expected });
}
