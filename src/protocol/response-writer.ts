/**
 * The shard worker's way to answer one client. What does not fit the response ring waits here, in
 * order, and goes out piece by piece as the client makes room: it rings the shard's doorbell then,
 * and the worker calls `pump`. The client bounds what may wait, by its requests under way.
 *
 * The kernel writes acknowledgements of groups into the same ring; the two take turns on the shard
 * worker's thread, so the head is taken up from memory at the start of every call.
 */

import { type SerializedError, serializeError } from '../errors.js';
import {
  RECORD_FLAG_MORE,
  RESPONSE_ERROR,
  RESPONSE_MISSING,
  RESPONSE_OK,
  RESPONSE_VALUE,
  RESPONSE_VALUES,
} from '../kernel/assembly/layout.js';
import { type RingMemory, responseRing } from '../ring/ring-location.js';
import { FULL, RingWriter } from '../ring/ring-writer.js';
import { encodeError, encodeValues } from './responses.js';

interface WaitingResponse {
  readonly kind: number;
  readonly requestId: number;
  readonly payload: Uint8Array;
  /** Bytes already sent. */
  sent: number;
}

export class ResponseWriter {
  readonly #ring: RingWriter;
  readonly #bytes: Buffer;
  readonly #waiting: WaitingResponse[] = [];

  constructor(memory: RingMemory, client: number) {
    this.#ring = new RingWriter(memory, responseRing(memory, client));
    this.#bytes = memory.bytes;
  }

  /** True while something did not fit: call `pump` when the doorbell rings. */
  get isBlocked(): boolean {
    return this.#waiting.length > 0;
  }

  ok(requestId: number, sequence: number): void {
    const payload = Buffer.allocUnsafe(8);
    payload.writeDoubleLE(sequence, 0);
    this.#send(RESPONSE_OK, requestId, payload);
  }

  missing(requestId: number): void {
    this.#send(RESPONSE_MISSING, requestId, EMPTY);
  }

  /** `value` is kept until it is sent: it must not change afterwards. */
  value(requestId: number, value: Uint8Array): void {
    this.#send(RESPONSE_VALUE, requestId, value);
  }

  values(requestId: number, values: readonly (Uint8Array | undefined)[]): void {
    this.#send(RESPONSE_VALUES, requestId, encodeValues(values));
  }

  error(requestId: number, error: unknown): void {
    this.serializedError(requestId, serializeError(error));
  }

  serializedError(requestId: number, error: SerializedError): void {
    this.#send(RESPONSE_ERROR, requestId, encodeError(error));
  }

  /** Sends what waited, as far as it fits. True when records went out: ring the client. */
  pump(): boolean {
    this.#ring.reload();
    let progress = this.#pumpAll();
    if (this.#waiting.length > 0) {
      this.#ring.block();
      // Room may have come up before the mark was seen.
      progress = this.#pumpAll() || progress;
      if (this.#waiting.length === 0) this.#ring.unblock();
    }
    this.#ring.publish();
    return progress;
  }

  /** Drops what waits for a client that is gone. */
  clear(): void {
    this.#waiting.length = 0;
    this.#ring.unblock();
  }

  #send(kind: number, requestId: number, payload: Uint8Array): void {
    this.#waiting.push({ kind, requestId, payload, sent: 0 });
    this.pump();
  }

  #pumpAll(): boolean {
    let progress = false;
    let done = 0;
    while (done < this.#waiting.length) {
      const response = this.#waiting[done] as WaitingResponse;
      if (!this.#pumpOne(response)) {
        progress ||= response.sent > 0;
        break;
      }
      progress = true;
      done++;
    }
    if (done > 0) this.#waiting.splice(0, done);
    return progress;
  }

  /** Sends pieces of a response; true when it is all out. */
  #pumpOne(response: WaitingResponse): boolean {
    const { kind, requestId, payload } = response;
    for (;;) {
      const rest = payload.length - response.sent;
      const piece = Math.min(rest, this.#ring.payloadBytesMax);
      const address = this.#ring.reserve(piece);
      if (address === FULL) return false;
      if (piece === payload.length) this.#bytes.set(payload, address);
      else this.#bytes.set(payload.subarray(response.sent, response.sent + piece), address);
      const flags = piece < rest ? RECORD_FLAG_MORE : 0;
      const argument = response.sent === 0 ? payload.length : 0;
      this.#ring.commit(kind, flags, requestId, argument, piece);
      response.sent += piece;
      if (piece === rest) return true;
      // Large values flow: the client may already empty what is there.
      this.#ring.publish();
    }
  }
}

const EMPTY = new Uint8Array(0);
