import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ADDED,
  CHUNK_FULL,
  ChunkWriter,
  KEY_TOO_LONG,
  VALUE_LARGE,
} from '../../src/bulk-load/chunk-writer.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { loadKernel, type RunEntry, readRun } from './load-kernel.js';

const MIB = 1024 * 1024;
const OUT = 65536;
const CHUNK = 2 * 65536;
const CHUNK_BYTES = 8 * MIB;
const TEMPORARY = CHUNK + CHUNK_BYTES;
const LIMITS = { keyBytesMax: 65536, valueBytesMax: 512 * 1024 };

const kernel = loadKernel(24 * MIB);

type Entry = readonly [key: string | Uint8Array, value: string | Uint8Array];

function sorted(
  entries: readonly Entry[],
  shards: number,
): { runs: RunEntry[][]; dropped: number } {
  const writer = new ChunkWriter(kernel, LIMITS);
  writer.begin(CHUNK, CHUNK_BYTES);
  for (const [key, value] of entries) {
    if (writer.add(key, value) !== ADDED) throw new Error('the chunk is full');
  }
  writer.finish();
  expect(writer.count).toBe(entries.length);
  return sortChunk(kernel, shards);
}

function sortChunk(kernel: Kernel, shards: number): { runs: RunEntry[][]; dropped: number } {
  expect(kernel.exports.chunkSortRoom(CHUNK)).toBeLessThan(14 * MIB);
  const dropped = kernel.exports.chunkSort(CHUNK, shards, TEMPORARY, OUT);
  const runs: RunEntry[][] = [];
  for (let shard = 0; shard < shards; shard++) {
    const word = (OUT + shard * 8) >>> 2;
    runs.push(readRun(kernel, kernel.u32[word] as number, kernel.u32[word + 1] as number));
  }
  return { runs, dropped };
}

function shardOf(key: Uint8Array, shards: number): number {
  kernel.bytes.set(key, 4096);
  return Math.floor(((kernel.exports.murmur32(4096, key.length) >>> 0) * shards) / 2 ** 32);
}

