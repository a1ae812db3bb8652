/**
 * A shard without disk, for tests of the client's side: the real kernel and memtable, requests and
 * responses through the real rings, one memtable that is never flushed. `serve` handles what has
 * arrived; a test calls it when it likes, or runs it on a thread of its own.
 */

import {
  BLOB_REFERENCE_BYTES,
  H_ARENA_BASE,
  H_ARENA_BYTES,
  H_HEARTBEAT,
  H_META_BASE,
  H_STAGING_BASE,
  H_VERSION,
  H_VISIBLE,
  OP_PUT_BLOB,
  RECORD_FLAG_MORE,
  REQUEST_BLOB_BEGIN,
  REQUEST_GET,
  REQUEST_GET_MANY,
  REQUEST_LOAD_BLOCKS,
  REQUEST_PREPARE,
  REQUEST_WRITE,
  SCRATCH_KEY,
  V_MEMTABLE_COUNT,
  V_MEMTABLES,
  V_RUN_COUNT,
} from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createShardMemory } from '../../src/kernel/shard-memory.js';
import {
  OPERATION_HEAD_BYTES_MAX,
  OperationReader,
  writeVarint,
} from '../../src/protocol/operations.js';
import { decodePrepare, newPrepareHead } from '../../src/protocol/prepare.js';
import { type Request, RequestAssembler } from '../../src/protocol/request-assembler.js';
import { BlobRequestReader, decodeGet, decodeGetMany } from '../../src/protocol/requests.js';
import { ResponseWriter } from '../../src/protocol/response-writer.js';
import { requestRing } from '../../src/ring/ring-location.js';
import { RingReader } from '../../src/ring/ring-reader.js';
import { type ControlBlock, SHARD_SERVING } from '../../src/router/control-block.js';

/** A part of a commit over several shards. The last shard to vote plays the coordinator. */
interface FakePrepared {
  readonly responses: ResponseWriter;
  readonly client: number;
  readonly requestId: number;
  readonly slot: number;
  readonly word: number;
  readonly operations: Buffer;
}

export interface FakeShardOptions {
  readonly shard: number;
  readonly requestRingBytes?: number;
  readonly responseRingBytes?: number;
  readonly arenaBytes?: number;
}

export function fakeShardMemory(options: FakeShardOptions): WebAssembly.Memory {
  return createShardMemory({
    shard: options.shard,
    cacheBytes: 1 << 20,
    arenaBytes: options.arenaBytes ?? 16 << 20,
    arenaCount: 1,
    requestRingBytes: options.requestRingBytes ?? 1 << 16,
    responseRingBytes: options.responseRingBytes ?? 1 << 16,
    metaBytes: 1 << 20,
  });
}

interface FakeSession {
  readonly client: number;
  readonly requests: RingReader;
  readonly responses: ResponseWriter;
  readonly assembler: RequestAssembler;
  readonly uploads: Map<number, { readonly reader: BlobRequestReader; readonly parts: Buffer[] }>;
}

export class FakeShard {
  readonly kernel: Kernel;
  readonly shard: number;
  /** Requests seen, by kind. */
  readonly seen = new Map<number, number>();
  /** Blocks that were asked for, as table and block. */
  readonly loads: number[][] = [];
  readonly #control: ControlBlock;
  readonly #arena: number;
  readonly #scratch: number;
  readonly #sessions: FakeSession[] = [];
  readonly #blobs: Buffer[] = [];
  #prepared: FakePrepared[] = [];
  readonly #opsPerTurn: number;

