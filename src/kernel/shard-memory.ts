/**
 * Sizes the regions of a shard's shared memory and writes its header.
 *
 * The memory is mapped at its full size from the start (a shared memory that grows leaves old views
 * short); pages that nobody touches cost nothing.
 */

import { InvalidArgumentError } from '../errors.js';
import * as layout from './assembly/layout.js';

const PAGE_BYTES = 65536;
const MEMORY_BYTES_MAX = 65536 * PAGE_BYTES;

/** Values longer than this go to their own blob file instead of memtable and tables. */
const VALUE_INLINE_BYTES_MAX = 512 * 1024;

export interface ShardMemoryOptions {
  readonly shard: number;
  /** Bytes of block cache of this shard. */
  readonly cacheBytes: number;
  /** Bytes of one memtable arena. */
  readonly arenaBytes: number;
  readonly arenaCount: number;
  /** Bytes of one ring of one client; a power of two. */
  readonly requestRingBytes: number;
  readonly responseRingBytes: number;
  /** Most bytes that indexes and filters of all tables may take. */
  readonly metaBytes?: number;
}

/** Longest value kept in the memtable, for arenas of this size. */
export function valueInlineBytesMax(arenaBytes: number): number {
  return Math.min(VALUE_INLINE_BYTES_MAX, Math.floor(arenaBytes / 16));
}

/** Bytes a shard's memory needs, regions for tables' indexes and filters (`metaBytes`) left out. */
function fixedBytes(options: ShardMemoryOptions): number {
  return (
    0x8000 +
    layout.READER_COUNT *
      (layout.SCRATCH_BYTES + options.requestRingBytes + options.responseRingBytes) +
    options.arenaCount * options.arenaBytes +
    options.cacheBytes +
    walBytes() +
    stagingBytes() +
    jobBytes(options.arenaBytes) +
    16 * PAGE_BYTES
  );
}

const ARENA_ALIGN = 4096;

/** No group of a log is larger. */
export const WAL_GROUP_BYTES_MAX = 4 * 1024 * 1024;
const walBytes = (): number => WAL_GROUP_BYTES_MAX;
const stagingBytes = (): number => 4 * 1024 * 1024;
/** The flush job's builder: output buffer, index and key hashes of one table. */
const jobBytes = (arenaBytes: number): number => 24 * 1024 * 1024 + 2 * arenaBytes;

/** Most bytes a shard's cache may have beside everything else in its 4 GiB. */
export function cacheBytesMax(options: Omit<ShardMemoryOptions, 'cacheBytes'>): number {
  const metaBytesMin = 512 * 1024 * 1024;
  return MEMORY_BYTES_MAX - fixedBytes({ ...options, cacheBytes: 0 }) - metaBytesMin;
}

/**
 * Arenas for a shard that may not flush, whose log must fit them: as many as there can be, each as
 * large as the log. Operations are larger in a memtable than in the log, the smallest about eight
 * times. What is not touched costs nothing.
 */
export function readOnlyArenas(
  options: ShardMemoryOptions,
  logBytes: number,
): Pick<ShardMemoryOptions, 'arenaBytes' | 'arenaCount'> {
  const arenaCount = layout.MEMTABLES_MAX;
  const { cacheBytes } = options;
  // The job's region takes two more.
  const room = cacheBytesMax({ ...options, arenaBytes: 0, arenaCount }) - cacheBytes;
  const arenaBytesMax = Math.floor(room / (arenaCount + 2) / ARENA_ALIGN) * ARENA_ALIGN;
  const wanted = Math.ceil(logBytes / ARENA_ALIGN) * ARENA_ALIGN;
  const arenaBytes = Math.max(options.arenaBytes, Math.min(wanted, arenaBytesMax));
  return arenaBytes > arenaBytesMax ? options : { arenaBytes, arenaCount };
}

