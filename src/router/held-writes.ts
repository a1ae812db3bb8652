/**
 * Writes to one shard that were made after a commit over several shards which still waits, in this
 * client, for a slot of the transaction table. They go out behind it, so that nothing of a client
 * overtakes what it asked for before. While no such commit waits, nothing is held and nothing copied.
 *
 * Commits are numbered in the order in which they began to wait.
 */

import { REQUEST_BLOB_BEGIN, REQUEST_WRITE } from '../kernel/assembly/layout.js';
import { QUEUE_BYTES_MAX, type QueuedRequest } from './request-queue.js';

export class HeldWrites {
  /** The last commit with a part for the shard that waits; 0: none does. */
  #after = 0;
  #held: { readonly after: number; readonly request: QueuedRequest }[] = [];
  #bytes = 0;

  get isHolding(): boolean {
    return this.#after !== 0;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#bytes >= QUEUE_BYTES_MAX;
  }

  /** Whether requests of that kind are held at present. Reads never are. */
  holds(kind: number): boolean {
    return this.#after !== 0 && (kind === REQUEST_WRITE || kind === REQUEST_BLOB_BEGIN);
  }

  /** A commit with a part for the shard begins to wait. */
  begin(commit: number): void {
    this.#after = commit;
  }

  push(request: QueuedRequest): void {
    this.#held.push({ after: this.#after, request });
    this.#bytes += request.head.length + request.body.length;
  }

  /** The commit was sent, or given up: returns what may go out now, in order. */
  end(commit: number): QueuedRequest[] {
    if (this.#after === commit) this.#after = 0;
    let count = 0;
    while (count < this.#held.length && (this.#held[count]?.after ?? 0) <= commit) count++;
    const released = this.#held.splice(0, count).map(({ request }) => request);
    for (const { head, body } of released) this.#bytes -= head.length + body.length;
    return released;
  }

  /** The shard's worker is gone: what was held was never sent. */
  takeIds(): number[] {
    const ids = this.#held.map(({ request }) => request.requestId);
    this.#held = [];
    this.#bytes = 0;
    return ids;
  }
}
