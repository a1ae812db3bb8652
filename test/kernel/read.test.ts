/** Reads and scans over memtables, tables and the block cache, against a model with versions. */

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { flushMemtable } from '../../src/compaction/flush-memtable.js';
import { nodeFileSystem } from '../../src/file-system/node.js';
import * as layout from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createShardMemory } from '../../src/kernel/shard-memory.js';
import { blockOffset, loadTable } from '../../src/sstable/table-reader.js';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const GET_FOUND = 1;
const GET_NEED_BLOCK = 2;
const SCAN_NEED_BLOCK = 2;
const REVERSE = 1;
const HAS_START = 2;
const START_EXCLUSIVE = 4;
const HAS_END = 8;
const END_INCLUSIVE = 16;
const NO_PROGRESS = 0xffffffff;

const module = await WebAssembly.compile(readFileSync('dist/kernel.wasm'));

interface Write {
  readonly key: string;
  readonly value: string | undefined;
}

const compare = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** A shard in one thread: memtables and runs are built by hand, missing blocks are loaded by hand. */
class Shard {
  readonly kernel: Kernel;
  readonly reader: Kernel;
  readonly #directory: string;
  readonly #metas: { meta: number; path: string }[] = [];
  readonly #arenas: number[] = [];
  #metaTop: number;
  #sequence = 0;
  #tableId = 1;
  #loads = 0;

  constructor(directory: string, cacheBytes = 8 << 20) {
    this.#directory = directory;
    const memory = createShardMemory({
      shard: 0,
      cacheBytes,
      arenaBytes: 1 << 20,
      arenaCount: 4,
      requestRingBytes: 4096,
      responseRingBytes: 4096,
      metaBytes: 64 << 20,
    });
    this.kernel = new Kernel(module, memory);
    this.reader = new Kernel(module, memory);
    this.kernel.exports.attach(0);
    this.kernel.exports.cacheInit();
    this.reader.exports.attach(1);
    this.#metaTop = this.kernel.u32[layout.H_META_BASE >>> 2] as number;
    this.newMemtable();
  }