/** Creates a shard's memory with its header written. Regions start zeroed. */
export function createShardMemory(options: ShardMemoryOptions): WebAssembly.Memory {
  for (const bytes of [options.requestRingBytes, options.responseRingBytes]) {
    if (bytes < 256 || (bytes & (bytes - 1)) !== 0) {
      throw new InvalidArgumentError(
        `Cannot make a ring of ${bytes} bytes: use a power of two, 256 or more`,
      );
    }
  }
  const metaBytes = options.metaBytes ?? 1024 * 1024 * 1024;
  const total = Math.min(fixedBytes(options) + metaBytes, MEMORY_BYTES_MAX);
  const pages = Math.ceil(total / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const header = new Uint32Array(memory.buffer, 0, 0x8000 / 4);
  const set = (address: number, value: number): void => {
    header[address >>> 2] = value;
  };

  let next = 0x8000;
  const region = (bytes: number, align = PAGE_BYTES): number => {
    const base = Math.ceil(next / align) * align;
    next = base + bytes;
    return base;
  };

  set(layout.H_MAGIC, layout.LAYOUT_MAGIC);
  set(layout.H_LAYOUT_VERSION, layout.LAYOUT_VERSION);
  set(layout.H_SHARD, options.shard);
  set(layout.H_SCRATCH_BASE, region(layout.READER_COUNT * layout.SCRATCH_BYTES));
  set(
    layout.H_RING_BASE,
    region(layout.READER_COUNT * (options.requestRingBytes + options.responseRingBytes)),
  );
  set(layout.H_REQUEST_RING_BYTES, options.requestRingBytes);
  set(layout.H_RESPONSE_RING_BYTES, options.responseRingBytes);
  set(layout.H_ARENA_BASE, region(options.arenaBytes * options.arenaCount));
  set(layout.H_ARENA_BYTES, options.arenaBytes);
  set(layout.H_ARENA_COUNT, options.arenaCount);
  set(layout.H_WAL_BASE, region(walBytes()));
  set(layout.H_WAL_BYTES, walBytes());
  set(layout.H_STAGING_BASE, region(stagingBytes()));
  set(layout.H_STAGING_BYTES, stagingBytes());
  const hintBytes = hintTableBytes(options.cacheBytes);
  const cacheBytes = blockBytes(options.cacheBytes, hintBytes);
  set(layout.H_CACHE_BASE, region(cacheBytes));
  set(layout.H_CACHE_BYTES, cacheBytes);
  set(layout.H_CACHE_SMALL_BYTES, smallQueueBytes(cacheBytes));
  set(layout.H_HINT_BASE, hintBytes === 0 ? 0 : region(hintBytes));
  // Half of it as long as the cache is not half full.
  set(layout.H_HINT_MASK, Math.max(hintBytes / 128 - 1, 0));
  set(layout.H_HINT_MASK_MAX, Math.max(hintBytes / 64 - 1, 0));
  set(layout.H_LIVE_BASE, region(liveMapBytes(cacheBytes)));
  set(layout.H_JOB_BASE, region(jobBytes(options.arenaBytes)));
  set(layout.H_JOB_BYTES, jobBytes(options.arenaBytes));
  const metaBase = region(0);
  set(layout.H_META_BASE, metaBase);
  // The last page stays out: an address just past the end must still fit 32 bits.
  set(layout.H_META_BYTES, pages * PAGE_BYTES - metaBase - PAGE_BYTES);
  const epochWord = new BigUint64Array(memory.buffer, layout.H_EPOCH, 1);
  epochWord[0] = 1n;
  new BigUint64Array(memory.buffer, layout.H_UNSETTLED, 1)[0] = 0xffff_ffff_ffff_ffffn;
  return memory;
}

/**
 * The part of the cache that remembers where keys are in it: a 32nd, or somewhat less, so that there
 * are at least one and a half hints for each small record that the rest can hold. A power of two.
 */
function hintTableBytes(cacheBytes: number): number {
  const share = Math.floor(cacheBytes / 32);
  return share < 4096 ? 0 : 2 ** Math.floor(Math.log2(share));
}

/** A bit for each unit of the cache. */
function liveMapBytes(cacheBytes: number): number {
  return Math.ceil(cacheBytes / layout.CACHE_UNIT_BYTES / 32) * 4;
}

/** What hints and live map leave of the cache's bytes: whole units. */
function blockBytes(cacheBytes: number, hintBytes: number): number {
  const rest = cacheBytes - hintBytes - liveMapBytes(cacheBytes);
  return Math.floor(rest / layout.CACHE_UNIT_BYTES) * layout.CACHE_UNIT_BYTES;
}

/** S3-FIFO's probation queue: a tenth of the cache, at least room for some blocks. */
function smallQueueBytes(cacheBytes: number): number {
  const tenth = Math.floor(cacheBytes / 10);
  return Math.min(Math.max(tenth, 1024 * 1024), Math.floor(cacheBytes / 2)) & ~15;
}

/**
 * Private memory of a pool thread, for merges and sorts. Shared only in name: the kernel's import
 * asks for a shared memory.
 */
export function createJobMemory(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}
