/**
 * Other threads: a handle that can be posted to them, and joining with it.
 *
 * A thread that attaches claims a client slot in the control block and sends the coordinator one end
 * of a MessagePort. The port is how the coordinator tells it about shards that were restarted, and
 * its closing, for whatever reason, is how the coordinator learns that the thread is gone.
 */

import { MessageChannel, type MessagePort, postMessageToThread, threadId } from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import type { ResolvedConfig } from '../config.js';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import {
  ATTACH_MESSAGE,
  type AttachControl,
  type AttachedClient,
  type AttachRequest,
  type Outcome,
  type ShardRestart,
} from '../coordinator/control-plane.js';
import { ClosedError, InvalidArgumentError, LightningError } from '../errors.js';
import { Client } from './client.js';
import { ControlBlock, DATABASE_SERVING } from './control-block.js';
import { PendingCalls } from './pending-calls.js';

const HANDLE_KIND = 'lightning-db:handle';
const ATTACH_MS_MAX = 10_000;

/**
 * What `db.share()` gives: post it to a worker, or pass it as `workerData`, and attach there. Opaque;
 * good for as long as the database is open.
 */
export interface LightningDbHandle {
  readonly kind: typeof HANDLE_KIND;
  readonly databaseId: string;
  readonly control: SharedArrayBuffer;
  readonly module: WebAssembly.Module;
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

/** An attached thread's connection. */
export interface Attachment {
  readonly client: Client;
  /** Makes a call to the coordinator, which keeps the thread alive meanwhile. */
  call<T>(invoke: (control: Remote<AttachControl>) => Promise<Outcome<T>>): Promise<T>;
  /** Leaves: the slot goes back once every shard has let go of it. Idempotent. */
  detach(): void;
}

/** Joins the database; `onClosing` is called when it is closed by the thread that opened it. */
export async function attach(handle: LightningDbHandle, onClosing: () => void): Promise<Attachment> {
  const control = new ControlBlock(handle.control);
  if (control.databaseState() !== DATABASE_SERVING) throw new ClosedError();
  const slot = control.claimClient(threadId);
  if (slot === 0) {
    throw new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      'Cannot attach: 63 threads use the database already',
    );
  }
  const { port1, port2 } = new MessageChannel();
  const connection = new AttachedConnection(port1, onClosing);
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
    const client = new Client(control, slot, handle.module, connections);
    connection.begin(client);
    return {
      client,
      call: (invoke) => connection.call(invoke),
      detach: () => connection.close(),
    };
  } catch (error) {
    connection.close();
    throw error;
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
  try {
    await postMessageToThread(coordinator, request, [port], ATTACH_MS_MAX);
  } catch (cause) {
    throw notNow(cause);
  }
}

function notNow(cause: unknown): LightningError {
  return new LightningError(
    'LIGHTNING_SHARD_UNAVAILABLE',
    'Cannot attach at present: the database is starting, restarting or closing; try again later',
    { cause },
  );
}

class AttachedConnection implements AttachedClient {
  readonly #port: MessagePort;
  readonly #control: Remote<AttachControl>;
  readonly #onClosing: () => void;
  readonly #calls: PendingCalls;
  /** Restarts that came before the client was made. */
  #early: ShardRestart[] = [];
  #client: Client | undefined;

  constructor(port: MessagePort, onClosing: () => void) {
    this.#port = port;
    this.#calls = new PendingCalls(port);
    this.#onClosing = onClosing;
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

  begin(client: Client): void {
    this.#client = client;
    for (const restart of this.#early) this.shardRestarted(restart);
    this.#early = [];
  }

  shardRestarted(restart: ShardRestart): void {
    const client = this.#client;
    if (client === undefined) {
      this.#early.push(restart);
      return;
    }
    client.reconnect(restart.shard, restart);
  }

  databaseClosing(): void {
    this.#onClosing();
  }

  call<T>(invoke: (control: Remote<AttachControl>) => Promise<Outcome<T>>): Promise<T> {
    return this.#calls.run(() => invoke(this.#control));
  }

  close(): void {
    this.#port.close();
  }
}
