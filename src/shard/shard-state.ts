/**
 * The state of one shard: what is on disk, what is in shared memory, and the only ways to change
 * both together.
 *
 * A Version changes in this order, so that a crash at any point leaves the old or the new one whole:
 * files of new tables are durable → their indexes are in memory → the manifest edit is durable → the
 * new Version is published → what it does without is deleted, memory when readers are out of it.
 */
import { kernelPieceWindow } from '../blob/blob-file.js';
import { type LightningError, NoSpaceError, ReadOnlyError } from '../errors.js';
import { Ballast } from '../file-system/ballast.js';
import type { FileSystem } from '../file-system/file-system.js';
import { H_META_BASE, H_META_BYTES } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { SHARD_READ_ONLY } from '../router/control-block.js';
import type { Manifest, ManifestContents } from '../version/manifest.js';
import { Version } from '../version/version.js';
import type { VersionEdit } from '../version/version-edit.js';
import { BlobStore } from './blob-store.js';
import type { ClientSession } from './client-session.js';
import { CommitRecords } from './commit-records.js';
import { FileNumbers } from './file-numbers.js';
import { HeldFiles } from './held-files.js';
import { KeptSegments } from './kept-segments.js';
import { KeptVersions } from './kept-versions.js';
import { type Memtable, Memtables } from './memtables.js';
import { MetaAllocator } from './meta-allocator.js';
import { OpenTables } from './open-tables.js';
import { PreparedBlocks } from './prepared-blocks.js';
import type { PreparedCommit } from './prepared-commit.js';
import { PreparedCommits } from './prepared-commits.js';
import { PublishedVersion } from './published-version.js';
import { Retirement } from './retirement.js';
import type { ShardOptions } from './shard-options.js';
import { Staging } from './staging.js';
import { SHARD_SLOT } from './table-reads.js';
import { WalCommit } from './wal-commit.js';

/** What a change of the Version brings beside its tables. */
export interface InstallOptions {
  /** The memtable that is in tables now: the oldest. */
  readonly flushed?: Memtable;
  /** Blob files that versions dropped by the change referred to. */
  readonly droppedBlobs?: readonly number[];
  /** The change is decided already: added tables that have rotted are served as far as that goes. */
  readonly damaged?: boolean;
}

/** A segment of the log, and where its last group ends. */
export interface LogSegment {
  readonly segment: number;
  readonly bytes: number;
}

export class ShardState {
  readonly options: ShardOptions;
  readonly fs: FileSystem;
  readonly directory: string;
  readonly kernel: Kernel;
  readonly staging: Staging;
  readonly allocator: MetaAllocator;
  readonly retirement: Retirement;
  readonly memtables: Memtables;
  readonly tables: OpenTables;
  readonly published: PublishedVersion;
  readonly files = new FileNumbers();
  readonly held: HeldFiles;
  readonly kept = new KeptVersions();
  readonly keptSegments = new KeptSegments();
  readonly blobs: BlobStore;
  readonly commit: WalCommit;
  readonly #ballast: Ballast;
  readonly prepared: PreparedCommits;
  readonly preparedBlocks: PreparedBlocks;
  readonly commitRecords: CommitRecords;
  /** Called when a prepared commit is applied or dropped. */
  onUnlock: (commit: PreparedCommit) => void = () => {};
  /** Called when an answer about a prepared commit went out. */
  onAnswered: (session: ClientSession) => void = () => {};
  /** Sequence number of a key's newest version; 0: there is none. */
  newestSequence: (key: Uint8Array) => number = () => 0;
  /** Called after a memtable was queued for its flush. */
  onMemtableQueued: () => void = () => {};
  /** Called when the shard takes no writes any more. */
  onReadOnly: () => void = () => {};
  /** What recovery left of the log; a shard that is open for writing knows more (`segments`). */
  segmentsFound: readonly LogSegment[] = [];
  #manifest: Manifest | undefined;
  /** Of a read-only database. */
  #manifestFound: ManifestContents | undefined;
  /** In a read-only database there is no manifest to write to. */
  #version: Version = Version.EMPTY;
  /** Of the Version that it was computed for. */
  #tablesSequence = 0;
  #tablesOf: Version | undefined;
  #readOnlyReason: LightningError | undefined;
  /** A memtable was switched inside a commit: the log rolls when that is done. */
  #shouldRoll = false;