  constructor(
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    control: ControlBlock,
    shard: number,
    clients: readonly number[],
    { opsPerTurn = Number.POSITIVE_INFINITY } = {},
  ) {
    const kernel = new Kernel(module, memory);
    const { exports, u32 } = kernel;
    this.kernel = kernel;
    this.shard = shard;
    this.#control = control;
    this.#opsPerTurn = opsPerTurn;
    exports.attach(0);
    this.#scratch = exports.scratchBase();
    this.#arena = u32[H_ARENA_BASE >>> 2] as number;
    exports.memtableInit(this.#arena, u32[H_ARENA_BYTES >>> 2] as number);
    exports.setActiveMemtable(this.#arena);
    const version = u32[H_META_BASE >>> 2] as number;
    u32[(version + V_MEMTABLE_COUNT) >>> 2] = 1;
    u32[(version + V_RUN_COUNT) >>> 2] = 0;
    u32[(version + V_MEMTABLES) >>> 2] = this.#arena;
    Atomics.store(u32, H_VERSION >>> 2, version);
    Atomics.store(kernel.u64, H_VISIBLE >>> 3, BigInt(control.lastSequence()));
    for (const client of clients) {
      this.#sessions.push({
        client,
        requests: new RingReader(kernel, requestRing(kernel, client)),
        responses: new ResponseWriter(kernel, client),
        assembler: new RequestAssembler(1 << 30),
        uploads: new Map(),
      });
    }
    control.nextShardGeneration(shard);
    control.setShardState(shard, SHARD_SERVING);
  }

  hasRequests(): boolean {
    return this.#prepared.length > 0 || this.#sessions.some(({ requests }) => requests.hasNext());
  }

  /** Whether `serve` would find something to do. */
  hasWork(): boolean {
    return this.hasRequests() || this.#sessions.some(({ responses }) => responses.isBlocked);
  }

  /** Handles what has arrived. True when there was anything. */
  serve(): boolean {
    Atomics.add(this.kernel.i32, H_HEARTBEAT >>> 2, 1);
    let progress = false;
    for (const session of this.#sessions) {
      let handled = 0;
      while (handled < this.#opsPerTurn && session.requests.next()) {
        handled++;
        this.#take(session);
      }
      const makesRoom = session.requests.release();
      const sent = session.responses.isBlocked ? session.responses.pump() : handled > 0;
      if (makesRoom || sent) this.#control.ringClient(session.client);
      progress ||= handled > 0 || sent;
    }
    return this.#settlePrepared() || progress;
  }

  #prepare(session: FakeSession, { bytes, payload, payloadBytes, requestId }: Request): void {
    const { transactions } = this.#control;
    const head = newPrepareHead();
    decodePrepare(bytes, payload, payloadBytes, head);
    const { slot, word } = head;
    const operations = Buffer.from(bytes.subarray(head.operationsAt, payload + payloadBytes));
    const { client, responses } = session;
    this.#prepared.push({ responses, client, requestId, slot, word, operations });
    if (!transactions.prepared(slot, this.shard)) return;
    transactions.setSequence(slot, this.#control.allocateDecisions(1), 0);
    transactions.decide(slot, word);
    this.#control.decisionsAllocated();
    transactions.commit(slot, word);
  }

