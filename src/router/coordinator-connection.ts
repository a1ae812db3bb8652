/**
 * An attached thread's way to the coordinator: one end of a MessagePort whose other end the
 * coordinator has. Through it the thread hears of shards that were restarted, and makes its calls;
 * its closing tells either side that the other is gone.
 *
 * A coordinator that died is replaced by another. The thread keeps its slot and its shards meanwhile,
 * reads and writes go on, and it announces itself to the new one as soon as there is one. So that a
 * coordinator that has not heard of it does not take it for dead, the thread listens to messages from
 * other threads for as long as it has the slot.
 */

import {
  MessageChannel,
  type MessagePort,
  postMessageToThread,
  threadId,
} from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import {
  ATTACH_MESSAGE,
  type AttachControl,
  type AttachedClient,
  type AttachRequest,
  type Outcome,
  type ShardRestart,
} from '../coordinator/control-plane.js';
import { ClosedError, LightningError } from '../errors.js';
import {
  type ControlBlock,
  DATABASE_SERVING,
  SHARD_READ_ONLY,
  SHARD_SERVING,
} from './control-block.js';
import { KeepAlive } from './keep-alive.js';
import { PendingCalls } from './pending-calls.js';
import type { Session } from './session.js';

const ATTACH_MS_MAX = 10_000;
/** A message to a coordinator that is just dying is never answered. */
const ANNOUNCE_MS_MAX = 1000;
/** How often a thread looks whether a restarted shard serves. */
const RECONNECT_MS = 5;
/** Between two attempts to reach a new coordinator. */
const ANNOUNCE_MS = 25;
/** How long a call waits for a new coordinator. */
const COORDINATOR_MS_MAX = 10_000;

/** One port to one coordinator. */
interface Link {
  readonly port: MessagePort;
  readonly control: Remote<AttachControl>;
  readonly calls: PendingCalls;
  /** The coordinator at the other end is gone. */
  isLost: boolean;
}

export class CoordinatorConnection implements AttachedClient {
  readonly #control: ControlBlock;
  readonly #databaseId: string;
  readonly #slot: number;
  #link: Link | undefined;
  /** Restarts that came before the client was made. */
  #early: ShardRestart[] = [];
  #session: Session | undefined;
  #isClosed = false;
  /**
   * Ports of announcements that were not answered in time, and may arrive yet: closing one then would
   * look like the end of this thread. They are closed once a newer one has taken their place.
   */
  #unanswered: MessagePort[] = [];

  constructor(control: ControlBlock, databaseId: string, slot: number) {
    this.#control = control;
    this.#databaseId = databaseId;
    this.#slot = slot;
    process.on('workerMessage', hear);
  }

