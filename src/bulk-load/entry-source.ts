/** Entries of an iterable or a stream of objects: the main thread encodes them into slots. */

import { finished, type Readable } from 'node:stream';
import {
  BlobWriter,
  encodeBlobReference,
  kernelPieceWindow,
  PIECE_BYTES,
} from '../blob/blob-file.js';
import type { ResolvedEncoding } from '../encoding/encoding.js';
import { ParseError } from '../errors.js';
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from '../limits.js';
import { ADDED, CHUNK_FULL, ChunkWriter, KEY_TOO_LONG } from './chunk-writer.js';
import { RecordFault } from './formats/json-record.js';
import { slotAddress } from './load-memory.js';
import type { LoadSession } from './load-session.js';
import { STREAM_NAME } from './reject-log.js';

/** Entries of which some have been taken already, to see what they are. */
export interface Begun<I> {
  readonly taken: readonly unknown[];
  readonly rest: I;
}

/** Loads what a synchronous iterable gives. */
export async function loadIterable(
  session: LoadSession,
  { taken, rest }: Begun<Iterable<unknown>>,
): Promise<void> {
  const sink = await EntrySink.open(session);
  for (const entry of taken) await sink.addCounted(entry);
  for (const entry of rest) {
    if (!sink.add(entry)) await sink.addSlowly(entry);
  }
  await sink.finish();
}

/** Loads what an asynchronous iterable gives. */
export async function loadAsyncIterable(
  session: LoadSession,
  { taken, rest }: Begun<AsyncIterable<unknown>>,
): Promise<void> {
  const sink = await EntrySink.open(session);
  for (const entry of taken) await sink.addCounted(entry);
  for await (const entry of rest) {
    if (!sink.add(entry)) await sink.addSlowly(entry);
  }
  await sink.finish();
}

/** Loads a stream of objects: all that it has at hand is taken without a turn of the event loop each. */
export async function loadObjectStream(session: LoadSession, stream: Readable): Promise<void> {
  const sink = await EntrySink.open(session);
  try {
    for await (const entries of bursts(stream)) {
      for (const entry of entries) if (!sink.add(entry)) await sink.addSlowly(entry);
    }
  } finally {
    stream.destroy();
  }
  await sink.finish();
}

/** Throws what the stream fails with, also when it is closed before its end. */
async function* bursts(stream: Readable): AsyncGenerator<unknown[]> {
  let ending: { readonly failure: Error | undefined } | undefined;
  let wake: () => void = () => {};
  const onReadable = (): void => wake();
  const letGo = finished(stream, { writable: false }, (error) => {
    ending = { failure: isPrematureClose(error) ? closedEarly() : (error ?? undefined) };
    wake();
  });
  stream.on('readable', onReadable);
  try {
    while (true) {
      const waiting = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const burst: unknown[] = [];
      for (let entry: unknown = stream.read(); entry !== null; entry = stream.read())
        burst.push(entry);
      if (burst.length > 0) yield burst;
      else if (ending?.failure !== undefined) throw ending.failure;
      else if (ending !== undefined) return;
      else await waiting;
    }
  } finally {
    stream.off('readable', onReadable);
    letGo();
  }
}

function isPrematureClose(error: NodeJS.ErrnoException | null | undefined): boolean {
  return error?.code === 'ERR_STREAM_PREMATURE_CLOSE';
}

/** What is missing is not known: nothing of it is loaded. */
function closedEarly(): ParseError {
  return new ParseError(`Cannot read "${STREAM_NAME}": the stream was closed before its end`, {
    details: { file: STREAM_NAME },
  });
}

class EntrySink {
  readonly #session: LoadSession;
  readonly #writer: ChunkWriter;
  /** Chunks that are being sorted. */
  readonly #queue: Promise<void>[] = [];
  #slot: number;
  /** Full ones so far. */
  #chunks = 0;
  /** Number of the entry being added, from 1. */
  #number = 0;

