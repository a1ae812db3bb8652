import type { CommitExports } from './commit-exports.js';
import type { TableExports } from './table-exports.js';

/** Signatures of the functions that the kernel exports; each is documented where it is defined. */
export interface KernelExports extends TableExports, CommitExports {
  // reader.ts, get.ts, get-many.ts, scan.ts
  attach(slot: number): void;
  scratchBase(): number;
  get(keyLength: number, snapshot: number, routing: number): number;
  getSettled(keyLength: number, hidden: number, seen: number): number;
  getMany(count: number, snapshot: number): number;
  scan(
    startLength: number,
    endLength: number,
    flags: number,
    snapshot: number,
    entriesMax: number,
  ): number;

  // own-block.ts
  ownBlockSource(): number;
  ownBlockBytesMax(): number;
  ownBlockHit(): number;
  ownBlockTake(table: number, block: number, length: number, fileOffset: number): number;

  // cache.ts
  cacheInit(): void;
  cacheReserve(bytes: number): void;
  cacheInsert(
    meta: number,
    block: number,
    source: number,
    length: number,
    fileOffset: number,
    scan: number,
  ): number;
  cacheRecord(
    meta: number,
    key: number,
    keyLength: number,
    value: number,
    valueLength: number,
    sequence: number,
    again: number,
  ): number;
  cacheDropTable(meta: number): void;
  cacheCarry(meta: number, from: number, most: number, tables: number, count: number): number;
  cacheUsedBytes(): number;

  // epoch.ts
  readerEnter(slot: number): void;
  readerLeave(slot: number): void;
  readerForceLeave(slot: number): void;
  retire(): number;
  epochReached(epoch: number): number;

  // sort.ts
  chunkInit(chunk: number, bytes: number): void;
  chunkRoom(chunk: number): number;
  chunkAdd(
    chunk: number,
    key: number,
    keyLength: number,
    value: number,
    valueLength: number,
  ): number;
  chunkSortRoom(chunk: number): number;
  chunkSort(chunk: number, shards: number, temporary: number, out: number): number;
  chunkKeptBytes(): number;
  runPack(run: number, records: number, to: number): number;

  // load-merge.ts
  runsSplitRoom(runs: number, parts: number): number;
  runsSplit(
    list: number,
    runs: number,
    part: number,
    parts: number,
    room: number,
    out: number,
  ): void;
  runsRoom(runs: number): number;
  runsOpen(list: number, runs: number, room: number): void;
  runsMerge(sequence: number): number;

  // csv.ts
  csvParse(state: number): number;
  csvSplit(state: number): number;

  // text.ts
  textCount(address: number, length: number, byte: number): number;
  textFind(address: number, end: number, byte: number): number;
  textFindRecord(address: number, end: number, inQuotes: number): number;
  utf8Valid(address: number, length: number): number;
  jsonScan(state: number): void;
}
