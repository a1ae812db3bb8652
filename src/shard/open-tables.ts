/**
 * The tables whose index and filter are in the shard's memory, and their files.
 *
 * Indexes and filters have a region of their own beside the cache (stats: `indexes`); what they take, the
 * cache leaves alone, up to three quarters of it. When the region is nearly full tables are loaded without their filters; when that does not fit either, the flush or
 * merge that made them fails with `LIGHTNING_LIMIT_EXCEEDED` and is tried again.
 *
 * A table is loaded before the Version that holds it is published, except for those that a shard is
 * opened with (`loadLater`): a stand-in keeps such a table's key range in the Version until somebody has
 * to look into it, or its turn comes. So opening a shard takes no longer when it holds more. Once no Version holds it any
 * more it is dropped: its cached blocks are unlinked at once, its memory is freed and its file
 * deleted when readers are out, and whoever else holds it.
 *
 * A table that is not what was written, or that the disk does not read, costs its own keys and nothing
 * else. With a bad filter it is served without one. With a bad index, footer or properties, or without
 * its file, a stand-in keeps its key range, and whoever has to look there is told what is wrong; that
 * stays so until the database is opened again. Blocks are found bad one by one. What was found is kept
 * here until the table is gone, or a check finds it whole: compaction stays away from it.
 */
import { assert } from '../assert.js';
import { isFileFailure } from '../compaction/problem.js';
import type { TableVerification } from '../compaction/verify-table.js';
import { CorruptionError, deserializeError, LightningError } from '../errors.js';
import { parseShardFileName, shardFileName } from '../file-system/file-names.js';
import { type FileHandle, type FileSystem, isNotFound } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import { loadStandIn, loadWithoutFilter } from '../sstable/stand-in.js';
import type { TableInfo, TableRef } from '../sstable/table-info.js';
import { type LoadedTable, loadTable, refuseLaterFormat } from '../sstable/table-reader.js';
import type { HeldFiles } from './held-files.js';
import type { MetaAllocator } from './meta-allocator.js';
import type { Retirement } from './retirement.js';

/** File handles kept open for reads, per shard: enough for 100 million records over two shards. */
export const HANDLES_MAX = 512;

export interface OpenTablesOptions {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly kernel: Kernel;
  readonly allocator: MetaAllocator;
  readonly retirement: Retirement;
  readonly held: HeldFiles;
  /** Tables have taken the place of their stand-ins: the Version that readers see is to hold them. */
  readonly onLoaded: () => void;
}

export interface TableDamage {
  readonly table: number;
  /** That its bytes are wrong, or cannot be read. */
  readonly error: LightningError;
  /**
   * `filter`: all data is there, reads are slower. `blocks`: some blocks cannot be read. `table`:
   * nothing can, or nothing could after another open.
   */
  readonly extent: 'filter' | 'blocks' | 'table';
  /** The table was loaded without what is bad: that stays so. */
  readonly isLasting?: boolean;
}

export class OpenTables {
  readonly #options: OpenTablesOptions;
  readonly #tables = new Map<number, LoadedTable>();
  readonly #damage = new Map<number, TableDamage>();
  /** Those that stand-ins stand for, to be loaded. */
  readonly #pending = new Map<number, TableInfo>();
  /** Of those: for want of memory they are loaded no more unless somebody has to look into them. */
  readonly #refused = new Set<number>();
  /** Least recently used first. */
  readonly #handles = new Map<number, FileHandle>();
  #deletable: number[] = [];
  #deleting: NodeJS.Immediate | undefined;

  constructor(options: OpenTablesOptions) {
    this.#options = options;
  }

  path(table: number): string {
    return `${this.#options.directory}/${shardFileName('table', table)}`;
  }

