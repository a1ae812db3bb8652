/**
 * A damaged coordinator log: every whole frame is taken over, whatever stands between them, into a new
 * segment, so that commits over several shards that were under way end as they were decided.
 *
 * Nothing is cut any more for a power loss that came before: which commits had been durable on all
 * shards is known from the last mark, and that may be what is damaged.
 */
import {
  type Decision,
  decodeFrame,
  decodeLogHeader,
  encodeLogHeader,
  encodeMark,
  encodeRetained,
  FRAME_HEAD_BYTES,
  frameAt,
  LOG_HEADER_BYTES,
  type LogHeader,
  MARK_EVERYTHING,
} from '../coordinator/log-format.js';
import { listLogSegments, logSegmentName, readDecisionLog } from '../coordinator/log-reader.js';
import { LightningError } from '../errors.js';
import { type FileSystem, replaceFile } from '../file-system/file-system.js';
import {
  isSameSystemRun,
  SYSTEM_IDENTITY_BYTES,
  systemIdentity,
} from '../file-system/system-identity.js';
import type { Aside } from './aside.js';
import type { RepairFindings } from './report.js';

/** Upper parts of transaction ids when the log does not say which have been used. */
const OPEN_COUNTER_UNKNOWN = 1_000_000;
const ID_COUNTER = 2 ** 32;

export interface DecisionsOptions {
  readonly fs: FileSystem;
  /** The coordinator's directory, and its name in the database's. */
  readonly directory: string;
  readonly name: string;
  readonly databaseId: string;
  readonly findings: RepairFindings;
  readonly aside: Aside;
  readonly dryRun: boolean;
  /** Shards have been opened: there was a log. */
  readonly isUsed: boolean;
}

export function repairDecisions(options: DecisionsOptions): void {
  const { fs, directory, databaseId, findings } = options;
  const segments = listLogSegments(fs, directory);
  const newest = segments.at(-1);
  if (newest === undefined) {
    if (options.isUsed) replaceLost(options);
    return;
  }
  try {
    readDecisionLog(fs, directory, databaseId);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    const file = `${directory}/${logSegmentName(newest)}`;
    findings.problemOf(error, file);
    const found = salvage(fs.readFile(file), newest, file);
    findings.lose(
      file,
      Number(error.details['offset'] ?? 0),
      'Decisions of commits over several shards may be lost: one that was under way may be there in part',
    );
    if (!isSameRun(found.header)) {
      findings.lose(
        file,
        0,
        'After the power loss nothing is cut: shards may have kept different newest commits',
      );
    }
    if (!options.dryRun) write(options, segments, found);
  }
}

function replaceLost(options: DecisionsOptions): void {
  const { directory, findings } = options;
  findings.problem(directory, 0, 'Segments of the coordinator log are missing');
  findings.lose(
    directory,
    0,
    'Decisions of commits over several shards are lost: one that was under way may be there in part, and after a power loss nothing is cut',
  );
  if (!options.dryRun) write(options, [], { header: undefined, decisions: new Map() });
}

interface Found {
  readonly header: LogHeader | undefined;
  readonly decisions: ReadonlyMap<number, Decision>;
}

function salvage(bytes: Buffer, segment: number, file: string): Found {
  const decisions = new Map<number, Decision>();
  for (let at = LOG_HEADER_BYTES; at + FRAME_HEAD_BYTES <= bytes.length; ) {
    const frame = frameAt(bytes, segment, at);
    if (frame === undefined) {
      at++;
      continue;
    }
    const content = attempt(() => decodeFrame(frame, file, at));
    if (content?.kind === 'decision') decisions.set(content.decision.id, content.decision);
    at += frame.bytes;
  }
  return { header: attempt(() => decodeLogHeader(bytes, file)), decisions };
}

function write(options: DecisionsOptions, segments: readonly number[], found: Found): void {
  const { fs, directory, name, databaseId, aside } = options;
  const segment = (segments.at(-1) ?? 0) + 1;
  const ofDecisions = [...found.decisions.keys()].map((id) => Math.floor(id / ID_COUNTER));
  const known = found.header?.openCounter ?? Math.max(OPEN_COUNTER_UNKNOWN, ...ofDecisions);
  const frames: Buffer[] = [];
  let offset = LOG_HEADER_BYTES;
  const place = () => ({ segment, offset, durableBytes: 0 });
  const add = (frame: Buffer): void => {
    frames.push(frame);
    offset += frame.length;
  };
  add(encodeMark(MARK_EVERYTHING, place()));
  for (const decision of found.decisions.values()) add(encodeRetained(decision, place()));
  const header = encodeLogHeader({
    segment,
    openCounter: known + 1,
    bootId: 0,
    databaseId,
    systemIdentity: found.header?.systemIdentity ?? Buffer.alloc(SYSTEM_IDENTITY_BYTES),
    isSyncRun: found.header?.isSyncRun ?? false,
    bornBytes: offset,
  });
  aside.keep(name, segments.map(logSegmentName), { leaves: true });
  replaceFile(fs, directory, logSegmentName(segment), Buffer.concat([header, ...frames]));
  aside.release();
}

function isSameRun(header: LogHeader | undefined): boolean {
  if (header === undefined) return false;
  return header.isSyncRun || isSameSystemRun(header.systemIdentity, systemIdentity());
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isCorruption(error)) return undefined;
    throw error;
  }
}

function isCorruption(error: unknown): error is LightningError {
  return error instanceof LightningError && error.code === 'LIGHTNING_CORRUPTION';
}
