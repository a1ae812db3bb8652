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

/** Where the bytes of a long answer come from, as there is room for them. */
export interface PayloadSource {
  /** Total length. */
  readonly bytes: number;
  /** The next bytes; undefined at the end. They must not change until the next call. */
  next(): Uint8Array | undefined;
  close(): void;
}

interface WaitingResponse {
  readonly kind: number;
  readonly requestId: number;
  /** What is sent; of a source, the bytes at hand. */
  payload: Uint8Array;
  /** Bytes of `payload` already sent. */
  sent: number;
  /** Bytes of all payloads, and of those before this one. */
  readonly total: number;
  before: number;
  readonly source: PayloadSource | undefined;
}

export class ResponseWriter {
  readonly #ring: RingWriter;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #waiting: WaitingResponse[] = [];
  #isUsed = false;

  constructor(memory: RingMemory, client: number) {
    this.#ring = new RingWriter(memory, responseRing(memory, client));
    this.#bytes = memory.bytes;
    const { buffer, byteOffset, byteLength } = memory.bytes;
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  /** True while something did not fit: call `pump` when the doorbell rings. */
  get isBlocked(): boolean {
    return this.#waiting.length > 0;
  }

  /** Whether there was an answer since the last call. */
  takeUsed(): boolean {
    const isUsed = this.#isUsed;
    this.#isUsed = false;
    return isUsed;
  }

  ok(requestId: number, sequence: number): void {
    this.#isUsed = true;
    if (this.#waiting.length === 0 && this.#okAtOnce(requestId, sequence)) return;
    const payload = Buffer.allocUnsafe(8);
    payload.writeDoubleLE(sequence, 0);
    this.#send(RESPONSE_OK, requestId, payload);
  }

  /** Writes into the ring what is there for it: most answers are of this kind. */
  #okAtOnce(requestId: number, sequence: number): boolean {
    this.#ring.reload();
    const address = this.#ring.reserve(8);
    if (address === FULL) return false;
    this.#view.setFloat64(address, sequence, true);
    this.#ring.commit(RESPONSE_OK, 0, requestId, 8, 8);
    this.#ring.publish();
    return true;
  }

  missing(requestId: number): void {
    this.#send(RESPONSE_MISSING, requestId, EMPTY);
  }

  /** `value` is kept until it is sent: it must not change afterwards. */
  value(requestId: number, value: Uint8Array): void {
    this.#send(RESPONSE_VALUE, requestId, value);
  }

  /**
   * Sends a value as its bytes come. When the source throws, an ERROR response takes the place of
   * the rest: whoever reads drops the pieces it has.
   */
  valueFrom(requestId: number, source: PayloadSource): void {
    this.#waiting.push({
      kind: RESPONSE_VALUE,
      requestId,
      payload: EMPTY,
      sent: 0,
      total: source.bytes,
      before: 0,
      source,
    });
    this.#isUsed = true;
    this.pump();
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
    for (const { source } of this.#waiting) source?.close();
    this.#waiting.length = 0;
    this.#ring.unblock();
  }

  #send(kind: number, requestId: number, payload: Uint8Array): void {
    const total = payload.length;
    this.#isUsed = true;
    this.#waiting.push({ kind, requestId, payload, sent: 0, total, before: 0, source: undefined });
    this.pump();
  }

  #pumpAll(): boolean {
    let progress = false;
    let done = 0;
    while (done < this.#waiting.length) {
      const response = this.#waiting[done] as WaitingResponse;
      const sentBefore = response.before + response.sent;
      try {
        if (!this.#pumpOne(response)) {
          progress ||= response.before + response.sent > sentBefore;
          break;
        }
      } catch (error) {
        this.#waiting[done] = errorInstead(response, error);
        continue;
      }
      response.source?.close();
      progress = true;
      done++;
    }
    if (done > 0) this.#waiting.splice(0, done);
    return progress;
  }

  /** Sends pieces of a response; true when it is all out. */
  #pumpOne(response: WaitingResponse): boolean {
    const { kind, requestId, total } = response;
    for (;;) {
      if (!takeNextPayload(response)) return true;
      const rest = total - response.before - response.sent;
      const piece = Math.min(response.payload.length - response.sent, this.#ring.payloadBytesMax);
      const address = this.#ring.reserve(piece);
      if (address === FULL) return false;
      const { payload, sent } = response;
      if (piece === payload.length) this.#bytes.set(payload, address);
      else this.#bytes.set(payload.subarray(sent, sent + piece), address);
      const flags = piece < rest ? RECORD_FLAG_MORE : 0;
      const argument = response.before + sent === 0 ? total : 0;
      this.#ring.commit(kind, flags, requestId, argument, piece);
      response.sent += piece;
      if (piece === rest && response.source === undefined) return true;
      // Large values flow: the client may already empty what is there.
      this.#ring.publish();
    }
  }
}

/** Goes on to the source's next bytes when those at hand are sent. False: there are none. */
function takeNextPayload(response: WaitingResponse): boolean {
  const { source } = response;
  if (source === undefined || response.sent < response.payload.length) return true;
  response.before += response.payload.length;
  response.sent = 0;
  response.payload = EMPTY;
  const next = source.next();
  if (next === undefined) return false;
  response.payload = next;
  return true;
}

function errorInstead(response: WaitingResponse, error: unknown): WaitingResponse {
  response.source?.close();
  const payload = encodeError(serializeError(error));
  const { requestId } = response;
  return {
    kind: RESPONSE_ERROR,
    requestId,
    payload,
    sent: 0,
    total: payload.length,
    before: 0,
    source: undefined,
  };
}

const EMPTY = new Uint8Array(0);
