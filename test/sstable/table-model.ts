/** Tables for tests: made by the kernel's builder, read back by a decoder that knows docs/FORMAT.md. */

import lz4 from 'lz4-napi';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import * as job from '../../src/kernel/assembly/job-layout.js';
import { OP_DELETE, OP_PUT, OP_PUT_BLOB } from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createJobMemory } from '../../src/kernel/shard-memory.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import { type TableTarget, TableWriter } from '../../src/sstable/table-writer.js';
import { decodeIndex } from './index-model.js';

export { OP_DELETE, OP_PUT, OP_PUT_BLOB };

export interface Entry {
  readonly key: Buffer;
  readonly type: number;
  readonly sequence: number;
  readonly value: Buffer;
}

export const kernelModule = await Kernel.compile(
  new URL('../../dist/kernel.wasm', import.meta.url),
);

/** A kernel over a private memory. */
export function jobKernel(bytes = 64 * 1024 * 1024): Kernel {
  return new Kernel(kernelModule, createJobMemory(bytes));
}

export const put = (key: string | Buffer, sequence: number, value: string | Buffer): Entry => ({
  key: Buffer.from(key),
  type: OP_PUT,
  sequence,
  value: Buffer.from(value),
});

export const remove = (key: string | Buffer, sequence: number): Entry => ({
  key: Buffer.from(key),
  type: OP_DELETE,
  sequence,
  value: Buffer.alloc(0),
});

export function putBlob(key: string | Buffer, sequence: number, blob: number): Entry {
  const value = Buffer.alloc(24);
  value.writeDoubleLE(blob, 0);
  value.writeDoubleLE(1e6, 8);
  return { key: Buffer.from(key), type: OP_PUT_BLOB, sequence, value };
}

/** An entry as text: comparing buffers byte by byte is slow in tests. */
export function show(entry: Entry | undefined): string | undefined {
  if (entry === undefined) return undefined;
  const { key, type, sequence, value } = entry;
  return `${key.toString('latin1')}#${sequence}:${type}=${value.toString('latin1')}`;
}

/** By key, then newest first. */
export function compareEntries(left: Entry, right: Entry): number {
  return Buffer.compare(left.key, right.key) || right.sequence - left.sequence;
}

export const tablePath = (id: number): string => `/db/${String(id).padStart(10, '0')}.table`;

export function target(changes: Partial<TableTarget> = {}): TableTarget {
  return {
    directory: '/db',
    firstTableId: 1,
    tableIds: 1000,
    tableBytesMax: 1 << 30,
    blockBytes: 512,
    compression: true,
    filterBitsPerKey: 10,
    createdAtMs: 1,
    ...changes,
  };
}

const REGION = { address: 65536, bytes: 24 * 1024 * 1024 };
const STAGING = REGION.address + REGION.bytes;

/** Writes entries, which are in order, to tables in `/db`. */
export function writeTables(
  fs: FileSystem,
  kernel: Kernel,
  entries: readonly Entry[],
  changes: Partial<TableTarget> = {},
): TableInfo[] {
  if (!fs.exists('/db')) fs.mkdir('/db');
  const writer = new TableWriter(fs, kernel, REGION, target(changes));
  try {
    for (const { key, type, sequence, value } of entries) {
      kernel.bytes.set(key, STAGING);
      kernel.bytes.set(value, STAGING + key.length);
      const add = (): number =>
        kernel.exports.builderAdd(
          STAGING,
          key.length,
          type,
          sequence,
          STAGING + key.length,
          value.length,
        );
      const status = writer.run(add);
      if (status !== job.JOB_DONE) throw new Error(`builderAdd gives ${status}`);
    }
    return writer.finish();
  } catch (error) {
    writer.abort();
    throw error;
  }
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`The table is not as docs/FORMAT.md says: ${what}`);
}

export interface DecodedTable {
  readonly entries: Entry[];
  readonly blocks: number;
  readonly compressedBlocks: number;
  readonly columnBlocks: number;
  readonly fences: Buffer[];
}