  #settlePrepared(): boolean {
    const { transactions } = this.#control;
    const waiting = this.#prepared;
    this.#prepared = [];
    let progress = false;
    for (const prepared of waiting) {
      const { slot, word, operations, responses, requestId, client } = prepared;
      const sequence = transactions.committedSequence(slot, word);
      if (sequence === 0) {
        this.#prepared.push(prepared);
        continue;
      }
      progress = true;
      this.kernel.exports.unsettledFrom(sequence);
      this.#applyAt(operations, sequence);
      this.kernel.exports.groupPublish(sequence);
      this.#control.letGo(slot, word, this.shard);
      responses.ok(requestId, sequence);
      this.#control.ringClient(client);
    }
    return progress;
  }

  #take(session: FakeSession): void {
    const { requests, responses } = session;
    this.seen.set(requests.kind, (this.seen.get(requests.kind) ?? 0) + 1);
    if (requests.kind === REQUEST_BLOB_BEGIN) {
      this.#takeBlobPiece(session);
      return;
    }
    const request = session.assembler.add(requests, this.kernel.bytes);
    if (request === undefined) return;
    try {
      if (request.kind === REQUEST_PREPARE) this.#prepare(session, request);
      else this.#answer(responses, request);
    } catch (error) {
      responses.error(request.requestId, error);
    }
  }

  #answer(responses: ResponseWriter, request: Request): void {
    const { bytes, payload, payloadBytes, requestId, argument } = request;
    switch (request.kind) {
      case REQUEST_WRITE:
        responses.ok(requestId, this.#write(bytes, payload, payload + payloadBytes, argument));
        return;
      case REQUEST_GET: {
        const { snapshot, keyStart, keyEnd } = decodeGet(bytes, payload, payloadBytes);
        const value = this.get(bytes.subarray(keyStart, keyEnd), snapshot);
        if (value === undefined) responses.missing(requestId);
        else responses.value(requestId, value);
        return;
      }
      case REQUEST_GET_MANY: {
        const { snapshot, keys } = decodeGetMany(bytes, payload, payloadBytes, argument);
        responses.values(
          requestId,
          keys.map((key) => this.get(key, snapshot)),
        );
        return;
      }
      case REQUEST_LOAD_BLOCKS:
        this.loads.push([
          bytes.readUInt32LE(payload),
          bytes.readUInt32LE(payload + 4),
          bytes.readUInt32LE(payload + 8),
        ]);
        responses.ok(requestId, 0);
        return;
      default:
        throw new Error(`unknown request ${request.kind}`);
    }
  }

  #write(bytes: Buffer, start: number, end: number, count: number): number {
    const operations = new OperationReader(bytes, start, end);
    let found = 0;
    while (operations.next()) found++;
    if (found !== count) throw new Error(`${found} operations instead of ${count}`);
    return this.#apply(Buffer.from(bytes.subarray(start, end)));
  }

  #apply(operations: Buffer): number {
    const sequence = this.#control.allocateSequences(this.shard, 1);
    this.#applyAt(operations, sequence);
    this.#publish(sequence);
    return sequence;
  }

  #applyAt(operations: Buffer, sequence: number): void {
    const { kernel } = this;
    const staging = kernel.u32[H_STAGING_BASE >>> 2] as number;
    kernel.bytes.set(operations, staging);
    if (kernel.exports.applyOps(staging, operations.length, sequence) !== 0) {
      throw new Error('the fake shard is full');
    }
  }

  #publish(sequence: number): void {
    this.kernel.exports.groupPublish(sequence);
    this.#control.sequencesApplied(this.shard);
  }

  #takeBlobPiece({ requests, responses, uploads }: FakeSession): void {
    const { requestId, payload, payloadBytes, flags } = requests;
    const upload = uploads.get(requestId) ?? { reader: new BlobRequestReader(), parts: [] };
    uploads.set(requestId, upload);
    const piece = this.kernel.bytes.subarray(payload, payload + payloadBytes);
    upload.parts.push(Buffer.from(upload.reader.push(piece)));
    if ((flags & RECORD_FLAG_MORE) !== 0) return;
    uploads.delete(requestId);
    upload.reader.finish();
    const reference = Buffer.alloc(BLOB_REFERENCE_BYTES);
    reference.writeDoubleLE(this.#blobs.length, 0);
    this.#blobs.push(Buffer.concat(upload.parts));
    const key = upload.reader.key as Buffer;
    const operation = Buffer.alloc(OPERATION_HEAD_BYTES_MAX + key.length + reference.length);
    operation[0] = OP_PUT_BLOB;
    const lengthAt = writeVarint(operation, 1, key.length);
    const keyAt = writeVarint(operation, lengthAt, reference.length);
    operation.set(key, keyAt);
    operation.set(reference, keyAt + key.length);
    const sequence = this.#apply(operation.subarray(0, keyAt + key.length + reference.length));
    responses.ok(requestId, sequence);
  }

  get(key: Uint8Array, snapshot: number): Buffer | undefined {
    const { kernel } = this;
    kernel.bytes.set(key, this.#scratch + SCRATCH_KEY);
    const status = kernel.exports.get(
      key.length,
      snapshot,
      kernel.exports.murmur32(this.#scratch + SCRATCH_KEY, key.length),
    );
    if (status === 0) return undefined;
    const start = kernel.u32[this.#scratch >>> 2] as number;
    const length = kernel.u32[(this.#scratch >>> 2) + 1] as number;
    const value = Buffer.from(kernel.bytes.subarray(start, start + length));
    if (status === 3) kernel.exports.readerLeave(0);
    return status === 4 ? this.#blobs[value.readDoubleLE(0)] : value;
  }
}
