/**
 * Repairs one shard's directory: finds the Version that its tables make up, reads damaged tables
 * block by block, copies the groups of a damaged log, and then switches to a new manifest.
 *
 * With a whole manifest, tables that are good stay as they are and where they are. Without one, all
 * tables that exist become one run: those that overlap are merged by the sequence numbers of their
 * entries, which say what is newer whatever is known of the tables. Tables whose replacements had not
 * been recorded, or that were about to be deleted, are among them then, so deleted keys may return.
 */

import {
  BlobReader,
  blobPath,
  blobValueBytes,
  kernelPieceWindow,
  PIECE_BYTES,
} from '../blob/blob-file.js';
import { JobMemory } from '../compaction/job-memory.js';
import { tableIdsFor } from '../compaction/plan-merge.js';
import { verifyTable } from '../compaction/verify-table.js';
import type { ResolvedConfig } from '../config.js';
import { LightningError } from '../errors.js';
import {
  CURRENT_NAME,
  parseShardFileName,
  shardFileName,
  TEMPORARY_SUFFIX,
} from '../file-system/file-names.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo } from '../sstable/table-info.js';
import { openTable } from '../sstable/table-reader.js';
import type { TableTarget } from '../sstable/table-writer.js';
import type { LinkIntent } from '../version/link-intent.js';
import { Manifest, readCurrent, readManifest, salvageManifest } from '../version/manifest.js';
import { BOTTOM_ORDER, Version } from '../version/version.js';
import type { VersionEdit } from '../version/version-edit.js';
import type { Aside } from './aside.js';
import { rebuildTables, type Source } from './rebuild-tables.js';
import type { RepairFindings } from './report.js';
import { type FoundLog, type LogOptions, surveyLog, writeLog } from './salvage-log.js';
import { salvageProperties } from './salvage-properties.js';

export interface ShardRepairOptions {
  readonly fs: FileSystem;
  readonly kernel: Kernel;
  readonly config: ResolvedConfig;
  /** Directory of the database, and the name of the shard's in it. */
  readonly root: string;
  readonly name: string;
  readonly shard: number;
  readonly databaseId: string;
  readonly findings: RepairFindings;
  readonly aside: Aside;
  readonly dryRun: boolean;
  readonly intents: readonly LinkIntent[];
  /** An intent cannot be read: tables that nothing refers to may be those it named. */
  readonly isIntentLost: boolean;
}

interface ShardFiles {
  readonly manifests: readonly number[];
  readonly tables: readonly number[];
  readonly segments: readonly number[];
  readonly blobs: readonly number[];
  readonly highest: number;
}

/** What the manifests say: `isWhole` false when edits are missing, or all of it. */
interface Base {
  readonly version: Version;
  readonly isWhole: boolean;
}

/** The Version as it is to be, and the tables that it does without. */
interface NewTables {
  readonly version: Version;
  readonly replaced: readonly number[];
}

export async function repairShard(options: ShardRepairOptions): Promise<void> {
  await new ShardRepair(options).run();
}

class ShardRepair {
  readonly #options: ShardRepairOptions;
  readonly #directory: string;
  readonly #files: ShardFiles;
  #nextFile: number;

  constructor(options: ShardRepairOptions) {
    this.#options = options;
    this.#directory = `${options.root}/${options.name}`;
    this.#files = listFiles(options.fs, this.#directory);
    this.#nextFile = this.#files.highest + 1;
  }

  async run(): Promise<void> {
    const { findings, dryRun } = this.#options;
    const before = findings.problems.length;
    const base = this.#base();
    if (base === undefined) return;
    this.#nextFile = Math.max(this.#nextFile, base.version.state.nextFile, this.#pendingEnd());
    const tables = base.isWhole
      ? await this.#rebuildDamaged(base.version)
      : await this.#rebuildAll(base.version);
    const log = this.#log(base);
    this.#checkBlobs(tables.version, log);
    if (findings.problems.length === before || dryRun) return;
    this.#switch(base, tables, log);
  }

  // ---- the manifest -------------------------------------------------------------------