/** Decodes a whole table file by docs/FORMAT.md alone, checking every statement there. */
export function decodeTable(file: Buffer, id: number): DecodedTable {
  const footerAt = file.length - 80;
  const footer = file.subarray(footerAt);
  const sumHolds = (from: number, bytes: number): boolean =>
    xxh64(file.subarray(from, from + bytes - 8), placementSeed(id, from)) ===
    file.readBigUInt64LE(from + bytes - 8);
  check(footer.toString('latin1', 72) === 'LDBTABL1', 'magic');
  check(sumHolds(footerAt, 72), 'footer checksum');
  check(footer.readDoubleLE(0) === id, 'table id');
  const filterAt = Number(footer.readBigUInt64LE(8));
  const filterBytes = footer.readUInt32LE(16);
  const indexBytes = footer.readUInt32LE(20);
  const indexAt = Number(footer.readBigUInt64LE(24));
  const propertiesAt = Number(footer.readBigUInt64LE(32));
  const propertiesBytes = footer.readUInt32LE(40);
  check(footer.readUInt32LE(44) === 2, 'format version');
  check(indexAt === filterAt + filterBytes, 'index behind filter');
  check(propertiesAt === indexAt + indexBytes, 'properties behind index');
  check(footerAt === propertiesAt + propertiesBytes, 'footer behind properties');
  check(sumHolds(filterAt, filterBytes), 'filter checksum');
  check(sumHolds(indexAt, indexBytes), 'index checksum');
  check(sumHolds(propertiesAt, propertiesBytes), 'properties checksum');

  const { offsets, fences } = decodeIndex(file);
  const blocks = fences.length;
  const entries: Entry[] = [];
  let compressedBlocks = 0;
  let columnBlocks = 0;
  let lastKey: Buffer | undefined;
  for (let i = 0; i < blocks; i++) {
    const from = offsets[i] as number;
    const to = offsets[i + 1] as number;
    check(sumHolds(from, to - from), 'block checksum');
    const stored = file.subarray(from, to - 12);
    const word = file.readUInt32LE(to - 12);
    const rawBytes = (word & 0x7fff_ffff) >>> 1;
    const areColumns = word >= 0x8000_0000;
    if (word & 1) compressedBlocks++;
    if (areColumns) columnBlocks++;
    const unpacked = word & 1 ? decompress(stored, areColumns ? 65_535 : rawBytes) : stored;
    const block = areColumns ? decodeColumns(unpacked, rawBytes) : decodeBlock(unpacked);
    check(areColumns || unpacked.length === rawBytes, 'length of a raw block');
    check(block.length > 0, 'blocks have entries');
    const firstKey = (block[0] as Entry).key;
    const fence = fences[i] as Buffer;
    if (lastKey === undefined) {
      check(fence.length === 0, 'fence 0 is empty');
    } else {
      const shorter = fence.subarray(0, -1);
      check(firstKey.subarray(0, fence.length).equals(fence), 'a fence begins the first key');
      check(Buffer.compare(fence, lastKey) > 0, 'a fence is above the key before');
      check(Buffer.compare(shorter, lastKey) <= 0, 'a fence is the shortest');
    }
    lastKey = (block[block.length - 1] as Entry).key;
    entries.push(...block);
  }
  check(offsets[blocks] === filterAt, 'blocks end where the filter begins');
  checkFilter(file.subarray(filterAt, filterAt + filterBytes), entries);
  const properties = JSON.parse(file.toString('utf8', propertiesAt + 4, footerAt - 8)) as {
    entries: number;
    smallest: string;
    largest: string;
  };
  check(properties.entries === entries.length, 'entries');
  check(Buffer.from(properties.smallest, 'base64').equals((entries[0] as Entry).key), 'smallest');
  check(Buffer.from(properties.largest, 'base64').equals(lastKey as Buffer), 'largest');
  return { entries, blocks, compressedBlocks, columnBlocks, fences };
}

/** The blocks of a table as they stand in the file, trailers included. */
export function storedBlocks(file: Buffer): { bytes: Buffer; offset: number }[] {
  const { offsets, fences } = decodeIndex(file);
  return fences.map((_, i) => {
    const offset = offsets[i] as number;
    return { bytes: file.subarray(offset, offsets[i + 1]), offset };
  });
}

/** LZ4 by another implementation; at most `rawBytes` bytes. */
function decompress(stored: Buffer, rawBytes: number): Buffer {
  const prepended = Buffer.alloc(4 + stored.length);
  prepended.writeUInt32LE(rawBytes, 0);
  stored.copy(prepended, 4);
  return lz4.uncompressSync(prepended);
}

