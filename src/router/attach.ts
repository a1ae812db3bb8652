/**
 * Other threads: a handle that can be posted to them, and joining with it.
 *
 * A thread that attaches claims a client slot in the control block and sends the coordinator one end
 * of a MessagePort. The port is how the coordinator tells it about shards that were restarted, and
 * its closing, for whatever reason, is how the coordinator learns that the thread is gone.
 */

import { threadId } from 'node:worker_threads';
import type { CheckBoard } from '../compaction/check-board.js';
import type { ResolvedConfig } from '../config.js';
import type { CheckReport, ShardRestart } from '../coordinator/control-plane.js';
import { ClosedError, InvalidArgumentError, LightningError } from '../errors.js';
import { systemThreadId } from '../file-system/system-thread.js';
import type { Backend } from './backend.js';
import { Client } from './client.js';
import {
  CLIENT_COUNT,
  CLIENT_FIRST,
  ControlBlock,
  DATABASE_SERVING,
  SHARD_DOWN,
  SHARD_STARTING,
} from './control-block.js';
import { CoordinatorConnection, notNow } from './coordinator-connection.js';
import { type DatabaseStats, databaseStats } from './reports.js';
import { Session, type SessionEncodings } from './session.js';

const HANDLE_KIND = 'lightning-db:handle';
/** How long requests under way may hold up a close before they are rejected. */
const DRAIN_MS_MAX = 30_000;

/**
 * What `db.share()` gives: post it to a worker, or pass it as `workerData`, and attach there. Opaque;
 * good for as long as the database is open.
 */
export interface LightningDbHandle {
  readonly kind: typeof HANDLE_KIND;
  /** @internal */
  readonly databaseId: string;
  /** @internal */
  readonly directory: string;
  /** @internal */
  readonly control: SharedArrayBuffer;
  /** @internal */
  readonly module: WebAssembly.Module;
  /** @internal */
  readonly config: ResolvedConfig;
}

export function newHandle(parts: Omit<LightningDbHandle, 'kind'>): LightningDbHandle {
  return { kind: HANDLE_KIND, ...parts };
}

/** Refuses what is no handle. */
export function checkHandle(handle: unknown): LightningDbHandle {
  if (
    typeof handle === 'object' &&
    handle !== null &&
    'kind' in handle &&
    handle.kind === HANDLE_KIND
  ) {
    return handle as LightningDbHandle;
  }
  throw new InvalidArgumentError('Parameter "handle" must be what db.share() returned', {
    details: { parameter: 'handle' },
  });
}

/** Joins the database of the handle. */
export async function attachDatabase(
  handle: LightningDbHandle,
  encodings: SessionEncodings,
): Promise<Backend> {
  const control = new ControlBlock(handle.control);
  if (control.databaseState() !== DATABASE_SERVING) throw new ClosedError();
  const slot = control.claimClient(threadId, systemThreadId());
  if (slot === 0) {
    throw new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      `Cannot attach: ${CLIENT_COUNT - CLIENT_FIRST} threads use the database already`,
    );
  }
  const connection = new CoordinatorConnection(control, handle.databaseId, slot);
  let connections: readonly ShardRestart[];
  try {
    connections = await connection.open();
  } catch (error) {
    connection.close();
    // The coordinator has never heard of the slot, or lets go of it, too.
    if (control.retireClient(slot, threadId)) control.freeClient(slot);
    throw error;
  }
  try {
    for (let shard = 0; shard < control.shards; shard++) {
      const state = control.shardState(shard);
      if (state === SHARD_STARTING || state === SHARD_DOWN) throw notNow(undefined);
    }
    const client = new Client(control, slot, handle.module, connections, {
      directory: handle.directory,
      directCommits: handle.config.directCommits,
    });
    const session = new Session(client, handle.config, encodings);
    connection.begin(session);
    return new AttachedDatabase(session, connection, handle);
  } catch (error) {
    connection.close();
    throw error;
  }
}

class AttachedDatabase implements Backend {
  readonly session: Session;
  readonly #connection: CoordinatorConnection;
  readonly #handle: LightningDbHandle;

  constructor(session: Session, connection: CoordinatorConnection, handle: LightningDbHandle) {
    this.session = session;
    this.#connection = connection;
    this.#handle = handle;
  }

  flush(): Promise<void> {
    return this.#connection.call((control) => control.flush());
  }

  compact(): Promise<void> {
    return this.#connection.call((control) => control.compact());
  }

  check(board?: CheckBoard): Promise<CheckReport> {
    return this.#connection.call((control) => control.check(board?.buffer));
  }

  async stats(): Promise<DatabaseStats> {
    const { shards, background } = await this.#connection.call((control) => control.stats());
    return databaseStats(this.session.client, shards, background);
  }

  share(): LightningDbHandle {
    return this.#handle;
  }

  /** Leaves; the database itself goes on. The coordinator sees the port close and frees the slot. */
  async close(): Promise<void> {
    this.session.end();
    await this.session.client.drain(DRAIN_MS_MAX);
    this.session.client.close();
    this.#connection.close();
  }
}
