/**
 * What takes the place, in a shard's memory, of a table's index or filter that cannot be used.
 *
 * A stand-in keeps the table's key range, as the manifest knows it, and has one block that is never
 * in the cache. So a read that has to look into the table asks the shard worker for that block and
 * is told what is wrong; reads that need not, go on as ever; and nothing in the kernel knows of it.
 *
 * A filter that lets everything through costs a read a look into a block now and then, no more.
 */
import { assert } from '../assert.js';
import type { FileSystem } from '../file-system/file-system.js';
import * as layout from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableInfo, TableRef } from './table-info.js';
import { describeMeta, type LoadedTable, loadTable, type TableMemory } from './table-reader.js';

const FILTER_HEAD_BYTES = 64;
const FILTER_LINE_BYTES = 64;
const CHECKSUM_BYTES = 8;
/** One line that has every bit. */
const OPEN_FILTER_BYTES = FILTER_HEAD_BYTES + FILTER_LINE_BYTES + CHECKSUM_BYTES;
/** Head, one head of a fence, two offsets of blocks and two of fences, checksum. */
const INDEX_BYTES = 64 + 8 + 8 + 8 + CHECKSUM_BYTES;
const INDEX_BLOCK_END = 64 + 8 + 4;
/** The shortest that a block may be said to be, and shorter than any is: no bytes pass for it. */
const BLOCK_BYTES = layout.BLOCK_TRAILER_BYTES + 1;
const CACHE_REF_BYTES = 4;
const ALIGNMENT = 64;

/**
 * A table whose filter is bad, served without one; `CorruptionError` when more than that is bad.
 */
export function loadWithoutFilter(
  fs: FileSystem,
  kernel: Kernel,
  ref: TableRef,
  memory: TableMemory,
): LoadedTable {
  const filter = memory.allocate(aligned(OPEN_FILTER_BYTES));
  try {
    const { info, meta, allocations } = loadTable(fs, kernel, ref, memory, false);
    writeOpenFilter(kernel, filter);
    kernel.u32[(meta + layout.T_FILTER) >>> 2] = filter + FILTER_HEAD_BYTES;
    kernel.u32[(meta + layout.T_FILTER_LINES) >>> 2] = 1;
    return { info, meta, allocations: [...allocations, filter] };
  } catch (error) {
    memory.free(filter);
    throw error;
  }
}

/** A table of which nothing but its description can be used. */
export function loadStandIn(kernel: Kernel, info: TableInfo, memory: TableMemory): LoadedTable {
  const keyBytes = info.smallest.length + info.largest.length;
  const metaBytes = aligned(layout.TABLE_META_BYTES + keyBytes);
  const filter = memory.allocate(
    aligned(OPEN_FILTER_BYTES) + aligned(INDEX_BYTES) + metaBytes + CACHE_REF_BYTES,
  );
  const index = filter + aligned(OPEN_FILTER_BYTES);
  const meta = index + aligned(INDEX_BYTES);
  const cacheRef = meta + metaBytes;
  kernel.bytes.fill(0, filter, cacheRef + CACHE_REF_BYTES);
  writeOpenFilter(kernel, filter);
  kernel.bytes.writeUInt32LE(1, index);
  kernel.bytes.writeUInt32LE(BLOCK_BYTES, index + INDEX_BLOCK_END);
  const { exports } = kernel;
  const status = exports.tableMetaInit(
    meta,
    index,
    INDEX_BYTES,
    filter,
    OPEN_FILTER_BYTES,
    cacheRef,
  );
  assert(status === 0, 'a stand-in is a table like any other');
  describeMeta(kernel, meta, info);
  return { info, meta, allocations: [filter] };
}

function writeOpenFilter(kernel: Kernel, address: number): void {
  kernel.bytes.fill(0, address, address + FILTER_HEAD_BYTES);
  kernel.bytes.writeUInt32LE(1, address);
  const line = address + FILTER_HEAD_BYTES;
  kernel.bytes.fill(0xff, line, line + FILTER_LINE_BYTES);
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
