/**
 * Verifies every byte of a shard's files while it serves: tables in the pool, manifest, log and
 * blobs here, a little at a time. What is wrong is reported; nothing is changed.
 */
import type { CheckBoard } from '../compaction/check-board.js';
import type { CheckProblem, CheckReport } from '../coordinator/control-plane.js';
import { CorruptionError } from '../errors.js';
import { shardFileName } from '../file-system/file-names.js';
import { isNotFound } from '../file-system/file-system.js';
import { T_BLOCKS } from '../kernel/assembly/layout.js';
import { blockOffset } from '../sstable/table-reader.js';
import { readManifest } from '../version/manifest.js';
import { type CheckGroup, GROUP_HEADER_BYTES, GROUP_MAGIC } from '../wal/segment-format.js';
import { SegmentReader } from '../wal/segment-reader.js';
import type { ShardState } from './shard-state.js';

/** Tables checked at once. */
const PARALLEL_MAX = 4;
/** Bytes of log read between two turns of the event loop, about. */
const SLICE_BYTES = 4 * 1024 * 1024;

/** Rejects with `LIGHTNING_ABORTED` when the check is called off. */
export async function checkShard(state: ShardState, board?: CheckBoard): Promise<CheckReport> {
  const check = new ShardCheck(state, board);
  const release = state.tables.pin();
  try {
    return await check.run();
  } finally {
    release();
  }
}

class ShardCheck {
  readonly #state: ShardState;
  readonly #board: CheckBoard | undefined;
  readonly #problems: CheckProblem[] = [];
  #tables = 0;
  #blocks = 0;
  #entries = 0;
  #bytes = 0;

  constructor(state: ShardState, board: CheckBoard | undefined) {
    this.#state = state;
    this.#board = board;
  }

  async run(): Promise<CheckReport> {
    this.#expect();
    this.#checkManifest();
    await this.#checkLog();
    await this.#checkBlobs();
    await this.#checkTables();
    return {
      problems: this.#problems,
      tables: this.#tables,
      blocks: this.#blocks,
      entries: this.#entries,
      bytes: this.#bytes,
    };
  }

