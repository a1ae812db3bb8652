/**
 * Replays WAL segments into the memtables.
 *
 * The log of a shard is one sequence of groups over several files, each of which may end in zeros. It
 * ends where a group is not whole; what comes after it, in that file or a later one, was written later
 * and goes with it. That is only right when nothing says that the end had been there: the system that
 * runs on since, a later segment that was started when all before it was on the medium, or a group that
 * says how far its own segment was.
 *
 * A commit that is spread over several groups is replayed when its last group is there, else it and
 * what follows is cut.
 *
 * After a power loss the log also ends at the first group above the last durability mark, whole or
 * not: commits of other shards that come before it may have been lost.
 * Parts of commits over several shards (PREPARE) are kept until their turn comes: they are applied
 * under their own number, before the first group with a higher one, so that memtables are filled in
 * the order of numbers as they were in life. What became of one says a COMMIT or ABORT record further
 * on in the log; without one it is *in doubt*, and `resolve` knows.
 */
import { CorruptionError, LightningError } from '../errors.js';
import { shardFileName } from '../file-system/file-names.js';
import { type FileHandle, replaceFile } from '../file-system/file-system.js';
import { systemRunNumber } from '../file-system/system-identity.js';
import { H_WAL_BASE, H_WAL_BYTES } from '../kernel/assembly/layout.js';
import { rewriteDurably } from '../wal/segment-files.js';
import {
  COMMIT_ABORT,
  COMMIT_COMMIT,
  COMMIT_HEADER_BYTES,
  COMMIT_KIND,
  COMMIT_PLAIN,
  COMMIT_PREPARE,
  COMMIT_TRANSACTION,
  SEGMENT_HEADER_BYTES,
} from '../wal/segment-format.js';
import { type Group, SegmentReader } from '../wal/segment-reader.js';
import type { OlderSegment } from '../wal/wal.js';
import { PreparedCommit } from './prepared-commit.js';
import type { ShardState } from './shard-state.js';
import { blobsOf } from './wal-commit.js';

export interface ReplayOptions {
  /** The shard has never been opened before: it need not have a segment. */
  readonly isFirstOpen: boolean;
  /** Blob files exist: references to them are collected. */
  readonly hasBlobs: boolean;
  readonly makeRoom: () => Promise<void>;
  /** After a power loss: what lies above goes, with all that follows it. */
  readonly cutSequence?: number | undefined;
  /** What became of a commit over several shards; undefined: it did not take place. */
  readonly resolve: (id: number) => Promise<CommitOutcome | undefined>;
}

export interface CommitOutcome {
  readonly sequence: number;
  readonly timestampUs: number;
}

/** A commit that was in doubt; `outcome` undefined: it did not take place. */
export interface ResolvedCommit {
  readonly id: number;
  readonly outcome: CommitOutcome | undefined;
}

export interface ReplayResult {
  readonly lastSequence: number;
  readonly lastTimestampUs: number;
  readonly lastEpoch: number;
  readonly commits: number;
  /** What is left on disk, whole and durable, oldest first. */
  readonly segments: readonly OlderSegment[];
  /** The log does not say what became of these: it is to be added. */
  readonly resolved: readonly ResolvedCommit[];
}

/** A PREPARE, its operations in as many pieces as there were groups. */
interface Part {
  readonly id: number;
  readonly segment: number;
  readonly pieces: Buffer[];
}

/** What a record says about a commit over several shards. */
type Recorded = CommitOutcome | 'aborted';

interface OpenSegment {
  readonly number: number;
  readonly path: string;
  readonly file: FileHandle;
  readonly reader: SegmentReader;
}

/** `segments`: their numbers, ascending, from the first that is needed on. */
export async function replaySegments(
  state: ShardState,
  segments: readonly number[],
  options: ReplayOptions,
): Promise<ReplayResult> {
  const replay = new Replay(state, options);
  try {
    return await replay.run(segments);
  } finally {
    replay.close();
  }
}