  #allocate(bytes: number): number {
    const address = this.#metaTop;
    this.#metaTop += Math.ceil(bytes / 64) * 64;
    return address;
  }

  newMemtable(): void {
    const base = this.kernel.u32[layout.H_ARENA_BASE >>> 2] as number;
    const arena = base + (this.#arenas.length % 4) * (1 << 20);
    this.kernel.exports.memtableInit(arena, 1 << 20);
    this.#arenas.unshift(arena);
    this.publish();
  }

  apply(writes: readonly Write[]): number {
    const staging = this.kernel.u32[layout.H_STAGING_BASE >>> 2] as number;
    for (const { key, value } of writes) {
      const k = Buffer.from(key);
      const v = Buffer.from(value ?? '');
      const head = [value === undefined ? layout.OP_DELETE : layout.OP_PUT, ...varint(k.length)];
      if (value !== undefined) head.push(...varint(v.length));
      const operation = Buffer.concat([Buffer.from(head), k, v]);
      this.kernel.bytes.set(operation, staging);
      this.kernel.exports.setActiveMemtable(this.#arenas[0] as number);
      expect(this.kernel.exports.applyOps(staging, operation.length, ++this.#sequence)).toBe(0);
    }
    this.kernel.exports.groupPublish(this.#sequence);
    return this.#sequence;
  }

  /** Turns the active memtable into the newest run; keeps every version. */
  flush(): void {
    const arena = this.#arenas.shift() as number;
    const { tables } = flushMemtable(
      nodeFileSystem,
      this.kernel,
      arena,
      {
        directory: this.#directory,
        firstTableId: this.#tableId,
        tableIds: 100,
        tableBytesMax: 64 << 20,
        blockBytes: 256,
        compression: true,
        filterBitsPerKey: 10,
      },
      { horizon: 0, snapshots: [], bottom: false },
    );
    this.#tableId += 100;
    for (const info of tables) {
      const path = `${this.#directory}/${String(info.id).padStart(10, '0')}.table`;
      const { meta } = loadTable(
        nodeFileSystem,
        this.kernel,
        { path, id: info.id },
        {
          allocate: (bytes) => this.#allocate(bytes),
          free: () => undefined,
        },
      );
      this.#metas.unshift({ meta, path });
    }
    this.newMemtable();
  }

  publish(): void {
    const { u32 } = this.kernel;
    const version = this.#allocate(layout.V_RUNS + this.#metas.length * 12);
    u32[(version + layout.V_MEMTABLE_COUNT) >>> 2] = this.#arenas.length;
    u32[(version + layout.V_RUN_COUNT) >>> 2] = this.#metas.length;
    this.#arenas.forEach((arena, i) => {
      u32[((version + layout.V_MEMTABLES) >>> 2) + i] = arena;
    });
    this.#metas.forEach(({ meta }, i) => {
      const list = version + layout.V_RUNS + this.#metas.length * 8 + i * 4;
      u32[list >>> 2] = meta;
      u32[(version + layout.V_RUNS + i * 8) >>> 2] = 1;
      u32[(version + layout.V_RUNS + i * 8 + 4) >>> 2] = list;
    });
    Atomics.store(u32, layout.H_VERSION >>> 2, version);
  }

  get hintSlots(): number {
    return ((this.kernel.u32[layout.H_HINT_MASK >>> 2] as number) + 1) * 8;
  }

  /** Changes every hint that there is: `change` gets and returns raw block, offset and entry. */
  changeHints(change: (hint: [number, number, number]) => [number, number, number]): number {
    const { u32, u64 } = this.kernel;
    const base = (u32[layout.H_HINT_BASE >>> 2] as number) >>> 3;
    let changed = 0;
    for (let i = base; i < base + this.hintSlots; i++) {
      const hint = u64[i] as bigint;
      if (hint === 0n) continue;
      const raw = Number(hint >> 36n) * 16;
      const [to, offset, index] = change([
        raw,
        Number((hint >> 20n) & 0xffffn),
        Number((hint >> 12n) & 0xffn),
      ]);
      u64[i] =
        (BigInt((to >>> 4) & 0xfffffff) << 36n) |
        (BigInt(offset & 0xffff) << 20n) |
        (BigInt(index & 0xff) << 12n) |
        (hint & 0xfffn);
      changed++;
    }
    return changed;
  }

  /** Offset of an entry, from the block's own offsets. */
  entryOffset(raw: number, index: number): number {
    const { bytes } = this.kernel;
    const count = bytes.readUInt16LE(raw + layout.BLOCK_COUNT);
    const offsets = (layout.BLOCK_HEAD_BYTES + count + 3) & ~3;
    return index < count ? bytes.readUInt16LE(raw + offsets + index * 2) : 0;
  }

  /** Blocks that had to be read. */
  get loads(): number {
    return this.#loads;
  }

  /** Caches a record of the newest run, as a client would that found it there. */
  cacheRecord(key: string, value: string, sequence: number): number {
    const staging = this.kernel.u32[layout.H_STAGING_BASE >>> 2] as number;
    const keyLength = this.kernel.bytes.write(key, staging);
    const valueLength = this.kernel.bytes.write(value, staging + keyLength);
    const { meta } = this.#metas[0] as { meta: number };
    return this.kernel.exports.cacheRecord(
      meta,
      staging,
      keyLength,
      staging + keyLength,
      valueLength,
      sequence,
      0,
    );
  }

  /** The newest run goes, its memory is used by the next table: as after a merge. */
  dropRun(): void {
    const { meta } = this.#metas.shift() as { meta: number };
    this.kernel.exports.cacheDropTable(meta);
    this.#metaTop = meta;
    this.publish();
  }

  #load(scan: number): void {
    expect(this.#loads++).toBeLessThan(1_000_000);
    const result = (this.reader.exports.scratchBase() + layout.SCRATCH_RESULT) >>> 2;
    const id = this.reader.u32[result + 3] as number;
    const block = this.reader.u32[result + 4] as number;
    const table = this.#metas.find((m) => this.kernel.u32[(m.meta + layout.T_ID) >>> 2] === id);
    if (table === undefined) throw new Error(`No table ${id}`);
    const start = blockOffset(this.kernel, table.meta, block);
    const end = blockOffset(this.kernel, table.meta, block + 1);
    const staging = this.kernel.u32[layout.H_STAGING_BASE >>> 2] as number;
    this.kernel.bytes.set(readFileSync(table.path).subarray(start, end), staging);
    const address = this.kernel.exports.cacheInsert(
      table.meta,
      block,
      staging,
      end - start,
      start,
      scan,
    );
    expect(address).not.toBe(-1);
    expect(address).not.toBe(0);
  }

  get(key: string, snapshot = -1): string | undefined {
    const { exports, bytes, u32 } = this.reader;
    const scratch = exports.scratchBase();
    const length = bytes.write(key, scratch + layout.SCRATCH_KEY);
    for (;;) {
      const routing = exports.murmur32(scratch + layout.SCRATCH_KEY, length);
      const status = exports.get(length, snapshot, routing);
      if (status === GET_NEED_BLOCK) {
        this.#load(0);
        continue;
      }
      if (status === 0) return undefined;
      expect(status).toBe(GET_FOUND);
      const at = u32[(scratch + layout.SCRATCH_RESULT) >>> 2] as number;
      const valueLength = u32[((scratch + layout.SCRATCH_RESULT) >>> 2) + 1] as number;
      return bytes.toString('utf8', at, at + valueLength);
    }
  }

  /** Status and value of each key: those that one call answers. */
  getMany(keys: readonly string[], snapshot = -1): [number, string | undefined][] {
    const { exports, bytes, u32 } = this.reader;
    const scratch = exports.scratchBase();
    const first = scratch + layout.SCRATCH_KEY2;
    let at = first;
    for (const key of keys) {
      const length = bytes.write(key, at + 8);
      bytes.writeUInt32LE(length, at);
      bytes.writeUInt32LE(exports.murmur32(at + 8, length) >>> 0, at + 4);
      at += 8 + ((length + 3) & ~3);
    }
    const used = exports.getMany(keys.length, snapshot);
    let end = 0;
    const found = keys.map((_, i): [number, string | undefined] => {
      const result = scratch + layout.SCRATCH_DESCRIPTORS + i * layout.MANY_RESULT_BYTES;
      const status = u32[(result + layout.MANY_STATUS) >>> 2] as number;
      if (status !== GET_FOUND) return [status, undefined];
      const value = u32[(result + layout.MANY_VALUE) >>> 2] as number;
      const length = u32[(result + layout.MANY_VALUE_BYTES) >>> 2] as number;
      expect(value).toBe(end);
      end = Math.min((value + length + 7) & ~7, layout.SCRATCH_OUT_BYTES);
      const out = scratch + layout.SCRATCH_OUT + value;
      const text = bytes.subarray(out, out + length);
      const isAscii = u32[(result + layout.MANY_ASCII) >>> 2] !== 0;
      expect(isAscii).toBe(text.every((byte) => byte < 128));
      return [status, text.toString()];
    });
    expect(used).toBe(end);
    return found;
  }

  /** Counted so far. */
  get gets(): number {
    const line = layout.READERS + layout.READER_BYTES + layout.READER_GETS;
    return Number(this.reader.u64[line >>> 3]);
  }

  scan(
    range: {
      start?: string;
      end?: string;
      startExclusive?: boolean;
      endInclusive?: boolean;
      reverse?: boolean;
    },
    snapshot = -1,
    entriesMax = 7,
  ): [string, string][] {
    const { exports, bytes, u32 } = this.reader;
    const scratch = exports.scratchBase();
    const entries: [string, string][] = [];
    let start = range.start === undefined ? undefined : Buffer.from(range.start);
    let exclusive = range.startExclusive === true;
    for (;;) {
      if (start !== undefined) bytes.set(start, scratch + layout.SCRATCH_KEY);
      const endLength =
        range.end === undefined ? 0 : bytes.write(range.end, scratch + layout.SCRATCH_KEY2);
      const flags =
        (range.reverse === true ? REVERSE : 0) |
        (start === undefined ? 0 : HAS_START) |
        (exclusive ? START_EXCLUSIVE : 0) |
        (range.end === undefined ? 0 : HAS_END) |
        (range.endInclusive === true ? END_INCLUSIVE : 0);
      const status = exports.scan(start?.length ?? 0, endLength, flags, snapshot, entriesMax);
      const result = (scratch + layout.SCRATCH_RESULT) >>> 2;
      for (let i = 0; i < (u32[result] as number); i++) {
        const d = (scratch + layout.SCRATCH_DESCRIPTORS + i * layout.SCAN_DESCRIPTOR_BYTES) >>> 2;
        const [k, kl, v, vl] = [u32[d], u32[d + 1], u32[d + 2], u32[d + 3]] as [
          number,
          number,
          number,
          number,
        ];
        expect(vl & 0x80000000).toBe(0);
        entries.push([
          bytes.toString('utf8', k, k + kl),
          bytes.toString('utf8', v, v + (vl & 0x1fffffff)),
        ]);
      }
      const progress = u32[result + 5] as number;
      if (progress !== NO_PROGRESS) {
        start = Buffer.from(
          bytes.subarray(scratch + layout.SCRATCH_KEY, scratch + layout.SCRATCH_KEY + progress),
        );
        exclusive = true;
      }
      if (status === 0) return entries;
      if (status === SCAN_NEED_BLOCK) this.#load(1);
    }
  }
}