  /** Says how much there is to read. */
  #expect(): void {
    const { version, kernel, tables, commit, blobs } = this.#state;
    let blocks = 0;
    let bytes = blobs.bytes;
    for (const { id } of version.tables()) {
      const meta = tables.metaOf(id);
      if (meta === 0) continue;
      const count = kernel.u32[(meta + T_BLOCKS) >>> 2] as number;
      blocks += count;
      bytes += blockOffset(kernel, meta, count);
    }
    for (const segment of commit.wal?.segments ?? []) bytes += segment.bytes;
    this.#board?.expect(blocks, bytes);
  }

  #report(error: unknown): void {
    if (!(error instanceof CorruptionError)) throw error;
    const { file, offset } = error.details;
    this.#problems.push({
      file: String(file ?? this.#state.directory),
      offset: Number(offset ?? 0),
      message: error.message,
    });
  }

  /** Lets the shard serve. */
  async #pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#board?.throwIfCancelled();
  }

  #checkManifest(): void {
    const { manifest, fs, directory, options, version } = this.#state;
    if (manifest === undefined) return;
    try {
      const found = readManifest({ fs, directory, shard: options.shard }, manifest.number);
      this.#bytes += found.bytes;
      const same =
        found.bytes === manifest.bytes && found.version.tableCount === version.tableCount;
      if (same) return;
      throw new CorruptionError('Manifest does not hold what was written to it', {
        file: manifest.path,
        offset: found.bytes,
        expected: manifest.bytes,
        found: found.bytes,
      });
    } catch (error) {
      this.#report(error);
    }
  }

  async #checkLog(): Promise<void> {
    const { commit, directory } = this.#state;
    for (const { segment, bytes } of commit.wal?.segments ?? []) {
      const path = `${directory}/${shardFileName('wal', segment)}`;
      // A flush may have made it obsolete meanwhile.
      if (!commit.wal?.segments.some((present) => present.segment === segment)) continue;
      try {
        await this.#checkSegment(path, bytes);
      } catch (error) {
        this.#report(error);
      }
    }
  }

  async #checkSegment(path: string, bytes: number): Promise<void> {
    const { staging, fs } = this.#state;
    const file = fs.open(path, 'r');
    try {
      const reader = new SegmentReader(file, {
        buffer: staging.transfer,
        check: this.#groupCheck(),
      });
      let counted = 0;
      let sliceEnd = SLICE_BYTES;
      while (reader.offset < bytes) {
        if (reader.next() === undefined) {
          throw new CorruptionError('WAL group is damaged', { file: path, offset: reader.offset });
        }
        if (reader.offset < sliceEnd) continue;
        sliceEnd = reader.offset + SLICE_BYTES;
        this.#board?.count(0, reader.offset - counted);
        counted = reader.offset;
        await this.#pause();
      }
      this.#bytes += bytes;
      this.#board?.count(0, bytes - counted);
    } finally {
      file.close();
    }
  }

  /** Checks a group that stands at the start of the transfer area. */
  #groupCheck(): CheckGroup {
    const { kernel, staging } = this.#state;
    const address = staging.transferAddress;
    return (_buffer, bytes, segment, offset) => {
      if (bytes < GROUP_HEADER_BYTES) return 'more';
      if (kernel.bytes.readUInt32LE(address) !== GROUP_MAGIC) return 'bad';
      const total = GROUP_HEADER_BYTES + kernel.bytes.readUInt32LE(address + 4);
      if (total > bytes) return 'more';
      const { exports } = kernel;
      exports.checksumPlaced(address + 16, total - 16, segment, offset);
      const isSame =
        exports.checksumLow() >>> 0 === kernel.bytes.readUInt32LE(address + 8) &&
        exports.checksumHigh() >>> 0 === kernel.bytes.readUInt32LE(address + 12);
      return isSame ? 'ok' : 'bad';
    };
  }

  async #checkBlobs(): Promise<void> {
    for (const blob of this.#state.blobs.numbers) {
      try {
        await this.#checkBlob(blob);
      } catch (error) {
        this.#report(error);
      }
    }
  }

  async #checkBlob(blob: number): Promise<void> {
    const reader = this.#state.blobs.openForCheck(blob);
    if (reader === undefined) return;
    try {
      let sliceBytes = 0;
      for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
        this.#bytes += piece.length;
        sliceBytes += piece.length;
        this.#board?.count(0, piece.length);
        if (sliceBytes < SLICE_BYTES) continue;
        sliceBytes = 0;
        await this.#pause();
      }
    } finally {
      reader.close();
    }
  }

  async #checkTables(): Promise<void> {
    const waiting = [...this.#state.version.tables()].values();
    const worker = async (): Promise<void> => {
      for (const { id, bytes } of waiting) {
        await this.#checkTable(id);
        this.#tables++;
        this.#bytes += bytes;
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_MAX }, worker));
  }

  async #checkTable(id: number): Promise<void> {
    const { tables, options } = this.#state;
    const table = { id, path: tables.path(id) };
    try {
      this.#board?.throwIfCancelled();
      const result = await options.jobs.verify({
        kind: 'verify',
        shard: options.shard,
        table,
        board: this.#board?.buffer,
      });
      this.#problems.push(...result.problems);
      this.#blocks += result.blocks;
      this.#entries += result.entries;
    } catch (error) {
      // It is read while the shard serves: only a table that is still in use is missed.
      if (!isNotFound(error)) this.#report(error);
      else if (tables.metaOf(id) !== 0) this.#problems.push(missing(table.path));
    }
  }
}

function missing(file: string): CheckProblem {
  return { file, offset: 0, message: 'The table is missing' };
}