class Replay {
  readonly #state: ShardState;
  readonly #options: ReplayOptions;
  readonly #open: OpenSegment[] = [];
  #lastSequence = 0;
  #lastTimestampUs = 0;
  #lastEpoch = 0;
  #commits = 0;
  /** A group above `cutSequence` was met. */
  #isCut = false;
  /** PREPARE whose last group has not come. */
  #partial: Part | undefined;
  /** Committed, and waiting for their turn, by ascending number. */
  readonly #due: PreparedCommit[] = [];
  readonly #resolved: ResolvedCommit[] = [];
  /** A record was found, which may stand in a segment that is dropped. */
  readonly #said: ResolvedCommit[] = [];
  /** What the log says about commits over several shards; undefined until one is met. */
  #recorded: Map<number, Recorded> | undefined;

  constructor(state: ShardState, options: ReplayOptions) {
    this.#state = state;
    this.#options = options;
  }

  async run(numbers: readonly number[]): Promise<ReplayResult> {
    this.#openAll(numbers);
    this.#checkStart();
    const left: OlderSegment[] = [];
    for (let i = 0; i < this.#open.length; i++) {
      const segment = this.#open[i] as OpenSegment;
      const end = await this.#replaySegment(segment);
      const next = this.#open[i + 1];
      const isWhole = end === segment.reader.offset && !segment.reader.isTorn;
      const isComplete =
        isWhole && (next === undefined || end === next.reader.header.previousBytes);
      left.push({ segment: segment.number, bytes: end });
      if (this.#isCut) {
        // Until the last step, the next open comes to the same cut.
        this.#dropFrom(i + 1);
        this.#cut(segment, end);
        break;
      }
      if (!isComplete) this.#refuseDurableEnd(segment, end, i);
      if (end < segment.file.size()) this.#cut(segment, end);
      if (!isComplete) {
        if (next !== undefined) this.#resolved.push(...this.#said);
        this.#dropFrom(i + 1);
        break;
      }
    }
    await this.#applyDue(Number.POSITIVE_INFINITY, left.at(-1)?.segment ?? 0);
    return {
      lastSequence: this.#lastSequence,
      lastTimestampUs: this.#lastTimestampUs,
      lastEpoch: this.#lastEpoch,
      commits: this.#commits,
      segments: left,
      resolved: this.#resolved,
    };
  }

  close(): void {
    for (const { file } of this.#open) file.close();
  }

  // ---- segments -----------------------------------------------------------------------

  #openAll(numbers: readonly number[]): void {
    const { fs, directory, options, kernel } = this.#state;
    const base = kernel.u32[H_WAL_BASE >>> 2] as number;
    const buffer = kernel.bytes.subarray(base, base + (kernel.u32[H_WAL_BYTES >>> 2] as number));
    const bootId = systemRunNumber(fs.systemIdentity());
    for (const number of numbers) {
      const path = `${directory}/${shardFileName('wal', number)}`;
      const isNew = number === numbers.at(-1) && !options.config.readOnly && this.#renew(number);
      const file = fs.open(path, options.config.readOnly ? 'r' : 'r+');
      try {
        if (number === numbers.at(-1) && this.#isUnborn(file)) {
          file.close();
          if (!options.config.readOnly) fs.unlink(path);
          return;
        }
        // What is read is relied on: it must not go away again.
        if (!options.config.readOnly && !isNew) rewriteDurably(file);
        const reader = new SegmentReader(file, {
          buffer,
          check: (_buffer, bytes, segment, offset) => {
            const status = kernel.exports.groupOpen(bytes, segment, offset);
            return status === 0 ? 'ok' : status === 1 ? 'more' : 'bad';
          },
          bootId,
        });
        this.#open.push({ number, path, file, reader });
      } catch (error) {
        file.close();
        throw error;
      }
      this.#checkHeader(this.#open.at(-1) as OpenSegment);
    }
  }

