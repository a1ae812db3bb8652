/** Finds out what a source is and has it read: a file, a stream of text, or entries. */

import { type Stats, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { InvalidArgumentError } from '../errors.js';
import { fileError } from '../file-system/file-system.js';
import { describe, invalidOption } from '../options.js';
import { type Begun, loadAsyncIterable, loadIterable, loadObjectStream } from './entry-source.js';
import { isGzip } from './formats/detect.js';
import { textAddress } from './load-memory.js';
import type { LoadSession } from './load-session.js';
import type { BulkLoadSource } from './options.js';
import { loadRanges } from './range-source.js';
import { STREAM_NAME } from './reject-log.js';
import { fileChunks, pipeChunks, TextFeed } from './text-feed.js';
import { decideTextFormat, HEAD_BYTES, type TextFormat } from './text-format.js';
import { loadText } from './text-source.js';

/** The file that a source names; undefined for streams and iterables. */
export function pathOf(source: BulkLoadSource): string | undefined {
  if (typeof source === 'string') return source;
  if (!(source instanceof URL)) return undefined;
  if (source.protocol === 'file:') return fileURLToPath(source);
  throw invalidOption('source', source.href, 'a path, a file: URL, an iterable or a stream');
}

/** Throws for a file that is not there, before a database is made for it. */
export function checkSourceExists(source: BulkLoadSource): void {
  const path = pathOf(source);
  if (path !== undefined) statOf(path);
}

/**
 * A stream may fail before it is read, and whoever reads it finds that out: no reason for the process to
 * end. Holds until the returned function is called.
 */
export function awaitReader(source: BulkLoadSource): () => void {
  if (!(source instanceof Readable)) return () => {};
  const onError = (): void => {};
  source.on('error', onError);
  return () => source.off('error', onError);
}

/** Reads all of a source; returns how, when it is text. */
export async function readSource(
  session: LoadSession,
  source: BulkLoadSource,
  path: string | undefined,
): Promise<TextFormat | undefined> {
  if (path !== undefined) return readFile(session, path);
  if (typeof source !== 'object' || source === null) {
    throw invalidOption('source', describe(source), 'a path, a file: URL, an iterable or a stream');
  }
  if (source instanceof Readable) session.onEarlyEnd(() => source.destroy());
  if (source instanceof Readable && source.readableObjectMode) {
    refuseTextOptions(session);
    await loadObjectStream(session, source);
    return undefined;
  }
  if (Symbol.iterator in source && !(source instanceof Uint8Array)) {
    return readIterable(session, source as Iterable<unknown>);
  }
  if (Symbol.asyncIterator in source) {
    return readAsyncIterable(session, source as AsyncIterable<unknown>);
  }
  throw invalidOption('source', source, 'a path, a file: URL, an iterable or a stream');
}

async function readFile(session: LoadSession, path: string): Promise<TextFormat> {
  const { kernel, layout, options, progress, rejects, target } = session;
  const stat = statOf(path);
  // A pipe has no places to read at: `<(command)` in a shell.
  if (stat.isFIFO()) return readChunks(session, path, await pipeChunks(path));
  if (stat.isCharacterDevice()) return readChunks(session, path, fileChunks(path));
  const bytes = stat.size;
  progress.bytesTotal = bytes;
  const text = await session.texts.acquire();
  const address = textAddress(layout, text);
  const file = session.fs.open(path, 'r');
  let head: number;
  try {
    head = file.read(kernel.bytes.subarray(address, address + HEAD_BYTES), 0);
  } finally {
    file.close();
  }
  const view = kernel.bytes.subarray(address, address + head);
  const isPacked =
    options.compression === undefined ? isGzip(view) : options.compression === 'gzip';
  if (!isPacked) {
    const format = decideTextFormat(
      {
        kernel,
        address,
        bytes: head,
        isWhole: head >= bytes,
        name: path,
        work: session.workArea(),
        keyAsJson: target.keyEncoding.kind === 'json',
        valueAsJson: target.valueEncoding.kind === 'json',
      },
      options,
      rejects,
    );
    session.texts.release(text);
    if (format.format !== 'json') {
      await loadRanges(session, { path, bytes }, format);
      return format;
    }
  } else {
    session.texts.release(text);
  }
  return readChunks(session, path, fileChunks(path));
}

function readChunks(session: LoadSession, path: string, chunks: Readable): Promise<TextFormat> {
  session.onEarlyEnd(() => chunks.destroy());
  return readText(session, chunks, path);
}

function statOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    throw fileError(cause, 'open', path);
  }
}

async function readText(
  session: LoadSession,
  chunks: AsyncIterable<unknown>,
  path: string | undefined,
): Promise<TextFormat> {
  const feed = await TextFeed.open(chunks, {
    compression: session.options.compression,
    file: path ?? STREAM_NAME,
    onBytes: (bytes) => {
      session.progress.bytes += bytes;
    },
  });
  try {
    return await loadText(session, feed, path);
  } finally {
    await feed.close();
  }
}

async function readIterable(
  session: LoadSession,
  source: Iterable<unknown>,
): Promise<TextFormat | undefined> {
  const iterator = source[Symbol.iterator]();
  const first = iterator.next();
  const begun = {
    taken: first.done === true ? [] : [first.value],
    rest: { [Symbol.iterator]: () => iterator },
  };
  if (isText(first.value)) return readText(session, chunksOf(begun), undefined);
  if (first.done !== true) refuseTextOptions(session);
  await loadIterable(session, begun);
  return undefined;
}

async function readAsyncIterable(
  session: LoadSession,
  source: AsyncIterable<unknown>,
): Promise<TextFormat | undefined> {
  const iterator = source[Symbol.asyncIterator]();
  const first = await iterator.next();
  const begun = {
    taken: first.done === true ? [] : [first.value],
    rest: { [Symbol.asyncIterator]: () => iterator },
  };
  const isEmptyText = first.done === true && session.options.format !== undefined;
  if (isText(first.value) || isEmptyText) return readText(session, chunksOf(begun), undefined);
  if (first.done !== true) refuseTextOptions(session);
  await loadAsyncIterable(session, begun);
  return undefined;
}

const TEXT_OPTIONS = [
  'format',
  'compression',
  'header',
  'delimiter',
  'quotes',
  'key',
  'value',
] as const;

/** Entries bring their keys and values: an option that says how to find them means something else. */
function refuseTextOptions({ options }: LoadSession): void {
  const option = TEXT_OPTIONS.find((name) => options[name] !== undefined);
  if (option === undefined) return;
  throw new InvalidArgumentError(
    `Option "${option}" is for text, but the source gives entries: leave it out, and give [key, value]`,
    { details: { option } },
  );
}

async function* chunksOf(
  begun: Begun<Iterable<unknown> | AsyncIterable<unknown>>,
): AsyncGenerator<unknown> {
  yield* begun.taken;
  yield* begun.rest;
}

function isText(chunk: unknown): boolean {
  return typeof chunk === 'string' || chunk instanceof Uint8Array;
}
