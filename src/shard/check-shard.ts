/**
 * Verifies every byte of a shard's files while it serves: jobs in the pool read them, this only says
 * which, and up to where. What is wrong is reported, and of tables remembered; nothing is changed.
 *
 * What is read is what the shard has when the check begins. A file that is not needed any more when
 * its turn comes is passed over (whoever replaced it has read it); one that is being read is not
 * deleted before that is done. Blobs come last: what tables say about them is known by then.
 */
import type { BlobReference } from '../blob/blob-file.js';
import type { CheckBoard } from '../compaction/check-board.js';
import { isFileFailure, type Problem } from '../compaction/problem.js';
import type { Expected } from '../compaction/read-count.js';
import type { BlobToVerify } from '../compaction/verify-blobs.js';
import type { VerifyResult, VerifyTarget } from '../compaction/verify-file.js';
import type { BlobEntry } from '../compaction/verify-table.js';
import type { CheckReport } from '../coordinator/control-plane.js';
import { LightningError } from '../errors.js';
import { shardFileName } from '../file-system/file-names.js';
import { T_BLOCKS } from '../kernel/assembly/layout.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { ShardState } from './shard-state.js';

/** Jobs of one shard at a time. */
const PARALLEL_MAX = 4;
/** Of one job. */
const ATTEMPTS_MAX = 3;
/** Blobs are read by one job up to this many, or this many bytes. */
const BLOBS_PER_JOB_MAX = 256;
const BLOB_BYTES_PER_JOB_MAX = 64 * 1024 * 1024;

/** Rejects with `LIGHTNING_ABORTED` when the check is called off. */
export async function checkShard(state: ShardState, board?: CheckBoard): Promise<CheckReport> {
  return new ShardCheck(state, board).run();
}

/** Something to be verified in one job. */
interface Piece {
  readonly target: VerifyTarget;
  readonly expected: Expected;
  readonly paths: readonly string[];
  /** Whether the shard has any use for it still. */
  readonly isNeeded: () => boolean;
}

class ShardCheck {
  readonly #state: ShardState;
  readonly #board: CheckBoard | undefined;
  readonly #problems: Problem[] = [];
  /** What tables say about blobs. */
  readonly #blobEntries: { readonly table: number; readonly entry: BlobEntry }[] = [];
  #tables = 0;
  #blocks = 0;
  #entries = 0;
  #bytes = 0;

  constructor(state: ShardState, board: CheckBoard | undefined) {
    this.#state = state;
    this.#board = board;
  }

  async run(): Promise<CheckReport> {
    const { blobs, version } = this.#state;
    const tables = [...version.tables()];
    const pieces = [
      ...this.#manifest(),
      ...this.#segments(),
      ...tables.map((it) => this.#table(it)),
    ];
    const blobNumbers = blobs.numbers;
    for (const { expected } of pieces) this.#board?.expect(expected.blocks, expected.bytes);
    this.#board?.expect(0, blobs.bytes);
    await this.#verifyAll(pieces);
    this.#findLostBlobs();
    await this.#verifyAll(this.#blobPieces(blobNumbers));
    return {
      problems: this.#problems,
      tables: this.#tables,
      blocks: this.#blocks,
      entries: this.#entries,
      bytes: this.#bytes,
    };
  }

  // ---- what there is to verify ------------------------------------------------------------

  #manifest(): Piece[] {
    const { manifestPlace, directory, options, version } = this.#state;
    if (manifestPlace === undefined) return [];
    const { number, bytes } = manifestPlace;
    const { shard } = options;
    const manifest = { directory, shard, number, bytes, tables: version.tableCount };
    return [
      {
        target: { kind: 'manifest', manifest },
        expected: { blocks: 0, bytes },
        paths: [`${directory}/${shardFileName('manifest', number)}`],
        isNeeded: () => true,
      },
    ];
  }

