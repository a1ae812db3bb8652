/**
 * Repair: makes a damaged database one that opens, with everything in it that can still be read.
 *
 * Nobody else has the database open meanwhile. What is good is not touched; what is replaced is kept
 * in a folder of its own (`aside.ts`). Nothing is guessed: every byte that is taken over has been
 * proven by its checksum, and what could not be saved is in the report.
 */
import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { findArtifacts } from '../artifacts.js';
import { JOB_MEMORY_BYTES } from '../compaction/job-memory.js';
import { resolveConfig } from '../config.js';
import { LightningError } from '../errors.js';
import { parseShardFileName, shardDirectoryName } from '../file-system/file-names.js';
import { type FileSystem, replaceFile } from '../file-system/file-system.js';
import { nodeFileSystem } from '../file-system/node.js';
import { Kernel } from '../kernel/kernel.js';
import { createJobMemory } from '../kernel/shard-memory.js';
import { booleanOption, checkOptionNames, invalidOption } from '../options.js';
import { lockDatabase } from '../router/database-lock.js';
import {
  COORDINATOR_DIRECTORY,
  DATABASE_NAME,
  type DatabaseFile,
  encodeDatabaseFile,
  readDatabaseFile,
} from '../version/database-file.js';
import { isLinkIntentName, type LinkIntent, readLinkIntent } from '../version/link-intent.js';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from '../wal/segment-format.js';
import { Aside } from './aside.js';
import { CountedReads } from './counted-reads.js';
import { repairShard } from './repair-shard.js';
import { RepairFindings, type RepairOptions, type RepairReport } from './report.js';
import { repairDecisions } from './salvage-decisions.js';

const SHARD_NAME = /^shard-\d{3,}$/;

/** Throws `LIGHTNING_LOCKED` when the database is open, `LIGHTNING_NOT_FOUND` when there is none. */
export async function repairDatabase(
  path: string,
  options: RepairOptions = {},
): Promise<RepairReport> {
  checkOptionNames(options as unknown, ['dryRun', 'onProgress'], 'the repair options');
  const { dryRun: isDry, onProgress } = options;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalidOption('onProgress', onProgress, 'a function');
  }
  const dryRun = booleanOption('dryRun', isDry) === true;
  const root = resolve(path);
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true) throw noDatabase(path);
  const artifacts = findArtifacts();
  const module = await Kernel.compile(artifacts.kernel);
  const kernel = new Kernel(module, createJobMemory(JOB_MEMORY_BYTES));
  const lock = lockDatabase(root, { readOnly: dryRun });
  try {
    const fs =
      onProgress === undefined
        ? nodeFileSystem
        : new CountedReads(bytesIn(nodeFileSystem, root), onProgress).over(nodeFileSystem);
    const report = await new DatabaseRepair(fs, kernel, root, dryRun).run();
    lock.release();
    return report;
  } catch (error) {
    // Where there is no database, none of its files is left behind.
    lock.abandon();
    throw error;
  }
}

/** Of the files that a repair looks at. */
function bytesIn(fs: FileSystem, root: string): number {
  let bytes = 0;
  for (const directory of fs.readdir(root).filter((name) => SHARD_NAME.test(name))) {
    for (const name of fs.readdir(`${root}/${directory}`)) {
      if (parseShardFileName(name) !== undefined)
        bytes += fs.fileSize(`${root}/${directory}/${name}`);
    }
  }
  return bytes;
}

class DatabaseRepair {
  readonly #fs: FileSystem;
  readonly #kernel: Kernel;
  readonly #root: string;
  readonly #dryRun: boolean;
  readonly #findings = new RepairFindings();
  readonly #aside: Aside;

  constructor(fs: FileSystem, kernel: Kernel, root: string, dryRun: boolean) {
    this.#fs = fs;
    this.#kernel = kernel;
    this.#root = root;
    this.#dryRun = dryRun;
    this.#aside = new Aside(fs, root, Date.now());
  }

