/**
 * Finds the groups of a shard's log that are whole, whatever is between them, and copies them to new
 * segments when the log as it stands would not be replayed to its end.
 *
 * A group proves itself: its checksum holds only at its place in its segment. What recovery cuts, the
 * torn end that a crash leaves, is no damage and stays to be cut. A commit that is spread over
 * several groups is kept when all of them are there.
 */
import { JobMemory } from '../compaction/job-memory.js';
import { CorruptionError, LightningError } from '../errors.js';
import { shardFileName } from '../file-system/file-names.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import { systemRunNumber } from '../file-system/system-identity.js';
import { isZeroFrom } from '../file-system/zeros-ahead.js';
import type { Kernel } from '../kernel/kernel.js';
import { blobsOf } from '../shard/wal-commit.js';
import {
  COMMIT_COMMIT,
  COMMIT_HEADER_BYTES,
  COMMIT_KIND,
  COMMIT_PLAIN,
  COMMIT_PREPARE,
  decodeGroupHeader,
  decodeSegmentHeader,
  encodeSegmentHeader,
  GROUP_HEADER_BYTES,
  GROUP_MAGIC,
  type GroupHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from '../wal/segment-format.js';
import type { RepairFindings } from './report.js';

/** No group is longer. */
const GROUP_BYTES_MAX = 256 * 1024 * 1024;
const SEARCH_BYTES = 256 * 1024;
/** A copied segment ends here. */
const SEGMENT_BYTES_MAX = 512 * 1024 * 1024;
const DURABLE_BYTES_AT = 40;
const CHECKSUM_AT = 8;

interface FoundGroup extends GroupHeader {
  readonly segment: number;
  readonly offset: number;
  readonly bytes: number;
}

interface FoundSegment {
  readonly number: number;
  readonly path: string;
  readonly header: SegmentHeader | undefined;
  readonly groups: readonly FoundGroup[];
  /** End of the last whole group. */
  readonly end: number;
  /** Something follows that is neither a group nor zeros. */
  readonly isTorn: boolean;
}

export interface LogOptions {
  readonly fs: FileSystem;
  readonly kernel: Kernel;
  readonly directory: string;
  readonly shard: number;
  readonly databaseId: string;
  readonly findings: RepairFindings;
}

export interface FoundLog {
  /** The log as it stands would be refused, or not be replayed to its end. */
  readonly isDamaged: boolean;
  readonly groups: readonly FoundGroup[];
  readonly lastSequence: number;
  readonly lastTimestampUs: number;
  readonly lastEpoch: number;
  readonly blobs: ReadonlySet<number>;
}

/** `segments`: those from `walMin` on, ascending. */
export function surveyLog(
  options: LogOptions,
  segments: readonly number[],
  walMin: number,
): FoundLog {
  const survey = new LogSurvey(options);
  return survey.run(segments, walMin);
}

class LogSurvey {
  readonly #options: LogOptions;
  readonly #address: number;
  readonly #blobs = new Set<number>();
  /** Of commits over several shards. */
  #lastDecided = 0;

  constructor(options: LogOptions) {
    this.#options = options;
    this.#address = new JobMemory(options.kernel).allocate(GROUP_BYTES_MAX);
  }

  run(numbers: readonly number[], walMin: number): FoundLog {
    const { findings, directory } = this.#options;
    const before = findings.problems.length;
    const found: FoundSegment[] = [];
    for (const number of numbers) {
      const isLast = number === numbers.at(-1);
      const segment = this.#segment(number, isLast);
      if (segment !== undefined) found.push(segment);
    }
    if (walMin > 0 && numbers.length === 0) {
      findings.problem(directory, 0, 'WAL segments are missing');
      findings.lose(directory, 0, 'The log is gone: what was not in tables is lost');
    }
    this.#checkChain(found, walMin);
    const groups = this.#wholeCommits(found);
    const last = (field: (group: FoundGroup) => number): number =>
      groups.reduce((highest, group) => Math.max(highest, field(group)), 0);
    return {
      isDamaged: findings.problems.length > before,
      groups,
      lastSequence: Math.max(
        this.#lastDecided,
        last((group) => group.firstSequence + Math.max(group.commits, 1) - 1),
      ),
      lastTimestampUs: last((group) => group.timestampUs),
      lastEpoch: last((group) => group.epoch),
      blobs: this.#blobs,
    };
  }

  // ---- one segment --------------------------------------------------------------------

  #segment(number: number, isLast: boolean): FoundSegment | undefined {
    const { fs, directory, findings } = this.#options;
    const path = `${directory}/${shardFileName('wal', number)}`;
    const file = fs.open(path, 'r');
    try {
      const fileBytes = file.size();
      const header = this.#header(file, number, isLast);
      if (header === 'unborn') return undefined;
      const groups: FoundGroup[] = [];
      let at = SEGMENT_HEADER_BYTES;
      while (at < fileBytes) {
        const group = this.#groupAt(file, number, at, fileBytes);
        if (group !== undefined) {
          groups.push(group);
          at += group.bytes;
          continue;
        }
        const next = this.#nextGroup(file, number, at + 1, fileBytes);
        // A torn end, unless what was found behind says that something else had been there.
        if (next === undefined) break;
        if (header !== undefined && !this.#isOfThisBoot(header) && next.durableBytes <= at) break;
        findings.problem(path, at, 'WAL group is damaged');
        findings.lose(path, at, `Bytes ${at} to ${next.offset} of the log cannot be read`);
        at = next.offset;
      }
      return { number, path, header, groups, end: at, isTorn: !isZeroFrom(file, at) };
    } finally {
      file.close();
    }
  }

  /** Whether the system has run on since the segment was written: what was appended is there. */
  #isOfThisBoot({ bootId }: SegmentHeader): boolean {
    return bootId === systemRunNumber(this.#options.fs.systemIdentity());
  }

  #header(file: FileHandle, number: number, isLast: boolean): SegmentHeader | undefined | 'unborn' {
    const { findings, shard, databaseId } = this.#options;
    const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
    const got = file.read(head, 0);
    const isUnborn = got < SEGMENT_HEADER_BYTES || head.every((byte) => byte === 0);
    if (isLast && isUnborn && file.size() <= SEGMENT_HEADER_BYTES) return 'unborn';
    try {
      const header = decodeSegmentHeader(head.subarray(0, got), file.path);
      const isOurs =
        header.segment === number && header.shard === shard && header.databaseId === databaseId;
      if (isOurs) return header;
      throw new CorruptionError('WAL segment belongs elsewhere', { file: file.path, offset: 0 });
    } catch (error) {
      if (!(error instanceof LightningError) || error.code !== 'LIGHTNING_CORRUPTION') throw error;
      findings.problemOf(error, file.path);
      return undefined;
    }
  }

  #groupAt(
    file: FileHandle,
    segment: number,
    offset: number,
    fileBytes: number,
  ): FoundGroup | undefined {
    const { kernel } = this.#options;
    const address = this.#address;
    const head = kernel.bytes.subarray(address, address + GROUP_HEADER_BYTES);
    if (file.read(head, offset) < GROUP_HEADER_BYTES) return undefined;
    if (head.readUInt32LE(0) !== GROUP_MAGIC) return undefined;
    const header = decodeGroupHeader(head);
    const bytes = GROUP_HEADER_BYTES + header.bodyBytes;
    if (bytes > GROUP_BYTES_MAX || offset + bytes > fileBytes) return undefined;
    const body = kernel.bytes.subarray(address + GROUP_HEADER_BYTES, address + bytes);
    if (file.read(body, offset + GROUP_HEADER_BYTES) < body.length) return undefined;
    const { exports } = kernel;
    exports.checksumPlaced(address + 16, bytes - 16, segment, offset);
    const isWhole =
      exports.checksumLow() >>> 0 === head.readUInt32LE(CHECKSUM_AT) &&
      exports.checksumHigh() >>> 0 === head.readUInt32LE(CHECKSUM_AT + 4);
    if (!isWhole) return undefined;
    this.#noteBlobs(bytes);
    return { ...header, segment, offset, bytes };
  }

  #noteBlobs(bytes: number): void {
    const { kernel } = this.#options;
    const end = this.#address + bytes;
    for (let at = this.#address + GROUP_HEADER_BYTES; at + COMMIT_HEADER_BYTES <= end; ) {
      const start = at + COMMIT_HEADER_BYTES;
      const operationsEnd = start + kernel.bytes.readUInt32LE(at);
      if (operationsEnd > end) return;
      const kind = kernel.bytes[at + COMMIT_KIND];
      if (kind === COMMIT_PLAIN || kind === COMMIT_PREPARE) {
        for (const blob of blobsOf(kernel.bytes, start, operationsEnd)) this.#blobs.add(blob);
      } else if (kind === COMMIT_COMMIT) {
        this.#lastDecided = Math.max(this.#lastDecided, kernel.bytes.readDoubleLE(start));
      }
      at = operationsEnd;
    }
  }

  #nextGroup(
    file: FileHandle,
    segment: number,
    from: number,
    fileBytes: number,
  ): FoundGroup | undefined {
    const window = Buffer.alloc(SEARCH_BYTES);
    const magic = Buffer.alloc(4);
    magic.writeUInt32LE(GROUP_MAGIC);
    for (let at = from; at + GROUP_HEADER_BYTES <= fileBytes; ) {
      const searched = window.subarray(0, file.read(window, at));
      for (let found = searched.indexOf(magic); found >= 0; ) {
        const group = this.#groupAt(file, segment, at + found, fileBytes);
        if (group !== undefined) return group;
        found = searched.indexOf(magic, found + 1);
      }
      if (searched.length < SEARCH_BYTES) return undefined;
      at += searched.length - magic.length + 1;
    }
    return undefined;
  }

  // ---- all of them --------------------------------------------------------------------

  #checkChain(found: readonly FoundSegment[], walMin: number): void {
    const { findings } = this.#options;
    for (const [i, { header, path }] of found.entries()) {
      if (header === undefined) continue;
      const before = found[i - 1];
      const { previousSegment, previousBytes } = header;
      const isExpected =
        before === undefined
          ? previousSegment < Math.max(walMin, 1)
          : previousSegment === before.number;
      if (!isExpected) {
        findings.problem(path, 48, 'WAL segment before this one is missing');
        findings.lose(path, 48, `Segment ${previousSegment} of the log is gone with what it held`);
      } else if (before !== undefined && (before.end < previousBytes || before.isTorn)) {
        const isProven =
          (before.header !== undefined && this.#isOfThisBoot(before.header)) ||
          found
            .slice(i)
            .some(
              (later) =>
                later.header?.isPreviousDurable === true ||
                later.groups.some(({ durableBytes }) => durableBytes > SEGMENT_HEADER_BYTES),
            );
        if (!isProven) continue;
        findings.problem(before.path, before.end, 'WAL segment is damaged');
        if (before.end >= previousBytes) continue;
        findings.lose(before.path, before.end, 'The end of a segment of the log is gone');
      }
    }
  }

  /** Without commits some groups of which are not there. */
  #wholeCommits(found: readonly FoundSegment[]): FoundGroup[] {
    const { findings } = this.#options;
    const whole: FoundGroup[] = [];
    for (const { groups, path } of found) {
      let begun: FoundGroup[] = [];
      for (const group of groups) {
        const previous = begun.at(-1);
        const isNext = previous !== undefined && previous.offset + previous.bytes === group.offset;
        if (previous !== undefined && !isNext) {
          findings.lose(path, previous.offset, 'A part of a commit is lost, so all of it is');
          begun = [];
        }
        begun.push(group);
        if (group.continues) continue;
        whole.push(...begun);
        begun = [];
      }
    }
    return whole;
  }
}

