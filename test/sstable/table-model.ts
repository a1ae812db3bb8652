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
  check(footer.readUInt32LE(44) === 1, 'format version');
  check(indexAt === filterAt + filterBytes, 'index behind filter');
  check(propertiesAt === indexAt + indexBytes, 'properties behind index');
  check(footerAt === propertiesAt + propertiesBytes, 'footer behind properties');
  check(sumHolds(filterAt, filterBytes), 'filter checksum');
  check(sumHolds(indexAt, indexBytes), 'index checksum');
  check(sumHolds(propertiesAt, propertiesBytes), 'properties checksum');

  const index = file.subarray(indexAt, indexAt + indexBytes);
  const blocks = index.readUInt32LE(0);
  const prefixBytes = index.readUInt32LE(4);
  const offsetsAt = 64 + 8 * blocks;
  const fenceOffsetsAt = offsetsAt + 4 * (blocks + 1);
  const fencesAt = fenceOffsetsAt + 4 * (blocks + 1);
  check(indexBytes === fencesAt + index.readUInt32LE(8) + 8, 'length of the index');
  const fences = Array.from({ length: blocks }, (_, i) =>
    index.subarray(
      fencesAt + index.readUInt32LE(fenceOffsetsAt + 4 * i),
      fencesAt + index.readUInt32LE(fenceOffsetsAt + 4 * (i + 1)),
    ),
  );
  const entries: Entry[] = [];
  let compressedBlocks = 0;
  let lastKey: Buffer | undefined;
  for (let i = 0; i < blocks; i++) {
    const from = index.readUInt32LE(offsetsAt + 4 * i);
    const to = index.readUInt32LE(offsetsAt + 4 * (i + 1));
    check(sumHolds(from, to - from), 'block checksum');
    const stored = file.subarray(from, to - 12);
    const word = file.readUInt32LE(to - 12);
    if (word & 1) compressedBlocks++;
    const block = decodeBlock(word & 1 ? decompress(stored, word >>> 1) : stored);
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
      const head = Buffer.alloc(8);
      fence.copy(head, 0, prefixBytes);
      check(index.readBigUInt64LE(64 + 8 * i) === head.readBigUInt64BE(0), 'heads');
      check(
        fence.subarray(0, prefixBytes).equals((fences[1] as Buffer).subarray(0, prefixBytes)),
        'prefix',
      );
    }
    lastKey = (block[block.length - 1] as Entry).key;
    entries.push(...block);
  }
  check(
    index.readUInt32LE(offsetsAt + 4 * blocks) === filterAt,
    'blocks end where the filter begins',
  );
  checkFilter(file.subarray(filterAt, filterAt + filterBytes), entries);
  const properties = JSON.parse(file.toString('utf8', propertiesAt + 4, footerAt - 8)) as {
    entries: number;
    smallest: string;
    largest: string;
  };
  check(properties.entries === entries.length, 'entries');
  check(Buffer.from(properties.smallest, 'base64').equals((entries[0] as Entry).key), 'smallest');
  check(Buffer.from(properties.largest, 'base64').equals(lastKey as Buffer), 'largest');
  return { entries, blocks, compressedBlocks, fences };
}

/** LZ4 by another implementation. */
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
