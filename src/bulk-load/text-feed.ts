/** Bytes of a stream, taken in portions of the reader's choice; compressed ones are unpacked. */

import { createReadStream, open } from 'node:fs';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip } from 'node:zlib';
import { ParseError } from '../errors.js';
import { fileError } from '../file-system/file-system.js';
import { isGzip } from './formats/detect.js';

const READ_BYTES = 1024 * 1024;

export interface TextFeedOptions {
  /** Default: by the first bytes. */
  readonly compression: 'gzip' | 'none' | undefined;
  /** Told how many bytes of the source were taken. */
  readonly onBytes: (bytes: number) => void;
  /** What the source is called in messages. */
  readonly file: string;
}

export function fileChunks(path: string): Readable {
  return createReadStream(path, { highWaterMark: READ_BYTES });
}

/** A named pipe, read without a thread that waits in it: that would hold up the end of the process. */
export async function pipeChunks(path: string): Promise<Readable> {
  try {
    const fd = await promisify(open)(path, 'r');
    return new Socket({ fd, readable: true, writable: false });
  } catch (cause) {
    throw fileError(cause, 'open', path);
  }
}

export class TextFeed {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #file: string;
  readonly #isCompressed: boolean;
  #rest: Uint8Array = new Uint8Array(0);
  #isAtEnd = false;

  private constructor(chunks: AsyncIterator<Uint8Array>, file: string, isCompressed: boolean) {
    this.#chunks = chunks;
    this.#file = file;
    this.#isCompressed = isCompressed;
  }

  static async open(
    source: AsyncIterable<unknown>,
    { compression, onBytes, file }: TextFeedOptions,
  ): Promise<TextFeed> {
    const bytes = toBytes(source, file, onBytes)[Symbol.asyncIterator]();
    const first = await bytes.next();
    const head = first.done === true ? new Uint8Array(0) : first.value;
    const isCompressed = compression === undefined ? isGzip(head) : compression === 'gzip';
    const whole = prepend(head, bytes);
    return isCompressed
      ? new TextFeed(unpack(whole), file, true)
      : new TextFeed(whole[Symbol.asyncIterator](), file, false);
  }

  /** Whether all bytes have been taken. */
  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  /** Copies the next bytes to `target` until it is full or the source ends; returns how many. */
  async fill(target: Uint8Array): Promise<number> {
    let done = 0;
    while (done < target.length && !this.#isAtEnd) {
      if (this.#rest.length === 0) {
        const next = await this.#next();
        if (next === undefined) this.#isAtEnd = true;
        else this.#rest = next;
        continue;
      }
      const taken = Math.min(this.#rest.length, target.length - done);
      target.set(this.#rest.subarray(0, taken), done);
      this.#rest = this.#rest.subarray(taken);
      done += taken;
    }
    return done;
  }

  /** Lets go of the source before its end. */
  async close(): Promise<void> {
    if (!this.#isAtEnd) await this.#chunks.return?.();
  }

  async #next(): Promise<Uint8Array | undefined> {
    try {
      const next = await this.#chunks.next();
      return next.done === true ? undefined : next.value;
    } catch (cause) {
      if (!this.#isCompressed || !isUnpackError(cause)) throw cause;
      throw new ParseError(`Cannot unpack "${this.#file}": ${cause.message}`, {
        cause,
        details: { file: this.#file },
      });
    }
  }
}

async function* toBytes(
  source: AsyncIterable<unknown>,
  file: string,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    if (!(bytes instanceof Uint8Array)) {
      throw new ParseError(`Cannot read "${file}": the stream mixes text and entries`, {
        details: { file },
      });
    }
    onBytes(bytes.length);
    if (bytes.length > 0) yield bytes;
  }
}

async function* prepend(
  head: Uint8Array,
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    if (head.length > 0) yield head;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) {
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}

async function* unpack(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = Readable.from(chunks, { objectMode: false, highWaterMark: READ_BYTES });
  const unzip = createGunzip({ chunkSize: READ_BYTES });
  source.on('error', (error) => unzip.destroy(error));
  source.pipe(unzip);
  try {
    yield* unzip as AsyncIterable<Uint8Array>;
  } finally {
    source.destroy();
    unzip.destroy();
  }
}

function isUnpackError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && /^Z_/.test(String(error.code));
}
