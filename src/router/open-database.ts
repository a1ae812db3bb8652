/** Opening a database: directory, lock, identity, threads. Whatever fails, nothing is left behind. */

import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { threadId } from 'node:worker_threads';
import { type Artifacts, findArtifacts } from '../artifacts.js';
import type { CheckBoard } from '../compaction/check-board.js';
import { type ResolvedConfig, withShards } from '../config.js';
import type { CheckReport } from '../coordinator/control-plane.js';
import { LightningError } from '../errors.js';
import { nodeFileSystem } from '../file-system/node.js';
import { systemThreadId } from '../file-system/system-thread.js';
import { Kernel } from '../kernel/kernel.js';
import {
  COORDINATOR_DIRECTORY,
  createDirectories,
  type OpenedDatabase,
  openDatabaseFile,
  readDatabaseFile,
} from '../version/database-file.js';
import { forgetLinkIntents } from '../version/link-intent.js';
import { type LightningDbHandle, newHandle } from './attach.js';
import type { Backend } from './backend.js';
import { Client } from './client.js';
import { ControlBlock } from './control-block.js';
import { type DatabaseLock, lockDatabase } from './database-lock.js';
import { type DatabaseStats, databaseStats } from './reports.js';
import { Session, type SessionEncodings } from './session.js';
import { Supervisor } from './supervisor.js';

/** How long requests under way may hold up a close before they are rejected. */
const DRAIN_MS_MAX = 30_000;

/** A database that is locked, and known for what it is: its threads are still to be started. */
export interface IdentifiedDatabase {
  readonly directory: string;
  readonly id: string;
  readonly config: ResolvedConfig;
  readonly artifacts: Artifacts;
  /** The compiled kernel. */
  readonly module: WebAssembly.Module;
  readonly lock: DatabaseLock;
}

export async function openDatabase(
  path: string,
  config: ResolvedConfig,
  encodings: SessionEncodings,
): Promise<OpenDatabase> {
  return startDatabase(await identifyDatabase(path, config), encodings);
}

/** The first half of an open. What it returns goes to `startDatabase`, which lets go of the lock. */
export async function identifyDatabase(
  path: string,
  config: ResolvedConfig,
): Promise<IdentifiedDatabase> {
  const artifacts = findArtifacts(config.workerDirectory);
  const compiling = Kernel.compile(artifacts.kernel);
  const directory = resolve(path);
  prepareDirectory(directory, config);
  const lock = lockDatabase(directory, config);
  let database: OpenedDatabase | undefined;
  try {
    database = identify(directory, config);
    const resolved = withShards(config, database.shards);
    const module = await compiling;
    return { directory, id: database.id, config: resolved, artifacts, module, lock };
  } catch (error) {
    if (database === undefined) lock.abandon();
    else lock.release();
    throw error;
  }
}

/** The second half. */
export async function startDatabase(
  { directory, id, config, artifacts, module, lock }: IdentifiedDatabase,
  encodings: SessionEncodings,
): Promise<OpenDatabase> {
  let supervisor: Supervisor | undefined;
  try {
    const control = ControlBlock.create(config.shards);
    const holder: { client?: Client } = {};
    supervisor = new Supervisor({
      path: directory,
      databaseId: id,
      config,
      artifacts,
      module,
      control,
      onShardRestarted: (shard, connection) => holder.client?.reconnect(shard, connection),
    });
    await supervisor.start();
    // Every shard has linked what was left to link.
    if (!config.readOnly)
      forgetLinkIntents(nodeFileSystem, `${directory}/${COORDINATOR_DIRECTORY}`);
    const slot = control.claimClient(threadId, systemThreadId());
    holder.client = new Client(control, slot, module, supervisor.connections, {
      directory,
      directCommits: config.directCommits,
    });
    const session = new Session(holder.client, config, encodings);
    const handle = newHandle({
      databaseId: id,
      directory,
      control: control.buffer,
      module,
      config,
    });
    return new OpenDatabase({ directory, module, session, supervisor, lock, handle });
  } catch (error) {
    await supervisor?.terminate();
    lock.release();
    throw error;
  }
}

/** Sees to it that there is a directory to put the lock in, unless the open is refused anyway. */
function prepareDirectory(directory: string, config: ResolvedConfig): void {
  const stats = statSync(directory, { throwIfNoEntry: false });
  if (stats !== undefined && !stats.isDirectory()) {
    throw new LightningError(
      'LIGHTNING_NOT_A_DATABASE',
      `"${directory}" is a file: choose the directory of a database, or a new one`,
      { details: { path: directory } },
    );
  }
  const missing = readDatabaseFile(nodeFileSystem, directory) === undefined;
  // Nothing will be created: this throws what is wrong, and nothing is touched.
  if (missing && (config.readOnly || !config.createIfMissing)) identify(directory, config);
  if (missing) createDirectories(nodeFileSystem, directory);
}

/** Reads what the database is, or creates it. */
function identify(directory: string, config: ResolvedConfig): OpenedDatabase {
  const existing = readDatabaseFile(nodeFileSystem, directory);
  return openDatabaseFile(nodeFileSystem, directory, {
    // A new database gets the default; an existing one is only checked against what was asked for.
    shards: existing === undefined ? config.shards : config.shardsRequested,
    createIfMissing: config.createIfMissing,
    errorIfExists: config.errorIfExists,
    readOnly: config.readOnly,
  });
}

interface OpenDatabaseParts {
  readonly directory: string;
  readonly module: WebAssembly.Module;
  readonly session: Session;
  readonly supervisor: Supervisor;
  readonly lock: DatabaseLock;
  readonly handle: LightningDbHandle;
}

export class OpenDatabase implements Backend {
  readonly directory: string;
  /** The compiled kernel. */
  readonly module: WebAssembly.Module;
  readonly session: Session;
  readonly supervisor: Supervisor;
  readonly #lock: DatabaseLock;
  readonly #handle: LightningDbHandle;

  constructor(parts: OpenDatabaseParts) {
    this.directory = parts.directory;
    this.module = parts.module;
    this.session = parts.session;
    this.supervisor = parts.supervisor;
    this.#lock = parts.lock;
    this.#handle = parts.handle;
  }

  flush(): Promise<void> {
    return this.supervisor.flush();
  }

  compact(): Promise<void> {
    return this.supervisor.compact();
  }

  check(board?: CheckBoard): Promise<CheckReport> {
    return this.supervisor.check(board);
  }

  async stats(): Promise<DatabaseStats> {
    const [shards, background] = await Promise.all([
      this.supervisor.shardStats(),
      this.supervisor.coordinatorStats(),
    ]);
    return databaseStats(this.session.client, shards, background);
  }

  share(): LightningDbHandle {
    return this.#handle;
  }

  async close(): Promise<void> {
    const { client } = this.session;
    this.session.end();
    try {
      await this.supervisor.beginClose();
      await client.drain(DRAIN_MS_MAX);
      await this.supervisor.close();
    } finally {
      await this.supervisor.terminate();
      client.close();
      this.#lock.release();
    }
  }
}
