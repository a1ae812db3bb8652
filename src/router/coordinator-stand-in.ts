/**
 * What the thread that opened the database does in the place of a coordinator that died so often that it
 * is not replaced any more. Shards go on serving what they can serve alone; here is done what nobody may
 * wait for in vain:
 *
 *   commits over several shards   those that were not decided are aborted. One whose decision may be in
 *                                 the log is UNKNOWN until that is read again, at the next open
 *   attached threads              keep their slots, hear of shards that are restarted, and are let go of
 *                                 when they die
 *   shards                        are told that flushes, merges and barriers will not be had, and refuse
 *                                 what depends on them with the reason
 */

import { threadId } from 'node:worker_threads';
import type { ShardRestart } from '../coordinator/control-plane.js';
import { H_DOORBELL } from '../kernel/assembly/layout.js';
import { AttachedThreads, type AttachService } from './attached-threads.js';
import type { ShardConnection } from './client.js';
import type { ControlBlock } from './control-block.js';
import {
  ABORT_UNAVAILABLE,
  stateOf,
  TRANSACTION_DECIDING,
  TRANSACTION_PREPARING,
} from './transaction-table.js';

/** How soon commits that were begun meanwhile are looked at again. */
const SETTLE_MS = 100;

export interface CoordinatorStandInOptions {
  readonly databaseId: string;
  readonly control: ControlBlock;
  readonly service: AttachService;
  /** The shards' present memories. */
  readonly connections: () => readonly ShardConnection[];
}

export class CoordinatorStandIn {
  readonly #options: CoordinatorStandInOptions;
  readonly #threads: AttachedThreads;
  #timer: NodeJS.Timeout | undefined;

  /** `CoordinatorPlace.fence` was called before. */
  constructor(options: CoordinatorStandInOptions) {
    this.#options = options;
    const { databaseId, control, service } = options;
    this.#threads = new AttachedThreads({ databaseId, control, service, openerThread: threadId });
  }

  start(): void {
    const { control } = this.#options;
    // Nobody decides any more.
    control.transactions.lentLog.takeBack((client) => control.isClientAlive(client));
    this.#settle();
    // The dead one may have been about to publish the numbers of commits that are aborted now.
    control.decisionsAllocated();
    this.#ringShards();
    this.#timer = setInterval(() => {
      if (this.#settle()) this.#ringShards();
    }, SETTLE_MS);
    this.#timer.unref();
    this.#threads.start();
    control.coordinator.setThread(threadId);
  }

  get attachedClients(): number {
    return this.#threads.count;
  }

  shardRestarted(restart: ShardRestart): void {
    this.#threads.shardRestarted(restart);
  }

  databaseClosing(): void {
    this.#threads.databaseClosing();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#threads.close();
  }

  /** Ends what nobody will decide. True when there was something. */
  #settle(): boolean {
    const { transactions } = this.#options.control;
    let hasEnded = false;
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      const state = stateOf(word);
      if (state === TRANSACTION_PREPARING) transactions.abort(slot, word, ABORT_UNAVAILABLE);
      else if (state === TRANSACTION_DECIDING) transactions.doubt(slot, word);
      else continue;
      hasEnded = true;
    }
    return hasEnded;
  }

  /** Their workers look at the commits they have prepared. */
  #ringShards(): void {
    for (const { memory } of this.#options.connections()) {
      const words = new Int32Array(memory.buffer);
      Atomics.add(words, H_DOORBELL >>> 2, 1);
      Atomics.notify(words, H_DOORBELL >>> 2);
    }
  }
}
