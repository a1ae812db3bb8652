/**
 * Threads that stay inside a read, and so keep memory from coming free: those that are gone are taken out
 * of it; while one that lives stays there, as one does that a debugger has stopped, whoever needs the memory
 * is refused instead of waiting for it.
 *
 * A reader whose line names an epoch that is over (kernel, epoch.ts), and still does at a later look, has
 * been inside all the while: had it entered again, it would name a newer one.
 */
import { LightningError } from '../errors.js';
import {
  H_EPOCH,
  READER_BYTES,
  READER_COUNT,
  READER_EPOCH,
  READERS,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { CLIENT_FIRST, type ControlBlock } from '../router/control-block.js';

/** Between two looks. */
const LOOK_MS = 100;
/**
 * Looks in a row, two seconds of them, after which a thread is taken for stopped: reads last microseconds, but
 * it may be waiting for a core. Looks and not time: when the whole process was stopped, this thread
 * may be the first to go on.
 */
const LOOKS_MAX = 20;

export interface StalledReadersOptions {
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly nowMs: () => number;
}

interface Stay {
  readonly epoch: bigint;
  looks: number;
}

export class StalledReaders {
  readonly #options: StalledReadersOptions;
  /** By client. */
  readonly #stays = new Map<number, Stay>();
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(options: StalledReadersOptions) {
    this.#options = options;
  }

  /** To be called now and then while the shard has something to do. */
  poll(): void {
    const { nowMs, kernel, control } = this.#options;
    const now = nowMs();
    if (now - this.#lookedMs < LOOK_MS) return;
    this.#lookedMs = now;
    const present = Atomics.load(kernel.u64, H_EPOCH >>> 3);
    for (let client = CLIENT_FIRST; client < READER_COUNT; client++) {
      const epoch = this.#epochOf(client);
      const stay = this.#stays.get(client);
      if (epoch === 0n || epoch >= present) this.#stays.delete(client);
      else if (stay?.epoch !== epoch) this.#stays.set(client, { epoch, looks: 0 });
      // Nobody gets the slot before this shard has let go of it (control-block.ts).
      else if (!control.isClientAlive(client)) kernel.exports.readerForceLeave(client);
      else stay.looks++;
    }
  }

  /** Why memory that readers may look at has not come free for a while; undefined: it does, or soon may. */
  get failure(): LightningError | undefined {
    this.poll();
    const { control } = this.#options;
    for (const [client, { epoch, looks }] of this.#stays) {
      if (looks < LOOKS_MAX || this.#epochOf(client) !== epoch) continue;
      const thread = control.clientThread(client);
      return new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        `No memory comes free while thread ${thread ?? 'unknown'} stays inside a read: let it go on, or end it`,
        { details: { client, thread } },
      );
    }
    return undefined;
  }

  /** The epoch in which the client entered the read that it is in; 0: it is in none. */
  #epochOf(client: number): bigint {
    const line = READERS + client * READER_BYTES + READER_EPOCH;
    return Atomics.load(this.#options.kernel.u64, line >>> 3);
  }
}
