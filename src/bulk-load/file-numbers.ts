/**
 * The file numbers that a load has taken, and what it does with them: tables and blobs are written
 * under reserved numbers, and whatever no linked table needs is deleted again.
 */

import { shardDirectoryName, shardFileName } from '../file-system/file-names.js';
import { type FileSystem, isNotFound } from '../file-system/file-system.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { BlobNumbers } from './load-jobs.js';
import type { BulkLoadTarget } from './load-target.js';

/** Numbers for blobs are reserved in lots of this size and handed out in smaller ones. */
const BLOB_LOT = 4096;
const BLOBS_PER_JOB = 512;

interface Reserved {
  readonly shard: number;
  readonly first: number;
  readonly count: number;
}

export class FileNumbers {
  readonly #target: BulkLoadTarget;
  readonly #reserved: Reserved[] = [];
  readonly #lots: { first: number; count: number }[];

  constructor(target: BulkLoadTarget) {
    this.#target = target;
    this.#lots = Array.from({ length: target.config.shards }, () => ({ first: 0, count: 0 }));
  }

  directoryOf(shard: number): string {
    return `${this.#target.path}/${shardDirectoryName(shard)}`;
  }

  async reserve(shard: number, count: number): Promise<number> {
    const first = await this.#target.reserveFiles(shard, count);
    this.#reserved.push({ shard, first, count });
    return first;
  }

  /** Numbers for the blobs of one job in every shard. */
  async takeBlobNumbers(): Promise<BlobNumbers[]> {
    return Promise.all(this.#lots.map((_, shard) => this.#takeBlobs(shard, BLOBS_PER_JOB)));
  }

  /** A number for one blob. */
  async takeBlobNumber(shard: number): Promise<number> {
    return (await this.#takeBlobs(shard, 1)).first;
  }

  async #takeBlobs(shard: number, count: number): Promise<BlobNumbers> {
    const lot = this.#lots[shard] as { first: number; count: number };
    if (lot.count < count) {
      const first = await this.reserve(shard, BLOB_LOT);
      lot.first = first;
      lot.count = BLOB_LOT;
    }
    const first = lot.first;
    lot.first += count;
    lot.count -= count;
    return { directory: this.directoryOf(shard), first, count };
  }

  /** One more than the highest number taken in a shard. */
  nextFile(shard: number): number {
    let next = 0;
    for (const { shard: owner, first, count } of this.#reserved) {
      if (owner === shard) next = Math.max(next, first + count);
    }
    return next;
  }

  /** Deletes all files under numbers of this load but the tables given and their blobs. */
  deleteAllBut(fs: FileSystem, shard: number, tables: readonly TableInfo[]): void {
    const kept = new Set(tables.map(({ id }) => shardFileName('table', id)));
    for (const blob of tables.flatMap(({ blobs }) => blobs)) kept.add(shardFileName('blob', blob));
    const directory = this.directoryOf(shard);
    const mine = this.#reserved.filter(({ shard: owner }) => owner === shard);
    if (mine.length === 0) return;
    for (const name of fs.readdir(directory)) {
      if (kept.has(name)) continue;
      const number = Number(/^(\d+)\.(?:table|blob)(?:\.tmp)?$/.exec(name)?.[1] ?? Number.NaN);
      if (mine.some(({ first, count }) => number >= first && number < first + count)) {
        unlinkIfThere(fs, `${directory}/${name}`);
      }
    }
  }
}

function unlinkIfThere(fs: FileSystem, path: string): void {
  try {
    fs.unlink(path);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
