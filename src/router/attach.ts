/**
 * Other threads: a handle that can be posted to them, and joining with it.
 *
 * A thread that attaches claims a client slot in the control block and sends the coordinator one end
 * of a MessagePort. The port is how the coordinator tells it about shards that were restarted, and
 * its closing, for whatever reason, is how the coordinator learns that the thread is gone.
 */

import {
  MessageChannel,
  type MessagePort,
  postMessageToThread,
  threadId,
} from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import type { ResolvedConfig } from '../config.js';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import {
  ATTACH_MESSAGE,
  type AttachControl,
  type AttachedClient,
  type AttachRequest,
  type CheckReport,
  type Outcome,
  type ShardRestart,
} from '../coordinator/control-plane.js';
import { ClosedError, InvalidArgumentError, LightningError } from '../errors.js';
import type { Backend } from './backend.js';
import { Client } from './client.js';
import {
  CLIENT_COUNT,
  CLIENT_FIRST,
  ControlBlock,
  DATABASE_SERVING,
  SHARD_DOWN,
  SHARD_READ_ONLY,
  SHARD_SERVING,
  SHARD_STARTING,
} from './control-block.js';
import { KeepAlive } from './keep-alive.js';
import { PendingCalls } from './pending-calls.js';
import { type DatabaseStats, databaseStats } from './reports.js';
import { Session, type SessionEncodings } from './session.js';

const HANDLE_KIND = 'lightning-db:handle';
const ATTACH_MS_MAX = 10_000;
/** How often a thread looks whether a restarted shard serves. */
const RECONNECT_MS = 5;
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
  const slot = control.claimClient(threadId);
  if (slot === 0) {
    throw new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      `Cannot attach: ${CLIENT_COUNT - CLIENT_FIRST} threads use the database already`,
    );
  }
  const { port1, port2 } = new MessageChannel();
  const connection = new CoordinatorConnection(port1);
  try {
    await announce(control, handle.databaseId, slot, port2);
  } catch (error) {
    port1.close();
    // The coordinator has never heard of the slot.
    if (control.retireClient(slot)) control.freeClient(slot);
    throw error;
  }
  try {
    const connections = await connection.call((it) => it.hello());
    for (let shard = 0; shard < control.shards; shard++) {
      const state = control.shardState(shard);
      if (state === SHARD_STARTING || state === SHARD_DOWN) throw notNow(undefined);
    }
    const client = new Client(control, slot, handle.module, connections, handle.directory);
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

  check(): Promise<CheckReport> {
    return this.#connection.call((control) => control.check());
  }

  async stats(): Promise<DatabaseStats> {
    const { shards, background } = await this.#connection.call((control) => control.stats());
    return databaseStats(this.session.client.control, shards, background);
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

/** Sends the coordinator its end of the port. It may just be starting anew. */
async function announce(
  control: ControlBlock,
  databaseId: string,
  client: number,
  port: MessagePort,
): Promise<void> {
  const request: AttachRequest = { kind: ATTACH_MESSAGE, databaseId, client, port };
  const coordinator = control.coordinatorThread();
  if (coordinator === 0) throw notNow(undefined);
  // Node does not count a message to another thread as a reason to go on.
  const keepAlive = new KeepAlive();
  try {
    await keepAlive.during(postMessageToThread(coordinator, request, [port], ATTACH_MS_MAX));
  } catch (cause) {
    throw notNow(cause);
  } finally {
    keepAlive.close();
  }
}

function notNow(cause: unknown): LightningError {
  return new LightningError(
    'LIGHTNING_SHARD_UNAVAILABLE',
    'Cannot attach at present: the database is starting, restarting or closing; try again later',
    { cause },
  );
}

class CoordinatorConnection implements AttachedClient {
  readonly #port: MessagePort;
  readonly #control: Remote<AttachControl>;
  readonly #calls: PendingCalls;
  /** Restarts that came before the client was made. */
  #early: ShardRestart[] = [];
  #session: Session | undefined;

  constructor(port: MessagePort) {
    this.#port = port;
    this.#calls = new PendingCalls(port);
    const endpoint = comlinkEndpoint(port);
    const surface: AttachedClient = {
      shardRestarted: (restart) => this.shardRestarted(restart),
      databaseClosing: () => this.databaseClosing(),
    };
    expose(surface, endpoint);
    this.#control = wrap<AttachControl>(endpoint);
    port.on('close', () => this.#calls.end(new ClosedError()));
    port.unref();
  }

  begin(session: Session): void {
    this.#session = session;
    for (const restart of this.#early) this.#reconnect(session, restart);
    this.#early = [];
  }

  shardRestarted(restart: ShardRestart): void {
    if (this.#session === undefined) this.#early.push(restart);
    else this.#reconnect(this.#session, restart);
  }

  /** Changes over to the new memory once the shard serves: before, nothing can be read there. */
  #reconnect(session: Session, restart: ShardRestart): void {
    const { client } = session;
    const { shard, generation } = restart;
    if (!session.isOpen || client.control.shardGeneration(shard) !== generation) return;
    const state = client.control.shardState(shard);
    if (state === SHARD_SERVING || state === SHARD_READ_ONLY) client.reconnect(shard, restart);
    else setTimeout(() => this.#reconnect(session, restart), RECONNECT_MS).unref();
  }

  databaseClosing(): void {
    this.#session?.end();
  }

  call<T>(invoke: (control: Remote<AttachControl>) => Promise<Outcome<T>>): Promise<T> {
    return this.#calls.run(() => invoke(this.#control));
  }

  close(): void {
    this.#port.close();
  }
}
