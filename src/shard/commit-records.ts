/**
 * COMMIT records: what a shard's log says about commits over several shards that it has applied.
 *
 * A commit is over, for its client and for readers, when it is applied: its PREPARE is in this log and
 * its decision in the coordinator's. The record only lets the decision be forgotten. So it goes with
 * the next group that has something else, and is written alone when none has come for a while.
 *
 * Invariant: while a record is not written, `unrecordedMin` of the shard in the control block is at or
 * below the commit's number. It is set before the shard lets go of the commit, and stays when the
 * shard's worker dies, until recovery has written down what became of the commit. The coordinator
 * forgets no decision at or above it (barriers.ts).
 */

import { faultPoint, isWeakened } from '../faults.js';
import type { Kernel } from '../kernel/kernel.js';
import type { ControlBlock } from '../router/control-block.js';
import { COMMIT_BODY_BYTES, COMMIT_COMMIT } from '../wal/segment-format.js';
import type { Staging } from './staging.js';
import { NOBODY } from './wal-commit.js';

/** After this time records are written alone; and from this many on. */
const ALONE_AFTER_MS = 3;
const COUNT_MAX = 1024;
/** After this time it is tried again to write what the log had no room for. */
const RETRY_MS = 1000;

export interface CommitRecord {
  readonly id: number;
  readonly sequence: number;
  readonly timestampUs: number;
}

export interface CommitRecordsOptions {
  readonly shard: number;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly staging: Staging;
}

export class CommitRecords {
  readonly #options: CommitRecordsOptions;
  /** By ascending number: commits are applied in that order. */
  readonly #records: CommitRecord[] = [];
  /** The first so many stand in the group that is gathered. */
  #gathered = 0;
  /** When they are written alone; 0: nobody has looked since the first of them was added. */
  #aloneMs = 0;
  #isDraining = false;

  constructor(options: CommitRecordsOptions) {
    this.#options = options;
  }

  /** Records in the group that is gathered. */
  get gatheredCount(): number {
    return this.#gathered;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /** The commit is applied. Before the shard lets go of it. */
  add({ id, sequence, timestampUs }: CommitRecord): void {
    if (isWeakened('lose-commit-records')) {
      faultPoint('recorded', this.#options.shard);
      return;
    }
    if (this.isEmpty) this.#publish(sequence);
    this.#records.push({ id, sequence, timestampUs });
  }

  /**
   * Clients have committed in the worker's place, and written the records that were missing, but for
   * one.
   */
  adopt(record: CommitRecord | undefined): void {
    if (record !== undefined) this.add(record);
    else if (this.isEmpty) this.#publish(0);
  }

  /** Whether records are to be written even if there is nothing else. */
  isDue(nowMs: number): boolean {
    if (this.isEmpty) return false;
    if (this.#aloneMs === 0) this.#aloneMs = nowMs + ALONE_AFTER_MS;
    return nowMs >= this.#aloneMs || this.#isDraining || this.#records.length >= COUNT_MAX;
  }

  /** Milliseconds until `isDue`; undefined when there is nothing to write. */
  dueInMs(nowMs: number): number | undefined {
    return this.isEmpty ? undefined : Math.max(this.#aloneMs - nowMs, 0);
  }

  /** The shard is about to close: from now on records wait for nothing. */
  drain(): void {
    this.#isDraining = true;
  }

  /** Adds records to the group, as many as fit. */
  gather(): void {
    const { kernel, staging } = this.#options;
    const address = staging.operationsAddress;
    for (; this.#gathered < this.#records.length; this.#gathered++) {
      const { id, sequence, timestampUs } = this.#records[this.#gathered] as CommitRecord;
      kernel.f64[address >>> 3] = sequence;
      kernel.f64[(address >>> 3) + 1] = timestampUs;
      const status = kernel.exports.groupAppend(
        address,
        COMMIT_BODY_BYTES,
        0,
        COMMIT_COMMIT,
        id,
        NOBODY,
        0,
      );
      if (status !== 0) return;
    }
  }

  /** The group with the gathered ones is written. */
  written(): void {
    if (this.#gathered === 0) return;
    faultPoint('recorded', this.#options.shard);
    this.#forgetGathered();
  }

  /** The group with the gathered ones was not written: they are tried again, after a while. */
  refused(nowMs: number): void {
    if (this.#gathered === 0) return;
    this.#gathered = 0;
    this.#aloneMs = nowMs + RETRY_MS;
  }

  /** No group can be written any more: the decisions stay where they are. */
  refuseAll(): void {
    if (this.isEmpty) return;
    this.#options.control.transactions.retainDecisions();
    this.#gathered = this.#records.length;
    this.#forgetGathered();
  }

  #forgetGathered(): void {
    this.#records.splice(0, this.#gathered);
    this.#gathered = 0;
    this.#aloneMs = 0;
    this.#publish(this.#records[0]?.sequence ?? 0);
  }

  #publish(sequence: number): void {
    const { control, shard } = this.#options;
    control.setUnrecordedMin(shard, sequence);
  }
}
