/**
 * A scan that is under way: its snapshot, one stream per shard, and the merge of them. Hands out
 * batches of decoded entries, small ones first, so that a scan that is left early has cost little.
 *
 * The snapshot is registered when the first batch is asked for, and released as soon as the last
 * entry is in hand, when the scan is closed, or when whoever ran it has forgotten it.
 */

import type { Client } from './client.js';
import { type Codec, decode } from './codec.js';
import type { AcquiredSnapshot } from './control-block.js';
import { Merge } from './merge.js';
import type { KeptSink } from './response-sink.js';
import type { ScanQuery, ScanSelect } from './scan-query.js';
import { type EntryStream, ScanStream } from './scan-stream.js';
import type { Session } from './session.js';
import type { ShardClient } from './shard-client.js';
import { scanShort } from './short-scan.js';
import type { SnapshotHold } from './snapshot-registry.js';
import type { StringBuffer } from './string-buffer.js';

/** Entries of one batch handed out. */
const BATCH_ENTRIES_MAX = 1024;

/** When reads take place, and whether they still may. */
export interface ReadMoment {
  /** A sequence number; undefined: now. */
  readonly sequence: number | undefined;
  /** Throws when the database, or the snapshot that is read, is closed. */
  checkOpen(): void;
  /** Fixes the moment where that was put off until something is read. */
  settle?(): Promise<void> | undefined;
  settleSync?(): void;
}

/** What a scan runs on. */
export interface ScanContext {
  readonly session: Session;
  readonly moment: ReadMoment;
  readonly extension?: ScanExtension | undefined;
}

/** What a transaction adds to its scans. */
export interface ScanExtension {
  /** Entries that lie over the database's: of equal keys theirs counts, or their delete. */
  overlay(query: ScanQuery): CursorStream | undefined;
  /** Who wants to know how far the scan has come. */
  observer(query: ScanQuery): ScanObserver | undefined;
}

/** Told how far a scan has come: not what was read ahead, but what was handed out. */
export interface ScanObserver {
  /** The entries of a batch are put together: their keys follow. All before have been handed out. */
  batchBegins(): void;
  /** The key of the next entry of the batch. */
  collected(bytes: StringBuffer, start: number, end: number): void;
  /** So many entries of the batch have been handed out. */
  handedOut(count: number): void;
  /** It was said that nothing more comes within the bounds. */
  ended(): void;
}

/** A stream as the cursor uses it. */
export interface CursorStream extends EntryStream {
  readonly shard?: ShardClient;
  readonly loading: KeptSink | undefined;
  fill(entriesMax: number): boolean;
  valueStart(index: number): number;
  valueLength(index: number): number;
  isKeyAscii(index: number): boolean;
  isValueAscii(index: number): boolean;
  isValueElsewhere(index: number): boolean;
  /** An overlay's entry that hides the database's. */
  isDeleted(index: number): boolean;
  /** A private copy of bytes of the present batch; cheap in ascending order. */
  privateBytes(start: number, end: number): Buffer;
  close(): void;
}

/** An entry whose value has to be got on its own: its place in the batch, and its key. */
interface Elsewhere {
  readonly position: number;
  readonly key: Buffer;
}

export class ScanCursor {
  readonly #context: ScanContext;
  readonly #query: ScanQuery;
  readonly #merge: Merge<CursorStream>;
  #streams: CursorStream[] = [];
  /** Streams that have to be filled before anything is taken. */
  #hungry: CursorStream[] = [];
  #hold: SnapshotHold | undefined;
  #sequence = 0;
  #remaining: number;
  #started = false;
  #finished = false;
  /** Everything within the bounds was handed out. */
  #exhausted = false;
  #observer: ScanObserver | undefined;

  constructor(context: ScanContext, query: ScanQuery) {
    this.#context = context;
    this.#query = query;
    this.#merge = new Merge(query.reverse);
    this.#remaining = query.limit;
  }

