/**
 * The kernel's decoders over hostile bytes. Each input is decoded twice, with other bytes around its
 * region: what stands there must be untouched, and must not make a difference.
 */
import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import * as layout from '../../src/kernel/assembly/layout.js';
import { decodeIndex, unpackedIndex } from '../sstable/index-model.js';
import { jobKernel, put, remove, tablePath, writeTables } from '../sstable/table-model.js';
import { INPUTS, Mutator, SEED } from './mutations.js';

const MIB = 1024 * 1024;
const kernel = jobKernel(32 * MIB);
const { exports, bytes: memory, u32 } = kernel;
/** The input lies somewhere in here, with canaries before and behind. */
const REGION = 2 * MIB;
const CANARY_BYTES = 4096;
const META = 65536;
const KEY = 70_000;
const ENTRY = 140_000;
const TARGET = 8 * MIB;

const entries = [
  ...Array.from({ length: 40 }, (_, i) =>
    put(`user:${100 + i}`, 40 + i, `value ${i}`.repeat(i % 5)),
  ),
  ...Array.from({ length: 9 }, (_, i) => put('user:200', 90 - i, 'v')),
  remove('user:300', 1),
];

/** A table's parts: blocks without trailer, raw and compressed, filter and index. */
function partsOf(compression: boolean) {
  const fs = new MemoryFileSystem();
  writeTables(fs, kernel, entries, { blockBytes: 400, compression });
  const file = fs.readFile(tablePath(1));
  const footer = file.subarray(file.length - 80);
  const filterAt = Number(footer.readBigUInt64LE(8));
  const indexAt = Number(footer.readBigUInt64LE(24));
  const { offsets, fences } = decodeIndex(file);
  const count = fences.length;
  const offset = (i: number): number => offsets[i] as number;
  const blocks = Array.from({ length: count }, (_, i) =>
    Buffer.from(file.subarray(offset(i), offset(i + 1) - layout.BLOCK_TRAILER_BYTES)),
  );
  const rawBytes = Array.from({ length: count }, (_, i) => {
    const word = file.readUInt32LE(offset(i + 1) - layout.BLOCK_TRAILER_BYTES);
    return (word & ~layout.STORED_COLUMNS) >>> 1;
  });
  return {
    blocks,
    rawBytes,
    filter: Buffer.from(file.subarray(filterAt, indexAt)),
    index: unpackedIndex(file),
    packedIndex: Buffer.from(file.subarray(indexAt, indexAt + footer.readUInt32LE(20) - 8)),
    fenceBytes: footer.readUInt32LE(52),
  };
}

/**
 * Runs `decode` on the input between canaries of two kinds; both outcomes must be the same, and the
 * canaries be left alone. `slack`: vector loads may look that far behind, to no effect.
 */
function decodeBetweenCanaries(
  input: Buffer,
  alignment: number,
  decode: (address: number) => unknown,
): unknown {
  const address = Math.ceil((REGION + CANARY_BYTES) / alignment) * alignment;
  const end = address + input.length;
  const run = (canary: number): string => {
    memory.fill(canary, address - CANARY_BYTES, address);
    memory.fill(canary, end, end + CANARY_BYTES);
    memory.set(input, address);
    const result = JSON.stringify(decode(address));
    for (const [from, to] of [
      [address - CANARY_BYTES, address],
      [end, end + CANARY_BYTES],
    ] as const) {
      for (let at = from; at < to; at++) {
        if (memory[at] !== canary) throw new Error(`Wrote at ${at - address} of ${input.length}`);
      }
    }
    if (Buffer.compare(memory.subarray(address, end), input) !== 0)
      throw new Error('Wrote the input');
    return result;
  };
  const first = run(0x00);
  if (run(0xff) !== first) throw new Error('Bytes outside of the region made a difference');
  return JSON.parse(first);
}

function setKey(key: string): number {
  return memory.write(key, KEY, 'latin1');
}