  async run(): Promise<RepairReport> {
    const findings = this.#findings;
    const database = this.#identity();
    this.#makeDirectories(database);
    const { intents, lost } = this.#intents();
    const config = resolveConfig({});
    const isUsed = this.#isUsed(database);
    for (let shard = 0; shard < database.shards; shard++) {
      const name = shardDirectoryName(shard);
      if (!this.#fs.exists(`${this.#root}/${name}`)) continue;
      await repairShard({
        fs: this.#fs,
        kernel: this.#kernel,
        config,
        root: this.#root,
        name,
        shard,
        databaseId: database.id,
        findings,
        aside: this.#aside,
        dryRun: this.#dryRun,
        intents,
        isIntentLost: lost.length > 0,
      });
    }
    repairDecisions({
      fs: this.#fs,
      directory: `${this.#root}/${COORDINATOR_DIRECTORY}`,
      name: COORDINATOR_DIRECTORY,
      databaseId: database.id,
      findings,
      aside: this.#aside,
      dryRun: this.#dryRun,
      isUsed,
    });
    if (!this.#dryRun) this.#finish(database, lost);
    const { tablesKept, tablesRewritten, entries, logGroups, logCommits } = findings;
    return {
      path: this.#root,
      dryRun: this.#dryRun,
      isHealthy: findings.problems.length === 0 && findings.losses.length === 0,
      problems: findings.problems,
      losses: findings.losses,
      originals: this.#aside.directory,
      saved: { tablesKept, tablesRewritten, entries, logGroups, logCommits },
    };
  }

  // ---- what the directory is ----------------------------------------------------------

  #identity(): DatabaseFile {
    const file = `${this.#root}/${DATABASE_NAME}`;
    try {
      const found = readDatabaseFile(this.#fs, this.#root);
      if (found !== undefined) return found;
      if (!this.#fs.readdir(this.#root).some((name) => SHARD_NAME.test(name))) {
        throw noDatabase(this.#root);
      }
      this.#findings.problem(file, 0, 'The DATABASE file is missing');
    } catch (error) {
      const isDamage =
        error instanceof LightningError &&
        (error.code === 'LIGHTNING_CORRUPTION' || error.code === 'LIGHTNING_NOT_A_DATABASE');
      if (!isDamage) throw error;
      this.#findings.problemOf(error, file);
    }
    return this.#deriveIdentity();
  }

  /** The shards are counted, and their logs name the database. */
  #deriveIdentity(): DatabaseFile {
    const names = this.#fs.readdir(this.#root).filter((name) => SHARD_NAME.test(name));
    if (names.length === 0) throw noDatabase(this.#root);
    const shards = Math.max(...names.map((name) => Number(name.slice('shard-'.length)))) + 1;
    const ids = names.flatMap((name) => this.#idsIn(`${this.#root}/${name}`));
    return { id: ids[0] ?? randomUUID(), shards, createdAtMs: Date.now() };
  }

  #idsIn(directory: string): string[] {
    return this.#fs
      .readdir(directory)
      .filter((name) => parseShardFileName(name)?.kind === 'wal')
      .flatMap((name) => {
        const path = `${directory}/${name}`;
        const file = this.#fs.open(path, 'r');
        try {
          const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
          const got = file.read(head, 0);
          return [decodeSegmentHeader(head.subarray(0, got), path).databaseId];
        } catch (error) {
          if (!(error instanceof LightningError)) throw error;
          return [];
        } finally {
          file.close();
        }
      });
  }

  /** Whether a shard has ever been opened. */
  #isUsed({ shards }: DatabaseFile): boolean {
    const names = Array.from({ length: shards }, (_, shard) => shardDirectoryName(shard));
    const holds = (name: string): boolean =>
      this.#fs.exists(`${this.#root}/${name}`) &&
      this.#fs
        .readdir(`${this.#root}/${name}`)
        .some((file) => parseShardFileName(file) !== undefined);
    return names.some(holds);
  }

  #makeDirectories({ shards }: DatabaseFile): void {
    const make = (name: string): void => {
      if (this.#fs.exists(`${this.#root}/${name}`)) return;
      this.#findings.problem(`${this.#root}/${name}`, 0, 'A directory is missing');
      this.#findings.lose(`${this.#root}/${name}`, 0, 'What was in the directory is lost');
      if (!this.#dryRun) this.#fs.mkdir(`${this.#root}/${name}`);
    };
    make(COORDINATOR_DIRECTORY);
    for (let shard = 0; shard < shards; shard++) make(shardDirectoryName(shard));
  }

  // ---- bulk loads ---------------------------------------------------------------------

  /** Intents that can be read, and the names of those that cannot. */
  #intents(): { intents: LinkIntent[]; lost: string[] } {
    const directory = `${this.#root}/${COORDINATOR_DIRECTORY}`;
    const intents: LinkIntent[] = [];
    const lost: string[] = [];
    const names = this.#fs.exists(directory) ? this.#fs.readdir(directory) : [];
    for (const name of names.filter(isLinkIntentName)) {
      try {
        intents.push(readLinkIntent(this.#fs, directory, name));
      } catch (error) {
        if (!(error instanceof LightningError) || error.code !== 'LIGHTNING_CORRUPTION')
          throw error;
        this.#findings.problemOf(error, `${directory}/${name}`);
        this.#findings.lose(
          `${directory}/${name}`,
          0,
          'A bulk load is lost in the shards that had not linked it: its tables are kept with the originals',
        );
        lost.push(name);
      }
    }
    return { intents, lost };
  }

  // ---- the end ------------------------------------------------------------------------

  #finish(database: DatabaseFile, lostIntents: readonly string[]): void {
    this.#aside.keep(COORDINATOR_DIRECTORY, lostIntents, { leaves: true });
    const isNamed = this.#findings.problems.some(
      ({ file }) => file === `${this.#root}/${DATABASE_NAME}`,
    );
    if (isNamed) {
      this.#aside.keep('', [DATABASE_NAME], { leaves: false });
      replaceFile(this.#fs, this.#root, DATABASE_NAME, encodeDatabaseFile(database));
    }
    this.#aside.release();
    this.#fs.syncDirectory(this.#root);
  }
}

function noDatabase(path: string): LightningError {
  return new LightningError('LIGHTNING_NOT_FOUND', `There is no database at "${path}"`, {
    details: { path },
  });
}