  constructor(options: ShardOptions) {
    const { kernel, fs, directory, shard } = options;
    this.options = options;
    this.fs = fs;
    this.directory = directory;
    this.kernel = kernel;
    kernel.exports.attach(SHARD_SLOT);
    kernel.exports.cacheInit();
    this.staging = new Staging(kernel);
    this.allocator = new MetaAllocator(
      kernel.u32[H_META_BASE >>> 2] as number,
      kernel.u32[H_META_BYTES >>> 2] as number,
    );
    this.retirement = new Retirement(kernel.exports);
    this.memtables = new Memtables(kernel);
    this.held = new HeldFiles(fs);
    const { allocator, retirement, held } = this;
    const onLoaded = (): void => this.publish();
    this.tables = new OpenTables({ fs, directory, kernel, allocator, retirement, held, onLoaded });
    const metaOf = (table: number): number => this.tables.metaOf(table);
    this.published = new PublishedVersion({ kernel, allocator, retirement, metaOf });
    this.blobs = new BlobStore({
      fs,
      directory,
      shard,
      window: kernelPieceWindow(kernel, this.staging.transferAddress),
      allocateFile: () => this.files.allocate(1),
      held,
      syncDirectory: () => this.syncDirectory(),
    });
    this.#ballast = new Ballast(fs, directory);
    this.commit = new WalCommit({
      shard,
      kernel,
      control: options.control,
      clock: options.clock,
      memtables: this.memtables,
      staging: this.staging,
      syncGroups: syncGroupsOf(options),
      switchMemtable: () => this.switchMemtable(),
      rollLog: () => this.#rollLog(),
    });
    this.preparedBlocks = new PreparedBlocks(kernel, allocator);
    this.commitRecords = new CommitRecords({
      shard,
      kernel,
      control: options.control,
      staging: this.staging,
    });
    this.prepared = new PreparedCommits({
      shard,
      kernel,
      control: options.control,
      blocks: this.preparedBlocks,
      records: this.commitRecords,
      durability: options.durability,
      wake: () => options.wake(),
      apply: (commit) => this.#applyPrepared(commit),
      unlock: (commit) => this.onUnlock(commit),
      deleteBlobs: (blobs) => this.deleteBlobs(blobs),
      answered: (session) => this.onAnswered(session),
      becomeReadOnly: (error) => this.becomeReadOnly(error),
    });
    kernel.exports.setActiveMemtable(this.memtables.active.arena);
  }

  get version(): Version {
    return this.#version;
  }

  get manifest(): Manifest | undefined {
    return this.#manifest;
  }

  /** Why the shard takes no writes; undefined while it does. */
  get readOnlyReason(): LightningError | undefined {
    return this.#readOnlyReason;
  }

  /** The highest sequence number in tables. */
  get tablesSequence(): number {
    if (this.#tablesOf !== this.#version) {
      this.#tablesOf = this.#version;
      this.#tablesSequence = 0;
      for (const { sequenceMax } of this.#version.tables()) {
        this.#tablesSequence = Math.max(this.#tablesSequence, sequenceMax);
      }
    }
    return this.#tablesSequence;
  }

  /** Where the manifest in use stands, and ends; undefined while there is none. */
  get manifestPlace(): { readonly number: number; readonly bytes: number } | undefined {
    return this.#manifest ?? this.#manifestFound;
  }

  /** Segments of the log, oldest first, and where they end. */
  get segments(): readonly LogSegment[] {
    return this.commit.wal?.segments ?? this.segmentsFound;
  }

  /** Recovery: what was found on disk goes on in a new manifest. */
  adopt(version: Version, manifest: Manifest): void {
    this.#version = version;
    this.#manifest = manifest;
    this.#ballast.fill();
  }

  /** Recovery: what was found on disk, and will not be changed. */
  adoptReadOnly(version: Version, found: ManifestContents | undefined): void {
    this.#version = version;
    this.#manifestFound = found;
  }

  /** Shows readers the present memtables and tables. */
  publish(): void {
    this.published.publish(this.memtables.arenas, this.#version);
  }

  /** Puts an empty memtable in the place of the active one; false when no arena is free. */
  switchMemtable(): boolean {
    const { memtables } = this;
    if (!memtables.canSwitch) return false;
    const isInCommit = this.commit.isApplying || this.prepared.isApplying;
    memtables.switchActive(isInCommit);
    this.publish();
    this.kernel.exports.setActiveMemtable(memtables.active.arena);
    if (isInCommit) this.#shouldRoll = true;
    else this.#rollLog();
    this.onMemtableQueued();
    return true;
  }

  /** After a commit was applied: does what had to wait for its end. */
  afterCommit(): void {
    if (!this.#shouldRoll) return;
    this.#shouldRoll = false;
    this.#rollLog();
  }

  /** Each memtable gets segments of its own, so that its flush sets them free. */
  #rollLog(): void {
    const { commit } = this;
    if (commit.wal === undefined || commit.poison !== undefined) return;
    try {
      commit.wal.roll(this.files.allocate(1));
    } catch (error) {
      // Without room for a new segment the old one goes on.
      if (error instanceof NoSpaceError && !commit.wal.isPoisoned) return;
      this.becomeReadOnly(error);
    }
  }

  /**
   * Makes an edit durable and shows it. New tables' files are durable under their final names, the
   * directory included. When it throws, nothing has changed, or the shard has become read-only. It always
   * throws when the shard is: the failure may have lost names that a later sync of the directory does not
   * bring back, and an edit would have what the tables replace deleted.
   */
  install(
    edit: VersionEdit,
    { flushed, droppedBlobs = [], damaged = false }: InstallOptions = {},
  ): void {
    const { memtables, tables } = this;
    const manifest = this.#manifest;
    if (manifest === undefined) throw new ReadOnlyError('A read-only database is not changed');
    if (this.#readOnlyReason !== undefined) throw this.#readOnlyReason;
    // A part of a commit must not become durable before the log has all of it.
    if (flushed?.isCut === true) this.#syncLog();
    const added = (edit.added ?? []).flatMap((run) => run.tables);
    tables.load(added, { damaged });
    const walMin = flushed === undefined ? undefined : this.#walMinWithout(flushed);
    try {
      this.#version = this.#append(manifest, {
        ...edit,
        nextFile: this.files.next,
        ...(walMin === undefined ? {} : { walMin }),
      });
    } catch (error) {
      if (manifest.isPoisoned) this.becomeReadOnly(error);
      for (const { id } of added) tables.unload(id);
      throw error;
    }
    if (flushed !== undefined) memtables.dropOldest(flushed);
    this.publish();
    tables.drop(edit.removed ?? []);
    this.kept.forget(edit.removed ?? []);
    if (flushed !== undefined) {
      this.retirement.after(() => {
        memtables.release(flushed);
        this.options.wake();
      });
    }
    this.deleteBlobs([...droppedBlobs, ...(flushed?.blobs ?? [])]);
    this.#tidyUp(walMin);
  }