  /**
   * Loads tables; when one fails, none is. Throws `CorruptionError` for one that is damaged, unless
   * it is to be served as far as that goes. Passes over those that are loaded.
   */
  load(tables: readonly TableInfo[], { damaged = false } = {}): void {
    const loaded: number[] = [];
    try {
      for (const table of tables) {
        if (this.#tables.has(table.id)) continue;
        if (damaged) this.#loadAnyway(table);
        else this.#loadOne(table);
        loaded.push(table.id);
      }
    } catch (error) {
      for (const id of loaded) this.unload(id);
      throw error;
    }
  }

  /** Throws `LIGHTNING_UNSUPPORTED_FORMAT` when the table is of a later format. */
  refuseLaterFormat({ id }: TableInfo): void {
    try {
      refuseLaterFormat(this.#options.fs, { path: this.path(id), id });
    } catch (error) {
      // What is wrong with it otherwise is found out when it is loaded.
      if (!isFileFailure(error) && !isNotFound(error)) throw error;
    }
  }

  /** Puts stand-ins in the places of tables that are loaded when they are needed, or by `loadNext`. */
  loadLater(tables: readonly TableInfo[]): void {
    const { kernel, allocator } = this.#options;
    for (const table of tables) {
      this.#tables.set(table.id, loadStandIn(kernel, table, allocator));
      this.#pending.set(table.id, table);
    }
  }

  /** Whether `loadNext` has something to do. */
  get isLoading(): boolean {
    return this.#pending.size > this.#refused.size;
  }

  /** Loads the next of the tables that have yet to be. Never throws for what is wrong with one. */
  loadNext(): void {
    for (const table of this.#pending.keys()) {
      if (this.#refused.has(table)) continue;
      try {
        this.loadPending(table);
      } catch (error) {
        if (!(error instanceof LightningError)) throw error;
        this.#refused.add(table);
      }
      return;
    }
  }

  /**
   * Loads a table if that has yet to be done, as far as it can be served. True when it was: whoever saw
   * the stand-in looks again. Throws `LIGHTNING_LIMIT_EXCEEDED`, or `NoSpaceError` for want of files that
   * may be open: the next one who asks tries again.
   */
  loadPending(table: number): boolean {
    const info = this.#pending.get(table);
    if (info === undefined) return false;
    const standIn = this.#tables.get(table) as LoadedTable;
    this.#loadAnyway(info, standIn);
    const loaded = this.#tables.get(table) as LoadedTable;
    if (loaded !== standIn) this.#show(loaded, standIn);
    this.#pending.delete(table);
    this.#refused.delete(table);
    if (loaded === standIn) return true;
    const { allocator, retirement } = this.#options;
    retirement.after(() => {
      for (const address of standIn.allocations) allocator.free(address);
    });
    return true;
  }

  /** Without memory for the Version that shows the table, its stand-in stays. */
  #show(loaded: LoadedTable, standIn: LoadedTable): void {
    try {
      this.#options.onLoaded();
    } catch (error) {
      const { id } = standIn.info;
      this.#tables.set(id, standIn);
      this.#damage.delete(id);
      for (const address of loaded.allocations) this.#options.allocator.free(address);
      throw error;
    }
  }

  #loadAnyway(expected: TableInfo, standIn?: LoadedTable): void {
    const { id } = expected;
    try {
      this.#loadOne(expected);
    } catch (error) {
      if (!isFileFailure(error)) throw error;
      try {
        this.#loadOne(expected, loadWithoutFilter);
        this.#damage.set(id, { table: id, error, extent: 'filter', isLasting: true });
      } catch (second) {
        if (!isFileFailure(second)) throw second;
        const { kernel, allocator } = this.#options;
        this.#tables.set(id, standIn ?? loadStandIn(kernel, expected, allocator));
        this.#damage.set(id, { table: id, error: second, extent: 'table', isLasting: true });
      }
    }
  }

  #loadOne(expected: TableInfo, read: typeof loadWithoutFilter = loadTable): void {
    const { allocator } = this.#options;
    const path = this.path(expected.id);
    let table: LoadedTable;
    try {
      table = this.#read(read, { path, id: expected.id });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      throw new CorruptionError(
        'Table that the manifest names is missing',
        { file: path, offset: 0 },
        error,
      );
    }
    const { bytes, entries } = table.info;
    if (bytes !== expected.bytes || entries !== expected.entries) {
      for (const address of table.allocations) allocator.free(address);
      throw new CorruptionError('Table is not the one that the manifest names', {
        file: path,
        offset: 0,
        expected: `${expected.bytes} bytes, ${expected.entries} entries`,
        found: `${bytes} bytes, ${entries} entries`,
      });
    }
    this.#tables.set(expected.id, table);
  }

  /** Without a filter when there is no room for it: reads are slower, and go on. */
  #read(read: typeof loadWithoutFilter, ref: TableRef): LoadedTable {
    const { fs, kernel, allocator } = this.#options;
    const memory = {
      allocate: (bytes: number) => {
        const address = allocator.allocateForTable(bytes);
        kernel.exports.cacheReserve(allocator.bytesTouched);
        return address;
      },
      free: (address: number) => allocator.free(address),
    };
    try {
      return read(fs, kernel, ref, memory);
    } catch (error) {
      const isFull = error instanceof LightningError && error.code === 'LIGHTNING_LIMIT_EXCEEDED';
      if (!isFull || read === loadWithoutFilter) throw error;
      return loadWithoutFilter(fs, kernel, ref, memory);
    }
  }

  /** Takes back a load of a table that was never published. */
  unload(table: number): void {
    const loaded = this.#tables.get(table);
    if (loaded === undefined) return;
    this.#tables.delete(table);
    this.#damage.delete(table);
    this.#closeFile(table);
    this.#options.kernel.exports.cacheDropTable(loaded.meta);
    for (const address of loaded.allocations) this.#options.allocator.free(address);
  }

  /**
   * Address of the TableMeta of a table, or of what stands for it (`loadPending`); 0 when the table is
   * gone.
   */
  metaOf(table: number): number {
    return this.#tables.get(table)?.meta ?? 0;
  }

  /** What is known to be wrong, by table. */
  get damage(): readonly TableDamage[] {
    return [...this.#damage.values()];
  }

  /** Whether a merge of the table is bound to fail. */
  isDamaged(table: number): boolean {
    const damage = this.#damage.get(table);
    return damage !== undefined && damage.extent !== 'filter';
  }

  /** Throws what is wrong when nothing of the table can be read. */
  checkReadable(table: number): void {
    const damage = this.#damage.get(table);
    if (damage?.extent === 'table' && damage.isLasting === true) throw damage.error;
  }

  /** Notes what a check found of a loaded table. */
  noteVerified(table: number, { problems, extent }: TableVerification): void {
    const known = this.#damage.get(table);
    if (!this.#tables.has(table)) return;
    const isMore = known?.extent === 'filter' && extent !== 'filter' && extent !== undefined;
    if (known?.isLasting === true && !isMore) return;
    const [problem] = problems;
    if (extent === undefined || problem === undefined) {
      this.#damage.delete(table);
      return;
    }
    const { code, message, file, offset } = problem;
    const error = deserializeError({ code, message, details: { file, offset } });
    this.#damage.set(table, { table, error, extent });
  }

  /** Notes what a read or merge found of a table; true when it is news. */
  noteDamage(error: unknown): boolean {
    if (!(error instanceof CorruptionError)) return false;
    const path = String(error.details['file']);
    const parsed = parseShardFileName(path.slice(path.lastIndexOf('/') + 1));
    if (parsed?.kind !== 'table' || this.path(parsed.number) !== path) return false;
    const table = parsed.number;
    if (!this.#tables.has(table) || this.isDamaged(table)) return false;
    this.#damage.set(table, { table, error, extent: 'blocks' });
    return true;
  }

  /** Files that are open: no more than `HANDLES_MAX`. */
  get openFiles(): number {
    return this.#handles.size;
  }

  /** The file of a loaded table, for reading. */
  file(table: number): FileHandle {
    let file = this.#handles.get(table);
    if (file === undefined) {
      assert(this.#tables.has(table), 'only files of loaded tables are read');
      if (this.#handles.size >= HANDLES_MAX) {
        const [oldest] = this.#handles.keys();
        if (oldest !== undefined) this.#closeFile(oldest);
      }
      file = this.#options.fs.open(this.path(table), 'r');
    } else {
      this.#handles.delete(table);
    }
    this.#handles.set(table, file);
    return file;
  }

  /** Tables that no published Version holds any more; the edit that removed them is durable. */
  drop(tables: readonly number[]): void {
    const { kernel, allocator, retirement } = this.#options;
    for (const table of tables) {
      const loaded = this.#tables.get(table);
      if (loaded === undefined) continue;
      this.#tables.delete(table);
      this.#damage.delete(table);
      this.#pending.delete(table);
      this.#refused.delete(table);
      kernel.exports.cacheDropTable(loaded.meta);
      retirement.after(() => {
        for (const address of loaded.allocations) allocator.free(address);
        this.#closeFile(table);
        this.#deletable.push(table);
        this.#deleteFiles();
      });
    }
  }

  close(): void {
    clearImmediate(this.#deleting);
    while (this.#deletable.length > 0) this.#deleteOne();
    for (const table of [...this.#handles.keys()]) this.#closeFile(table);
  }

  /** Deletes one file now and the others turn by turn: the system may take its time for each. */
  #deleteFiles(): void {
    this.#deleteOne();
    if (this.#deletable.length === 0 || this.#deleting !== undefined) return;
    this.#deleting = setImmediate(() => {
      this.#deleting = undefined;
      this.#deleteFiles();
    });
  }

  #deleteOne(): void {
    const table = this.#deletable.shift();
    if (table === undefined) return;
    try {
      this.#options.held.unlink(this.path(table));
    } catch {
      // It stays as a file that no Version names: opening the database deletes it.
    }
  }

  #closeFile(table: number): void {
    this.#handles.get(table)?.close();
    this.#handles.delete(table);
  }
}
