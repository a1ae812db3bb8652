/**
 * Ends the reading of a memory whose worker died, before another worker serves the shard.
 *
 * Threads go on reading the old memory until they have heard of the new one: what they find is right
 * for as long as nobody can write, and wrong as soon as somebody can. So the old memory gets a last
 * Version: one table over all keys, of which no block can be had. Whoever reads has to ask the shard
 * for the block then, through a connection that is not good any more, and is told so. That costs
 * readers of live memory nothing. A read that is under way goes on in the Version it began with.
 */
import { H_STAGING_BASE, H_STAGING_BYTES, KEY_BYTES_MAX } from '../kernel/assembly/layout.js';
import { Kernel } from '../kernel/kernel.js';
import { loadStandIn } from '../sstable/stand-in.js';
import type { TableInfo } from '../sstable/table-info.js';
import { BOTTOM_ORDER, Version } from '../version/version.js';
import { MetaAllocator } from './meta-allocator.js';
import { PublishedVersion } from './published-version.js';
import { Retirement } from './retirement.js';

/** No table has this number. */
const TABLE = 0xffff_ffff;

const ALL_KEYS: TableInfo = {
  id: TABLE,
  bytes: 0,
  entries: 1,
  keys: 1,
  tombstones: 0,
  smallest: new Uint8Array(0),
  largest: new Uint8Array(KEY_BYTES_MAX).fill(0xff),
  sequenceMin: 0,
  sequenceMax: 0,
  rawBytes: 0,
  blobs: [],
  createdAtMs: 0,
};

export function voidMemory(module: WebAssembly.Module, memory: WebAssembly.Memory): void {
  const kernel = new Kernel(module, memory);
  // The dead worker alone used this region: no reader is in it.
  const base = kernel.u32[H_STAGING_BASE >>> 2] as number;
  const allocator = new MetaAllocator(base, kernel.u32[H_STAGING_BYTES >>> 2] as number);
  const { meta } = loadStandIn(kernel, ALL_KEYS, allocator);
  const retirement = new Retirement(kernel.exports);
  const published = new PublishedVersion({ kernel, allocator, retirement, metaOf: () => meta });
  const tables = [{ order: BOTTOM_ORDER, tables: [ALL_KEYS] }];
  published.publish([], Version.EMPTY.apply({ added: tables }));
}
