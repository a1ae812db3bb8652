/**
 * From sorted chunks to the tables of one run per shard.
 *
 * A load that fits in memory is merged straight into its tables. One that does not is spilled part by
 * part; at the end tables of different spills that overlap are merged, and those that overlap
 * nothing, as sorted input makes them, stay as they are.
 */

import { shardFileName } from '../file-system/file-names.js';
import { MERGE_SOURCES_MAX } from '../kernel/assembly/job-layout.js';
import { RUN_KEY, RUN_KEY_LENGTH, RUN_RECORD_BYTES } from '../kernel/assembly/load-layout.js';
import type { TableInfo, TableRef } from '../sstable/table-info.js';
import type { TableTarget } from '../sstable/table-writer.js';
import type { PackedChunk } from './chunk-store.js';
import type { BuildJob, MergeJob, RunPlace, TablesResult } from './load-jobs.js';
import { progressWord } from './load-memory.js';
import type { LoadSession } from './load-session.js';
import { clusterTables, divideByKey, type TableCluster } from './table-clusters.js';

/** Jobs per thread, so that all threads end at about the same time. */
const PARTS_PER_JOB = 3;
/** File numbers that a job gets beyond what it should need. */
const TABLE_IDS_SPARE = 16;
/** Runs that one merge takes; more are merged in rounds. */
const MERGE_RUNS_MAX = MERGE_SOURCES_MAX / 2;
const MERGED_SHARE_INTERVAL_MS = 100;
/** The medium takes tables while they are being built, so that little is left to wait for at the end. */
const SYNC_BEHIND_BYTES = 4 * 1024 * 1024;

interface SpilledTable {
  readonly info: TableInfo;
  /** Whether it is as a final table has to be. */
  readonly isFinal: boolean;
}

/** Tables that came of one spill: they do not overlap each other. */
type SpilledRun = readonly SpilledTable[];

export class TablePhase {
  readonly #session: LoadSession;
  /** Known when the database is open. */
  readonly #sequence: Promise<number>;
  readonly #createdAtMs = Date.now();
  /** Per shard, oldest first. */
  readonly #spills: SpilledRun[][];
  #spillCount = 0;

  constructor(session: LoadSession, sequence: Promise<number>) {
    this.#session = session;
    this.#sequence = sequence;
    sequence.catch(() => {});
    this.#spills = Array.from({ length: session.shards }, () => []);
  }

  get spillCount(): number {
    return this.#spillCount;
  }

