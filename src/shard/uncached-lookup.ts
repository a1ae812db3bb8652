/**
 * A point read that goes around the block cache: for blocks that are larger than the cache, and for
 * the moments in which it has no room. Reads the blocks it needs from their files, uses them once.
 *
 * Called when the memtables do not have the key; the shard worker is the only writer, so that stays
 * true until it returns.
 */

import { decodeBlobReference } from '../blob/blob-file.js';
import { CorruptionError, LightningError } from '../errors.js';
import {
  CACHE_GHOST,
  CACHE_HEAD_BYTES,
  ENTRY_SEQUENCE,
  H_VISIBLE,
  OP_DELETE,
  OP_PUT_BLOB,
  SCRATCH_COLUMNS,
  SCRATCH_ENTRY,
  SCRATCH_KEY,
  T_CACHE_REFS,
  T_OFFSETS,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Releases } from '../kernel/settled-read.js';
import type { TableInfo } from '../sstable/table-info.js';
import type { Version } from '../version/version.js';
import type { OpenTables } from './open-tables.js';
import type { Staging } from './staging.js';
import type { Lookup } from './table-reads.js';

/** Vector loads may look this far behind a block. */
const SLACK_BYTES = 64;

export interface UncachedLookupOptions {
  readonly kernel: Kernel;
  readonly staging: Staging;
  readonly tables: OpenTables;
  readonly version: () => Version;
  readonly releases: Releases;
}

/** Looks the key up in the tables as of `snapshot` (-1: newest). */
export function lookupUncached(
  options: UncachedLookupOptions,
  key: Uint8Array,
  snapshot: number,
): Lookup {
  const { kernel } = options;
  const { exports } = kernel;
  const scratch = exports.scratchBase() >>> 0;
  const keyAddress = scratch + SCRATCH_KEY;
  kernel.bytes.set(key, keyAddress);
  exports.checksum(keyAddress, key.length, 0, 0);
  const hash = (BigInt(exports.checksumHigh() >>> 0) << 32n) | BigInt(exports.checksumLow() >>> 0);
  let at = snapshot < 0 ? Atomics.load(kernel.u64, H_VISIBLE >>> 3) : BigInt(snapshot);
  for (;;) {
    const entry = find(options, key, hash, at);
    if (entry === 0) return { kind: 'missing' };
    // The Version stays as it is while this thread looks: what an unreleased commit hides is there.
    const sequence = kernel.u64[(entry + ENTRY_SEQUENCE) >>> 3] as bigint;
    if (snapshot < 0 && options.releases.isUnreleased(Number(sequence))) at = sequence - 1n;
    else return entryOf(kernel, entry >>> 2);
  }
}

/** Address of the decoded entry of the newest version at or below `at`; 0: there is none. */
function find(options: UncachedLookupOptions, key: Uint8Array, hash: bigint, at: bigint): number {
  const { kernel } = options;
  const { exports } = kernel;
  const scratch = exports.scratchBase() >>> 0;
  const keyAddress = scratch + SCRATCH_KEY;
  for (const run of options.version().runs) {
    const table = tableOf(run.tables, key);
    if (table === undefined) continue;
    options.tables.loadPending(table.id);
    options.tables.checkReadable(table.id);
    const meta = options.tables.metaOf(table.id);
    const block = exports.tableFindBlock(meta, keyAddress, key.length) >>> 0;
    const raw = rawBlock(options, table.id, meta, block);
    const index = exports.blockFind(raw, keyAddress, key.length, hash, at);
    if (index < 0) continue;
    exports.blockEntry(raw, index, scratch + SCRATCH_ENTRY);
    return scratch + SCRATCH_ENTRY;
  }
  return 0;
}

/** The table whose key range holds the key. */
function tableOf(tables: readonly TableInfo[], key: Uint8Array): TableInfo | undefined {
  let low = 0;
  let high = tables.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (Buffer.compare((tables[middle] as TableInfo).largest, key) < 0) low = middle + 1;
    else high = middle;
  }
  const table = tables[low];
  return table !== undefined && Buffer.compare(table.smallest, key) <= 0 ? table : undefined;
}

/** Address of the raw block: cached, or read to the transfer area and checked there. */
function rawBlock(
  { kernel, staging, tables }: UncachedLookupOptions,
  table: number,
  meta: number,
  block: number,
): number {
  const { exports, u32 } = kernel;
  const entry = u32[((u32[(meta + T_CACHE_REFS) >>> 2] as number) >>> 2) + block] as number;
  if (entry > CACHE_GHOST) return entry + CACHE_HEAD_BYTES;
  const offsets = (u32[(meta + T_OFFSETS) >>> 2] as number) >>> 2;
  const offset = u32[offsets + block] as number;
  const length = (u32[offsets + block + 1] as number) - offset;
  const { transfer, transferAddress } = staging;
  // Stored at the end, raw at the start.
  const start = Math.floor((transfer.length - length - SLACK_BYTES) / 8) * 8;
  if (start < 0) throw tooLarge(length);
  const file = tables.file(table);
  const got = file.read(transfer.subarray(start, start + length), offset);
  const source = transferAddress + start;
  const damaged = (): CorruptionError =>
    new CorruptionError('Block of a table is damaged', { file: file.path, offset });
  if (got < length || exports.storedVerify(source, length, table, offset) === 0) throw damaged();
  const rawBytes = exports.storedRawBytes(source, length) >>> 0;
  if (rawBytes + SLACK_BYTES > start) throw tooLarge(rawBytes + length);
  const room = (exports.scratchBase() >>> 0) + SCRATCH_COLUMNS;
  if (exports.storedUnpack(source, length, transferAddress, room) === 0) throw damaged();
  return transferAddress;
}

/** The entry that the kernel decoded: suffix, value, type. */
function entryOf(kernel: Kernel, word: number): Lookup {
  const type = kernel.u32[word + 4] as number;
  if (type === OP_DELETE) return { kind: 'missing' };
  const address = kernel.u32[word + 2] as number;
  const length = kernel.u32[word + 3] as number;
  const bytes = Buffer.from(kernel.bytes.subarray(address, address + length));
  if (type === OP_PUT_BLOB) return { kind: 'blob', reference: decodeBlobReference(bytes) };
  return { kind: 'value', bytes };
}

function tooLarge(bytes: number): LightningError {
  return new LightningError(
    'LIGHTNING_LIMIT_EXCEEDED',
    `Cannot read a block of ${bytes} bytes: close snapshots that keep old versions of its keys, and compact`,
  );
}