  /** The next entries, at least one; undefined at the end. Blocks the thread when disk is needed. */
  nextSync(): unknown[] | undefined {
    if (!this.#begin()) return this.#end();
    try {
      if (!this.#started) {
        const short = scanShort(this.#context, this.#query);
        if (short !== undefined) {
          this.close();
          return short.length > 0 ? short : undefined;
        }
        this.#start(this.#holdSync());
      }
      const { client, reader, valueCodec, keyCodec } = this.#context.session;
      for (;;) {
        this.#fillSync(client);
        const entries: unknown[] = [];
        const elsewhere = this.#collect(entries, keyCodec, valueCodec);
        for (const { position, key } of elsewhere) {
          client.key.setBytes(key);
          setValue(
            entries,
            position,
            reader.getSync(valueCodec, this.#sequence),
            this.#query.select,
          );
        }
        this.#settle();
        if (entries.length > 0) return entries;
        if (this.#finished) return this.#end();
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The next entries, at least one; undefined at the end. */
  async next(): Promise<unknown[] | undefined> {
    if (!this.#begin()) return this.#end();
    try {
      if (!this.#started) {
        const snapshot = await this.#holdAsync();
        this.#start(snapshot);
        // Left while the snapshot was on its way: it is held by now, and goes back.
        if (this.#finished) this.close();
        if (this.#finished) return undefined;
      }
      const { client, reader, valueCodec, keyCodec } = this.#context.session;
      for (;;) {
        for (let hungry = this.#hungry; hungry.length > 0; hungry = this.#hungry) {
          if (this.#fillAll()) break;
          await Promise.all(hungry.map((stream) => stream.loading?.wait()));
          if (this.#finished) return undefined;
          this.#context.moment.checkOpen();
        }
        const entries: unknown[] = [];
        const elsewhere = this.#collect(entries, keyCodec, valueCodec);
        for (const { position, key } of elsewhere) {
          client.key.setBytes(key);
          const value = await reader.get(valueCodec, this.#sequence);
          if (this.#finished) return undefined;
          this.#context.moment.checkOpen();
          setValue(entries, position, value, this.#query.select);
        }
        this.#settle();
        if (entries.length > 0) return entries;
        if (this.#finished) return this.#end();
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** So many entries of the present batch have reached whoever scans. */
  handedOut(count: number): void {
    this.#observer?.handedOut(count);
  }

  /** Releases the snapshot. The scan is at its end. Idempotent. */
  close(): void {
    this.#finished = true;
    this.#hold?.release();
    this.#hold = undefined;
    for (const stream of this.#streams) stream.close();
    this.#streams = [];
    this.#hungry = [];
  }

  /** False when there is nothing to hand out. */
  #begin(): boolean {
    if (this.#finished) return false;
    this.#context.moment.checkOpen();
    if (!this.#query.empty) return true;
    this.close();
    return false;
  }

  #end(): undefined {
    if (this.#exhausted) this.#observer?.ended();
    return undefined;
  }

  #holdSync(): AcquiredSnapshot | number {
    const { moment, session } = this.#context;
    moment.settleSync?.();
    return moment.sequence ?? session.client.acquireSnapshot();
  }

  async #holdAsync(): Promise<AcquiredSnapshot | number> {
    const { moment, session } = this.#context;
    await moment.settle?.();
    return moment.sequence ?? session.client.acquireSnapshotAsync();
  }

  #start(snapshot: AcquiredSnapshot | number): void {
    const { client, snapshots, buffers } = this.#context.session;
    if (typeof snapshot === 'number') {
      this.#sequence = snapshot;
    } else {
      this.#sequence = snapshot.sequence;
      this.#hold = snapshots.hold(snapshot);
    }
    this.#started = true;
    this.#streams = client.shards.map(
      (shard) => new ScanStream(shard, this.#query, this.#sequence, buffers),
    );
    const { extension } = this.#context;
    if (extension !== undefined) {
      const overlay = extension.overlay(this.#query);
      if (overlay !== undefined) this.#streams.push(overlay);
      this.#observer = extension.observer(this.#query);
    }
    this.#hungry = this.#streams;
  }

  /** Fills what has to be filled, as far as memory allows. True when all of it is. */
  #fillAll(): boolean {
    const filled: CursorStream[] = [];
    const missing: CursorStream[] = [];
    for (const stream of this.#hungry) {
      (stream.fill(this.#remaining) ? filled : missing).push(stream);
    }
    this.#hungry = missing;
    if (filled.length > 0) this.#merge.add(filled);
    return missing.length === 0;
  }

  #fillSync(client: Client): void {
    while (this.#hungry.length > 0 && !this.#fillAll()) {
      // All loads are under way by now: they are waited for one after the other.
      for (const { shard, loading } of this.#hungry) {
        if (loading !== undefined && shard !== undefined) client.waitSync(shard, loading);
      }
    }
  }

  /** After a batch: lets go of everything when it was the last, or prepares for being forgotten. */
  #settle(): void {
    const isAtEnd = this.#merge.size === 0 && this.#hungry.length === 0;
    if (isAtEnd && this.#remaining > 0) this.#exhausted = true;
    if (isAtEnd || this.#remaining === 0) this.close();
    else this.#hold?.releaseWith(this);
  }

  /** Decodes entries in order until one stream runs dry, the batch is full or the limit reached. */
  #collect(entries: unknown[], keyCodec: Codec, valueCodec: Codec): readonly Elsewhere[] {
    const merge = this.#merge;
    const { select } = this.#query;
    const max = Math.min(BATCH_ENTRIES_MAX, this.#remaining);
    let elsewhere: Elsewhere[] | undefined;
    let count = 0;
    const observer = this.#observer;
    observer?.batchBegins();
    while (count < max) {
      const stream = merge.first;
      if (stream === undefined) break;
      const { index } = stream;
      if (stream.isOverlay && stream.isDeleted(index)) {
        if (!this.#advance(stream)) break;
        continue;
      }
      const keyStart = stream.keyStart(index);
      const keyEnd = keyStart + stream.keyLength(index);
      observer?.collected(stream.bytes, keyStart, keyEnd);
      if (select !== 'keys' && stream.isValueElsewhere(index)) {
        elsewhere ??= [];
        elsewhere.push({
          position: count,
          key: Buffer.from(stream.bytes.subarray(keyStart, keyEnd)),
        });
        entries.push(
          select === 'entries'
            ? [decodeFrom(stream, keyCodec, keyStart, keyEnd, stream.isKeyAscii(index)), undefined]
            : undefined,
        );
      } else {
        entries.push(entryOf(stream, index, keyStart, keyEnd, keyCodec, valueCodec, select));
      }
      count++;
      if (!this.#advance(stream)) break;
    }
    this.#remaining -= count;
    return elsewhere ?? NOTHING;
  }

  /**
   * Steps over the first entry, and after an overlay's over the one that it lies over. False when a
   * stream has to be filled before anything is taken.
   */
  #advance(stream: CursorStream): boolean {
    const merge = this.#merge;
    const { index } = stream;
    if (!merge.advance() && !stream.done) this.#hungry = [stream];
    if (stream.isOverlay) {
      const under = merge.first;
      if (under !== undefined && isSameKey(stream, index, under)) {
        if (!merge.advance() && !under.done) this.#hungry = [...this.#hungry, under];
      }
    }
    return this.#hungry.length === 0;
  }
}

/** Whether the next entry of `other` has the key of the entry `index` of `stream`. */
function isSameKey(stream: EntryStream, index: number, other: EntryStream): boolean {
  const start = stream.keyStart(index);
  const otherStart = other.keyStart(other.index);
  const length = stream.keyLength(index);
  return (
    length === other.keyLength(other.index) &&
    stream.bytes.compare(other.bytes, otherStart, otherStart + length, start, start + length) === 0
  );
}

const NOTHING: readonly Elsewhere[] = [];

function entryOf(
  stream: CursorStream,
  index: number,
  keyStart: number,
  keyEnd: number,
  keyCodec: Codec,
  valueCodec: Codec,
  select: ScanSelect,
): unknown {
  // The key comes first: its bytes stand before the value's.
  const key =
    select === 'values'
      ? undefined
      : decodeFrom(stream, keyCodec, keyStart, keyEnd, stream.isKeyAscii(index));
  if (select === 'keys') return key;
  const start = stream.valueStart(index);
  const end = start + stream.valueLength(index);
  const value = decodeFrom(stream, valueCodec, start, end, stream.isValueAscii(index));
  return select === 'values' ? value : [key, value];
}

function decodeFrom(
  stream: CursorStream,
  codec: Codec,
  start: number,
  end: number,
  ascii: boolean,
): unknown {
  if (codec.kind === 'buffer') return stream.privateBytes(start, end);
  if (codec.kind === 'custom') return codec.decode(stream.privateBytes(start, end));
  return decode(codec, stream.bytes, start, end, ascii);
}

function setValue(entries: unknown[], position: number, value: unknown, select: ScanSelect): void {
  if (select === 'entries') (entries[position] as unknown[])[1] = value;
  else entries[position] = value;
}