/**
 * Copies the groups to new segments with the numbers from `first` on, durably. Returns how many
 * segments that were; there is always one.
 */
export function writeLog(options: LogOptions, { groups }: FoundLog, first: number): number {
  const { fs, kernel, directory, shard, databaseId } = options;
  const address = new JobMemory(kernel).allocate(GROUP_BYTES_MAX);
  let number = first;
  let file = create(undefined);
  let at = SEGMENT_HEADER_BYTES;
  let source: { readonly segment: number; readonly file: FileHandle } | undefined;

  function create(previous: number | undefined): FileHandle {
    const path = `${directory}/${shardFileName('wal', number)}`;
    const created = fs.open(path, 'create');
    const header: SegmentHeader = {
      shard,
      segment: number,
      bootId: 0,
      databaseId,
      previousSegment: previous === undefined ? 0 : number - 1,
      previousBytes: previous ?? 0,
      isPreviousDurable: true,
    };
    created.write(encodeSegmentHeader(header), 0);
    return created;
  }
  try {
    for (const { segment, offset, bytes, continues } of groups) {
      if (source?.segment !== segment) {
        source?.file.close();
        const path = `${directory}/${shardFileName('wal', segment)}`;
        source = { segment, file: fs.open(path, 'r') };
      }
      const group = kernel.bytes.subarray(address, address + bytes);
      source.file.read(group, offset);
      // All of it is durable before anything refers to it.
      group.writeBigUInt64LE(BigInt(at), DURABLE_BYTES_AT);
      kernel.exports.checksumPlaced(address + 16, bytes - 16, number, at);
      group.writeUInt32LE(kernel.exports.checksumLow() >>> 0, CHECKSUM_AT);
      group.writeUInt32LE(kernel.exports.checksumHigh() >>> 0, CHECKSUM_AT + 4);
      file.write(group, at);
      at += bytes;
      if (at < SEGMENT_BYTES_MAX || continues) continue;
      file.sync();
      file.close();
      number++;
      file = create(at);
      at = SEGMENT_HEADER_BYTES;
    }
    file.sync();
  } finally {
    file.close();
    source?.file.close();
  }
  return number - first + 1;
}