function varint(n: number): number[] {
  const out: number[] = [];
  while (n > 127) {
    out.push((n & 127) | 128);
    n >>>= 7;
  }
  out.push(n);
  return out;
}

const keys = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'ä'), maxLength: 5 }),
  fc.integer({ min: 0, max: 40 }).map((i) => `a-long-common-prefix-${i}`),
);
const write = fc.record({
  key: keys,
  value: fc.option(
    fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.integer({ min: 0, max: 900 }).map((n) => 'v'.repeat(n)),
    ),
    { nil: undefined },
  ),
});
const part = fc.record({
  writes: fc.array(write, { minLength: 1, maxLength: 40 }),
  next: fc.constantFrom('nothing', 'flush', 'memtable'),
});

let directory: TemporaryDirectory | undefined;
afterEach(() => directory?.remove());

describe('reads', () => {
  it('match a sorted map at every snapshot, whatever holds the data', () => {
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 6 }),
        fc.array(fc.tuple(keys, keys, fc.boolean(), fc.boolean(), fc.boolean()), { maxLength: 6 }),
        (parts, ranges) => {
          directory = temporaryDirectory();
          const shard = new Shard(directory.path);
          const history: { at: number; model: Map<string, string> }[] = [];
          const model = new Map<string, string>();
          let memtables = 1;
          for (const { writes, next } of parts) {
            const at = shard.apply(writes);
            for (const { key, value } of writes) {
              if (value === undefined) model.delete(key);
              else model.set(key, value);
            }
            history.push({ at, model: new Map(model) });
            if (next === 'flush' && memtables === 1) shard.flush();
            if (next === 'memtable' && memtables < 3) {
              shard.newMemtable();
              memtables++;
            }
          }
          const every = new Set([
            ...parts.flatMap((p) => p.writes.map((w) => w.key)),
            'nowhere',
            '',
          ]);
          for (const { at, model: then } of [...history, { at: -1, model }]) {
            const many = [...every].slice(0, layout.GET_MANY_KEYS_MAX);
            const check = (isAll: boolean): void => {
              const gets = shard.gets;
              const found = shard.getMany(many, at);
              for (const [i, [status, value]] of found.entries()) {
                if (isAll) expect(status).not.toBe(GET_NEED_BLOCK);
                if (status !== GET_NEED_BLOCK) expect(value).toBe(then.get(many[i] as string));
              }
              const answered = found.filter(([status]) => status !== GET_NEED_BLOCK);
              expect(shard.gets - gets).toBe(answered.length);
            };
            check(false);
            for (const key of every) expect(shard.get(key, at)).toBe(then.get(key));
            check(true);
            const sorted = [...then].sort(([a], [b]) => compare(a, b));
            expect(shard.scan({}, at)).toEqual(sorted);
            expect(shard.scan({ reverse: true }, at)).toEqual([...sorted].reverse());
            for (const [start, end, startExclusive, endInclusive, reverse] of ranges) {
              const expected = sorted.filter(([k]) => {
                const fromStart = reverse ? compare(start, k) : compare(k, start);
                const fromEnd = reverse ? compare(k, end) : compare(end, k);
                return (
                  (startExclusive ? fromStart > 0 : fromStart >= 0) &&
                  (endInclusive ? fromEnd >= 0 : fromEnd > 0)
                );
              });
              if (reverse) expected.reverse();
              expect(
                shard.scan({ start, end, startExclusive, endInclusive, reverse }, at, 3),
              ).toEqual(expected);
            }
          }
          directory.remove();
        },
      ),
      { numRuns: 60, endOnFailure: true },
    );
  }, 120_000);

  it('of as many keys as there may be find them in large memtables and in tables', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path);
    const count = layout.GET_MANY_KEYS_MAX;
    // The longest keys that are staged, and all that stands behind them.
    const roomBytes = layout.SCRATCH_OUT - layout.SCRATCH_KEY2;
    expect(layout.GET_MANY_KEY_BYTES + count * (8 + 8 + 16)).toBeLessThanOrEqual(roomBytes);
    const keyAt = (i: number): string => `${i}`.padStart(200, 'k');
    const write = (round: number, step: number): void => {
      const numbers = Array.from({ length: Math.ceil(2500 / step) }, (_, n) => n * step);
      const value = `${round}`;
      shard.apply(numbers.map((i) => ({ key: keyAt(i), value: `${i}:`.padEnd(90, value) })));
    };
    write(1, 1);
    for (let round = 2; round < 5; round++) {
      for (let first = 0; first < 2500; first += count) {
        const chosen = Array.from({ length: count }, (_, n) => (first + n * 31) % 2600);
        const wanted = chosen.map((i) => {
          if (i >= 2500) return undefined;
          const written = [4, 3, 2].find((r) => r < round && i % (2 * r) === 0) ?? 1;
          return `${i}:`.padEnd(90, `${written}`);
        });
        const keys = chosen.map(keyAt);
        for (const key of keys) shard.get(key);
        const found = shard.getMany(keys);
        expect(found.map(([, value]) => value)).toEqual(wanted);
      }
      if (round === 2) shard.flush();
      write(round, 2 * round);
    }
  });

  it('of many keys leave what nobody may see yet, and what finds no room, to others', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path);
    const large = 'l'.repeat(100_000);
    const keysOf = (from: number): string[] => Array.from({ length: 8 }, (_, i) => `k${from + i}`);
    shard.apply(keysOf(0).map((key, i) => ({ key, value: i % 2 === 0 ? large : 'small' })));
    const unsettled = shard.apply(keysOf(8).map((key) => ({ key, value: 'hidden?' }))) - 7;
    shard.apply([{ key: 'k0', value: undefined }]);
    const statuses = (snapshot?: number): number[] =>
      shard.getMany([...keysOf(0), ...keysOf(8), 'none'], snapshot).map(([status]) => status);
    // k0 is deleted; of k2, k4 and k6, two find room.
    const ofFirst = [0, 1, 1, 1, 1, 1, 3, 1];
    expect(statuses()).toEqual([...ofFirst, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    shard.kernel.u64[layout.H_UNSETTLED >>> 3] = BigInt(unsettled);
    expect(statuses()).toEqual([5, ...ofFirst.slice(1), 5, 5, 5, 5, 5, 5, 5, 5, 0]);
    // A snapshot is below what is not released.
    expect(statuses(unsettled - 1)).toEqual([1, 1, 1, 1, 3, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Nor does it stay in its epoch.
    expect(shard.kernel.exports.epochReached(shard.kernel.exports.retire())).toBe(1);
  });

  it('stay right while a small cache evicts all the time', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path, 1 << 17);
    const value = (i: number): string => `${i}:`.padEnd(300, String.fromCharCode(97 + (i % 26)));
    for (let run = 0; run < 3; run++) {
      shard.apply(
        Array.from({ length: 800 }, (_, n) => ({
          key: `k${n * 3 + run}`,
          value: value(n * 3 + run),
        })),
      );
      shard.flush();
    }
    for (let n = 0; n < 5_000; n++) {
      const i = (n * 7919) % 2400;
      expect(shard.get(`k${i}`)).toBe(value(i));
      if (n % 1000 === 0) expect(shard.scan({}, -1, 100).length).toBe(2400);
    }
    expect(shard.kernel.exports.cacheUsedBytes()).toBeLessThanOrEqual(1 << 17);
  });

  it('stay right while more and less of the cache is left alone, where nothing is written then', () => {
    directory = temporaryDirectory();
    const cacheBytes = 1 << 18;
    const shard = new Shard(directory.path, cacheBytes);
    const value = (i: number): string => `${i}:`.padEnd(300, String.fromCharCode(97 + (i % 26)));
    shard.apply(Array.from({ length: 700 }, (_, i) => ({ key: `k${i}`, value: value(i) })));
    shard.flush();
    const { bytes, u32, exports } = shard.kernel;
    const small = u32[layout.H_CACHE_SMALL_BYTES >>> 2] as number;
    const main = (u32[layout.H_CACHE_BYTES >>> 2] as number) - small;
    const mainBase = (u32[layout.H_CACHE_BASE >>> 2] as number) + small;
    let at = 0;
    const readMany = (count: number): void => {
      for (let n = 0; n < count; n++) {
        at = (at + 7919) % 700;
        expect(shard.get(`k${at}`)).toBe(value(at));
      }
    };
    for (const reserve of [main >> 1, main >> 3, main * 4, 0]) {
      exports.cacheReserve(reserve);
      const usable = main - Math.min(reserve, main - (main >> 2));
      // Until the head has come round.
      readMany(900);
      expect(exports.cacheUsedBytes()).toBeLessThanOrEqual(small + usable);
      // But for the head of a filler, which may stand at its beginning.
      const alone = bytes.subarray(mainBase + usable + 64, mainBase + main);
      alone.fill(0xcd);
      const loads = shard.loads;
      readMany(400);
      expect(alone.every((byte) => byte === 0xcd)).toBe(true);
      expect(shard.loads).toBeGreaterThan(loads);
    }
    // Everything is used again, and holds what it can.
    readMany(500);
    expect(exports.cacheUsedBytes()).toBeGreaterThan(0.6 * cacheBytes);
  });

  it('take a record that is cached by itself, for its own table and snapshots alone', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path);
    const write = (round: number): number =>
      shard.apply(
        Array.from({ length: 50 }, (_, i) => ({ key: `key-${i}`, value: `${i}:${round}` })),
      );
    const first = write(0);
    const second = write(1);
    shard.flush();
    // Sequence numbers count operations here.
    const sequence = second - 50 + 8;
    expect(shard.cacheRecord('key-7', '7:1', sequence)).toBe(1);
    expect(shard.cacheRecord('key-7', '7:1', sequence)).toBe(0);
    expect(shard.get('key-7')).toBe('7:1');
    expect(shard.loads).toBe(0);
    expect(shard.get('key-7', sequence)).toBe('7:1');
    expect(shard.loads).toBe(0);
    // An older version, and another key, are not the record's to tell.
    expect(shard.get('key-7', first)).toBe('7:0');
    expect(shard.get('key-77')).toBeUndefined();
    expect(shard.loads).toBeGreaterThan(0);
    write(2);
    expect(shard.get('key-7')).toBe('7:2');
    shard.flush();
    expect(shard.get('key-7')).toBe('7:2');
    expect(shard.get('key-7', second)).toBe('7:1');
  });

  it('do not take a record of a table that is gone for one of the table in its place', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path);
    shard.apply([{ key: 'key', value: 'old' }]);
    shard.flush();
    expect(shard.cacheRecord('key', 'old', 1)).toBe(1);
    expect(shard.get('key')).toBe('old');
    expect(shard.loads).toBe(0);
    shard.dropRun();
    expect(shard.get('key')).toBeUndefined();
    shard.apply([{ key: 'key', value: 'new' }]);
    shard.flush();
    expect(shard.get('key')).toBe('new');
  });

  it('find a key after many that are not there, wherever it is', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path);
    const missMany = (): void => {
      for (let i = 0; i < 6; i++) expect(shard.get(`missing-${i}`)).toBeUndefined();
    };
    const first = shard.apply([
      { key: 'bottom', value: '1' },
      { key: 'replaced', value: 'old' },
    ]);
    shard.flush();
    shard.apply([
      { key: 'replaced', value: 'new' },
      { key: 'upper', value: '2' },
    ]);
    shard.flush();
    shard.apply([{ key: 'memtable', value: '3' }]);
    for (const [key, value] of [
      ['bottom', '1'],
      ['upper', '2'],
      ['replaced', 'new'],
      ['memtable', '3'],
    ] as const) {
      missMany();
      expect(shard.get(key)).toBe(value);
    }
    missMany();
    expect(shard.get('replaced', first)).toBe('old');
    missMany();
    expect(shard.get('upper', first)).toBeUndefined();
  });

  it('have half of the hints until two fifths of the cache are used, then all, and find keys as before', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path, 1 << 18);
    const value = (i: number): string => `${i}:`.padEnd(300, 'x');
    shard.apply(Array.from({ length: 700 }, (_, i) => ({ key: `k${i}`, value: value(i) })));
    shard.flush();
    const { u32, exports } = shard.kernel;
    const slotsMax = ((u32[layout.H_HINT_MASK_MAX >>> 2] as number) + 1) * 8;
    const cacheBytes = u32[layout.H_CACHE_BYTES >>> 2] as number;
    for (let i = 0; i < 700; i++) {
      expect(shard.get(`k${i}`)).toBe(value(i));
      const isLittle = exports.cacheUsedBytes() * 5 <= cacheBytes * 2;
      // It does not shrink again.
      expect(shard.hintSlots).toBe(isLittle && i < 400 ? slotsMax / 2 : slotsMax);
      if (i > 0) expect(shard.get(`k${i >> 1}`)).toBe(value(i >> 1));
    }
    expect(shard.hintSlots).toBe(slotsMax);
  });

  it('never believe a hint that is wrong', () => {
    directory = temporaryDirectory();
    const shard = new Shard(directory.path);
    const keys = Array.from({ length: 600 }, (_, i) => `key-${i % 200}-of-many`);
    const at: number[] = [];
    // Three versions of each key, in one block, where the entry before or after is the same key's.
    for (let version = 0; version < 3; version++) {
      at.push(shard.apply(keys.slice(0, 200).map((key) => ({ key, value: `${key}:${version}` }))));
    }
    shard.flush();
    const check = (): void => {
      for (const key of keys.slice(0, 200)) {
        expect(shard.get(key)).toBe(`${key}:2`);
        expect(shard.get(key, at[0])).toBe(`${key}:0`);
      }
      expect(shard.get('key-7-of-man')).toBeUndefined();
    };
    check();
    let state = 7;
    const random = (limit: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
    const raws: number[] = [];
    const changes: ((hint: [number, number, number]) => [number, number, number])[] = [
      ([raw, offset, index]) => [raws.push(raw) > 0 ? raw : 0, offset, index],
      ([raw, offset, index]) => [raw, offset, index + 1],
      ([raw, offset, index]) => [raw, offset + 1 + random(40), index],
      ([raw]) => [raw, random(400), random(20)],
      ([, offset, index]) => [raws[random(raws.length)] as number, offset, index],
      ([raw, offset, index]) => [raw + 16 * (random(40) - 20), offset, index],
      () => [random(2 ** 32), random(65536), random(256)],
      // The next version of the same key: an older one.
      ([raw, , index]) => [raw, shard.entryOffset(raw, index + 1), index + 1],
    ];
    for (const change of changes) {
      expect(shard.changeHints(change)).toBeGreaterThan(100);
      check();
    }
  });
});
