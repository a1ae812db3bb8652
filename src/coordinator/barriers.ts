/**
 * Barriers: how commits become durable in one order over all shards, each of which has a log of its
 * own.
 *
 * A barrier notes the highest sequence number handed out, `y`, has every shard make its log durable,
 * and appends a durability mark `y` to the coordinator's log. After a power loss the shards' logs are
 * cut at the last mark: what comes back is a prefix of all commits.
 *
 * Why `y` is right: a shard writes a group in the same turn in which it takes its numbers, and looks
 * at the request to sync between two turns. So whatever it was given up to `y` stands in its log by
 * then, or was refused. A client that commits for a shard does both while it holds the shard's latch,
 * without which the worker looks at nothing. A decision is written by the coordinator's own thread in the same turn.
 *
 * A barrier that fails for anything but want of room is the last one: what is on the medium is unknown,
 * and no later commit of any shard may become durable before that. The shards take no more writes.
 */
import { LightningError } from '../errors.js';
import type { ControlBlock } from '../router/control-block.js';
import type { DecisionLog } from './decision-log.js';

export interface BarriersOptions {
  readonly control: Pick<ControlBlock, 'lastSequence' | 'stableSequence' | 'recordedUpTo'>;
  readonly log: DecisionLog;
  /** Makes durable what every shard has written so far. */
  readonly syncShards: () => Promise<void>;
  /** Whether decisions may be forgotten once what they brought about is durable. Default: they may. */
  readonly mayForget?: () => boolean;
  /** No barrier succeeds any more: nothing may be written that waits for one. */
  readonly onFailure: (error: LightningError) => void;
}

export class Barriers {
  readonly #options: BarriersOptions;
  /** The durable mark. */
  #covered: number;
  #running: Promise<void> | undefined;
  #failure: LightningError | undefined;
  /** Barriers that have come to their end. */
  count = 0;

  /** Everything up to `covered` is durable, and marked. */
  constructor(options: BarriersOptions, covered: number) {
    this.#options = options;
    this.#covered = covered;
  }

  /** Every commit up to this sequence comes back after a power loss. */
  get covered(): number {
    return this.#covered;
  }

  /** Why there are no barriers any more; undefined while there are. */
  get failure(): LightningError | undefined {
    return this.#failure;
  }

  /** Whether there are sequence numbers that no barrier has covered. */
  get isDue(): boolean {
    return this.#options.control.lastSequence() > this.#covered;
  }

  /** Resolves when every commit up to `sequence`, which was handed out, is durable and marked. */
  async covering(sequence: number): Promise<void> {
    while (this.#covered < sequence) {
      if (this.#failure !== undefined) throw this.#failure;
      // It may have looked at the sequence after this one was handed out.
      if (this.#running !== undefined) await this.#running.catch(ignore);
      else await this.#start();
    }
  }

  /** Covers everything that has been handed out. */
  async coverAll(): Promise<void> {
    await this.covering(this.#options.control.lastSequence());
  }

  async #start(): Promise<void> {
    const running = this.#run();
    this.#running = running;
    try {
      await running;
    } finally {
      this.#running = undefined;
    }
  }

  async #run(): Promise<void> {
    const { control, log, syncShards, onFailure } = this.#options;
    // Released, and in this order: recorded by all participants, in logs that are about to be synced.
    const forgettable = control.recordedUpTo(control.stableSequence());
    const sequence = control.lastSequence();
    try {
      await syncShards();
      await log.appendMark(sequence);
    } catch (error) {
      if (isFinal(error, log)) {
        this.#failure = asLightningError(error);
        onFailure(this.#failure);
      }
      throw error;
    }
    if (this.#options.mayForget?.() !== false) log.forget(forgettable);
    this.#covered = sequence;
    this.count++;
  }
}

function ignore(): void {}

/** Whether nothing can become durable any more; want of room passes. */
function isFinal(error: unknown, log: DecisionLog): boolean {
  if (log.poison !== undefined) return true;
  return !(error instanceof LightningError) || error.code !== 'LIGHTNING_NO_SPACE';
}

function asLightningError(error: unknown): LightningError {
  if (error instanceof LightningError) return error;
  return new LightningError('LIGHTNING_IO', 'Commits cannot be made durable any more', {
    cause: error,
  });
}
