/**
 * Whether tables have something in a range of keys that is newer than a snapshot: what a serializable
 * commit asks about the ranges that it has read.
 *
 * Bounds and sequence numbers rule out most tables. In the others the blocks of the range are looked
 * through: so many for all ranges of a commit, and from the disk a few. Where that is not enough, the
 * answer is that there may be something: a conflict too many, never one too few.
 */

import { LightningError } from '../errors.js';
import {
  ENTRY_SEQUENCE,
  ENTRY_SUFFIX,
  ENTRY_SUFFIX_BYTES,
  RANGE_HAS_START,
  SCRATCH_ENTRY,
  T_BLOCKS,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { Version } from '../version/version.js';
import { type HeldRange, isBelowEnd, isInRange, overlaps } from './held-range.js';
import type { OpenTables } from './open-tables.js';
import { CacheBusyError, type TableReads } from './table-reads.js';

const BLOCKS_MAX = 64;
const LOADS_MAX = 16;

/** A key of the range; or that there may be one. */
export type NewerInTables = Buffer | 'maybe' | undefined;

export interface RangeInTablesOptions {
  readonly kernel: Kernel;
  readonly tables: OpenTables;
  readonly reads: TableReads;
  readonly version: () => Version;
}

/** Looks for one commit: all its ranges share what may be looked at. */
export class RangeInTables {
  readonly #options: RangeInTablesOptions;
  readonly #snapshot: number;
  #blocksLeft = BLOCKS_MAX;
  #loadsLeft = LOADS_MAX;

  constructor(options: RangeInTablesOptions, snapshot: number) {
    this.#options = options;
    this.#snapshot = snapshot;
  }

  /** The range's bounds stand in the shard's memory. */
  newer(range: HeldRange): NewerInTables {
    let isUncertain = false;
    for (const table of this.#options.version().tables()) {
      if (table.sequenceMax <= this.#snapshot) continue;
      if (!overlaps(range, table.smallest, table.largest)) continue;
      const found = this.#newerIn(table, range);
      if (found === 'maybe') isUncertain = true;
      else if (found !== undefined) return found;
    }
    return isUncertain ? 'maybe' : undefined;
  }

  #newerIn(table: TableInfo, range: HeldRange): NewerInTables {
    const { kernel, tables, reads } = this.#options;
    const { exports, u32 } = kernel;
    if (!this.#isLoaded(table.id)) return 'maybe';
    const meta = tables.metaOf(table.id);
    if (meta === 0) return 'maybe';
    const hasStart = (range.flags & RANGE_HAS_START) !== 0;
    const blocks = u32[(meta + T_BLOCKS) >>> 2] as number;
    let block = hasStart
      ? exports.tableFindBlock(meta, range.startAt, range.start.length) >>> 0
      : 0;
    for (; block < blocks; block++) {
      if (this.#blocksLeft-- <= 0) return 'maybe';
      let raw = reads.cachedBlock(table.id, block);
      if (raw === 0) {
        if (this.#loadsLeft-- <= 0) return 'maybe';
        raw = this.#load(table.id, block);
        if (raw === 0) return 'maybe';
      }
      const key = this.#newerInBlock(raw, range);
      if (key !== undefined) return key;
      const last = exports.blockCount(raw) - 1;
      if (!isBelowEnd(this.#keyAt(raw, last), range)) return undefined;
    }
    return undefined;
  }

  /** False: there is no memory for it, which whoever reads it is told. */
  #isLoaded(table: number): boolean {
    try {
      this.#options.tables.loadPending(table);
      return true;
    } catch (error) {
      if (error instanceof LightningError) return false;
      throw error;
    }
  }

  /** Address of the block; 0: the cache has no room, or it is damaged, which whoever reads it is told. */
  #load(table: number, block: number): number {
    const { reads } = this.#options;
    try {
      reads.loadBlocks(table, block, 1, true);
    } catch (error) {
      if (error instanceof CacheBusyError || error instanceof LightningError) return 0;
      throw error;
    }
    return reads.cachedBlock(table, block);
  }

  #newerInBlock(raw: number, range: HeldRange): Buffer | undefined {
    const { exports, u64 } = this.#options.kernel;
    const at = (exports.scratchBase() >>> 0) + SCRATCH_ENTRY;
    const count = exports.blockCount(raw);
    for (let i = 0; i < count; i++) {
      exports.blockEntry(raw, i, at);
      if (Number(u64[(at + ENTRY_SEQUENCE) >>> 3]) <= this.#snapshot) continue;
      const key = this.#keyAt(raw, i);
      if (isInRange(key, range)) return key;
    }
    return undefined;
  }

  #keyAt(raw: number, index: number): Buffer {
    const { exports, bytes, u32 } = this.#options.kernel;
    const at = (exports.scratchBase() >>> 0) + SCRATCH_ENTRY;
    exports.blockEntry(raw, index, at);
    const suffixAt = u32[(at + ENTRY_SUFFIX) >>> 2] as number;
    const suffixBytes = u32[(at + ENTRY_SUFFIX_BYTES) >>> 2] as number;
    const prefixAt = exports.blockPrefixPtr(raw) >>> 0;
    const prefixBytes = exports.blockPrefixLen(raw) >>> 0;
    return Buffer.concat([
      bytes.subarray(prefixAt, prefixAt + prefixBytes),
      bytes.subarray(suffixAt, suffixAt + suffixBytes),
    ]);
  }
}
