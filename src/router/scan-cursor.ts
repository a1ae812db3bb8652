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
import type { ScanQuery, ScanSelect } from './scan-query.js';
import { ScanStream } from './scan-stream.js';
import type { Session } from './session.js';
import type { SnapshotHold } from './snapshot-registry.js';

/** Entries of one batch handed out. */
const BATCH_ENTRIES_MAX = 1024;

/** When reads take place, and whether they still may. */
export interface ReadMoment {
  /** A sequence number; undefined: now. */
  readonly sequence: number | undefined;
  /** Throws when the database, or the snapshot that is read, is closed. */
  checkOpen(): void;
}

/** What a scan runs on. */
export interface ScanContext {
  readonly session: Session;
  readonly moment: ReadMoment;
}

/** An entry whose value has to be got on its own: its place in the batch, and its key. */
interface Elsewhere {
  readonly position: number;
  readonly key: Buffer;
}

export class ScanCursor {
  readonly #context: ScanContext;
  readonly #query: ScanQuery;
  readonly #merge: Merge<ScanStream>;
  #streams: ScanStream[] = [];
  /** Streams that have to be filled before anything is taken. */
  #hungry: ScanStream[] = [];
  #hold: SnapshotHold | undefined;
  #sequence = 0;
  #remaining: number;
  #started = false;
  #finished = false;

  constructor(context: ScanContext, query: ScanQuery) {
    this.#context = context;
    this.#query = query;
    this.#merge = new Merge(query.reverse);
    this.#remaining = query.limit;
  }

  /** The next entries, at least one; undefined at the end. Blocks the thread when disk is needed. */
  nextSync(): unknown[] | undefined {
    if (!this.#begin()) return undefined;
    try {
      if (!this.#started) this.#start(this.#holdSync());
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
        if (this.#finished) return undefined;
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The next entries, at least one; undefined at the end. */
  async next(): Promise<unknown[] | undefined> {
    if (!this.#begin()) return undefined;
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
          setValue(entries, position, value, this.#query.select);
        }
        this.#settle();
        if (entries.length > 0) return entries;
        if (this.#finished) return undefined;
      }
    } catch (error) {
      this.close();
      throw error;
    }
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

  #holdSync(): AcquiredSnapshot | number {
    const { moment, session } = this.#context;
    return moment.sequence ?? session.client.acquireSnapshot();
  }

  async #holdAsync(): Promise<AcquiredSnapshot | number> {
    const { moment, session } = this.#context;
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
    this.#hungry = this.#streams;
  }

  /** Fills what has to be filled, as far as memory allows. True when all of it is. */
  #fillAll(): boolean {
    const filled: ScanStream[] = [];
    const missing: ScanStream[] = [];
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
        if (loading !== undefined) client.waitSync(shard, loading);
      }
    }
  }

  /** After a batch: lets go of everything when it was the last, or prepares for being forgotten. */
  #settle(): void {
    const isAtEnd = this.#merge.size === 0 && this.#hungry.length === 0;
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
    while (count < max) {
      const stream = merge.first;
      if (stream === undefined) break;
      const { index } = stream;
      const keyStart = stream.keyStart(index);
      const keyEnd = keyStart + stream.keyLength(index);
      if (select !== 'keys' && stream.isValueElsewhere(index)) {
        elsewhere ??= [];
        elsewhere.push({
          position: count,
          key: Buffer.from(stream.bytes.subarray(keyStart, keyEnd)),
        });
        entries.push(
          select === 'entries'
            ? [
                decode(keyCodec, stream.bytes, keyStart, keyEnd, stream.isKeyAscii(index)),
                undefined,
              ]
            : undefined,
        );
      } else {
        entries.push(entryOf(stream, index, keyStart, keyEnd, keyCodec, valueCodec, select));
      }
      count++;
      if (!merge.advance()) {
        if (!stream.done) {
          this.#hungry = [stream];
          break;
        }
      }
    }
    this.#remaining -= count;
    return elsewhere ?? NOTHING;
  }
}

const NOTHING: readonly Elsewhere[] = [];

function entryOf(
  stream: ScanStream,
  index: number,
  keyStart: number,
  keyEnd: number,
  keyCodec: Codec,
  valueCodec: Codec,
  select: ScanSelect,
): unknown {
  const { bytes } = stream;
  if (select === 'keys') return decode(keyCodec, bytes, keyStart, keyEnd, stream.isKeyAscii(index));
  const valueStart = stream.valueStart(index);
  const value = decode(
    valueCodec,
    bytes,
    valueStart,
    valueStart + stream.valueLength(index),
    stream.isValueAscii(index),
  );
  if (select === 'values') return value;
  return [decode(keyCodec, bytes, keyStart, keyEnd, stream.isKeyAscii(index)), value];
}

function setValue(entries: unknown[], position: number, value: unknown, select: ScanSelect): void {
  if (select === 'entries') (entries[position] as unknown[])[1] = value;
  else entries[position] = value;
}
