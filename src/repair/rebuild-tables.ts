/** Writes what was salvaged of one table, or of several that are to become one run, to new tables. */
import { assert } from '../assert.js';
import { JobMemory } from '../compaction/job-memory.js';
import { LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import { JOB_DONE, JOB_TOO_LARGE } from '../kernel/assembly/job-layout.js';
import { KEY_BYTES_MAX, OP_DELETE } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo, TableRef } from '../sstable/table-info.js';
import { type TableTarget, TableWriter } from '../sstable/table-writer.js';
import type { RepairLoss } from './report.js';
import { type SalvageMemory, salvageMemory, TableSalvage } from './salvage-table.js';

export interface Source {
  readonly ref: TableRef;
  /** What the manifest, or the table itself, says of it. */
  readonly info: TableInfo | undefined;
}

export interface Rebuilt {
  readonly tables: readonly TableInfo[];
  readonly entries: number;
  readonly losses: readonly RepairLoss[];
}

export interface RebuildOptions {
  readonly fs: FileSystem;
  readonly kernel: Kernel;
  /** Undefined: nothing is written, what could be is counted. */
  readonly target: TableTarget | undefined;
  /**
   * The sources make up the whole bottom run: the newest version of each key is kept, by sequence
   * number, and deletes are not. Otherwise there is one source, and everything is kept.
   */
  readonly isBottom: boolean;
}

export function rebuildTables(sources: readonly Source[], options: RebuildOptions): Rebuilt {
  assert(options.isBottom || sources.length === 1, 'only a bottom run is made of several tables');
  const { fs, kernel, target, isBottom } = options;
  const memory = new JobMemory(kernel);
  const shared = salvageMemory(memory);
  const keyAddress = memory.allocate(KEY_BYTES_MAX);
  const writer =
    target === undefined ? undefined : new TableWriter(fs, kernel, memory.builderRegion(), target);
  const merge = new SalvageMerge(fs, kernel, shared, sources);
  let entries = 0;
  try {
    let last: Buffer | undefined;
    for (let next = merge.next(); next !== undefined; next = merge.next()) {
      if (isBottom && last !== undefined && next.key.equals(last)) continue;
      last = next.key;
      if (isBottom && next.type === OP_DELETE) continue;
      entries++;
      if (writer !== undefined) add(kernel, writer, next, keyAddress);
    }
    return { tables: writer?.finish() ?? [], entries, losses: merge.losses };
  } catch (error) {
    writer?.abort();
    throw error;
  } finally {
    merge.close();
  }
}

function add(kernel: Kernel, writer: TableWriter, entry: TableSalvage, keyAddress: number): void {
  const { key, type, sequence, valueAddress, valueBytes } = entry;
  kernel.bytes.set(key, keyAddress);
  const { exports } = kernel;
  const status = writer.run(() =>
    exports.builderAdd(keyAddress, key.length, type, sequence, valueAddress, valueBytes),
  );
  if (status === JOB_DONE) return;
  throw new LightningError(
    'LIGHTNING_LIMIT_EXCEEDED',
    status === JOB_TOO_LARGE
      ? `Cannot rewrite "${entry.ref.path}": the versions of one of its keys are too large together`
      : `Cannot rewrite "${entry.ref.path}": the table builder answered ${status}`,
  );
}

/** Entries of several damaged tables by key, then newest first. */
class SalvageMerge {
  readonly losses: RepairLoss[] = [];
  readonly #waiting: Source[];
  readonly #open: (source: Source) => TableSalvage;
  /** Each stands on an entry. */
  readonly #active: TableSalvage[] = [];
  #current: TableSalvage | undefined;

  constructor(fs: FileSystem, kernel: Kernel, shared: SalvageMemory, sources: readonly Source[]) {
    this.#open = ({ ref, info }) => new TableSalvage(fs, kernel, shared, ref, info);
    this.#waiting = [...sources].sort((left, right) =>
      Buffer.compare(firstOf(left), firstOf(right)),
    );
  }

  /** The entry is good until the next call. */
  next(): TableSalvage | undefined {
    const current = this.#current;
    if (current !== undefined && !current.next()) this.#end(current);
    let least = this.#least();
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (least !== undefined && Buffer.compare(firstOf(next), least.key) > 0) break;
      this.#waiting.shift();
      const salvage = this.#open(next);
      this.#active.push(salvage);
      if (!salvage.next()) this.#end(salvage);
      least = this.#least();
    }
    this.#current = least;
    return least;
  }

  close(): void {
    for (const salvage of this.#active) salvage.close();
  }

  #end(salvage: TableSalvage): void {
    this.losses.push(...salvage.losses);
    this.#active.splice(this.#active.indexOf(salvage), 1);
    salvage.close();
  }

  #least(): TableSalvage | undefined {
    let least: TableSalvage | undefined;
    for (const salvage of this.#active) {
      if (least === undefined || isBefore(salvage, least)) least = salvage;
    }
    return least;
  }
}

function isBefore(a: TableSalvage, b: TableSalvage): boolean {
  const order = Buffer.compare(a.key, b.key);
  return order < 0 || (order === 0 && a.sequence > b.sequence);
}

/** A table of which nothing is known may begin with any key. */
function firstOf({ info }: Source): Uint8Array {
  return info?.smallest ?? new Uint8Array(0);
}