  /** An edit may be what makes room: for it, there is ballast. */
  #append(manifest: Manifest, edit: VersionEdit): Version {
    try {
      return manifest.append(edit);
    } catch (error) {
      const isFull = error instanceof NoSpaceError && !manifest.isPoisoned;
      if (!isFull || !this.#ballast.release()) throw error;
      return manifest.append(edit);
    }
  }

  #syncLog(): void {
    try {
      this.commit.sync();
    } catch (error) {
      this.becomeReadOnly(error);
      throw error;
    }
  }

  /** First segment still needed once `flushed` is in tables. */
  #walMinWithout(flushed: Memtable): number {
    const { commit, memtables } = this;
    let min = commit.applyingSegment ?? commit.wal?.segment ?? 0;
    min = Math.min(min, this.prepared.segmentMin ?? min);
    for (const memtable of [memtables.active, ...memtables.immutables]) {
      if (memtable !== flushed) min = Math.min(min, memtable.walSegmentMin ?? min);
    }
    return this.keptSegments.from(min);
  }

  #applyPrepared(prepared: PreparedCommit): boolean {
    const { commit, keptSegments } = this;
    if (prepared.segment > 0) {
      keptSegments.applied(prepared.segment, commit.wal?.segment ?? prepared.segment);
    }
    return commit.advancePrepared(prepared);
  }

  /** Deletes what is not needed any more; what cannot be deleted now is deleted at the next open. */
  #tidyUp(walMin: number | undefined): void {
    const manifest = this.#manifest;
    try {
      if (walMin !== undefined) {
        this.keptSegments.forgetBelow(walMin);
        this.commit.wal?.deleteBelow(walMin);
      }
      if (manifest?.shouldRoll === true) {
        this.held.unlink(manifest.roll(this.files.allocate(1)));
        this.#version = manifest.version;
      }
      this.#ballast.fill();
    } catch (error) {
      if (manifest?.isPoisoned === true) this.becomeReadOnly(error);
    }
  }

  /**
   * Makes the names of new files durable. A failure makes the shard read-only: the system reports it
   * once, and names that others wait for may have been among those that it could not write.
   */
  syncDirectory(): void {
    try {
      this.fs.syncDirectory(this.directory);
    } catch (error) {
      if (!(error instanceof NoSpaceError)) this.becomeReadOnly(error);
      throw error;
    }
  }

  /** Deletes those of the blob files that nothing refers to any more. */
  deleteBlobs(candidates: readonly number[]): void {
    if (candidates.length === 0) return;
    const live = new Set<number>([...this.commit.applyingBlobs, ...this.prepared.blobs]);
    for (const table of this.#version.tables()) for (const blob of table.blobs) live.add(blob);
    for (const blob of new Set(candidates)) {
      if (!live.has(blob) && !this.memtables.refersToBlob(blob)) this.blobs.delete(blob);
    }
  }

  /** Refuses writes from now on: what is on the medium is unknown. Reads go on. */
  becomeReadOnly(cause: unknown): void {
    this.commit.poisonWith(cause);
    if (this.#readOnlyReason !== undefined) return;
    const reason = cause instanceof Error ? cause.message : String(cause);
    this.#readOnlyReason = new ReadOnlyError(
      `The shard takes no writes since one failed; reopen the database to recover: ${reason}`,
      { cause, details: { shard: this.options.shard, reason } },
    );
    this.options.control.setShardState(this.options.shard, SHARD_READ_ONLY);
    this.onReadOnly();
  }

  close(): void {
    this.tables.close();
    this.#manifest?.close();
    this.commit.wal?.close();
  }
}

/** Where a barrier makes durable what asks for it, syncing the shard's own log first gains nothing. */
function syncGroupsOf({ config, durability }: ShardOptions): 'all' | 'asked' | 'none' {
  if (config.walSync === 'sync') return 'all';
  return durability === undefined ? 'asked' : 'none';
}
