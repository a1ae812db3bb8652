/**
 * The write-ahead log of a shard: the segment that is written to and the older ones that still hold
 * something not in tables.
 *
 * A segment is never appended to after a newer one exists. Older segments may not be durable yet
 * (writing on does not wait for the medium); `sync` makes them durable first, oldest to newest, so
 * that what is durable is always a prefix of what was written.
 */
import { shardFileName } from '../file-system/file-names.js';
import type { SegmentHeader } from './segment-format.js';
import { type SegmentPlace, SegmentWriter } from './segment-writer.js';

export interface WalIdentity {
  readonly shard: number;
  readonly databaseId: string;
  readonly bootId: number;
}

export interface OlderSegment {
  readonly segment: number;
  readonly bytes: number;
  /** Present while parts of it may not be durable. */
  readonly writer?: SegmentWriter;
}

export interface WalOptions extends SegmentPlace {
  readonly identity: WalIdentity;
  /** Deletes a segment: at once, unless somebody still reads it. */
  readonly unlink: (path: string) => void;
}

export class Wal {
  readonly #options: WalOptions;
  #active: SegmentWriter;
  /** Oldest first. */
  #older: OlderSegment[];
  #syncs = 0;

  private constructor(options: WalOptions, active: SegmentWriter, older: OlderSegment[]) {
    this.#options = options;
    this.#active = active;
    this.#older = older;
  }

  /** Starts a new segment behind those that recovery found, which are whole and durable. */
  static create(options: WalOptions, segment: number, older: readonly OlderSegment[]): Wal {
    const last = older.at(-1);
    const header: SegmentHeader = {
      ...options.identity,
      segment,
      previousSegment: last?.segment ?? 0,
      previousBytes: last?.bytes ?? 0,
      isPreviousDurable: true,
    };
    const active = SegmentWriter.create(options, header);
    return new Wal(options, active, [...older]);
  }

  /** Number of the segment that is written to. */
  get segment(): number {
    return this.#active.segment;
  }

  /** Where the next group goes in it. */
  get bytes(): number {
    return this.#active.bytes;
  }

  get durableBytes(): number {
    return this.#active.durableBytes;
  }

  get path(): string {
    return this.#active.path;
  }

  get isDirty(): boolean {
    return this.#active.isDirty || this.#older.some(({ writer }) => writer !== undefined);
  }

  get isPoisoned(): boolean {
    return this.#active.isPoisoned || this.#older.some(({ writer }) => writer?.isPoisoned === true);
  }

  get segmentCount(): number {
    return this.#older.length + 1;
  }

  get bytesTotal(): number {
    return this.#older.reduce((sum, { bytes }) => sum + bytes, this.#active.bytes);
  }

  /** Calls of fdatasync that made groups durable. */
  get syncs(): number {
    return this.#syncs;
  }

  /** Every segment, oldest first. */
  get segments(): { segment: number; bytes: number }[] {
    return [
      ...this.#older.map(({ segment, bytes }) => ({ segment, bytes })),
      { segment: this.#active.segment, bytes: this.#active.bytes },
    ];
  }

  /** See `SegmentWriter.append`. */
  append(group: Uint8Array): void {
    this.#active.append(group);
  }

  /** See `SegmentWriter.adopt`. */
  adopt(bytes: number): void {
    this.#active.adopt(bytes);
  }

  /** See `SegmentWriter.poisonWith`. */
  poisonWith(error: unknown): void {
    this.#active.poisonWith(error);
  }

  /** See `SegmentWriter.cutBack`. */
  cutBack(bytes: number): void {
    this.#active.cutBack(bytes);
  }

  /** Makes everything appended so far durable. A failure poisons the log. */
  sync(): void {
    for (let i = 0; i < this.#older.length; i++) {
      const { segment, bytes, writer } = this.#older[i] as OlderSegment;
      if (writer === undefined) continue;
      writer.sync();
      this.#syncs++;
      writer.close();
      this.#older[i] = { segment, bytes };
    }
    if (!this.#active.isDirty) return;
    this.#active.sync();
    this.#syncs++;
  }

  /**
   * As `sync`, without holding up the thread: what was appended before the call is durable when it
   * resolves. Appending goes on meanwhile.
   */
  async syncLater(): Promise<void> {
    const unsynced = this.#older.flatMap(({ writer }) => (writer === undefined ? [] : [writer]));
    const active = this.#active;
    for (const writer of unsynced) {
      await writer.syncLater();
      this.#syncs++;
      const at = this.#older.findIndex((older) => older.writer === writer);
      if (at < 0) continue;
      writer.close();
      this.#older[at] = { segment: writer.segment, bytes: writer.bytes };
    }
    if (!active.isDirty) return;
    await active.syncLater();
    this.#syncs++;
  }

  /** Goes on in a new segment. `NoSpaceError`: goes on in the old one. */
  roll(segment: number): void {
    const old = this.#active;
    const header: SegmentHeader = {
      ...this.#options.identity,
      segment,
      previousSegment: old.segment,
      previousBytes: old.bytes,
      isPreviousDurable: !this.isDirty,
    };
    old.trim();
    this.#active = SegmentWriter.create(this.#options, header);
    const ended = { segment: old.segment, bytes: old.bytes };
    this.#older.push(old.isDirty ? { ...ended, writer: old } : ended);
    if (!old.isDirty) old.close();
  }

  /** Deletes the segments below `segmentMin`: all they hold is in durable tables. */
  deleteBelow(segmentMin: number): void {
    while (this.#older.length > 0) {
      const { segment, writer } = this.#older[0] as OlderSegment;
      if (segment >= segmentMin) return;
      this.#older.shift();
      writer?.close();
      const { unlink, directory } = this.#options;
      unlink(`${directory}/${shardFileName('wal', segment)}`);
    }
  }

  close(): void {
    for (const { writer } of this.#older) writer?.close();
    this.#active.close();
  }
}
