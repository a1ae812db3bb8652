/**
 * The threads that have joined the database (attach.ts), seen from the thread that keeps their slots: the
 * coordinator, or the one that opened the database when there is no coordinator any more.
 *
 * A thread announces itself with a MessagePort, whose closing says that it has left or died. Slots that
 * nobody was told of, or whose keeper has died, are looked at now and then. Of a thread that is gone
 * every shard lets go (its epoch, its rings, its commits), and the coordinator's log is taken, before
 * anybody else gets the slot.
 */

import { type MessagePort, postMessageToThread } from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import {
  ALIVE_MESSAGE,
  ATTACH_MESSAGE,
  type AttachControl,
  type AttachedClient,
  type AttachRequest,
  type AttachStats,
  type CheckReport,
  outcomeOf,
  type ShardRestart,
} from '../coordinator/control-plane.js';
import { ClosedError } from '../errors.js';
import type { ControlBlock } from './control-block.js';
import { ABORT_UNAVAILABLE, ownerOf, stateOf, TRANSACTION_ABORTED } from './transaction-table.js';

/** How often slots are looked through for threads that died unheard. */
const SWEEP_MS = 1000;
/** A thread that takes longer to answer is busy. */
const ALIVE_MS_MAX = 5000;

/** What attached threads may ask for. */
export interface AttachService {
  /** The shards' present memories, in order. */
  memories(): readonly ShardRestart[];
  flush(): Promise<void>;
  compact(): Promise<void>;
  check(board?: SharedArrayBuffer): Promise<CheckReport>;
  stats(): Promise<AttachStats>;
  /** Rejects when the shard does not answer: then it starts anew, with an empty memory. */
  releaseClient(shard: number, client: number): Promise<void>;
  /** Takes the coordinator's log from a client that is gone. Absent: it is not lent. */
  releaseLog?(): void;
}

export interface AttachedThreadsOptions {
  readonly databaseId: string;
  readonly control: ControlBlock;
  readonly service: AttachService;
  /** The thread that opened the database: it lives as long as the database is open. */
  readonly openerThread: number;
}

interface AttachedThread {
  readonly port: MessagePort;
  readonly remote: Remote<AttachedClient>;
}

export class AttachedThreads {
  readonly #options: AttachedThreadsOptions;
  readonly #threads = new Map<number, AttachedThread>();
  readonly #onMessage = (message: unknown, source: number): void => this.#receive(message, source);
  #sweep: NodeJS.Timeout | undefined;
  /** Slots that are being asked about. */
  readonly #swept = new Set<number>();
  #isStopped = false;

  constructor(options: AttachedThreadsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#threads.size;
  }

  /** From now on threads may announce themselves to this one. */
  start(): void {
    process.on('workerMessage', this.#onMessage);
    this.#sweep = setInterval(() => void this.#sweepClients(), SWEEP_MS);
    this.#sweep.unref();
    // The keeper before may have been about to free them.
    for (const client of this.#options.control.retiredClients()) void this.#letGo(client);
  }

  /** A shard has a new worker and memory, or is about to. */
  shardRestarted(restart: ShardRestart): void {
    // Its new rings are empty and its new epochs untouched: nothing is left of clients that are gone.
    for (const { remote } of this.#threads.values()) void remote.shardRestarted(restart);
  }

  /** The database closes: what is in flight still gets its answers. */
  databaseClosing(): void {
    for (const { remote } of this.#threads.values()) void remote.databaseClosing();
  }

  /** Takes no more announcements, and looks after nobody any more. */
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#sweep);
    process.off('workerMessage', this.#onMessage);
  }

  /** The threads learn that nobody keeps their slots any more. */
  close(): void {
    this.stop();
    for (const { port } of this.#threads.values()) port.close();
  }

  /** A message from another thread of the process: only attach requests are meant for this one. */
  #receive(message: unknown, source: number): void {
    const { databaseId, control } = this.#options;
    if (!isAttachRequest(message) || message.databaseId !== databaseId) return;
    const { client, port } = message;
    if (control.clientThread(client) !== source) {
      // It has been given up for dead.
      port.close();
      return;
    }
    const endpoint = comlinkEndpoint(port);
    expose(this.#attachControl(), endpoint);
    const remote = wrap<AttachedClient>(endpoint);
    this.#threads.set(client, { port, remote });
    port.unref();
    port.once('close', () => {
      if (this.#threads.get(client)?.port !== port) return;
      this.#threads.delete(client);
      void this.#release(client, source);
    });
  }

  /**
   * Takes back slots whose threads died unheard: between claiming one and saying so, or between the
   * death of a coordinator and the next. A thread that does not answer in time is busy, not dead.
   */
  async #sweepClients(): Promise<void> {
    const { control, openerThread } = this.#options;
    for (const client of control.activeClients()) {
      const thread = control.clientThread(client);
      if (thread === undefined || thread === openerThread) continue;
      if (this.#threads.has(client) || this.#swept.has(client)) continue;
      this.#swept.add(client);
      try {
        await postMessageToThread(thread, { kind: ALIVE_MESSAGE }, [], ALIVE_MS_MAX);
      } catch (error) {
        if (isGone(error)) await this.#release(client, thread);
      } finally {
        this.#swept.delete(client);
      }
    }
  }

  #attachControl(): AttachControl {
    const { service } = this.#options;
    return {
      hello: () => outcomeOf(() => this.#memories()),
      flush: () => outcomeOf(() => service.flush()),
      compact: () => outcomeOf(() => service.compact()),
      check: (board) => outcomeOf(() => service.check(board)),
      stats: () => outcomeOf(() => service.stats()),
    };
  }

  #memories(): readonly ShardRestart[] {
    if (this.#isStopped) throw new ClosedError();
    return this.#options.service.memories();
  }

  /** The thread behind a slot is gone: every shard lets go of it, then others may have it. */
  async #release(client: number, thread: number): Promise<void> {
    if (this.#options.control.retireClient(client, thread)) await this.#letGo(client);
  }

  async #letGo(client: number): Promise<void> {
    const { control, service } = this.#options;
    const aborted = this.#abortCommitsOf(client);
    // The next owner of the slot lives: nobody would take the log from that one (lent-log.ts).
    service.releaseLog?.();
    const shards = Array.from({ length: control.shards }, (_, shard) => shard);
    const outcomes = await Promise.allSettled(
      shards.map((shard) => service.releaseClient(shard, client)),
    );
    // A shard that has let go of the client never gets what the client did not send any more.
    for (const [shard, { status }] of outcomes.entries()) {
      if (status === 'rejected') continue;
      for (const { slot, word } of aborted) control.letGo(slot, word, shard);
    }
    control.freeClient(client);
  }

  /** Aborts what a client that is gone has not brought to a decision. */
  #abortCommitsOf(client: number): { readonly slot: number; readonly word: number }[] {
    const { transactions } = this.#options.control;
    const aborted: { slot: number; word: number }[] = [];
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      if (ownerOf(word) !== client) continue;
      transactions.unclaim(slot, word);
      transactions.abort(slot, word, ABORT_UNAVAILABLE);
      if (stateOf(transactions.word(slot)) === TRANSACTION_ABORTED) aborted.push({ slot, word });
    }
    return aborted;
  }
}

/** Node found no such thread, or nobody in it who listens. */
function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_MESSAGING_FAILED';
}

function isAttachRequest(message: unknown): message is AttachRequest {
  return (
    typeof message === 'object' &&
    message !== null &&
    'kind' in message &&
    message.kind === ATTACH_MESSAGE
  );
}