  /** Undefined: the shard has never held anything. */
  #base(): Base | undefined {
    const { fs, shard, findings } = this.#options;
    const location = { fs, directory: this.#directory, shard };
    const { manifests, tables, segments } = this.#files;
    let current: number | undefined;
    try {
      current = readCurrent(location);
      if (current !== undefined)
        return { version: readManifest(location, current).version, isWhole: true };
      if (tables.length === 0 && segments.length === 0) return undefined;
      findings.problem(
        `${this.#directory}/${CURRENT_NAME}`,
        0,
        'Shard has data but no CURRENT file',
      );
    } catch (error) {
      findings.problemOf(corruptionOf(error), `${this.#directory}/${CURRENT_NAME}`);
    }
    // Without a CURRENT that can be read, the only manifest there is, is the one that was in use.
    if (current === undefined && manifests.length === 1) {
      try {
        const { version } = readManifest(location, manifests[0] as number);
        return { version, isWhole: true };
      } catch (error) {
        findings.problemOf(corruptionOf(error), this.#directory);
      }
    }
    for (const number of [...manifests].reverse()) {
      const version = salvageManifest(location, number);
      if (version !== undefined) return { version, isWhole: false };
    }
    return { version: Version.EMPTY, isWhole: false };
  }

  // ---- tables -------------------------------------------------------------------------

  /** Replaces the damaged tables of a Version that is known. */
  async #rebuildDamaged(version: Version): Promise<NewTables> {
    const { findings } = this.#options;
    const removed: number[] = [];
    const added: { order: number; tables: readonly TableInfo[] }[] = [];
    for (const { order, tables } of version.runs) {
      for (const info of tables) {
        await turn();
        const verdict = this.#verify(info.id, info);
        if (verdict === 'good') {
          findings.tablesKept++;
          continue;
        }
        removed.push(info.id);
        if (verdict === 'missing') continue;
        added.push({ order, tables: this.#rebuild([this.#source(info.id, info)], false) });
      }
    }
    const edit: VersionEdit = { removed, added: added.filter(({ tables }) => tables.length > 0) };
    return { version: version.apply(edit), replaced: removed };
  }

  /** Makes one run of all tables that there are. */
  async #rebuildAll(known: Version): Promise<NewTables> {
    const { findings, intents } = this.#options;
    const sources: { readonly source: Source; readonly isGood: boolean }[] = [];
    for (const id of this.#files.tables) {
      await turn();
      const info = [...known.tables()].find((table) => table.id === id) ?? this.#describe(id);
      const isGood = this.#verify(id, info) === 'good';
      sources.push({ source: this.#source(id, info), isGood });
    }
    const present = new Set(this.#files.tables);
    const isLinked = intents.map(({ id }) => id);
    const kept: TableInfo[] = [];
    const replaced: number[] = [];
    for (const cluster of clusters(sources)) {
      await turn();
      const [only] = cluster;
      if (cluster.length === 1 && only?.isGood === true && only.source.info !== undefined) {
        kept.push(only.source.info);
        findings.tablesKept++;
        continue;
      }
      replaced.push(...cluster.map(({ source }) => source.ref.id));
      kept.push(
        ...this.#rebuild(
          cluster.map(({ source }) => source),
          true,
        ),
      );
    }
    const { lastSequence, lastTimestampUs, lastEpoch, walMin, linked } = known.state;
    const missing = [...known.tables()].filter(({ id }) => !present.has(id));
    if (missing.length > 0 && this.#files.tables.length === 0) {
      for (const { id } of missing)
        this.#loseTable(
          id,
          missing.find((table) => table.id === id),
        );
    }
    if (known === Version.EMPTY) {
      findings.lose(
        this.#directory,
        0,
        'Which tables were in use is lost: keys that had been deleted may have returned',
      );
    }
    const version = Version.EMPTY.apply({
      added: kept.length === 0 ? [] : [{ order: BOTTOM_ORDER, tables: kept }],
      lastSequence: kept.reduce((last, table) => Math.max(last, table.sequenceMax), lastSequence),
      lastTimestampUs: kept.reduce(
        (last, table) => Math.max(last, table.createdAtMs * 1000),
        lastTimestampUs,
      ),
      lastEpoch,
      walMin,
      // Their tables are among those that were found.
      linked: [...new Set([...linked, ...isLinked])],
    });
    return { version, replaced };
  }

  #source(id: number, info: TableInfo | undefined): Source {
    return { ref: { id, path: this.#tablePath(id) }, info };
  }

  #tablePath(id: number): string {
    return `${this.#directory}/${shardFileName('table', id)}`;
  }

  /** What a table says of itself. */
  #describe(id: number): TableInfo | undefined {
    const { fs } = this.#options;
    const ref = { id, path: this.#tablePath(id) };
    try {
      const { file, info } = openTable(fs, ref);
      file.close();
      return info;
    } catch (error) {
      corruptionOf(error);
      return salvageProperties(fs, ref);
    }
  }

  #verify(id: number, expected: TableInfo | undefined): 'good' | 'bad' | 'missing' {
    const { fs, kernel, findings } = this.#options;
    const path = this.#tablePath(id);
    if (!fs.exists(path)) {
      findings.problem(path, 0, 'Table that the manifest names is missing');
      this.#loseTable(id, expected);
      return 'missing';
    }
    const { problems, entries } = verifyTable(fs, kernel, { id, path });
    for (const { file, offset, message } of problems) findings.problem(file, offset, message);
    if (problems.length > 0 || expected === undefined) return 'bad';
    if (entries === expected.entries && fs.fileSize(path) === expected.bytes) return 'good';
    findings.problem(path, 0, 'Table is not the one that the manifest names');
    return 'bad';
  }

  #loseTable(id: number, info: TableInfo | undefined): void {
    const range =
      info === undefined ? {} : { from: info.smallest, to: info.largest, isToIncluded: true };
    const message = 'A table is gone: its keys are missing, or have older values';
    this.#options.findings.losses.push({ file: this.#tablePath(id), offset: 0, message, ...range });
  }