  /** Writes chunks to tables that later ones may still overlap. */
  async spill(chunks: readonly PackedChunk[]): Promise<void> {
    this.#spillCount++;
    await Promise.all(
      this.#spills.map(async (spills, shard) => {
        const isFinal = this.#continues(spills, shard, chunks);
        const tables = await this.#build(shard, chunks, isFinal);
        if (tables.length > 0) spills.push(tables.map((info) => ({ info, isFinal })));
      }),
    );
  }

  /** Makes the final tables of all shards: of each one run, in key order. */
  async finish(chunks: readonly PackedChunk[]): Promise<TableInfo[][]> {
    if (this.#spillCount === 0) {
      return Promise.all(this.#spills.map((_, shard) => this.#build(shard, chunks, true)));
    }
    await this.spill(chunks);
    // Their threads wait for the medium, unlike those that build tables from memory.
    this.#session.target.expectJobs(this.#session.jobs + 1);
    return Promise.all(this.#spills.map((spills, shard) => this.#mergeSpills(shard, spills)));
  }

  // ---- from memory ----------------------------------------------------------------

  async #build(
    shard: number,
    chunks: readonly PackedChunk[],
    isFinal: boolean,
  ): Promise<TableInfo[]> {
    const runs = chunks
      .map(({ runs }) => runs[shard] as RunPlace)
      .filter(({ records }) => records > 0)
      .reverse();
    if (runs.length === 0) return [];
    const bytes = shardBytes(shard, chunks);
    const parts = this.#partsFor(bytes);
    const results = await Promise.all(
      Array.from({ length: parts }, (_, part) =>
        this.#buildPart({ shard, runs, part, parts, bytes, isFinal }),
      ),
    );
    return this.#collect(results);
  }

  async #buildPart(build: {
    readonly shard: number;
    readonly runs: readonly RunPlace[];
    readonly part: number;
    readonly parts: number;
    readonly bytes: number;
    readonly isFinal: boolean;
  }): Promise<TablesResult> {
    const { shard, runs, part, parts, bytes, isFinal } = build;
    const { memory, layout, runner, kernel, progress } = this.#session;
    const target: TableTarget = {
      ...(await this.#target(shard, bytes, isFinal)),
      syncBehindBytes: SYNC_BEHIND_BYTES,
    };
    const sequence = await this.#sequence;
    let watch: NodeJS.Timeout | undefined;
    let word = 0;
    let seen = 0;
    const look = (): void => {
      const done = kernel.u32[word] as number;
      if (done <= seen) return;
      progress.addMerged(done - seen);
      seen = done;
    };
    try {
      const result = await runner.runInArea<BuildJob>((work) => {
        word = progressWord(work);
        kernel.u32[word] = 0;
        watch = setInterval(look, MERGED_SHARE_INTERVAL_MS).unref();
        return {
          kind: 'bulk-build',
          memory,
          layout,
          work,
          runs,
          part,
          parts,
          sequence,
          target,
        };
      });
      const entries = result.tables.reduce((sum, table) => sum + table.entries, 0);
      progress.addMerged(Math.max(0, entries + result.duplicates - seen));
      return result;
    } finally {
      clearInterval(watch);
    }
  }

  /** Whether the chunks come one behind the other, and all behind what was spilled before. */
  #continues(
    spills: readonly SpilledRun[],
    shard: number,
    chunks: readonly PackedChunk[],
  ): boolean {
    let largest = spills.at(-1)?.at(-1)?.info.largest;
    for (const { runs } of chunks) {
      const { address, records } = runs[shard] as RunPlace;
      if (records === 0) continue;
      const first = this.#keyOf(address);
      if (largest !== undefined && Buffer.compare(first, largest) <= 0) return false;
      largest = this.#keyOf(address + (records - 1) * RUN_RECORD_BYTES);
    }
    return true;
  }

  #keyOf(record: number): Buffer {
    const { bytes, u32 } = this.#session.kernel;
    const address = u32[(record + RUN_KEY) >>> 2] as number;
    const length = ((u32[(record + RUN_KEY_LENGTH) >>> 2] as number) << 1) >>> 1;
    return Buffer.from(bytes.subarray(address, address + length));
  }

  // ---- from spills ----------------------------------------------------------------

  async #mergeSpills(shard: number, spills: readonly SpilledRun[]): Promise<TableInfo[]> {
    let runs = spills;
    while (runs.length > MERGE_RUNS_MAX) runs = await this.#mergeGroups(shard, runs);
    const clusters = clusterTables(
      runs.map((run) => run.map(({ info }) => info)),
      new Set(runs.flat().flatMap(({ info, isFinal }) => (isFinal ? [info.id] : []))),
    );
    const merged = await Promise.all(clusters.map((cluster) => this.#mergeCluster(shard, cluster)));
    return merged.flat();
  }

  /** Merges neighbouring runs, so that fewer are left. */
  async #mergeGroups(shard: number, runs: readonly SpilledRun[]): Promise<SpilledRun[]> {
    const groups: SpilledRun[][] = [];
    for (let first = 0; first < runs.length; first += MERGE_RUNS_MAX) {
      groups.push(runs.slice(first, first + MERGE_RUNS_MAX));
    }
    const merged: SpilledRun[] = [];
    for (const group of groups) {
      const tables = await this.#merge(
        shard,
        group.map((run) => run.map(({ info }) => info)),
        false,
      );
      merged.push(tables.map((info) => ({ info, isFinal: false })));
    }
    return merged;
  }

  async #mergeCluster(shard: number, cluster: TableCluster): Promise<readonly TableInfo[]> {
    return cluster.kept === undefined ? this.#merge(shard, cluster.runs, true) : [cluster.kept];
  }

  /** `runs`: oldest first. */
  async #merge(
    shard: number,
    runs: readonly (readonly TableInfo[])[],
    isFinal: boolean,
  ): Promise<TableInfo[]> {
    const directory = this.#session.numbers.directoryOf(shard);
    const refs = runs
      .map((run) =>
        run.map(({ id }): TableRef => ({ path: `${directory}/${shardFileName('table', id)}`, id })),
      )
      .reverse();
    const bytes = runs.flat().reduce((sum, info) => sum + info.rawBytes, 0);
    const entries = runs.flat().reduce((sum, info) => sum + info.entries, 0);
    const ranges = divideByKey(runs.flat(), this.#partsFor(bytes));
    const sequence = await this.#sequence;
    const results = await Promise.all(
      ranges.map(async ({ start, end }) => {
        const target = await this.#target(shard, bytes, isFinal);
        const result = await this.#session.runner.run<MergeJob>({
          kind: 'bulk-merge',
          input: { runs: refs, start, end },
          target,
          sequence,
        });
        this.#session.checkAborted();
        this.#session.progress.addMerged(entries / ranges.length);
        return result;
      }),
    );
    this.#deleteSpilled(shard, runs.flat());
    return this.#collect(results);
  }

  #deleteSpilled(shard: number, tables: readonly TableInfo[]): void {
    const directory = this.#session.numbers.directoryOf(shard);
    for (const { id } of tables)
      this.#session.fs.unlink(`${directory}/${shardFileName('table', id)}`);
  }

  // ---- both -------------------------------------------------------------------------

  async #target(shard: number, bytes: number, isFinal: boolean): Promise<TableTarget> {
    const { config } = this.#session.target;
    // Parts are even in entries, not in bytes: any of them may get most of the bytes.
    const tableIds = TABLE_IDS_SPARE + Math.ceil((bytes * 1.5) / config.tableBytesMax);
    return {
      directory: this.#session.numbers.directoryOf(shard),
      firstTableId: await this.#session.numbers.reserve(shard, tableIds),
      tableIds,
      tableBytesMax: config.tableBytesMax,
      blockBytes: config.blockBytes,
      compression: config.compression && isFinal,
      filterBitsPerKey: config.filterBitsPerKey,
      // What is merged again soon, and deleted, never has to reach the medium.
      durable: isFinal,
      createdAtMs: this.#createdAtMs,
    };
  }

  /** Into how many jobs to divide the tables of one shard. */
  #partsFor(bytes: number): number {
    const { jobs, shards, target } = this.#session;
    const wanted = Math.ceil((jobs * PARTS_PER_JOB) / shards);
    return Math.max(1, Math.min(wanted, Math.floor(bytes / target.config.tableBytesMax)));
  }

  #collect(results: readonly TablesResult[]): TableInfo[] {
    for (const { duplicates } of results) this.#session.progress.duplicates += duplicates;
    return results.flatMap(({ tables }) => tables);
  }
}

/** About how many bytes of keys and values a shard has in the chunks. */
function shardBytes(shard: number, chunks: readonly PackedChunk[]): number {
  let bytes = 0;
  for (const chunk of chunks) {
    const records = chunk.runs.reduce((sum, run) => sum + run.records, 0);
    if (records > 0) bytes += (chunk.bytes * (chunk.runs[shard] as RunPlace).records) / records;
  }
  return bytes;
}
