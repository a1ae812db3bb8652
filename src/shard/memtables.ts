/**
 * The memtables of a shard: one that takes writes, those that wait for their flush, and the arenas
 * that are free.
 *
 * An arena goes round: free → active → immutable (full, or flushed on request) → retired (its table
 * is part of the published Version, readers may still be inside) → free. Each memtable knows the
 * first WAL segment that holds any of it; a segment below all of these is in tables.
 */
import { assert } from '../assert.js';
import {
  ARENA_END,
  ARENA_HEAD_BYTES,
  ARENA_KEYS,
  ARENA_SEQUENCE_MAX,
  ARENA_TOP,
  ARENA_VERSIONS,
  H_ARENA_BASE,
  H_ARENA_BYTES,
  H_ARENA_COUNT,
  MEMTABLES_MAX,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';

export interface Memtable {
  readonly arena: number;
  /** First WAL segment that holds a commit of this memtable; undefined while it is empty. */
  walSegmentMin: number | undefined;
  /** The highest of its commits; once it is in tables, no log tells any more. */
  lastTimestampUs: number;
  lastEpoch: number;
  /** Its last commit may go on in the next memtable: only the log has it whole. */
  isCut: boolean;
  /** Blob files that its entries refer to. */
  readonly blobs: Set<number>;
}

export class Memtables {
  readonly #kernel: Kernel;
  readonly arenaBytes: number;
  readonly #free: number[] = [];
  readonly #count: number;
  #active: Memtable;
  /** Newest first. */
  #immutables: Memtable[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const base = kernel.u32[H_ARENA_BASE >>> 2] as number;
    this.arenaBytes = kernel.u32[H_ARENA_BYTES >>> 2] as number;
    const count = Math.min(kernel.u32[H_ARENA_COUNT >>> 2] as number, MEMTABLES_MAX);
    this.#count = count;
    for (let i = count - 1; i >= 0; i--) this.#free.push(base + i * this.arenaBytes);
    this.#active = this.#take();
  }

  get active(): Memtable {
    return this.#active;
  }

  /** Newest first. */
  get immutables(): readonly Memtable[] {
    return this.#immutables;
  }

  get oldestImmutable(): Memtable | undefined {
    return this.#immutables.at(-1);
  }

  /** Share of all arenas together that is taken: the active one as far as it is filled. */
  get fill(): number {
    const taken = this.#count - this.#free.length - 1;
    return (taken + this.bytesUsed(this.#active) / this.arenaBytes) / this.#count;
  }

  get arenaCount(): number {
    return this.#count;
  }

  get freeCount(): number {
    return this.#free.length;
  }

  get canSwitch(): boolean {
    return this.#free.length > 0;
  }

  /** Arenas as readers look through them: newest first. */
  get arenas(): number[] {
    return [this.#active.arena, ...this.#immutables.map((memtable) => memtable.arena)];
  }

  /**
   * Queues the active memtable for its flush; an empty one takes its place. `isCut`: in the middle
   * of a commit.
   */
  switchActive(isCut: boolean): void {
    assert(this.canSwitch, 'a memtable is switched only when an arena is free');
    this.#active.isCut = isCut;
    this.#immutables.unshift(this.#active);
    this.#active = this.#take();
  }

  /** The oldest memtable is in tables: takes it out. Its arena stays taken until `release`. */
  dropOldest(memtable: Memtable): void {
    assert(this.oldestImmutable === memtable, 'memtables are flushed in their order');
    this.#immutables = this.#immutables.slice(0, -1);
  }

  /** No reader is inside the memtable any more. */
  release(memtable: Memtable): void {
    this.#free.push(memtable.arena);
  }

  isEmpty(memtable: Memtable): boolean {
    return this.versions(memtable) === 0;
  }

  keys(memtable: Memtable): number {
    return this.#word(memtable, ARENA_KEYS);
  }

  /** Versions of keys. */
  versions(memtable: Memtable): number {
    return this.#word(memtable, ARENA_VERSIONS);
  }

  bytesUsed(memtable: Memtable): number {
    return this.#word(memtable, ARENA_TOP) - memtable.arena - ARENA_HEAD_BYTES;
  }

  bytesFree(memtable: Memtable): number {
    return this.#word(memtable, ARENA_END) - this.#word(memtable, ARENA_TOP);
  }

  /** Of all arenas, empty. */
  get bytesMax(): number {
    return this.#count * (this.arenaBytes - ARENA_HEAD_BYTES);
  }

  /** Of the active memtable and the free arenas. */
  get bytesFreeTotal(): number {
    const arenaBytes = this.arenaBytes - ARENA_HEAD_BYTES;
    return this.bytesFree(this.#active) + this.#free.length * arenaBytes;
  }

  sequenceMax(memtable: Memtable): number {
    return Number(this.#kernel.u64[(memtable.arena + ARENA_SEQUENCE_MAX) >>> 3]);
  }

  /** First WAL segment that holds anything not in tables, given the segment now written to. */
  walSegmentMin(current: number): number {
    let min = current;
    for (const { walSegmentMin } of [this.#active, ...this.#immutables]) {
      if (walSegmentMin !== undefined && walSegmentMin < min) min = walSegmentMin;
    }
    return min;
  }

  /** Blob files that memtables refer to. */
  refersToBlob(blob: number): boolean {
    return (
      this.#active.blobs.has(blob) || this.#immutables.some((memtable) => memtable.blobs.has(blob))
    );
  }

  #take(): Memtable {
    const arena = this.#free.pop();
    assert(arena !== undefined, 'there is a free arena');
    this.#kernel.exports.memtableInit(arena, this.arenaBytes);
    return {
      arena,
      walSegmentMin: undefined,
      lastTimestampUs: 0,
      lastEpoch: 0,
      isCut: false,
      blobs: new Set(),
    };
  }

  #word(memtable: Memtable, field: number): number {
    return this.#kernel.u32[(memtable.arena + field) >>> 2] as number;
  }
}