const KEYS = ['', 'user:', 'user:115', 'user:200', 'user:300', 'zzz'];

function readBlock(address: number, bytes: number): unknown {
  if (exports.blockValidate(address, bytes) === 0) return null;
  const seen: unknown[] = [];
  const inside = (start: number, length: number): void => {
    const isInside = start >= address && start + length <= address + bytes;
    if (!isInside)
      throw new Error(`A part of an entry lies outside: ${start - address}, ${length}`);
  };
  for (let i = 0; i < exports.blockCount(address); i++) {
    exports.blockEntry(address, i, ENTRY);
    const at = ENTRY >>> 2;
    inside(u32[at] as number, u32[at + 1] as number);
    inside(u32[at + 2] as number, u32[at + 3] as number);
    seen.push(u32[at + 3], u32[at + 4], String(kernel.u64[(ENTRY + 24) >>> 3]));
  }
  for (const key of KEYS) {
    const length = setKey(key);
    exports.checksum(KEY, length, 0, 0);
    const hash =
      (BigInt(exports.checksumHigh() >>> 0) << 32n) | BigInt(exports.checksumLow() >>> 0);
    seen.push(
      exports.blockSeek(address, KEY, length),
      exports.blockFind(address, KEY, length, hash, 2n ** 60n),
    );
  }
  return seen;
}

function fuzz(samples: readonly Buffer[], decode: (input: Buffer) => unknown): void {
  const mutator = new Mutator(SEED);
  let accepted = 0;
  let refused = 0;
  for (const sample of samples) expect(decode(sample)).not.toBeNull();
  for (let i = 0; i < INPUTS; i++) {
    const input = mutator.mutate(samples);
    try {
      if (decode(input) === null) refused++;
      else accepted++;
    } catch (error) {
      throw new Error(`Input ${i}, seed ${SEED}: ${input.toString('hex')}`, { cause: error });
    }
  }
  expect(refused).toBeGreaterThan(0);
  expect(accepted).toBeGreaterThan(0);
}