  #rebuild(sources: readonly Source[], isBottom: boolean): readonly TableInfo[] {
    const { fs, kernel, findings, dryRun } = this.#options;
    const target = dryRun ? undefined : this.#target(sources);
    const result = rebuildTables(sources, { fs, kernel, target, isBottom });
    findings.losses.push(...result.losses);
    findings.entries += result.entries;
    findings.tablesRewritten += sources.length;
    for (const { id } of result.tables) this.#nextFile = Math.max(this.#nextFile, id + 1);
    return result.tables;
  }

  #target(sources: readonly Source[]): TableTarget {
    const { fs, config } = this.#options;
    const fileBytes = sources.reduce((sum, { ref }) => sum + fs.fileSize(ref.path), 0);
    const tableIds = tableIdsFor(
      // Compression and small entries, at their most extreme.
      { rawBytes: fileBytes * 64, entries: fileBytes, blobs: fileBytes / 24 },
      config.tableBytesMax,
    );
    return {
      directory: this.#directory,
      firstTableId: this.#nextFile,
      tableIds,
      tableBytesMax: config.tableBytesMax,
      blockBytes: config.blockBytes,
      compression: config.compression,
      filterBitsPerKey: config.filterBitsPerKey,
    };
  }

  /** Numbers of files that intents have reserved are not used again. */
  #pendingEnd(): number {
    const links = this.#options.intents.flatMap(({ shards }) => shards);
    return links
      .filter(({ shard }) => shard === this.#options.shard)
      .reduce((end, { nextFile }) => Math.max(end, nextFile), 0);
  }

  // ---- log and blobs ------------------------------------------------------------------

  #log({ version, isWhole }: Base): FoundLog & { readonly isRewritten: boolean } {
    const { walMin } = version.state;
    // What had been flushed since the manifest was lost is in the log and in tables: both say the same.
    const from = isWhole ? walMin : 0;
    const segments = this.#files.segments.filter((segment) => segment >= from);
    const found = surveyLog(this.#logOptions(), segments, from);
    return { ...found, isRewritten: found.isDamaged || !isWhole };
  }

  #logOptions(): LogOptions {
    const { fs, kernel, shard, databaseId, findings } = this.#options;
    return { fs, kernel, directory: this.#directory, shard, databaseId, findings };
  }

  /** Large values whose files are damaged stay damaged: reading them says so. */
  #checkBlobs(version: Version, log: FoundLog): void {
    const { fs, kernel, shard, findings } = this.#options;
    const live = liveBlobs(version, log);
    const address = new JobMemory(kernel).allocate(2 * PIECE_BYTES);
    const files = {
      fs,
      directory: this.#directory,
      shard,
      window: kernelPieceWindow(kernel, address),
    };
    for (const blob of live) {
      try {
        const bytes = this.#blobBytes(blob);
        const reader = new BlobReader(files, { blob, bytes, checksum: 0n }, false);
        try {
          while (reader.next() !== undefined);
        } finally {
          reader.close();
        }
      } catch (error) {
        const { message, details } = corruptionOf(error);
        const file = String(details['file'] ?? blobPath({ directory: this.#directory }, blob));
        findings.lose(file, Number(details['offset'] ?? 0), `${message}: reading its key says so`);
      }
    }
  }

  #blobBytes(blob: number): number {
    const path = blobPath({ directory: this.#directory }, blob);
    const { fs } = this.#options;
    return fs.exists(path) ? blobValueBytes(fs.fileSize(path)) : 0;
  }

  // ---- the switch ---------------------------------------------------------------------

  #switch(
    base: Base,
    { version, replaced }: NewTables,
    log: FoundLog & { readonly isRewritten: boolean },
  ): void {
    const { fs, shard, name, aside, findings, isIntentLost } = this.#options;
    const { manifests, segments, tables, blobs } = this.#files;
    const keep = (names: readonly string[], leaves: boolean): void =>
      aside.keep(name, names, { leaves });
    keep([CURRENT_NAME], false);
    keep(
      manifests.map((number) => shardFileName('manifest', number)),
      true,
    );
    keep(
      replaced.map((id) => shardFileName('table', id)),
      true,
    );
    // What nothing refers to any more is deleted at the next open: it may be what was lost.
    const live = liveBlobs(version, log);
    keep(
      blobs.filter((blob) => !live.has(blob)).map((blob) => shardFileName('blob', blob)),
      false,
    );
    if (!base.isWhole || isIntentLost) {
      const used = new Set([...version.tables()].map(({ id }) => id));
      keep(
        tables.filter((id) => !used.has(id)).map((id) => shardFileName('table', id)),
        false,
      );
    }
    let walMin: number | undefined;
    if (log.isRewritten) {
      keep(
        segments.map((segment) => shardFileName('wal', segment)),
        true,
      );
      walMin = this.#nextFile;
      this.#nextFile += writeLog(this.#logOptions(), log, walMin);
      findings.logGroups += log.groups.length;
      findings.logCommits += log.groups.reduce((sum, group) => sum + group.commits, 0);
    }
    fs.syncDirectory(this.#directory);
    const repaired = version.apply({
      nextFile: this.#nextFile + 1,
      lastTimestampUs: log.lastTimestampUs,
      lastEpoch: log.lastEpoch,
      nextOrder: BOTTOM_ORDER + 1,
      ...(walMin === undefined ? {} : { walMin }),
    });
    const location = { fs, directory: this.#directory, shard };
    Manifest.create(location, repaired, this.#nextFile).close();
    aside.release();
    fs.syncDirectory(this.#directory);
  }
}

function listFiles(fs: FileSystem, directory: string): ShardFiles {
  const lists = {
    manifest: [] as number[],
    table: [] as number[],
    wal: [] as number[],
    blob: [] as number[],
  };
  let highest = 0;
  for (const name of fs.readdir(directory)) {
    const isTemporary = name.endsWith(TEMPORARY_SUFFIX);
    const parsed = parseShardFileName(isTemporary ? name.slice(0, -TEMPORARY_SUFFIX.length) : name);
    if (parsed === undefined) continue;
    highest = Math.max(highest, parsed.number);
    if (!isTemporary) lists[parsed.kind].push(parsed.number);
  }
  for (const list of Object.values(lists)) list.sort((left, right) => left - right);
  const { manifest, table, wal, blob } = lists;
  return { manifests: manifest, tables: table, segments: wal, blobs: blob, highest };
}

/** Groups of tables that overlap, directly or through others; one that says nothing of itself overlaps all. */
function clusters<Item extends { readonly source: Source }>(items: readonly Item[]): Item[][] {
  if (items.some(({ source }) => source.info === undefined)) return [[...items]];
  const sorted = [...items].sort((left, right) =>
    Buffer.compare(infoOf(left).smallest, infoOf(right).smallest),
  );
  const found: Item[][] = [];
  let largest: Uint8Array | undefined;
  for (const item of sorted) {
    const info = infoOf(item);
    if (largest === undefined || Buffer.compare(info.smallest, largest) > 0) found.push([]);
    found.at(-1)?.push(item);
    if (largest === undefined || Buffer.compare(info.largest, largest) > 0) largest = info.largest;
  }
  return found;
}

function infoOf({ source }: { readonly source: Source }): TableInfo {
  return source.info as TableInfo;
}

function liveBlobs(version: Version, log: FoundLog): ReadonlySet<number> {
  return new Set([...log.blobs, ...[...version.tables()].flatMap(({ blobs }) => blobs)]);
}

/** The error, when it is one about wrong bytes; anything else ends the repair. */
function corruptionOf(error: unknown): LightningError {
  if (error instanceof LightningError && error.code === 'LIGHTNING_CORRUPTION') return error;
  throw error;
}

/** Lets the event loop have its turn. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