  #segments(): Piece[] {
    const { segments, directory, options } = this.#state;
    const { shard, databaseId } = options;
    return segments.map(({ segment, bytes }) => {
      const path = `${directory}/${shardFileName('wal', segment)}`;
      return {
        target: { kind: 'segment', segment: { path, shard, databaseId, segment, bytes } },
        expected: { blocks: 0, bytes },
        paths: [path],
        isNeeded: () => this.#state.segments.some((present) => present.segment === segment),
      };
    });
  }

  #table({ id, bytes }: TableInfo): Piece {
    const { tables, kernel } = this.#state;
    const path = tables.path(id);
    const meta = tables.metaOf(id);
    const blocks = meta === 0 ? 0 : (kernel.u32[(meta + T_BLOCKS) >>> 2] as number);
    return {
      target: { kind: 'table', table: { id, path } },
      expected: { blocks, bytes },
      paths: [path],
      isNeeded: () => tables.metaOf(id) !== 0,
    };
  }

  #blobPieces(numbers: readonly number[]): Piece[] {
    const pieces: Piece[] = [];
    const references = new Map<number, BlobReference>();
    for (const { entry } of this.#blobEntries) {
      references.set(entry.reference.blob, entry.reference);
    }
    let batch: BlobToVerify[] = [];
    let batchBytes = 0;
    const end = (): void => {
      if (batch.length > 0) pieces.push(this.#blobPiece(batch, batchBytes));
      batch = [];
      batchBytes = 0;
    };
    for (const blob of numbers) {
      const bytes = this.#state.blobs.bytesOf(blob);
      if (bytes === undefined) continue;
      const reference = references.get(blob);
      batch.push({ blob, bytes: reference?.bytes ?? bytes, checksum: reference?.checksum });
      batchBytes += bytes;
      if (batch.length === BLOBS_PER_JOB_MAX || batchBytes >= BLOB_BYTES_PER_JOB_MAX) end();
    }
    end();
    return pieces;
  }

  #blobPiece(batch: readonly BlobToVerify[], bytes: number): Piece {
    const { directory, options, blobs } = this.#state;
    return {
      target: { kind: 'blobs', directory, shard: options.shard, blobs: batch },
      expected: { blocks: 0, bytes },
      paths: batch.map(({ blob }) => blobs.path(blob)),
      isNeeded: () => batch.every(({ blob }) => blobs.bytesOf(blob) !== undefined),
    };
  }

  /**
   * Blobs that are not there. What has been overwritten may be without: when a log is replayed that
   * still holds it, its blob is gone already.
   */
  #findLostBlobs(): void {
    const { blobs } = this.#state;
    const lost = new Set<number>();
    for (const { table, entry } of this.#blobEntries) {
      const { blob } = entry.reference;
      if (blobs.bytesOf(blob) !== undefined || lost.has(blob)) continue;
      if (this.#state.tables.metaOf(table) !== 0 && this.#isNewest(entry)) lost.add(blob);
    }
    for (const blob of lost) this.#problems.push(missing(blobs.path(blob)));
  }

  #isNewest({ key, sequence }: BlobEntry): boolean {
    try {
      return this.#state.newestSequence(key) <= sequence;
    } catch (error) {
      // Something newer cannot be read: that has been reported.
      if (isFileFailure(error)) return false;
      throw error;
    }
  }

  // ---- verifying --------------------------------------------------------------------------

  async #verifyAll(pieces: readonly Piece[]): Promise<void> {
    const waiting = pieces.values();
    const worker = async (): Promise<void> => {
      for (const piece of waiting) await this.#verifyPiece(piece);
    };
    await Promise.all(Array.from({ length: PARALLEL_MAX }, worker));
  }

  async #verifyPiece(piece: Piece): Promise<void> {
    const { held } = this.#state;
    this.#board?.throwIfCancelled();
    if (!piece.isNeeded()) {
      await this.#passOver(piece);
      return;
    }
    const releases = piece.paths.map((path) => held.hold(path));
    try {
      this.#note(piece, await this.#verify(piece));
    } finally {
      for (const release of releases) release();
    }
  }

  /** Of blobs, some may be there still. */
  async #passOver(piece: Piece): Promise<void> {
    const { target, expected } = piece;
    if (target.kind !== 'blobs' || target.blobs.length === 1) {
      this.#board?.count(expected.blocks, expected.bytes);
      return;
    }
    for (const blob of target.blobs) {
      const bytes = Math.min(blob.bytes, expected.bytes);
      await this.#verifyPiece(this.#blobPiece([blob], bytes));
    }
  }

  /** Again, when the thread that did it died: reading does no harm. */
  async #verify({ target, expected }: Piece): Promise<VerifyResult> {
    const { jobs, shard } = this.#state.options;
    const job = { kind: 'verify', shard, target, expected, board: this.#board?.buffer } as const;
    for (let attempt = 1; ; attempt++) {
      try {
        return await jobs.verify(job);
      } catch (error) {
        this.#board?.throwIfCancelled();
        const isGivenUp = error instanceof LightningError && error.code === 'LIGHTNING_ABORTED';
        if (!isGivenUp || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }

  #note({ target, expected }: Piece, { problems, table }: VerifyResult): void {
    this.#problems.push(...problems);
    this.#bytes += expected.bytes;
    if (target.kind !== 'table' || table === undefined) return;
    this.#tables++;
    this.#blocks += table.blocks;
    this.#entries += table.entries;
    const { id } = target.table;
    for (const entry of table.blobs) this.#blobEntries.push({ table: id, entry });
    this.#state.tables.noteVerified(id, table);
  }
}

function missing(file: string): Problem {
  return { code: 'LIGHTNING_CORRUPTION', file, offset: 0, message: 'The blob is missing' };
}
