/** A bulk load's target without a database around it: jobs run on this thread, links are remembered. */

import { mkdirSync } from 'node:fs';
import { BlobReader, decodeBlobReference, kernelPieceWindow } from '../../src/blob/blob-file.js';
import type { BulkJob, BulkJobResult } from '../../src/bulk-load/load-jobs.js';
import type { BulkLoadTarget } from '../../src/bulk-load/load-target.js';
import { runBulkJob } from '../../src/bulk-load/run-job.js';
import { resolveEncoding } from '../../src/encoding/encoding.js';
import { shardDirectoryName, shardFileName } from '../../src/file-system/file-names.js';
import { nodeFileSystem } from '../../src/file-system/node.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { type LinkIntent, linkEdit } from '../../src/version/link-intent.js';
import { Version } from '../../src/version/version.js';
import { TableView } from '../sstable/table-view.js';
import { kernelModule, loadKernel } from './load-kernel.js';

const MIB = 1024 * 1024;

export interface LocalTargetOptions {
  readonly shards?: number;
  readonly tableBytesMax?: number;
  readonly arenaBytes?: number;
  readonly keyEncoding?: unknown;
  readonly valueEncoding?: unknown;
  readonly jobThreads?: number;
  /** Called before each job. */
  readonly onJob?: (job: BulkJob) => void | Promise<void>;
}

export class LocalTarget implements BulkLoadTarget {
  readonly openMs = 0;
  readonly path: string;
  readonly config: BulkLoadTarget['config'];
  readonly keyEncoding;
  readonly valueEncoding;
  readonly module = kernelModule;
  readonly jobThreads: number;
  readonly jobs: BulkJob[] = [];
  readonly intents: LinkIntent[] = [];
  readonly versions: Version[];
  readonly #options: LocalTargetOptions;
  readonly #nextFile: number[];
  #sequence = 0;

  constructor(path: string, options: LocalTargetOptions = {}) {
    const shards = options.shards ?? 2;
    this.path = path;
    this.#options = options;
    this.jobThreads = options.jobThreads ?? 2;
    this.config = {
      shards,
      blockBytes: 4096,
      tableBytesMax: options.tableBytesMax ?? 16 * MIB,
      compression: true,
      filterBitsPerKey: 10,
      arenaBytes: options.arenaBytes ?? 16 * MIB,
    };
    this.keyEncoding = resolveEncoding('keyEncoding', options.keyEncoding);
    this.valueEncoding = resolveEncoding('valueEncoding', options.valueEncoding);
    this.versions = Array.from({ length: shards }, () => Version.EMPTY);
    this.#nextFile = Array.from({ length: shards }, () => 1);
    mkdirSync(`${path}/coordinator`, { recursive: true });
    for (let shard = 0; shard < shards; shard++) mkdirSync(this.directoryOf(shard));
  }

  directoryOf(shard: number): string {
    return `${this.path}/${shardDirectoryName(shard)}`;
  }

  async runJob<J extends BulkJob>(job: J): Promise<BulkJobResult<J>> {
    this.jobs.push(job);
    await new Promise((resolve) => setImmediate(resolve));
    await this.#options.onJob?.(job);
    const result = await runBulkJob(
      {
        fs: nodeFileSystem,
        kernelOf: (memory) => new Kernel(kernelModule, memory),
        privateKernel: () => loadKernel(96 * MIB),
      },
      structuredClone(job),
    );
    return result as BulkJobResult<J>;
  }

  expectJobs(): void {}

  async reserveFiles(shard: number, count: number): Promise<number> {
    const first = this.#nextFile[shard] as number;
    this.#nextFile[shard] = first + count;
    return first;
  }

  async nextCommit(): Promise<{ sequence: number; timestampUs: number }> {
    this.#sequence++;
    return { sequence: this.#sequence, timestampUs: Date.now() * 1000 };
  }

  async flush(): Promise<void> {}

  async link(intent: LinkIntent): Promise<void> {
    this.intents.push(intent);
    this.versions.forEach((version, shard) => {
      const edit = linkEdit(version, intent, shard);
      if (edit !== undefined) this.versions[shard] = version.apply(edit);
    });
  }

  /** All that the linked tables hold, newest run first where there are several. */
  contents(): Map<string, string> {
    const contents = new Map<string, string>();
    this.versions.forEach((version, shard) => {
      for (const run of [...version.runs].reverse()) {
        for (const { id } of run.tables) {
          for (const { key, value, type } of this.#entries(shard, id)) {
            const text = type === 3 ? this.#blob(shard, value) : value.toString();
            contents.set(key.toString(), text);
          }
        }
      }
    });
    return contents;
  }

  #entries(shard: number, id: number) {
    const path = `${this.directoryOf(shard)}/${shardFileName('table', id)}`;
    return new TableView(nodeFileSystem, loadKernel(96 * MIB), path, id).all();
  }

  #blob(shard: number, value: Buffer): string {
    const kernel = loadKernel(1 * MIB);
    const reader = new BlobReader(
      {
        fs: nodeFileSystem,
        directory: this.directoryOf(shard),
        shard,
        window: kernelPieceWindow(kernel, 65536),
      },
      decodeBlobReference(value),
    );
    const pieces: Buffer[] = [];
    for (let piece = reader.next(); piece !== undefined; piece = reader.next()) pieces.push(piece);
    return Buffer.concat(pieces).toString();
  }
}
