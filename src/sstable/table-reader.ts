/**
 * Opens tables: footer and properties are checked byte by byte on the host, filter and index by the
 * kernel once they are in its memory. Whatever the bytes, the outcome is a table whose every later
 * read stays in bounds, or a `CorruptionError`.
 */

import { checkFormatVersion } from '../encoding/format-version.js';
import { CorruptionError } from '../errors.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';
import * as layout from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import {
  decodeFooter,
  decodeProperties,
  FOOTER_BYTES,
  type Footer,
  footerFormat,
  TABLE_FORMAT_VERSION,
  type TableFile,
} from './format.js';
import type { TableInfo, TableRef } from './table-info.js';

const CHECKSUM_BYTES = 8;
/** As in table-index.ts: the head, and for each block a head of its fence and two offsets. */
const INDEX_HEAD_BYTES = 64;
const INDEX_BLOCK_BYTES = 16;

/** An open table file; the caller closes `file`. */
export interface OpenTable {
  readonly file: FileHandle;
  readonly footer: Footer;
  readonly info: TableInfo;
}

/** Opens a table file and reads footer and properties. */
export function openTable(fs: FileSystem, ref: TableRef): OpenTable {
  const file = fs.open(ref.path, 'r');
  try {
    const bytes = file.size();
    if (bytes < FOOTER_BYTES) {
      throw new CorruptionError('A table is too short to be one', {
        file: ref.path,
        offset: 0,
        expected: FOOTER_BYTES,
        found: bytes,
      });
    }
    const footerBytes = readExactly(file, bytes - FOOTER_BYTES, FOOTER_BYTES);
    const { footer, formatVersion } = decodeFooter(footerBytes, bytes, ref);
    checkFormatVersion(formatVersion, TABLE_FORMAT_VERSION, ref.path);
    const { propertiesOffset, propertiesBytes } = footer;
    const properties = readExactly(file, propertiesOffset, propertiesBytes);
    return { file, footer, info: decodeProperties(properties, propertiesOffset, bytes, ref) };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Throws `LIGHTNING_UNSUPPORTED_FORMAT` for a table of a later format. Whether it is whole is not looked at, and
 * found out when it is loaded.
 */
export function refuseLaterFormat(fs: FileSystem, ref: TableRef): void {
  const file = fs.open(ref.path, 'r');
  try {
    const bytes = file.size();
    if (bytes < FOOTER_BYTES) return;
    const footer = readExactly(file, bytes - FOOTER_BYTES, FOOTER_BYTES);
    const found = footerFormat(footer);
    if (found >= 1 && found <= TABLE_FORMAT_VERSION) return;
    checkFormatVersion(
      decodeFooter(footer, bytes, ref).formatVersion,
      TABLE_FORMAT_VERSION,
      ref.path,
    );
  } finally {
    file.close();
  }
}

/** Memory that a table's index, filter and description take in a kernel's memory. */
export interface TablePlace {
  /** 64-byte aligned, `sectionBytes(table)` bytes. */
  readonly address: number;
  /** Whether the filter is read as well. */
  readonly filter: boolean;
}

/** Bytes for the sections of a table: TableMeta, keys, index and, if wanted, filter. */
export function sectionBytes(table: OpenTable, filter: boolean): number {
  const { smallest, largest } = table.info;
  return (
    frontBytes(table.footer, filter) +
    align(unpackedIndexBytes(table.footer)) +
    layout.TABLE_META_BYTES +
    smallest.length +
    largest.length
  );
}

/** Bytes of the filter, in whose place a packed index stands until it is unpacked. */
function frontBytes(footer: Footer, filter: boolean): number {
  const packed = footer.indexBlocks === 0 ? 0 : footer.indexBytes;
  return align(Math.max(filter ? footer.filterBytes : 0, packed));
}

/** Bytes of the index in memory. */
function unpackedIndexBytes({ indexBlocks, indexBytes, fenceBytes }: Footer): number {
  if (indexBlocks === 0) return indexBytes;
  return INDEX_HEAD_BYTES + indexBlocks * INDEX_BLOCK_BYTES + 8 + fenceBytes + CHECKSUM_BYTES;
}

/**
 * Reads and checks a table's index and, if wanted, filter, and writes its TableMeta, without cache
 * references. Returns the address of the TableMeta.
 */
export function readSections(kernel: Kernel, table: OpenTable, place: TablePlace): number {
  const { file, footer, info } = table;
  const { exports } = kernel;
  const front = place.address;
  const index = front + frontBytes(footer, place.filter);
  const indexBytes = unpackedIndexBytes(footer);
  const meta = index + align(indexBytes);
  const ref = { path: file.path, id: info.id };
  const { indexBlocks, fenceBytes } = footer;
  const isPacked = indexBlocks !== 0;
  const target = isPacked ? front : index;
  readSection(kernel, file, ref, target, footer.indexOffset, footer.indexBytes, 'index');
  if (isPacked) {
    const packed = footer.indexBytes - CHECKSUM_BYTES;
    if (exports.indexUnpack(front, packed, indexBlocks, fenceBytes, index) === 0) {
      throw malformed(table, 'index');
    }
  }
  const filter = place.filter ? front : 0;
  if (place.filter) {
    readSection(kernel, file, ref, filter, footer.filterOffset, footer.filterBytes, 'filter');
  }

  kernel.bytes.fill(0, meta, meta + layout.TABLE_META_BYTES);
  const status = exports.tableMetaInit(meta, index, indexBytes, filter, footer.filterBytes, 0);
  const blocks = kernel.u32[(meta + layout.T_BLOCKS) >>> 2] as number;
  if (status !== 0 || blockOffset(kernel, meta, blocks) !== footer.filterOffset) {
    throw malformed(table, status === -1 ? 'filter' : 'index');
  }
  describeMeta(kernel, meta, info);
  return meta;
}

function malformed({ file, footer }: OpenTable, section: 'index' | 'filter'): CorruptionError {
  return new CorruptionError(`A table's ${section} is malformed`, {
    file: file.path,
    offset: section === 'filter' ? footer.filterOffset : footer.indexOffset,
  });
}

/** Fills what a TableMeta says of the table as a whole; its first and last key stand behind it. */
export function describeMeta(kernel: Kernel, meta: number, info: TableInfo): void {
  const smallest = meta + layout.TABLE_META_BYTES;
  const largest = smallest + info.smallest.length;
  kernel.bytes.set(info.smallest, smallest);
  kernel.bytes.set(info.largest, largest);
  const set = (field: number, value: number): void => {
    kernel.u32[(meta + field) >>> 2] = value;
  };
  set(layout.T_ID, info.id);
  set(layout.T_SMALLEST, smallest);
  set(layout.T_SMALLEST_BYTES, info.smallest.length);
  set(layout.T_LARGEST, largest);
  set(layout.T_LARGEST_BYTES, info.largest.length);
  set(layout.T_HAS_TOMBSTONES, info.tombstones > 0 ? 1 : 0);
}

/** File offset of a block; of the end of the last one when `block` is their number. */
export function blockOffset(kernel: Kernel, meta: number, block: number): number {
  const offsets = kernel.u32[(meta + layout.T_OFFSETS) >>> 2] as number;
  return kernel.u32[(offsets >>> 2) + block] as number;
}

export interface LoadedTable {
  readonly info: TableInfo;
  /** Address of the TableMeta. */
  readonly meta: number;
  /** What `allocate` gave: to be freed when no reader can see the table any more. */
  readonly allocations: readonly number[];
}

/** 64-byte aligned memory for tables. */
export interface TableMemory {
  allocate(bytes: number): number;
  free(address: number): void;
}

/**
 * Loads a table's index and, if wanted, filter into a shard's memory, ready to be published with a
 * Version. What was allocated is freed when loading fails.
 */
export function loadTable(
  fs: FileSystem,
  kernel: Kernel,
  ref: TableRef,
  memory: TableMemory,
  filter = true,
): LoadedTable {
  const table = openTable(fs, ref);
  const allocations: number[] = [];
  const allocate = (bytes: number): number => {
    const address = memory.allocate(bytes);
    allocations.push(address);
    return address;
  };
  try {
    const address = allocate(sectionBytes(table, filter));
    const meta = readSections(kernel, table, { address, filter });
    const blocks = kernel.u32[(meta + layout.T_BLOCKS) >>> 2] as number;
    const cacheRefs = allocate(blocks * 4);
    kernel.bytes.fill(0, cacheRefs, cacheRefs + blocks * 4);
    kernel.u32[(meta + layout.T_CACHE_REFS) >>> 2] = cacheRefs;
    return { info: table.info, meta, allocations };
  } catch (error) {
    for (const address of allocations) memory.free(address);
    throw error;
  } finally {
    table.file.close();
  }
}

function readSection(
  kernel: Kernel,
  file: FileHandle,
  ref: TableFile,
  address: number,
  offset: number,
  bytes: number,
  name: string,
): void {
  const read = file.read(kernel.bytes.subarray(address, address + bytes), offset);
  if (
    read !== bytes ||
    bytes < CHECKSUM_BYTES ||
    kernel.exports.checksumVerify(address, bytes - CHECKSUM_BYTES, ref.id, offset) === 0
  ) {
    throw new CorruptionError(`The checksum of a table's ${name} is wrong`, {
      file: ref.path,
      offset,
    });
  }
}

function readExactly(file: FileHandle, offset: number, bytes: number): Buffer {
  const target = Buffer.alloc(bytes);
  const found = file.read(target, offset);
  if (found === bytes) return target;
  throw new CorruptionError('A table ended while it was read', {
    file: file.path,
    offset: offset + found,
    expected: bytes,
    found,
  });
}

function align(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}