  /**
   * Nothing was ever written behind the header of the last segment: the sync of its name may have
   * failed in an earlier run, and another sync would not show that. The same file under the same name,
   * new, has a name that this run makes durable. False: something may have been.
   */
  #renew(number: number): boolean {
    const { fs, directory } = this.#state;
    const name = shardFileName('wal', number);
    const path = `${directory}/${name}`;
    if (fs.fileSize(path) !== SEGMENT_HEADER_BYTES) return false;
    replaceFile(fs, directory, name, fs.readFile(path));
    return true;
  }

  /** The system went down while the segment was made: nothing was ever written behind its header. */
  #isUnborn(file: FileHandle): boolean {
    if (file.size() > SEGMENT_HEADER_BYTES) return false;
    const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
    file.read(head, 0);
    // A whole header has its magic and a checksum that is not zero.
    return file.size() < SEGMENT_HEADER_BYTES || head.every((byte) => byte === 0);
  }

  #checkHeader({ number, path, reader }: OpenSegment): void {
    const { shard, databaseId } = this.#state.options;
    const { header } = reader;
    if (header.segment === number && header.shard === shard && header.databaseId === databaseId) {
      return;
    }
    throw new CorruptionError('WAL segment belongs elsewhere', {
      file: path,
      offset: 0,
      expected: `segment ${number} of shard ${shard} of ${databaseId}`,
      found: `segment ${header.segment} of shard ${header.shard} of ${header.databaseId}`,
    });
  }

  /** Each segment names the one before it: none may be missing from the first needed one on. */
  #checkStart(): void {
    const { walMin } = this.#state.version.state;
    const { directory } = this.#state;
    if (this.#open.length === 0 && !this.#options.isFirstOpen && walMin > 0) {
      throw new CorruptionError('WAL segments are missing', { file: directory, offset: 0 });
    }
    let before = 0;
    for (const { path, reader } of this.#open) {
      const { previousSegment } = reader.header;
      const isExpected =
        before === 0 ? previousSegment < Math.max(walMin, 1) : previousSegment === before;
      if (!isExpected) {
        throw new CorruptionError('WAL segment before this one is missing', {
          file: path,
          offset: 48,
          expected: before,
          found: previousSegment,
        });
      }
      before = reader.header.segment;
    }
  }

  /** Throws when the log ends at `end` of segment `i` although it had gone on beyond. */
  #refuseDurableEnd(segment: OpenSegment, end: number, i: number): void {
    const later = this.#open.slice(i + 1);
    const isProven =
      (later.length > 0 && segment.reader.isOfThisBoot) ||
      later.some(({ reader }) => reader.header.isPreviousDurable || saysDurable(reader));
    if (!isProven) return;
    throw new CorruptionError('WAL segment is damaged', {
      file: segment.path,
      offset: end,
      expected: 'a group: a later segment proves that it was there',
    });
  }

  /** Cuts a torn tail or zeros, durably. */
  #cut({ file }: OpenSegment, end: number): void {
    if (this.#state.options.config.readOnly) return;
    file.truncate(end);
    file.sync();
  }

  #dropFrom(first: number): void {
    const { fs, options } = this.#state;
    if (options.config.readOnly) return;
    // Newest first: a crash in between leaves no gap.
    for (const { path, file } of this.#open.slice(first).reverse()) {
      file.close();
      fs.unlink(path);
      fs.syncDirectory(this.#state.directory);
    }
  }

  // ---- groups -------------------------------------------------------------------------

  /** Replays whole commits; returns where they end. */
  async #replaySegment(segment: OpenSegment): Promise<number> {
    const { reader } = segment;
    let end = reader.offset;
    const cutSequence = this.#options.cutSequence ?? Number.POSITIVE_INFINITY;
    for (let group = reader.next(); group !== undefined; group = reader.next()) {
      if (group.firstSequence > cutSequence) {
        this.#isCut = true;
        break;
      }
      if (group.continues) {
        const whole = wholeCommitEnd(reader);
        if (whole === undefined) break;
        reader.seek(group.offset);
        // Read again: looking ahead has overwritten the buffer.
        for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
          await this.#apply(segment, piece);
          if (!piece.continues) break;
        }
        this.#commits++;
      } else {
        await this.#apply(segment, group);
        this.#commits += group.commits;
      }
      end = reader.offset;
    }
    return end;
  }

  /** Applies the group that stands in the WAL buffer. */
  async #apply(segment: OpenSegment, group: Group): Promise<void> {
    const { kernel, memtables } = this.#state;
    if (this.#due.length > 0) await this.#applyDue(group.firstSequence, segment.number);
    const controls = kernel.exports.groupControls() >>> 0;
    const opened = controls === 0 ? [] : this.#takeParts(segment, group);
    const blobs = this.#options.hasBlobs ? this.#blobsOf(group) : [];
    const note = (): void => {
      const { active } = memtables;
      active.walSegmentMin ??= segment.number;
      active.lastTimestampUs = Math.max(active.lastTimestampUs, group.timestampUs);
      active.lastEpoch = Math.max(active.lastEpoch, group.epoch);
      for (const blob of blobs) active.blobs.add(blob);
    };
    note();
    for (;;) {
      const status = kernel.exports.groupApply();
      if (status === 0) break;
      if (status !== 1) {
        throw new CorruptionError('WAL group is malformed', {
          file: segment.path,
          offset: group.offset,
        });
      }
      await this.#makeRoom();
      note();
    }
    const commits = group.continues ? 1 : group.commits;
    this.#lastSequence = Math.max(this.#lastSequence, group.firstSequence + commits - 1);
    this.#lastTimestampUs = Math.max(this.#lastTimestampUs, group.timestampUs);
    this.#lastEpoch = Math.max(this.#lastEpoch, group.epoch);
    // Looking ahead in the log overwrites the group: only now.
    for (const part of opened) await this.#resolve(segment, group, part);
  }

  // ---- commits over several shards ------------------------------------------------------

  /** Copies the PREPAREs of the group in the buffer; returns those that are whole. */
  #takeParts(segment: OpenSegment, group: Group): Part[] {
    const whole: Part[] = [];
    for (const { kind, id, start, end } of this.#commitsOf(group)) {
      if (kind !== COMMIT_PREPARE) continue;
      const part = this.#partial ?? { id, segment: segment.number, pieces: [] };
      part.pieces.push(Buffer.from(this.#state.kernel.bytes.subarray(start, end)));
      this.#partial = group.continues ? part : undefined;
      if (!group.continues) whole.push(part);
    }
    return whole;
  }

  async #resolve(segment: OpenSegment, group: Group, part: Part): Promise<void> {
    this.#recorded ??= this.#readRecords(segment, group);
    const { cutSequence, resolve } = this.#options;
    const recorded = this.#recorded.get(part.id);
    let outcome = recorded === 'aborted' ? undefined : recorded;
    if (recorded === undefined) outcome = await resolve(part.id);
    // What lies above the cut is lost on other shards, too.
    if (cutSequence !== undefined && (outcome?.sequence ?? 0) > cutSequence) outcome = undefined;
    // A record that was found may stand behind the cut.
    const isSaid = recorded !== undefined && cutSequence === undefined;
    (isSaid ? this.#said : this.#resolved).push({ id: part.id, outcome });
    if (outcome === undefined) return;
    const operations = Buffer.concat(part.pieces);
    const blobs = this.#options.hasBlobs ? blobsOf(operations, 0, operations.length) : [];
    this.#due.push(replayedCommit(part, operations, blobs, outcome));
    this.#due.sort((left, right) => left.sequence - right.sequence);
  }

  /** What the rest of the log says about commits over several shards. */
  #readRecords(from: OpenSegment, group: Group): Map<number, Recorded> {
    const { kernel } = this.#state;
    const records = new Map<number, Recorded>();
    for (const { reader } of this.#open.slice(this.#open.indexOf(from))) {
      const { offset } = reader;
      for (let next = reader.next(); next !== undefined; next = reader.next()) {
        if (kernel.exports.groupControls() >>> 0 === 0) continue;
        for (const { kind, id, start } of this.#commitsOf(next)) {
          if (kind === COMMIT_ABORT) records.set(id, 'aborted');
          if (kind !== COMMIT_COMMIT) continue;
          const sequence = kernel.bytes.readDoubleLE(start);
          records.set(id, { sequence, timestampUs: kernel.bytes.readDoubleLE(start + 8) });
        }
      }
      reader.seek(offset);
    }
    // The group that was being looked at may hold records, too; it is read again for those.
    from.reader.seek(group.offset);
    from.reader.next();
    for (const { kind, id, start } of this.#commitsOf(group)) {
      if (kind === COMMIT_ABORT) records.set(id, 'aborted');
      if (kind !== COMMIT_COMMIT) continue;
      const sequence = kernel.bytes.readDoubleLE(start);
      records.set(id, { sequence, timestampUs: kernel.bytes.readDoubleLE(start + 8) });
    }
    return records;
  }

  /** Applies what is committed under a number below `sequence`; what is older stands up to `current`. */
  async #applyDue(sequence: number, current: number): Promise<void> {
    const { commit, keptSegments } = this.#state;
    for (;;) {
      const due = this.#due[0];
      if (due === undefined || due.sequence >= sequence) return;
      keptSegments.applied(due.segment, current);
      while (!commit.advancePrepared(due)) await this.#makeRoom();
      this.#due.shift();
      this.#commits++;
      this.#lastSequence = Math.max(this.#lastSequence, due.sequence);
      this.#lastTimestampUs = Math.max(this.#lastTimestampUs, due.timestampUs);
    }
  }

  /** The commits of the group that stands in the WAL buffer. */
  *#commitsOf(group: Group): Generator<{ kind: number; id: number; start: number; end: number }> {
    const { kernel } = this.#state;
    const base = kernel.u32[H_WAL_BASE >>> 2] as number;
    const groupEnd = base + group.bytes;
    for (let at = groupEnd - group.bodyBytes; at < groupEnd; ) {
      const start = at + COMMIT_HEADER_BYTES;
      const end = start + kernel.bytes.readUInt32LE(at);
      const kind = kernel.bytes[at + COMMIT_KIND] as number;
      const id = Number(kernel.bytes.readBigUInt64LE(at + COMMIT_TRANSACTION));
      yield { kind, id, start, end };
      at = end;
    }
  }

  async #makeRoom(): Promise<void> {
    const state = this.#state;
    if (state.memtables.canSwitch) {
      state.switchMemtable();
      return;
    }
    if (state.options.config.readOnly) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        'The log holds more than the memtables do: open the database once without "readOnly", or with a larger "memtableSize"',
      );
    }
    while (!state.memtables.canSwitch) await this.#options.makeRoom();
    state.switchMemtable();
  }

  #blobsOf(group: Group): number[] {
    const { kernel } = this.#state;
    const blobs: number[] = [];
    for (const { kind, start, end } of this.#commitsOf(group)) {
      if (kind === COMMIT_PLAIN) blobs.push(...blobsOf(kernel.bytes, start, end));
    }
    return blobs;
  }
}

function replayedCommit(
  { id, segment }: Part,
  operations: Buffer,
  blobs: readonly number[],
  { sequence, timestampUs }: CommitOutcome,
): PreparedCommit {
  const commit = new PreparedCommit({ slot: 0, word: 0, id }, undefined, 0, false);
  commit.bytes = operations.length;
  commit.operations = operations;
  commit.blobs = blobs;
  commit.segment = segment;
  commit.stage = 'voted';
  commit.sequence = sequence;
  commit.timestampUs = timestampUs;
  return commit;
}

/** Whether some group of the segment says that the segment, and so all before it, was durable. */
function saysDurable(reader: SegmentReader): boolean {
  for (let group = reader.next(); group !== undefined; group = reader.next()) {
    if (group.durableBytes > SEGMENT_HEADER_BYTES) return true;
  }
  return false;
}

/** End of the commit whose first group was just read; undefined when its last group is not there. */
function wholeCommitEnd(reader: SegmentReader): number | undefined {
  for (let group = reader.next(); group !== undefined; group = reader.next()) {
    if (!group.continues) return reader.offset;
  }
  return undefined;
}
