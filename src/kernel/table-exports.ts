/** Signatures of the kernel's exports for tables and the jobs on them; documented where defined. */
export interface TableExports {
  // hash.ts
  checksum(address: number, bytes: number, seedLow: number, seedHigh: number): void;
  checksumPlaced(address: number, bytes: number, fileId: number, offset: number): void;
  checksumLow(): number;
  checksumHigh(): number;
  checksumWrite(address: number, bytes: number, fileId: number, offset: number): void;
  checksumVerify(address: number, bytes: number, fileId: number, offset: number): number;
  murmur32(address: number, bytes: number): number;

  // lz4.ts
  lz4SetTable(address: number): void;
  lz4Bound(bytes: number): number;
  lz4Compress(
    source: number,
    bytes: number,
    target: number,
    capacity: number,
    skipShift: number,
  ): number;
  lz4Decompress(source: number, bytes: number, target: number, capacity: number): number;

  // columns.ts
  columnsExpand(columns: number, bytes: number, block: number, blockBytes: number): number;

  // stored-block.ts
  storedVerify(source: number, length: number, table: number, fileOffset: number): number;
  storedIsPlain(source: number, length: number): number;
  storedIsPossible(source: number, length: number): number;
  storedRawBytes(source: number, length: number): number;
  storedOpen(source: number, length: number, raw: number, room: number): number;
  storedUnpack(source: number, length: number, raw: number, room: number): number;

  // filter.ts; hashes are u64
  filterMayContain(filter: number, lines: number, hash: bigint): number;
  filterBuild(hashes: number, count: number, filter: number, lines: number): void;

  // block.ts; hashes and sequence numbers are u64
  blockCount(block: number): number;
  blockPrefixLen(block: number): number;
  blockPrefixPtr(block: number): number;
  blockEntry(block: number, i: number, out: number): void;
  blockFind(block: number, key: number, keyBytes: number, hash: bigint, snapshot: bigint): number;
  blockSeek(block: number, key: number, keyBytes: number): number;
  blockValidate(block: number, bytes: number): number;

  // table-index.ts
  indexUnpack(
    packed: number,
    bytes: number,
    blocks: number,
    fenceBytes: number,
    index: number,
  ): number;
  tableMetaInit(
    meta: number,
    index: number,
    indexBytes: number,
    filter: number,
    filterBytes: number,
    cacheRefs: number,
  ): number;
  tableFindBlock(meta: number, key: number, keyBytes: number): number;

  // table-builder.ts
  builderInit(region: number, bytes: number): number;
  builderBegin(
    tableId: number,
    blockBytes: number,
    tableBytesMax: number,
    compress: number,
    filterBitsPerKey: number,
  ): void;
  builderAdd(
    key: number,
    keyBytes: number,
    type: number,
    sequence: number,
    value: number,
    valueBytes: number,
  ): number;
  builderCuts(list: number, count: number): void;
  builderDrained(): void;
  builderFinish(): number;

  // retention.ts
  retentionInit(address: number, snapshots: number, horizon: number, bottom: number): void;
  retentionEntriesIn(): number;
  retentionEntriesOut(): number;
  droppedBlobs(): number;
  droppedBlobCount(): number;
  droppedBlobsTaken(): void;

  // flush.ts
  flushBegin(arena: number, cursor: number): void;
  flushRun(): number;

  // merge.ts
  mergeBytes(sources: number): number;
  mergeInit(
    address: number,
    sources: number,
    prefix: number,
    prefixBytes: number,
    start: number,
    startBytes: number,
    end: number,
    endBytes: number,
  ): void;
  mergeRaw(source: number, address: number, capacity: number): void;
  mergeFeed(source: number, meta: number, block: number, count: number, chunk: number): void;
  mergeEnd(source: number): void;
  mergeRun(): number;
  mergeSource(): number;
  mergeBlock(): number;
  mergeRawBytes(): number;
  mergeBytesIn(): number;

  // verify.ts
  verifyInit(address: number): void;
  verifyBlock(meta: number, block: number, chunk: number, raw: number, rawCapacity: number): number;
  verifyRawBytes(): number;
}
