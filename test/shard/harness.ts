/**
 * A shard and its clients in one thread: turns are taken by hand, jobs run at once, over a file
 * system of the test's choice.
 */

import { readFileSync } from 'node:fs';
import { CheckBoard } from '../../src/compaction/check-board.js';
import { flushMemtable } from '../../src/compaction/flush-memtable.js';
import { JOB_MEMORY_BYTES } from '../../src/compaction/job-memory.js';
import type {
  BuildResult,
  FlushJob,
  MergeJob,
  VerifyJob,
  VerifyResult,
} from '../../src/compaction/jobs.js';
import { mergeTables } from '../../src/compaction/merge-tables.js';
import { verifyFile } from '../../src/compaction/verify-file.js';
import { type ResolvedConfig, resolveConfig } from '../../src/config.js';
import { deserializeError, serializeError } from '../../src/errors.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import {
  H_ARENA_BYTES,
  OP_DELETE,
  OP_PUT,
  RECORD_FLAG_MORE,
  REQUEST_BLOB_BEGIN,
  REQUEST_GET,
  REQUEST_GET_MANY,
  REQUEST_LOAD_BLOCKS,
  REQUEST_WRITE,
  RESPONSE_ERROR,
  RESPONSE_MISSING,
  RESPONSE_OK,
  RESPONSE_VALUE,
  RESPONSE_VALUES,
} from '../../src/kernel/assembly/layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import {
  createJobMemory,
  createShardMemory,
  valueInlineBytesMax,
} from '../../src/kernel/shard-memory.js';
import { writeVarint } from '../../src/protocol/operations.js';
import { encodeBlobHead, encodeGetMany, encodeLoadBlocks } from '../../src/protocol/requests.js';
import { decodeValues } from '../../src/protocol/responses.js';
import { connectRing, requestRing, responseRing } from '../../src/ring/ring-location.js';
import { RingReader } from '../../src/ring/ring-reader.js';
import { FULL, RingWriter } from '../../src/ring/ring-writer.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { DirectCommit, type DirectOutcome } from '../../src/router/direct-commit.js';
import { Shard } from '../../src/shard/shard.js';
import type { Clock, Durability, JobRunner, ShardOptions } from '../../src/shard/shard-options.js';
import type { LinkIntent } from '../../src/version/link-intent.js';

export const DATABASE_ID = '01234567-89ab-cdef-0123-456789abcdef';

const module = await WebAssembly.compile(
  readFileSync(
    process.env['LIGHTNING_TEST_KERNEL'] ?? new URL('../../dist/kernel.wasm', import.meta.url),
  ),
);

let jobKernel: Kernel | undefined;

/** Runs jobs on the spot, as a pool thread would: each over a kernel instance of its own. */
export class InlineJobs implements JobRunner {
  /** Awaited before each job: lets a test hold jobs up, or make them fail. */
  before: (job: FlushJob | MergeJob | VerifyJob) => Promise<void> = async () => {};
  readonly #fs: FileSystem;
  readonly #memory: WebAssembly.Memory;

  constructor(fs: FileSystem, memory: WebAssembly.Memory) {
    this.#fs = fs;
    this.#memory = memory;
  }

