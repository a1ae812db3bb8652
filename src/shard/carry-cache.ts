/**
 * A merge moves keys to new blocks, and would leave the cache cold. Before its tables are published,
 * the blocks into which the keys of hot cached blocks go are read from the files just written.
 *
 * Runs beside the shard's loop, a slice at a time. What finds no place is left out.
 */
import { CorruptionError } from '../errors.js';
import {
  CACHE_GHOST,
  SCRATCH_DESCRIPTORS,
  T_BLOCKS,
  T_CACHE_REFS,
} from '../kernel/assembly/layout.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { ShardState } from './shard-state.js';
import { CacheBusyError, type TableReads } from './table-reads.js';

/** Blocks of an old table that are looked at in one call. */
const LOOK_BLOCKS = 64;
/** Blocks that are read at once, at most. */
const READ_BLOCKS = 16;
/** Time between two turns of the event loop. */
const SLICE_MS = 0.5;
/** Of one merge's tables: a word each in the scratch. */
const TABLES_MAX = 4096;

export interface CarryCacheOptions {
  readonly state: ShardState;
  readonly reads: TableReads;
  /** Tables that are replaced; loaded. */
  readonly from: readonly TableInfo[];
  /** Tables that replace them, in key order; loaded and not published. */
  readonly to: readonly TableInfo[];
  readonly isCancelled: () => boolean;
}

export async function carryCache(options: CarryCacheOptions): Promise<void> {
  const { to, isCancelled } = options;
  if (to.length === 0 || to.length > TABLES_MAX) return;
  const { nowMs } = options.state.options.clock;
  let pausedMs = nowMs();
  for (const _ of carry(options)) {
    if (nowMs() - pausedMs < SLICE_MS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    if (isCancelled()) return;
    pausedMs = nowMs();
  }
}

/** Yields where it may be interrupted. */
function* carry({ state, reads, from, to }: CarryCacheOptions): Generator<void> {
  const { kernel, tables } = state;
  const { exports } = kernel;
  const metas = to.map(({ id }) => tables.metaOf(id));
  const list = (exports.scratchBase() >>> 0) + SCRATCH_DESCRIPTORS;
  for (const { id } of from) {
    const meta = tables.metaOf(id);
    for (let next = 0; meta !== 0 && next >= 0; ) {
      // Others use the scratch meanwhile.
      kernel.u32.set(metas, list >>> 2);
      next = exports.cacheCarry(meta, next, LOOK_BLOCKS, list, metas.length);
      yield;
    }
  }
  try {
    for (const [i, meta] of metas.entries()) {
      const table = (to[i] as TableInfo).id;
      for (const [block, count] of markedBlocks(kernel.u32, meta)) {
        reads.loadBlocks(table, block, count, false);
        yield;
      }
    }
  } catch (error) {
    // The cache has no room now, or the file is not what was written: whoever reads it is told.
    if (!(error instanceof CacheBusyError) && !(error instanceof CorruptionError)) throw error;
  }
}

/** Stretches of blocks that are marked to be read. */
function* markedBlocks(u32: Uint32Array, meta: number): Generator<[block: number, count: number]> {
  const blocks = u32[(meta + T_BLOCKS) >>> 2] as number;
  const refs = (u32[(meta + T_CACHE_REFS) >>> 2] as number) >>> 2;
  for (let block = 0; block < blocks; ) {
    let count = 0;
    while (
      count < READ_BLOCKS &&
      block + count < blocks &&
      u32[refs + block + count] === CACHE_GHOST
    )
      count++;
    if (count > 0) yield [block, count];
    block += Math.max(count, 1);
  }
}
