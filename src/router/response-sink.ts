/** Where the answers to requests go. */

import {
  RESPONSE_MISSING,
  RESPONSE_OK,
  RESPONSE_VALUE,
  RESPONSE_VALUES,
} from '../kernel/assembly/layout.js';
import { decodeValues } from '../protocol/responses.js';
import { type Codec, copyOf, decode } from './codec.js';
import { allocateStringBuffer, asStringBuffer, type StringBuffer } from './string-buffer.js';

/** Gets exactly one of the two calls, once. Neither may throw or run the application's code. */
export interface ResponseSink {
  /** `kind` is RESPONSE_* and not ERROR. `bytes[start, end)` is the payload, valid during the call. */
  respond(kind: number, bytes: StringBuffer, start: number, end: number): void;
  fail(error: unknown): void;
}

type Resolve<T> = (value: T) => void;
type Reject = (error: unknown) => void;

/** A write: a promise without a value. */
export class WriteSink implements ResponseSink {
  readonly #resolve: Resolve<void>;
  readonly #reject: Reject;

  constructor(resolve: Resolve<void>, reject: Reject) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  respond(): void {
    this.#resolve();
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

/**
 * The parts of a commit behind one promise: resolves after the last answer, with the highest sequence
 * number among them; rejects with the first error.
 */
export class SequenceSink implements ResponseSink {
  readonly #resolve: Resolve<number>;
  readonly #reject: Reject;
  #remaining: number;
  #sequence = 0;
  #error: unknown;

  constructor(count: number, resolve: Resolve<number>, reject: Reject) {
    this.#remaining = count;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  respond(_kind: number, bytes: StringBuffer, start: number, end: number): void {
    if (end - start === 8) this.#sequence = Math.max(this.#sequence, bytes.readDoubleLE(start));
    this.#settle();
  }

  fail(error: unknown): void {
    this.#error ??= error;
    this.#settle();
  }

  #settle(): void {
    if (--this.#remaining > 0) return;
    if (this.#error === undefined) this.#resolve(this.#sequence);
    else this.#reject(this.#error);
  }
}

/** A value that had to be fetched, decoded when it arrives. */
export class ValueSink implements ResponseSink {
  readonly #codec: Codec;
  readonly #resolve: Resolve<unknown>;
  readonly #reject: Reject;

  constructor(codec: Codec, resolve: Resolve<unknown>, reject: Reject) {
    this.#codec = codec;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  respond(kind: number, bytes: StringBuffer, start: number, end: number): void {
    if (kind === RESPONSE_MISSING) {
      this.#resolve(undefined);
      return;
    }
    if (this.#codec.kind === 'custom') {
      const copy = copyOf(bytes, start, end);
      queueMicrotask(() => this.#decode(kind, copy, 0, copy.length));
    } else {
      this.#decode(kind, bytes, start, end);
    }
  }

  #decode(kind: number, bytes: StringBuffer, start: number, end: number): void {
    try {
      expectKind(kind, RESPONSE_VALUE);
      this.#resolve(decode(this.#codec, bytes, start, end, false));
    } catch (error) {
      this.#reject(error);
    }
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

/** Whether a value is there; the value itself is dropped. */
export class PresenceSink implements ResponseSink {
  readonly #resolve: Resolve<boolean>;
  readonly #reject: Reject;

  constructor(resolve: Resolve<boolean>, reject: Reject) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  respond(kind: number): void {
    this.#resolve(kind !== RESPONSE_MISSING);
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

/**
 * An answer that is kept until somebody looks: for callers that wait on their thread, and for scans
 * that ask ahead. `settled` becomes true with either of `error` and `kind`.
 */
export class KeptSink implements ResponseSink {
  settled = false;
  kind = RESPONSE_OK;
  payload: StringBuffer = EMPTY;
  error: unknown;
  #whenSettled: (() => void) | undefined;
  #wait: Promise<void> | undefined;

  respond(kind: number, bytes: StringBuffer, start: number, end: number): void {
    this.kind = kind;
    this.payload = end === start ? EMPTY : copyOf(bytes, start, end);
    this.#settle();
  }

  fail(error: unknown): void {
    this.error = error;
    this.#settle();
  }

  /** Resolves once the answer is there; never rejects. */
  wait(): Promise<void> {
    if (this.settled) return Promise.resolve();
    this.#wait ??= new Promise((resolve) => {
      this.#whenSettled = resolve;
    });
    return this.#wait;
  }

  #settle(): void {
    this.settled = true;
    this.#whenSettled?.();
  }

  /** The value answered, undefined when it is missing; throws what went wrong. */
  value(codec: Codec): unknown {
    this.check();
    if (this.kind === RESPONSE_MISSING) return undefined;
    expectKind(this.kind, RESPONSE_VALUE);
    return decode(codec, this.payload, 0, this.payload.length, false);
  }

  isPresent(): boolean {
    return this.kind !== RESPONSE_MISSING;
  }

  /** The values answered to a request for `count` of them; throws what went wrong. */
  values(codec: Codec, count: number): unknown[] {
    this.check();
    expectKind(this.kind, RESPONSE_VALUES);
    return decodeValues(this.payload, count).map((bytes) =>
      bytes === undefined
        ? undefined
        : decode(codec, asStringBuffer(bytes), 0, bytes.length, false),
    );
  }

  check(): void {
    if (this.error !== undefined) throw this.error;
  }
}

const EMPTY: StringBuffer = allocateStringBuffer(0);

function expectKind(kind: number, expected: number): void {
  if (kind !== expected) {
    throw new TypeError(`Cannot use the answer of a shard: kind ${kind} instead of ${expected}`);
  }
}