  async flush(job: FlushJob): Promise<BuildResult> {
    await this.before(job);
    const kernel = new Kernel(module, this.#memory);
    return flushMemtable(this.#fs, kernel, job.memtable, job.target, job.retention);
  }

  async merge(job: MergeJob): Promise<BuildResult> {
    await this.before(job);
    return mergeTables(this.#fs, this.#kernel(), job.input, job.target, job.retention);
  }

  async verify(job: VerifyJob): Promise<VerifyResult> {
    await this.before(job);
    const board = job.board === undefined ? undefined : new CheckBoard(job.board);
    return verifyFile(this.#fs, this.#kernel(), job.target, job.expected, board);
  }

  #kernel(): Kernel {
    jobKernel ??= new Kernel(module, createJobMemory(JOB_MEMORY_BYTES));
    return jobKernel;
  }
}

export interface TestShardOptions {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly config?: Partial<ResolvedConfig>;
  readonly clock?: Clock;
  readonly databaseId?: string;
  readonly control?: ControlBlock;
  readonly before?: InlineJobs['before'];
  readonly wake?: () => void;
  readonly intents?: readonly LinkIntent[];
  readonly shard?: number;
  readonly durability?: Durability | undefined;
  readonly cutSequence?: number | undefined;
  readonly decisions?: ShardOptions['decisions'];
  readonly mayLoadTables?: () => boolean;
  /** The client commits its requests itself whenever the shard can be lent. */
  readonly direct?: boolean;
}

const MIB = 1024 * 1024;

export function testConfig(changes: Partial<ResolvedConfig> = {}): ResolvedConfig {
  const config = resolveConfig({
    shards: 1,
    memtableSize: MIB,
    cacheSize: 4 * MIB,
    ringBytes: { request: 64 * 1024, response: 64 * 1024 },
    tableBytesMax: 256 * 1024,
  });
  return { ...config, ...changes };
}

export class TestShard {
  readonly shard: Shard;
  readonly kernel: Kernel;
  readonly control: ControlBlock;
  readonly jobs: InlineJobs;
  readonly client: TestClient;
  readonly fs: FileSystem;
  readonly directory: string;
  /** The compiled kernel. */
  readonly module = module;

  private constructor(
    shard: Shard,
    kernel: Kernel,
    control: ControlBlock,
    jobs: InlineJobs,
    client: TestClient,
    { fs, directory }: TestShardOptions,
  ) {
    this.fs = fs;
    this.directory = directory;
    this.shard = shard;
    this.kernel = kernel;
    this.control = control;
    this.jobs = jobs;
    this.client = client;
  }

  static async open(options: TestShardOptions): Promise<TestShard> {
    const config = testConfig(options.config);
    const { shard: number = 0 } = options;
    const memory = createShardMemory({
      shard: number,
      cacheBytes: config.cacheBytesPerShard,
      arenaBytes: config.arenaBytes,
      arenaCount: config.arenaCount,
      requestRingBytes: config.requestRingBytes,
      responseRingBytes: config.responseRingBytes,
      metaBytes: 16 * MIB,
    });
    const kernel = new Kernel(module, memory);
    const control = options.control ?? ControlBlock.create(1);
    const jobs = new InlineJobs(options.fs, memory);
    if (options.before !== undefined) jobs.before = options.before;
    const shard = await Shard.open({
      shard: number,
      databaseId: options.databaseId ?? DATABASE_ID,
      directory: options.directory,
      config,
      bootId: 0.5,
      kernel,
      control,
      fs: options.fs,
      clock: options.clock ?? { nowMs: () => performance.now(), wallMs: () => Date.now() },
      jobs,
      intents: options.intents ?? [],
      durability: options.durability,
      cutSequence: options.cutSequence,
      ...(options.decisions === undefined ? {} : { decisions: options.decisions }),
      mayLoadTables: options.mayLoadTables ?? (() => true),
      wake: options.wake ?? (() => {}),
    });
    const client = new TestClient(shard, kernel, 1);
    const opened = new TestShard(shard, kernel, control, jobs, client, options);
    if (options.direct === true) client.direct = opened.directCommit(1, number);
    return opened;
  }

  /** Another instance of the kernel over the shard's memory, as other threads have one. */
  instantiate(): Kernel {
    return new Kernel(module, this.kernel.memory);
  }

  /** What a client has that commits on its own thread: an instance of the kernel of its own. */
  directCommit(client: number, shard = 0, kernel = this.instantiate()): DirectCommit {
    const { fs, directory, control } = this;
    const recordBytesMax = valueInlineBytesMax(kernel.u32[H_ARENA_BYTES >>> 2] as number);
    const wallMs = (): number => Date.now();
    return new DirectCommit({
      fs,
      directory,
      shard,
      client,
      kernel,
      control,
      wallMs,
      recordBytesMax,
    });
  }

  /** Lets flushes and compactions that are due come to their end. */
  async settle(): Promise<void> {
    const { flusher, compactor, state } = this.shard;
    for (let quiet = 0; quiet < 3; ) {
      await new Promise((resolve) => setImmediate(resolve));
      this.shard.turn();
      const isBusy =
        flusher.counters.running > 0 ||
        compactor.counters.running > 0 ||
        state.memtables.immutables.length > 0;
      quiet = isBusy ? 0 : quiet + 1;
    }
  }
}

export type Operation =
  | { readonly type: 'put'; readonly key: string; readonly value: string | Buffer }
  | { readonly type: 'delete'; readonly key: string };

export const put = (key: string, value: string | Buffer): Operation => ({
  type: 'put',
  key,
  value,
});
export const del = (key: string): Operation => ({ type: 'delete', key });

export function encodeOperations(operations: readonly Operation[]): Buffer {
  const pieces: Buffer[] = [];
  for (const operation of operations) {
    const key = Buffer.from(operation.key);
    const value = operation.type === 'put' ? Buffer.from(operation.value) : undefined;
    const head = Buffer.alloc(11);
    head[0] = operation.type === 'put' ? OP_PUT : OP_DELETE;
    let at = writeVarint(head, 1, key.length);
    if (value !== undefined) at = writeVarint(head, at, value.length);
    pieces.push(head.subarray(0, at), key, value ?? Buffer.alloc(0));
  }
  return Buffer.concat(pieces);
}

interface Answer {
  readonly kind: number;
  readonly payload: Buffer;
}

interface Unsent {
  readonly kind: number;
  readonly requestId: number;
  readonly argument: number;
  readonly flags: number;
  readonly payload: Buffer;
  sent: number;
}

/** A client that takes the shard's turns itself while it waits for an answer. */
export class TestClient {
  readonly #shard: Shard;
  readonly #kernel: Kernel;
  readonly #requests: RingWriter;
  readonly #responses: RingReader;
  readonly #answers = new Map<number, Answer>();
  readonly #partial = new Map<number, { kind: number; pieces: Buffer[] }>();
  #unsent: Unsent[] = [];
  #nextId = 1;
  /** Pieces of larger requests have this many bytes at most. */
  pieceBytesMax: number;
  /** Turns after which a wait is given up. */
  turnsMax = 100_000;
  /** With it, requests are committed on the client's side, as far as the shard is lent. */
  direct: DirectCommit | undefined;

  constructor(shard: Shard, kernel: Kernel, client: number) {
    this.#shard = shard;
    this.#kernel = kernel;
    this.#requests = new RingWriter(kernel, requestRing(kernel, client));
    this.#responses = new RingReader(kernel, responseRing(kernel, client));
    this.pieceBytesMax = this.#requests.payloadBytesMax;
    connectRing(kernel, client);
  }

  /** Sends a request as far as there is room; returns its id. */
  send(kind: number, argument: number, payload: Buffer, flags = 0): number {
    const requestId = this.#nextId++;
    this.#unsent.push({ kind, requestId, argument, flags, payload, sent: 0 });
    this.#pump();
    return requestId;
  }

  #pump(): void {
    while (this.#unsent.length > 0) {
      const request = this.#unsent[0] as Unsent;
      const { kind, requestId, argument, payload } = request;
      const rest = payload.length - request.sent;
      const piece = Math.min(rest, this.pieceBytesMax);
      const address = this.#requests.reserve(piece);
      if (address === FULL) break;
      this.#kernel.bytes.set(payload.subarray(request.sent, request.sent + piece), address);
      const more = piece < rest ? RECORD_FLAG_MORE : 0;
      this.#requests.commit(kind, request.flags | more, requestId, argument, piece);
      request.sent += piece;
      if (piece === rest) this.#unsent.shift();
    }
    this.#requests.publish();
  }

  #receive(): void {
    const responses = this.#responses;
    while (responses.next()) {
      const { kind, flags, requestId, payload, payloadBytes } = responses;
      const bytes = Buffer.from(this.#kernel.bytes.subarray(payload, payload + payloadBytes));
      const known = this.#partial.get(requestId);
      // An error takes the place of a value that could not be completed.
      const pieces = known?.kind === kind ? known.pieces : [];
      pieces.push(bytes);
      if ((flags & RECORD_FLAG_MORE) !== 0) {
        this.#partial.set(requestId, { kind, pieces });
        continue;
      }
      this.#partial.delete(requestId);
      this.#answers.set(requestId, { kind, payload: Buffer.concat(pieces) });
    }
    responses.release();
  }

  /** The answer, if it has come. */
  poll(requestId: number): Answer | undefined {
    this.#pump();
    this.#receive();
    const answer = this.#answers.get(requestId);
    this.#answers.delete(requestId);
    return answer;
  }

  /** What happens while the shard worker sleeps: the shard is lent, and the client commits. */
  commitDirect(direct: DirectCommit): DirectOutcome {
    const { lending } = this.#shard;
    if (!lending.offer()) return 'away';
    try {
      return direct.commit({
        committed: (requestId, sequence) => {
          const payload = Buffer.alloc(8);
          payload.writeDoubleLE(sequence);
          this.#answers.set(requestId, { kind: RESPONSE_OK, payload });
        },
        failed: (requestId, error) => {
          const payload = Buffer.from(JSON.stringify(serializeError(error)));
          this.#answers.set(requestId, { kind: RESPONSE_ERROR, payload });
        },
      });
    } finally {
      lending.takeBack();
    }
  }

  /** Takes turns until the answer is there. Throws the error that came instead. */
  async wait(requestId: number): Promise<Answer> {
    for (let turns = 0; turns < this.turnsMax; turns++) {
      if (this.direct !== undefined) this.commitDirect(this.direct);
      const answer = this.poll(requestId);
      if (answer !== undefined) {
        if (answer.kind === RESPONSE_ERROR) {
          throw deserializeError(JSON.parse(answer.payload.toString()));
        }
        return answer;
      }
      if (!this.#shard.turn()) await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error('The shard does not answer');
  }

  write(operations: readonly Operation[], flags = 0): number {
    return this.send(REQUEST_WRITE, operations.length, encodeOperations(operations), flags);
  }

  /** Commits; returns the sequence number. */
  async commit(operations: readonly Operation[], flags = 0): Promise<number> {
    const { kind, payload } = await this.wait(this.write(operations, flags));
    if (kind !== RESPONSE_OK) throw new Error(`Unexpected answer ${kind}`);
    return payload.readDoubleLE(0);
  }

  async put(key: string, value: string | Buffer): Promise<number> {
    return this.commit([put(key, value)]);
  }

  writeBlob(key: string, value: Buffer, flags = 0): number {
    const payload = Buffer.concat([encodeBlobHead(value.length, Buffer.from(key)), value]);
    return this.send(REQUEST_BLOB_BEGIN, 0, payload, flags);
  }

  async putBlob(key: string, value: Buffer): Promise<number> {
    const answer = await this.wait(this.writeBlob(key, value));
    return answer.payload.readDoubleLE(0);
  }

  async delete(key: string): Promise<number> {
    return this.commit([del(key)]);
  }

  async getBytes(key: string, snapshot = -1): Promise<Buffer | undefined> {
    const head = Buffer.alloc(8);
    head.writeDoubleLE(snapshot);
    const payload = Buffer.concat([head, Buffer.from(key)]);
    const answer = await this.wait(this.send(REQUEST_GET, 0, payload));
    if (answer.kind === RESPONSE_MISSING) return undefined;
    if (answer.kind !== RESPONSE_VALUE) throw new Error(`Unexpected answer ${answer.kind}`);
    return answer.payload;
  }

  async get(key: string, snapshot = -1): Promise<string | undefined> {
    return (await this.getBytes(key, snapshot))?.toString();
  }

  async getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    const payload = encodeGetMany(
      -1,
      keys.map((key) => Buffer.from(key)),
    );
    const answer = await this.wait(this.send(REQUEST_GET_MANY, keys.length, payload));
    if (answer.kind !== RESPONSE_VALUES) throw new Error(`Unexpected answer ${answer.kind}`);
    return decodeValues(answer.payload, keys.length).map((value) => value?.toString());
  }

  async loadBlocks(table: number, firstBlock: number, count: number): Promise<void> {
    const payload = Buffer.alloc(12);
    encodeLoadBlocks(payload, 0, { table, firstBlock, count });
    await this.wait(this.send(REQUEST_LOAD_BLOCKS, 0, payload));
  }
}
