/**
 * Requests that did not fit the ring, or are too large for one record: they wait here, in order,
 * with their bytes, and go out piece by piece. Bounded: `isFull` says when to refuse more.
 */

import { RECORD_FLAG_MORE } from '../kernel/assembly/layout.js';
import { FULL, type RingWriter } from '../ring/ring-writer.js';

/** Bytes that may wait for one shard. A single larger request is taken when nothing waits. */
export const QUEUE_BYTES_MAX = 256 * 1024 * 1024;
const QUEUE_REQUESTS_MAX = 4 * 1024 * 1024;

export interface QueuedRequest {
  readonly kind: number;
  readonly flags: number;
  readonly requestId: number;
  readonly argument: number;
  /** The payload is `head`, then `body`. Both stay as they are until they are sent. */
  readonly head: Uint8Array;
  readonly body: Uint8Array;
  sent: number;
}

export class RequestQueue {
  #requests: QueuedRequest[] = [];
  #first = 0;
  #bytes = 0;

  get length(): number {
    return this.#requests.length - this.#first;
  }

  /** Of requests that have not gone out whole. */
  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#bytes >= QUEUE_BYTES_MAX || this.length >= QUEUE_REQUESTS_MAX;
  }

  push(request: QueuedRequest): void {
    this.#requests.push(request);
    this.#bytes += request.head.length + request.body.length;
  }

  /** Puts a request before all others: pieces of a request that is half sent may follow it. */
  pushFirst(request: QueuedRequest): void {
    this.#requests.splice(this.#first, 0, request);
    this.#bytes += request.head.length + request.body.length;
  }

  /** The requests that were never sent, not even in part. */
  unsentIds(): Set<number> {
    const ids = new Set<number>();
    for (let i = this.#first; i < this.#requests.length; i++) {
      const request = this.#requests[i] as QueuedRequest;
      if (request.sent === 0) ids.add(request.requestId);
    }
    return ids;
  }

  clear(): void {
    this.#requests = [];
    this.#first = 0;
    this.#bytes = 0;
  }

  /** Moves what fits into the ring. True when nothing waits any more. */
  pump(ring: RingWriter, memory: Uint8Array): boolean {
    while (this.#first < this.#requests.length) {
      const request = this.#requests[this.#first] as QueuedRequest;
      if (!send(request, ring, memory)) return false;
      this.#bytes -= request.head.length + request.body.length;
      this.#first++;
      if (this.#first >= 1024 && this.#first * 2 >= this.#requests.length) this.#compact();
    }
    this.clear();
    return true;
  }

  #compact(): void {
    this.#requests = this.#requests.slice(this.#first);
    this.#first = 0;
  }
}

/** Sends pieces while there is room; true when the request is out. */
function send(request: QueuedRequest, ring: RingWriter, memory: Uint8Array): boolean {
  const total = request.head.length + request.body.length;
  for (;;) {
    const rest = total - request.sent;
    const piece = Math.min(rest, ring.payloadBytesMax);
    const address = ring.reserve(piece);
    if (address === FULL) return false;
    copyPayload(request, piece, memory, address);
    const flags = request.flags | (piece < rest ? RECORD_FLAG_MORE : 0);
    ring.commit(request.kind, flags, request.requestId, request.argument, piece);
    request.sent += piece;
    if (piece === rest) return true;
    // The shard may begin with what is there.
    ring.publish();
  }
}

function copyPayload(
  { head, body, sent }: QueuedRequest,
  bytes: number,
  memory: Uint8Array,
  address: number,
): void {
  const fromHead = Math.min(Math.max(head.length - sent, 0), bytes);
  if (fromHead > 0) memory.set(head.subarray(sent, sent + fromHead), address);
  const bodyStart = sent + fromHead - head.length;
  const fromBody = bytes - fromHead;
  if (fromBody > 0) memory.set(body.subarray(bodyStart, bodyStart + fromBody), address + fromHead);
}
