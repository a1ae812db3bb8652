/**
 * The requests of one client to one shard that wait for an answer. Each has an id, which is the index
 * of its sink; an id is used again only after its answer, so an answer can never meet the wrong sink.
 *
 * Answers come from the response ring, some in pieces, or, for what was committed on this thread, from
 * `DirectCommit`: those are kept until they are taken, since their sinks may make new requests.
 */

import type { LightningError } from '../errors.js';
import { RECORD_FLAG_MORE, RESPONSE_ERROR, RESPONSE_OK } from '../kernel/assembly/layout.js';
import { decodeError } from '../protocol/responses.js';
import type { RingReader } from '../ring/ring-reader.js';
import type { DirectAnswers } from './direct-commit.js';
import type { ResponseSink } from './response-sink.js';
import { allocateStringBuffer, asStringBuffer, type StringBuffer } from './string-buffer.js';

/** A response that comes in pieces. */
interface PartialResponse {
  readonly kind: number;
  bytes: StringBuffer;
  length: number;
}

export class PendingAnswers implements DirectAnswers {
  readonly #sinks: (ResponseSink | undefined)[] = [];
  readonly #freeIds: number[] = [];
  #count = 0;
  readonly #partial = new Map<number, PartialResponse>();
  /** Requests committed on this thread: their sequence numbers, or why they were refused. */
  readonly #readyIds: number[] = [];
  readonly #readyOutcomes: (number | LightningError)[] = [];
  readonly #readyBytes = allocateStringBuffer(8);

  /** Requests without an answer. */
  get count(): number {
    return this.#count;
  }

  /** The id of a request whose answer goes to `sink`. */
  expect(sink: ResponseSink): number {
    const id = this.#freeIds.pop() ?? this.#sinks.length;
    this.#sinks[id] = sink;
    this.#count++;
    return id;
  }

  /** Hands out the answer, or the piece of one, that the reader stands on. */
  take(record: RingReader, bytes: StringBuffer): void {
    const { kind, flags, requestId, argument, payload, payloadBytes } = record;
    const sink = this.#sinks[requestId];
    // Nothing else can be done about an answer that nobody asked for.
    if (sink === undefined) return;
    let partial = this.#partial.get(requestId);
    if (partial !== undefined && partial.kind !== kind) {
      // What came first could not be completed: an error takes its place.
      this.#partial.delete(requestId);
      partial = undefined;
    }
    const isLast = (flags & RECORD_FLAG_MORE) === 0;
    if (partial === undefined && isLast) {
      this.#release(requestId);
      deliver(sink, kind, bytes, payload, payload + payloadBytes);
      return;
    }
    const whole = partial ?? this.#beginPartial(requestId, kind, argument);
    append(whole, bytes, payload, payloadBytes);
    if (!isLast) return;
    this.#partial.delete(requestId);
    this.#release(requestId);
    deliver(sink, kind, whole.bytes, 0, whole.length);
  }

  #beginPartial(requestId: number, kind: number, totalBytes: number): PartialResponse {
    const partial = { kind, bytes: asStringBuffer(Buffer.allocUnsafe(totalBytes)), length: 0 };
    this.#partial.set(requestId, partial);
    return partial;
  }

  #release(requestId: number): void {
    this.#sinks[requestId] = undefined;
    this.#freeIds.push(requestId);
    this.#count--;
  }

  // ---- committed on this thread ---------------------------------------------------

  committed(requestId: number, sequence: number): void {
    this.#readyIds.push(requestId);
    this.#readyOutcomes.push(sequence);
  }

  failed(requestId: number, error: LightningError): void {
    this.#readyIds.push(requestId);
    this.#readyOutcomes.push(error);
  }

  /** Whether there are answers for `takeReady`. */
  get hasReady(): boolean {
    return this.#readyIds.length > 0;
  }

  /** Hands out what is known of requests that were committed on this thread; returns how many. */
  takeReady(): number {
    const count = this.#readyIds.length;
    const bytes = this.#readyBytes;
    for (let i = 0; i < count; i++) {
      const requestId = this.#readyIds[i] as number;
      const outcome = this.#readyOutcomes[i] as number | LightningError;
      const sink = this.#sinks[requestId];
      if (sink === undefined) continue;
      this.#release(requestId);
      if (typeof outcome === 'number') {
        bytes.writeDoubleLE(outcome);
        sink.respond(RESPONSE_OK, bytes, 0, bytes.length);
      } else {
        sink.fail(outcome);
      }
    }
    this.#readyIds.length = 0;
    this.#readyOutcomes.length = 0;
    return count;
  }

  // ---- the end ----------------------------------------------------------------------

  /** Fails everything that waits for an answer. */
  failAll(errorOf: (requestId: number) => unknown): void {
    const failing = [...this.#sinks];
    this.clear();
    for (const [id, sink] of failing.entries()) sink?.fail(errorOf(id));
  }

  clear(): void {
    this.#sinks.length = 0;
    this.#freeIds.length = 0;
    this.#count = 0;
    this.#partial.clear();
  }
}

function deliver(
  sink: ResponseSink,
  kind: number,
  bytes: StringBuffer,
  start: number,
  end: number,
): void {
  if (kind === RESPONSE_ERROR) sink.fail(decodeError(bytes.subarray(start, end)));
  else sink.respond(kind, bytes, start, end);
}

function append(
  partial: PartialResponse,
  bytes: StringBuffer,
  start: number,
  length: number,
): void {
  const end = partial.length + length;
  if (end > partial.bytes.length) {
    const larger = asStringBuffer(Buffer.allocUnsafe(Math.max(end, partial.bytes.length * 2)));
    larger.set(partial.bytes.subarray(0, partial.length));
    partial.bytes = larger;
  }
  partial.bytes.set(bytes.subarray(start, start + length), partial.length);
  partial.length = end;
}