  private constructor(session: LoadSession, slot: number) {
    this.#session = session;
    this.#slot = slot;
    this.#writer = new ChunkWriter(session.kernel, {
      keyBytesMax: KEY_BYTES_MAX,
      valueBytesMax: session.valueBytesMax,
    });
    this.#begin();
  }

  static async open(session: LoadSession): Promise<EntrySink> {
    return new EntrySink(session, await session.acquireSlot());
  }

  /** Adds an entry, if that can be done at once; false: it is `addSlowly`'s. */
  add(entry: unknown): boolean {
    this.#number++;
    if (Array.isArray(entry) && entry.length === 2) {
      const { keyEncoding, valueEncoding } = this.#session.target;
      const key: unknown = entry[0];
      const value: unknown = entry[1];
      if (
        typeof key === 'string' &&
        typeof value === 'string' &&
        keyEncoding.kind === 'utf8' &&
        valueEncoding.kind === 'utf8'
      ) {
        return this.#writer.add(key, value) === ADDED;
      }
      if (
        key instanceof Uint8Array &&
        value instanceof Uint8Array &&
        keyEncoding.kind === 'buffer' &&
        valueEncoding.kind === 'buffer'
      ) {
        return this.#writer.addBytes(key, value) === ADDED;
      }
    }
    return false;
  }

  async addCounted(entry: unknown): Promise<void> {
    if (!this.add(entry)) await this.addSlowly(entry);
  }

  /** Adds any entry, or reports why it cannot be. */
  async addSlowly(entry: unknown): Promise<void> {
    try {
      const { key, value } = this.#encode(entry);
      let status = this.#writer.add(key, value);
      if (status === CHUNK_FULL) {
        await this.#nextChunk();
        status = this.#writer.add(key, value);
      }
      if (status === ADDED) return;
      if (status === KEY_TOO_LONG || Buffer.byteLength(key) > KEY_BYTES_MAX) {
        throw new RecordFault(`the key is longer than ${KEY_BYTES_MAX} bytes`);
      }
      await this.#addLarge(key, typeof value === 'string' ? Buffer.from(value) : value);
    } catch (error) {
      if (!(error instanceof RecordFault)) throw error;
      this.#session.rejects.add(this.#number, error.message, undefined);
      this.#session.progress.rejected = this.#session.rejects.count;
    }
  }

  /** Waits until everything is sorted. */
  async finish(): Promise<void> {
    if (this.#writer.count > 0) this.#sort();
    else this.#session.store.releaseSlot(this.#slot);
    while (this.#queue.length > 0) await this.#acceptNext();
  }

  #begin(): void {
    const { layout } = this.#session;
    this.#writer.begin(slotAddress(layout, this.#slot), layout.slotBytes);
  }

  async #nextChunk(): Promise<void> {
    // They come one after the other and keep few threads busy, but become tables all at once.
    this.#session.target.expectJobs(Math.min(++this.#chunks + 1, this.#session.jobs));
    this.#sort();
    // Not more than the jobs can work off.
    while (this.#queue.length > this.#session.jobs) await this.#acceptNext();
    this.#slot = await this.#session.acquireSlot();
    this.#begin();
    // A turn of the event loop: reports, signals and other work of the application get theirs.
    await new Promise((resolve) => setImmediate(resolve));
  }

  #sort(): void {
    const { progress } = this.#session;
    progress.bytes += this.#writer.payloadBytes;
    this.#writer.finish();
    const { count: records, payloadBytes } = this.#writer;
    const sorted = this.#session.sortChunk(this.#slot, { records, payloadBytes });
    sorted.catch(() => {});
    this.#queue.push(sorted);
  }

  async #acceptNext(): Promise<void> {
    await this.#queue.shift();
    this.#session.checkAborted();
  }

  #encode(entry: unknown): { key: string | Uint8Array; value: string | Uint8Array } {
    const { keyEncoding, valueEncoding } = this.#session.target;
    if (typeof entry !== 'object' || entry === null) {
      throw new RecordFault('an entry is neither [key, value] nor { key, value }');
    }
    const [key, value]: readonly unknown[] = Array.isArray(entry)
      ? entry
      : [(entry as { key?: unknown }).key, (entry as { value?: unknown }).value];
    return {
      key: encode(keyEncoding, key, 'key'),
      value: encode(valueEncoding, value, 'value'),
    };
  }

  async #addLarge(key: string | Uint8Array, value: Uint8Array): Promise<void> {
    if (value.length > VALUE_BYTES_MAX) {
      throw new RecordFault(`the value is longer than ${VALUE_BYTES_MAX} bytes`);
    }
    this.#session.checkAborted();
    const { fs, kernel, numbers, shards } = this.#session;
    const keyBytes = typeof key === 'string' ? Buffer.from(key) : key;
    const window = this.#session.workArea().allocate(PIECE_BYTES + 64);
    const keyRoom = window;
    kernel.bytes.set(keyBytes.subarray(0, PIECE_BYTES), keyRoom);
    const hash = kernel.exports.murmur32(keyRoom, keyBytes.length) >>> 0;
    const shard = Math.floor((hash * shards) / 2 ** 32);
    const writer = new BlobWriter(
      {
        fs,
        directory: numbers.directoryOf(shard),
        shard,
        window: kernelPieceWindow(kernel, window),
      },
      await numbers.takeBlobNumber(shard),
    );
    let reference: Uint8Array;
    try {
      writer.write(value);
      reference = encodeBlobReference(writer.finish());
    } catch (error) {
      writer.abort();
      throw error;
    }
    if (this.#writer.addBlob(keyBytes, reference) === ADDED) return;
    await this.#nextChunk();
    this.#writer.addBlob(keyBytes, reference);
  }
}

function encode(
  encoding: ResolvedEncoding<unknown>,
  input: unknown,
  what: 'key' | 'value',
): string | Uint8Array {
  switch (encoding.kind) {
    case 'utf8':
      if (typeof input === 'string') return input;
      throw new RecordFault(`the ${what} is not a string`);
    case 'buffer':
      if (input instanceof Uint8Array) return input;
      throw new RecordFault(`the ${what} is not a Buffer or Uint8Array`);
    case 'json': {
      const text: string | undefined = JSON.stringify(input);
      if (text !== undefined) return text;
      throw new RecordFault(`the ${what} is nothing that JSON can express`);
    }
    case 'custom':
      return encodeCustom(encoding, input, what);
  }
}

function encodeCustom(
  encoding: ResolvedEncoding<unknown>,
  input: unknown,
  what: 'key' | 'value',
): Uint8Array {
  let bytes: unknown;
  try {
    bytes = encoding.encode(input);
  } catch (error) {
    throw new RecordFault(`the encoding of the ${what} refuses it: ${String(error)}`);
  }
  if (bytes instanceof Uint8Array) return bytes;
  throw new RecordFault(`the encoding of the ${what} does not give a Uint8Array`);
}