  /** Announces the thread; resolves to the shards' present memories. */
  async open(): Promise<readonly ShardRestart[]> {
    return this.#announce(new KeepAlive());
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

  databaseClosing(): void {
    this.#session?.end();
  }

  /**
   * Makes a call that may be made twice: one that finds the coordinator being replaced, or dying
   * before it has answered, is made to the new one.
   */
  async call<T>(invoke: (control: Remote<AttachControl>) => Promise<Outcome<T>>): Promise<T> {
    for (;;) {
      const link = this.#presentLink() ?? (await this.#nextLink());
      try {
        return await link.calls.run(() => invoke(link.control));
      } catch (error) {
        if (!link.isLost || this.#isOver()) throw error;
      }
    }
  }

  #presentLink(): Link | undefined {
    return this.#link?.isLost === false ? this.#link : undefined;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    process.off('workerMessage', hear);
    this.#link?.port.close();
    this.#closeUnanswered();
  }

  #closeUnanswered(): void {
    for (const port of this.#unanswered) port.close();
    this.#unanswered = [];
  }

  // ---- the port -------------------------------------------------------------------------

  /** Sends the coordinator its end of a new port. It may just be starting anew. */
  async #announce(keepAlive: KeepAlive | undefined): Promise<readonly ShardRestart[]> {
    const { port1, port2 } = new MessageChannel();
    const link = this.#newLink(port1);
    const request: AttachRequest = {
      kind: ATTACH_MESSAGE,
      databaseId: this.#databaseId,
      client: this.#slot,
      port: port2,
    };
    const coordinator = this.#control.coordinator.thread();
    try {
      if (coordinator === undefined) throw notNow(undefined);
      const waitMs = keepAlive === undefined ? ANNOUNCE_MS_MAX : ATTACH_MS_MAX;
      const sent = send(coordinator, request, waitMs);
      // Node does not count a message to another thread as a reason to go on.
      await (keepAlive?.during(sent) ?? sent).catch((cause: unknown) => {
        throw notNow(cause);
      });
      const connections = await link.calls.run(() => link.control.hello());
      this.#link = link;
      this.#closeUnanswered();
      port1.on('close', () => this.#lost(link));
      return connections;
    } catch (error) {
      this.#unanswered.push(port1);
      throw error;
    } finally {
      keepAlive?.close();
    }
  }

  #newLink(port: MessagePort): Link {
    const calls = new PendingCalls(port);
    const endpoint = comlinkEndpoint(port);
    const surface: AttachedClient = {
      shardRestarted: (restart) => this.shardRestarted(restart),
      databaseClosing: () => this.databaseClosing(),
    };
    expose(surface, endpoint);
    const link: Link = { port, control: wrap<AttachControl>(endpoint), calls, isLost: false };
    port.on('close', () => {
      link.isLost = true;
      calls.end(this.#isOver() ? new ClosedError() : notNow(undefined));
    });
    port.unref();
    return link;
  }

  #isOver(): boolean {
    return this.#isClosed || this.#control.databaseState() !== DATABASE_SERVING;
  }

  #lost(link: Link): void {
    if (this.#link !== link) return;
    if (this.#isOver()) return;
    this.#link = undefined;
    void this.#findNext();
  }

  /** Announces the thread to the next coordinator. Never rejects. */
  async #findNext(): Promise<void> {
    while (!this.#isOver()) {
      if (this.#control.clientThread(this.#slot) === undefined) {
        // Given up for dead: others may have the slot by now.
        this.#session?.end();
        return;
      }
      try {
        const connections = await this.#announce(undefined);
        for (const restart of connections) this.shardRestarted(restart);
        return;
      } catch (error) {
        if (!(error instanceof LightningError)) throw error;
        await pause(ANNOUNCE_MS);
      }
    }
  }

  async #nextLink(): Promise<Link> {
    const startMs = performance.now();
    const keepAlive = new KeepAlive();
    try {
      while (performance.now() - startMs < COORDINATOR_MS_MAX) {
        const link = this.#presentLink();
        if (link !== undefined) return link;
        if (this.#isOver() || this.#session?.isOpen === false) throw new ClosedError();
        await keepAlive.during(pause(ANNOUNCE_MS));
      }
      throw notNow(undefined);
    } finally {
      keepAlive.close();
    }
  }

  // ---- shards ---------------------------------------------------------------------------

  /** Changes over to the new memory once the shard serves: before, nothing can be read there. */
  #reconnect(session: Session, restart: ShardRestart): void {
    const { client } = session;
    const { shard, generation } = restart;
    if (!session.isOpen || client.control.shardGeneration(shard) !== generation) return;
    if (client.shards[shard]?.generation === generation) return;
    const state = client.control.shardState(shard);
    if (state === SHARD_SERVING || state === SHARD_READ_ONLY) client.reconnect(shard, restart);
    else setTimeout(() => this.#reconnect(session, restart), RECONNECT_MS).unref();
  }
}

/** Sends the request to the thread that keeps the slots, which may be this one. */
async function send(thread: number, request: AttachRequest, waitMs: number): Promise<void> {
  if (thread === threadId) process.emit('workerMessage', request, threadId);
  else await postMessageToThread(thread, request, [request.port], waitMs);
}

export function notNow(cause: unknown): LightningError {
  return new LightningError(
    'LIGHTNING_SHARD_UNAVAILABLE',
    'Cannot attach at present: the database is starting, restarting or closing; try again later',
    { cause },
  );
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });
}

/** That a message arrives is all there is to hear (ALIVE_MESSAGE). */
function hear(): void {}
