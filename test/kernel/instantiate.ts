/** The built kernel over memories of the tests' own, with the exports that only tests call typed. */

import { readFileSync } from 'node:fs';
import { createShardMemory, type ShardMemoryOptions } from '../../src/kernel/shard-memory.js';

/** What a test calls. Sequence numbers inside the kernel are u64: bigint at this boundary. */
export interface TestedExports {
  readerEnter(slot: number): void;
  readerLeave(slot: number): void;
  readerForceLeave(slot: number): void;
  retire(): number;
  epochReached(epoch: number): number;

  memtableInit(arena: number, bytes: number): void;
  memtablePut(
    arena: number,
    key: number,
    keyLength: number,
    type: number,
    value: number,
    valueLength: number,
    sequence: bigint,
  ): number;
  memtableFind(arena: number, key: number, keyLength: number, snapshot: bigint): number;
  memtableSeek(cursor: number, arena: number, key: number, keyLength: number): number;
  memtableSeekLast(cursor: number, arena: number, key: number, keyLength: number): number;
  memtableFirst(cursor: number, arena: number): number;
  memtableLast(cursor: number, arena: number): number;
  memtableNext(cursor: number): number;
  memtablePrev(cursor: number): number;

  ringPeek(client: number): number;
  ringPop(client: number): void;
  ringPushResponse(
    client: number,
    kind: number,
    flags: number,
    requestId: number,
    argument: number,
    payload: number,
    payloadBytes: number,
  ): number;

  groupBegin(): void;
  groupCollect(client: number, opsMax: number): number;
  groupMalformed(): number;
  groupAppend(
    opsPtr: number,
    opsBytes: number,
    opCount: number,
    kind: number,
    transactionId: number,
    client: number,
    requestId: number,
  ): number;
  groupBytes(): number;
  groupCommits(): number;
  groupCommitsMax(): number;
  groupOps(): number;
  groupControls(): number;
  groupOpsBytesMax(): number;
  groupSync(): number;
  groupClient(i: number): number;
  groupRequestId(i: number): number;
  groupSeal(
    firstSequence: number,
    timestampUs: number,
    epoch: number,
    durableBytes: number,
    segment: number,
    fileOffset: number,
    flags: number,
  ): number;
  groupOpen(bytes: number, segment: number, fileOffset: number): number;
  groupBytesWanted(): number;
  groupApply(): number;
  setActiveMemtable(arena: number): void;
  applyOps(opsPtr: number, opsBytes: number, sequence: number): number;
  groupPublish(sequence: number): void;
  groupAck(): number;
  groupAckRetry(): number;
  groupForget(client: number): void;
}

export interface TestedKernel {
  readonly exports: TestedExports;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
}

const module = await WebAssembly.compile(
  readFileSync(
    process.env['LIGHTNING_TEST_KERNEL'] ?? new URL('../../dist/kernel.wasm', import.meta.url),
  ),
);

export function instantiate(memory: WebAssembly.Memory): TestedKernel {
  const abort = (): never => {
    throw new Error('The kernel aborted');
  };
  const instance = new WebAssembly.Instance(module, { env: { memory, abort } });
  return {
    exports: instance.exports as unknown as TestedExports,
    memory,
    bytes: Buffer.from(memory.buffer),
    view: new DataView(memory.buffer),
    u32: new Uint32Array(memory.buffer),
    i32: new Int32Array(memory.buffer),
  };
}

/** A kernel over `bytes` bytes without any regions. */
export function bareKernel(bytes: number): TestedKernel {
  const pages = Math.ceil(bytes / 65536);
  return instantiate(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
}

/** A kernel over the memory of a small shard. */
export function shardKernel(options: Partial<ShardMemoryOptions> = {}): TestedKernel {
  return instantiate(
    createShardMemory({
      shard: 0,
      cacheBytes: 4 * 1024 * 1024,
      arenaBytes: 1024 * 1024,
      arenaCount: 3,
      requestRingBytes: 65536,
      responseRingBytes: 4096,
      metaBytes: 1024 * 1024,
      ...options,
    }),
  );
}