function decodeBlock(raw: Buffer): Entry[] {
  const count = raw.readUInt16LE(0);
  const flags = raw.readUInt8(2);
  check(flags <= 3, 'flags');
  const wide = (flags & 1) !== 0;
  const areDifferences = (flags & 2) !== 0;
  const prefixBytes = raw.readUInt32LE(4);
  const base = Number(raw.readBigUInt64LE(8));
  const offsetsAt = Math.ceil((16 + count) / 4) * 4;
  const prefixAt = offsetsAt + count * (wide ? 4 : 2);
  const prefix = raw.subarray(prefixAt, prefixAt + prefixBytes);
  let at = prefixAt + prefixBytes;
  const varint = (): number => {
    let value = 0;
    let scale = 1;
    for (; ; scale *= 128) {
      const byte = raw.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  const entries: Entry[] = [];
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const word = wide ? raw.readUInt32LE(offsetsAt + 4 * i) : raw.readUInt16LE(offsetsAt + 2 * i);
    offset = areDifferences ? offset + word : word;
    check(offset === at, 'entries lie back to back');
    const type = raw.readUInt8(at++);
    const sequence = base + varint();
    const suffixBytes = varint();
    const valueBytes = varint();
    const key = Buffer.concat([prefix, raw.subarray(at, at + suffixBytes)]);
    at += suffixBytes;
    const value = Buffer.from(raw.subarray(at, at + valueBytes));
    at += valueBytes;
    check(raw.readUInt8(16 + i) === Number(xxh64(key) >> 56n), 'fingerprints');
    entries.push({ key, type, sequence, value });
  }
  check(at === raw.length, 'a block ends with its last entry');
  return entries;
}

function decodeColumns(columns: Buffer, rawBytes: number): Entry[] {
  const count = columns.readUInt16LE(0);
  const prefixBytes = columns.readUInt16LE(2);
  const suffixMin = columns.readUInt16LE(4);
  const valueMin = columns.readUInt16LE(6);
  const bases = columns.readBigUInt64LE(8);
  const base = Number(bases & 0xff_ffff_ffff_ffffn);
  const typeMin = Number((bases >> 56n) & 15n);
  const prefix = columns.subarray(19 + count, 19 + count + prefixBytes);
  let at = 19 + count + prefixBytes;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = columns.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  const column = (width: number): number[] => {
    if (width === 64) return Array.from({ length: count }, varint);
    const bytes = Buffer.concat([
      Buffer.alloc(1),
      columns.subarray(at, at + Math.ceil((count * width) / 8)),
    ]);
    at += bytes.length - 1;
    const bits = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`) >> 8n;
    const mask = (1n << BigInt(width)) - 1n;
    return Array.from({ length: count }, (_, i) => Number((bits >> BigInt(i * width)) & mask));
  };
  const types = column(Number(bases >> 60n));
  const deltas = column(columns.readUInt8(16));
  const suffixLengths = column(columns.readUInt8(17));
  const valueLengths = column(columns.readUInt8(18));
  let raw = Math.ceil((16 + count) / 4) * 4 + 2 * count + prefixBytes;
  let valueAt = at + count * suffixMin + suffixLengths.reduce((sum, above) => sum + above, 0);
  const suffixesEnd = valueAt;
  const varintBytes = (value: number): number =>
    value < 128 ? 1 : 1 + varintBytes(Math.floor(value / 128));
  const entries = types.map((above, i) => {
    const type = typeMin + above;
    const delta = deltas[i] as number;
    const suffixBytes = suffixMin + (suffixLengths[i] as number);
    const valueBytes = type === OP_DELETE ? 0 : valueMin + (valueLengths[i] as number);
    const key = Buffer.concat([prefix, columns.subarray(at, at + suffixBytes)]);
    at += suffixBytes;
    const value = Buffer.from(columns.subarray(valueAt, valueAt + valueBytes));
    valueAt += valueBytes;
    raw += 1 + varintBytes(delta) + varintBytes(suffixBytes) + varintBytes(valueBytes);
    raw += suffixBytes + valueBytes;
    check(columns.readUInt8(19 + i) === Number(xxh64(key) >> 56n), 'fingerprints');
    return { key, type, sequence: base + delta, value };
  });
  check(at === suffixesEnd && valueAt === columns.length, 'columns end with the last value');
  check(raw === rawBytes, 'columns know the length of their raw block');
  return entries;
}

function checkFilter(filter: Buffer, entries: readonly Entry[]): void {
  const lines = filter.readUInt32LE(0);
  check(filter.length === 64 + 64 * lines + 8, 'length of the filter');
  for (const { key } of entries) {
    const hash = xxh64(key);
    const line = Number(((hash >> 32n) * BigInt(lines)) >> 32n);
    let x = Number(hash & 0xffff_ffffn);
    for (let probe = 0; probe < 6; probe++) {
      const bit = x >>> 23;
      check(
        ((filter.readUInt8(64 + line * 64 + (bit >>> 3)) >> (bit & 7)) & 1) === 1,
        'filter bits',
      );
      x = Math.imul(x, 0x9e3779b9) >>> 0;
    }
  }
}