/** What a chunk must become: a map keeps the last value, byte order sorts. */
function expected(entries: readonly Entry[], shards: number): [string, string][][] {
  const map = new Map<string, string>();
  for (const [key, value] of entries) {
    map.set(
      Buffer.from(key as string).toString('hex'),
      Buffer.from(value as string).toString('hex'),
    );
  }
  const all = [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  return Array.from({ length: shards }, (_, shard) =>
    all.filter(([key]) => shardOf(Buffer.from(key, 'hex'), shards) === shard),
  );
}

const hex = (runs: readonly RunEntry[][]): [string, string][][] =>
  runs.map((run) => run.map(({ key, value }) => [key.toString('hex'), value.toString('hex')]));

describe('a chunk', () => {
  it('of any entries is sorted by shard and key, the last of equal keys kept', () => {
    const key = fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.uint8Array({ maxLength: 30 }),
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      fc.nat(300).map((n) => `prefix-that-is-shared:${n}`),
    );
    const value = fc.oneof(fc.string({ maxLength: 20 }), fc.uint8Array({ maxLength: 20 }));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(key, value), { maxLength: 300 }),
        fc.integer({ min: 1, max: 5 }),
        (entries, shards) => {
          const { runs, dropped } = sorted(entries, shards);
          expect(hex(runs)).toEqual(expected(entries, shards));
          expect(dropped).toBe(entries.length - runs.flat().length);
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([
    ['random digits', (i: number) => `user:${String((i * 2654435761) % 1e9).padStart(20, '0')}`],
    ['already sorted', (i: number) => `k${String(i).padStart(12, '0')}`],
    ['in reverse', (i: number) => `k${String(1e9 - i).padStart(12, '0')}`],
    ['few distinct keys', (i: number) => `key-${(i * 7919) % 100}`],
    ['one key only', () => 'the same'],
    [
      'equal heads, differing tails',
      (i: number) => `x${i % 3}yyyyyyyyyyyyyyyy${(i * 7919) % 5000}`,
    ],
    [
      'a late key without the prefix',
      (i: number) => (i === 29_990 ? 'zz' : `prefix-${(i * 7919) % 30_011}`),
    ],
    ['prefixes that shrink', (i: number) => '1'.repeat(50 - Math.floor(i / 601)) + (i % 601)],
  ])('of 30,000 entries is sorted: %s', (_name, keyOf) => {
    const entries = Array.from({ length: 30_000 }, (_, i): Entry => [keyOf(i), `v${i}`]);
    const { runs } = sorted(entries, 2);
    expect(JSON.stringify(hex(runs)) === JSON.stringify(expected(entries, 2))).toBe(true);
  });

  it('that is empty gives empty runs', () => {
    expect(sorted([], 3)).toEqual({ runs: [[], [], []], dropped: 0 });
  });

  it('says when it is full, and sorts what fitted', () => {
    const writer = new ChunkWriter(kernel, LIMITS);
    writer.begin(CHUNK, 65536);
    let added = 0;
    const entries: Entry[] = [];
    for (;;) {
      const entry: Entry = [`schlüssel-${added}`, 'ä'.repeat(added % 50)];
      const status = writer.add(...entry);
      if (status === CHUNK_FULL) break;
      expect(status).toBe(ADDED);
      entries.push(entry);
      added++;
    }
    writer.finish();
    expect(added).toBeGreaterThan(500);
    const { runs } = sortChunk(kernel, 1);
    expect(hex(runs)).toEqual(expected(entries, 1));
  });

  it('takes tiny entries until there is no room for their items', () => {
    const writer = new ChunkWriter(kernel, LIMITS);
    writer.begin(CHUNK, 65536);
    let added = 0;
    while (writer.add(new Uint8Array([added & 255, added >> 8]), '') === ADDED) added++;
    writer.finish();
    expect(added).toBe(Math.floor((65536 - 16 - 16) / 26));
    expect(kernel.exports.chunkRoom(CHUNK)).toBeLessThan(2);
    expect(sortChunk(kernel, 1).runs[0]).toHaveLength(added);
  });

  it('takes bytes together, and strings between them', () => {
    const random = fc.sample(fc.uint8Array({ maxLength: 300 }), { numRuns: 4000, seed: 7 });
    const entries: Entry[] = random.map((value, i) => [
      Buffer.from(`${(i * 7919) % 4001}`.repeat(1 + (i % 9))),
      i % 500 === 0 ? Buffer.alloc(i * 3 + 1, 'large') : value,
    ]);
    const writer = new ChunkWriter(kernel, LIMITS);
    // Wherever the chunk begins, words are copied.
    writer.begin(CHUNK, CHUNK_BYTES);
    for (const [i, [key, value]] of entries.entries()) {
      const isText = i % 97 === 0;
      const status = isText
        ? writer.add(key.toString(), `${i}`)
        : writer.addBytes(key as Uint8Array, value as Uint8Array);
      expect(status).toBe(ADDED);
      if (isText) entries[i] = [key, Buffer.from(`${i}`)];
    }
    writer.finish();
    const { runs } = sortChunk(kernel, 3);
    expect(hex(runs)).toEqual(expected(entries, 3));
  });

  it('is full for bytes where it is full for others', () => {
    const fill = (add: 'add' | 'addBytes', valueBytes: number): [number, number] => {
      const writer = new ChunkWriter(kernel, LIMITS);
      writer.begin(CHUNK, 256 * 1024);
      let status: number = ADDED;
      const value = Buffer.alloc(valueBytes, 'v');
      for (let i = 0; status === ADDED; i++) status = writer[add](Buffer.from(`k${i}`), value);
      expect(status).toBe(CHUNK_FULL);
      writer.finish();
      return [writer.count, writer.payloadBytes];
    };
    for (const bytes of [0, 1, 200, 5000])
      expect(fill('addBytes', bytes)).toEqual(fill('add', bytes));
    const writer = new ChunkWriter(kernel, { keyBytesMax: 10, valueBytesMax: 20 });
    writer.begin(CHUNK, CHUNK_BYTES);
    expect(writer.addBytes(Buffer.alloc(11), Buffer.alloc(1))).toBe(KEY_TOO_LONG);
    expect(writer.addBytes(Buffer.alloc(1), Buffer.alloc(21))).toBe(VALUE_LARGE);
  });

  it('keeps strings apart that would be one character together', () => {
    const entries: Entry[] = [
      ['a\ud83d', '\ude00b'],
      ['ascii', 'only'],
      ['ä', 'ö'],
      ['', ''],
    ];
    expect(hex(sorted(entries, 1).runs)).toEqual(expected(entries, 1));
  });

  it('packs its runs one behind the other', () => {
    const all = Array.from({ length: 500 }, (_, i): Entry => [`k${(i * 37) % 499}`, `v${i}`]);
    const { runs } = sorted(all, 2);
    let to = TEMPORARY;
    for (let shard = 0; shard < 2; shard++) {
      const word = (OUT + shard * 8) >>> 2;
      const [run, records] = [kernel.u32[word] as number, kernel.u32[word + 1] as number];
      const end = kernel.exports.runPack(run, records, to);
      expect(readRun(kernel, to, records)).toEqual(runs[shard]);
      to = end;
    }
    const bytes = runs.flat().reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    expect(kernel.exports.chunkKeptBytes()).toBe(bytes);
    expect(to - TEMPORARY).toBeLessThan(bytes + 499 * 16 + 32);
  });

  it('refuses keys and values above the limits', () => {
    const writer = new ChunkWriter(kernel, { keyBytesMax: 10, valueBytesMax: 20 });
    writer.begin(CHUNK, 65536);
    expect(writer.add('12345678901', 'v')).toBe(KEY_TOO_LONG);
    expect(writer.add('öööööö', 'v')).toBe(KEY_TOO_LONG);
    expect(writer.add(Buffer.alloc(11), 'v')).toBe(KEY_TOO_LONG);
    expect(writer.add('k', 'v'.repeat(21))).toBe(VALUE_LARGE);
    expect(writer.add('k', 'ö'.repeat(11))).toBe(VALUE_LARGE);
    expect(writer.add('k', Buffer.alloc(21))).toBe(VALUE_LARGE);
    expect(writer.add('ööööö', 'ö'.repeat(10))).toBe(ADDED);
    expect(writer.count).toBe(1);
  });

  it('keeps references to blobs apart', () => {
    const writer = new ChunkWriter(kernel, LIMITS);
    writer.begin(CHUNK, 65536);
    writer.add('b', 'plain');
    expect(writer.addBlob('a', Buffer.alloc(24, 7))).toBe(ADDED);
    writer.finish();
    expect(sortChunk(kernel, 1).runs[0]).toEqual([
      { key: Buffer.from('a'), value: Buffer.alloc(24, 7), blob: true },
      { key: Buffer.from('b'), value: Buffer.from('plain'), blob: false },
    ]);
  });

  it('takes entries from the kernel and the host in turn', () => {
    const { exports, bytes } = kernel;
    const writer = new ChunkWriter(kernel, LIMITS);
    exports.chunkInit(CHUNK, 65536);
    bytes.write('k2v2', 4096);
    exports.chunkAdd(CHUNK, 4096, 2, 4098, 2);
    writer.resume(CHUNK);
    writer.add('k1', 'v1');
    writer.finish();
    bytes.write('k2v3', 4096);
    exports.chunkAdd(CHUNK, 4096, 2, 4098, 2);
    const { runs, dropped } = sortChunk(kernel, 1);
    expect(dropped).toBe(1);
    expect(runs[0]?.map(({ key, value }) => `${key}=${value}`)).toEqual(['k1=v1', 'k2=v3']);
  });
});