describe('hostile bytes in the kernel', () => {
  const raw = partsOf(false);
  const packed = partsOf(true);

  it('in a block', () => {
    fuzz(raw.blocks, (input) =>
      decodeBetweenCanaries(input, 8, (address) => readBlock(address, input.length)),
    );
  }, 36_000_000);

  it('in columns', () => {
    const samples = packed.blocks.map((block) => {
      memory.set(block, REGION);
      const length = exports.lz4Decompress(
        REGION,
        block.length,
        TARGET,
        layout.COLUMNS_RAW_BYTES_MAX,
      );
      return Buffer.from(memory.subarray(TARGET, TARGET + length));
    });
    const mutator = new Mutator(SEED + 2);
    const outcomes = { good: 0, bad: 0 };
    for (let i = 0; i < INPUTS; i++) {
      const which = mutator.below(samples.length);
      const mutated = mutator.mutate([samples[which] as Buffer]);
      const input = mutated.subarray(0, layout.COLUMNS_RAW_BYTES_MAX);
      const isOther = mutator.random() < 0.2;
      const rawBytes = isOther ? mutator.below(70_000) : (packed.rawBytes[which] as number);
      decodeBetweenCanaries(input, 1, (address) => {
        memory.fill(0xa5, TARGET - 64, TARGET + rawBytes + 64);
        const isBlock = exports.columnsExpand(address, input.length, TARGET, rawBytes) !== 0;
        for (let at = 0; at < 64; at++) {
          const isWhole =
            memory[TARGET - 1 - at] === 0xa5 && memory[TARGET + rawBytes + at] === 0xa5;
          if (!isWhole) throw new Error(`Input ${i}: wrote outside of the target`);
        }
        if (isBlock) outcomes.good++;
        else outcomes.bad++;
        if (!isBlock) return null;
        const seen = readBlock(TARGET, rawBytes);
        if (seen === null) throw new Error(`Input ${i}: the block is not well formed`);
        return seen;
      });
    }
    expect(outcomes.good).toBeGreaterThan(0);
    expect(outcomes.bad).toBeGreaterThan(0);
  }, 36_000_000);

  it('in an index', () => {
    fuzz([raw.index], (input) =>
      decodeBetweenCanaries(input, 64, (address) => {
        if (exports.tableMetaInit(META, address, input.length, 0, 0, 0) !== 0) return null;
        const blocks = u32[(META + layout.T_BLOCKS) >>> 2] as number;
        return KEYS.map((key) => {
          const found = exports.tableFindBlock(META, KEY, setKey(key)) >>> 0;
          if (found >= blocks) throw new Error(`Found block ${found} of ${blocks}`);
          return found;
        });
      }),
    );
  }, 36_000_000);

  it('in a packed index', () => {
    const { blocks, packedIndex, fenceBytes } = raw;
    fuzz([packedIndex], (input) =>
      decodeBetweenCanaries(input, 1, (address) => {
        const length = 64 + 16 * blocks.length + 8 + fenceBytes;
        memory.fill(0xa5, TARGET - 64, TARGET + length + 64);
        const isGood = exports.indexUnpack(
          address,
          input.length,
          blocks.length,
          fenceBytes,
          TARGET,
        );
        for (let at = 0; at < 64; at++) {
          const isWhole = memory[TARGET - 1 - at] === 0xa5 && memory[TARGET + length + at] === 0xa5;
          if (!isWhole) throw new Error('Wrote outside of the target');
        }
        if (isGood === 0) return null;
        return memory.toString('latin1', TARGET, TARGET + length);
      }),
    );
  }, 36_000_000);

  it('in a filter', () => {
    const index = 4 * MIB;
    memory.set(raw.index, index);
    fuzz([raw.filter], (input) =>
      decodeBetweenCanaries(input, 64, (address) => {
        const status = exports.tableMetaInit(
          META,
          index,
          raw.index.length,
          address,
          input.length,
          0,
        );
        if (status !== 0) return null;
        const filter = u32[(META + layout.T_FILTER) >>> 2] as number;
        const lines = u32[(META + layout.T_FILTER_LINES) >>> 2] as number;
        const hashes = [0n, 1n, 2n ** 63n, 2n ** 64n - 1n, 0x123456789abcdef0n];
        // Without lines nothing is asked.
        return lines === 0
          ? []
          : hashes.map((hash) => exports.filterMayContain(filter, lines, hash));
      }),
    );
  }, 36_000_000);

  it('in LZ4', () => {
    const samples = [...packed.blocks, Buffer.from('0f6100ffffffffff', 'hex')].filter(
      ({ length }) => length > 0,
    );
    const mutator = new Mutator(SEED + 1);
    const outcomes = { good: 0, bad: 0 };
    for (let i = 0; i < INPUTS; i++) {
      const input = mutator.mutate(samples);
      const capacity = mutator.below(3000);
      decodeBetweenCanaries(input, 1, (address) => {
        memory.fill(0xa5, TARGET - 64, TARGET + capacity + 64);
        const length = exports.lz4Decompress(address, input.length, TARGET, capacity);
        for (let at = 0; at < 64; at++) {
          const isWhole =
            memory[TARGET - 1 - at] === 0xa5 && memory[TARGET + capacity + at] === 0xa5;
          if (!isWhole) throw new Error(`Input ${i}: wrote outside of the target`);
        }
        if (length > capacity) throw new Error(`Input ${i}: ${length} of ${capacity} bytes`);
        if (length < 0) outcomes.bad++;
        else outcomes.good++;
        return length < 0 ? null : memory.toString('latin1', TARGET, TARGET + length);
      });
    }
    expect(outcomes.good).toBeGreaterThan(0);
    expect(outcomes.bad).toBeGreaterThan(0);
  }, 36_000_000);
});
