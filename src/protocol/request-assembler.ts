/**
 * Joins requests that came in pieces, for one client, on the shard worker. Requests that fit one
 * record pass through without a copy. BLOB_BEGIN pieces are not for this class: they are streamed.
 *
 * Memory is bounded by what a client may have under way: `bytesMax` over all its partial requests.
 */

import { RECORD_FLAG_MORE } from '../kernel/assembly/layout.js';
import type { RingReader } from '../ring/ring-reader.js';

/** A whole request. `bytes` is the ring's memory when it came in one record, else private. */
export interface Request {
  readonly kind: number;
  /** RECORD_FLAG_* without MORE. */
  readonly flags: number;
  readonly requestId: number;
  readonly argument: number;
  readonly bytes: Buffer;
  readonly payload: number;
  readonly payloadBytes: number;
}

export class RequestAssembler {
  readonly #bytesMax: number;
  readonly #partial = new Map<number, Buffer[]>();
  #partialBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Takes the record `reader` stands on; the request, when this record completes one. */
  add(reader: RingReader, ringBytes: Buffer): Request | undefined {
    const { kind, flags, requestId, argument, payload, payloadBytes } = reader;
    const pieces = this.#partial.get(requestId);
    const isLast = (flags & RECORD_FLAG_MORE) === 0;
    if (isLast && pieces === undefined) {
      return { kind, flags, requestId, argument, bytes: ringBytes, payload, payloadBytes };
    }
    if (this.#partialBytes + payloadBytes > this.#bytesMax) {
      throw new RangeError('Cannot assemble a request: too many bytes are under way');
    }
    const piece = Buffer.from(ringBytes.subarray(payload, payload + payloadBytes));
    this.#partialBytes += payloadBytes;
    if (pieces === undefined) {
      this.#partial.set(requestId, [piece]);
      return undefined;
    }
    pieces.push(piece);
    if (!isLast) return undefined;
    this.#partial.delete(requestId);
    const bytes = Buffer.concat(pieces);
    this.#partialBytes -= bytes.length;
    return { kind, flags, requestId, argument, bytes, payload: 0, payloadBytes: bytes.length };
  }

  /** Forgets what a client that is gone had begun. */
  clear(): void {
    this.#partial.clear();
    this.#partialBytes = 0;
  }
}
