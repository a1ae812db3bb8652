/**
 * One shard as one client thread sees it: the shard's memory for reads, its pair of rings for
 * everything else, and the requests that wait for an answer.
 *
 * Requests go out in the order they were made. Each has an id, which is the index of its sink; an id
 * is used again only after its answer, so an answer can never meet the wrong sink. The whole
 * connection is replaced when the shard's worker is replaced: old memory, old rings, old ids.
 *
 * User code never runs inside: sinks resolve promises, whose reactions run later, and leave decoding
 * that is the application's own for later too. So a caller that waits on its thread takes whatever
 * answers arrive meanwhile; those who await them hear of it when the thread is free again, in order.
 */

import { LightningError, ShardUnavailableError } from '../errors.js';
import { nodeFileSystem } from '../file-system/node.js';
import {
  H_ARENA_BYTES,
  H_HEARTBEAT,
  H_HINT_BASE,
  H_HINT_MASK,
  H_SLEEPING,
  H_VERSION,
  H_VISIBLE,
  REQUEST_BLOB_BEGIN,
  REQUEST_WRITE,
  SCRATCH_DESCRIPTORS,
  SCRATCH_KEY,
  SCRATCH_OUT,
  SCRATCH_RESULT,
} from '../kernel/assembly/layout.js';
import { ringDoorbell } from '../kernel/doorbell.js';
import { Kernel } from '../kernel/kernel.js';
import { GET_UNSETTLED, getSettled } from '../kernel/settled-read.js';
import { valueInlineBytesMax } from '../kernel/shard-memory.js';
import { encodeBlobHead } from '../protocol/requests.js';
import { connectRing, requestRing, responseRing } from '../ring/ring-location.js';
import { RingReader } from '../ring/ring-reader.js';
import { FULL, RingWriter } from '../ring/ring-writer.js';
import type { BatchPart } from './batch-part.js';
import { checkValueBytes } from './codec.js';
import type { ControlBlock } from './control-block.js';
import { SHARD_READ_ONLY, SHARD_SERVING } from './control-block.js';
import { DirectCommit } from './direct-commit.js';
import { fenced } from './fence-reasons.js';
import { HeldWrites } from './held-writes.js';
import type { KeyScratch } from './key-scratch.js';
import { LentBytes } from './lent-bytes.js';
import { putBytesMax, writeDelete, writePut } from './operation-writer.js';
import { OwnReads } from './own-reads.js';
import { PendingAnswers } from './pending-answers.js';
import { RequestQueue } from './request-queue.js';
import type { ResponseSink } from './response-sink.js';
import { StagedKeys } from './staged-keys.js';
import { allocateStringBuffer, asStringBuffer, type StringBuffer } from './string-buffer.js';

/** Committed but unpublished bytes after which the shard is let at them without further ado. */
const UNPUBLISHED_BYTES_MAX = 32 * 1024;

/** Blocks that one key may want: one for each run that its filter lets pass. */
const OWN_READS_MAX = 64;
/** Answers of the kernel's `get`. */
const GET_ABSENT = 0;
const GET_FOUND = 1;
const GET_NEED_BLOCK = 2;

/** Told when something needs to be published, and awaited. */
export interface RequestListener {
  requestMade(): void;
}

export interface ShardClientOptions {
  readonly shard: number;
  readonly control: ControlBlock;
  /** Slot of the client. */
  readonly client: number;
  readonly listener: RequestListener;
  /** The shard's own; without one, all of its blocks come from the shard worker. */
  readonly directory?: string | undefined;
  /** Whether this thread commits for the shard while its worker sleeps. Default: false. */
  readonly directCommits?: boolean;
}

export class ShardClient {
  readonly shard: number;
  /** Views of the shard's memory. */
  kernel!: Kernel;
  bytes!: StringBuffer;
  view!: DataView;
  /** Index of the first result word, and of the key, in 32-bit words. */
  resultWord = 0;
  /** The values that lookups copy out, by length. */
  values!: LentBytes;
  /** Where a scan's descriptors stand, in 32-bit words. */
  descriptorWord = 0;
  /** Address of this thread's scratch. */
  scratch = 0;
  /** Longer values travel, and are stored, on their own. */
  valueInlineBytesMax = 0;

  readonly #control: ControlBlock;
  readonly #client: number;
  readonly #listener: RequestListener;
  #generation = 0;
  /** False: the memory belongs to a worker that has not got as far as publishing anything. */
  #isReadable = false;
  #keyWord = 0;
  #requests!: RingWriter;
  #responses!: RingReader;
  readonly #answers = new PendingAnswers();
  readonly #queue = new RequestQueue();
  readonly #held = new HeldWrites();
  #unpublishedBytes = 0;
  readonly #ownReads: OwnReads | undefined;
  /** Where the shard's log is; undefined: the shard worker commits everything. */
  readonly #logDirectory: string | undefined;
  #direct: DirectCommit | undefined;
  /** Where hints begin, in 32-bit words. */
  #hintWord = 0;
  /** What was there; kept, so that the load is not left out as useless. */
  touchedHint = 0;
  #wasPresent = false;
  /** Keys that are looked up together. */
  readonly staged = new StagedKeys(this);

  constructor(options: ShardClientOptions) {
    const { shard, control, client, listener, directory, directCommits = false } = options;
    this.shard = shard;
    this.#control = control;
    this.#client = client;
    this.#listener = listener;
    this.#ownReads = directory === undefined ? undefined : new OwnReads(this, directory);
    this.#logDirectory = directCommits ? directory : undefined;
  }

  /** Takes up the shard's (new) memory. What was pending must have been failed before. */
  connect(module: WebAssembly.Module, memory: WebAssembly.Memory, generation: number): void {
    const kernel = new Kernel(module, memory);
    kernel.exports.attach(this.#client);
    this.kernel = kernel;
    this.bytes = asStringBuffer(kernel.bytes);
    this.view = new DataView(memory.buffer);
    this.scratch = kernel.exports.scratchBase();
    this.values = new LentBytes(kernel.bytes, this.scratch + SCRATCH_OUT);
    this.resultWord = (this.scratch + SCRATCH_RESULT) >>> 2;
    this.descriptorWord = (this.scratch + SCRATCH_DESCRIPTORS) >>> 2;
    this.#keyWord = (this.scratch + SCRATCH_KEY) >>> 2;
    this.#hintWord = (kernel.u32[H_HINT_BASE >>> 2] as number) >>> 2;
    this.valueInlineBytesMax = valueInlineBytesMax(kernel.u32[H_ARENA_BYTES >>> 2] as number);
    this.#requests = new RingWriter(kernel, requestRing(kernel, this.#client));
    this.#responses = new RingReader(kernel, responseRing(kernel, this.#client));
    connectRing(kernel, this.#client);
    this.#generation = generation;
    this.#isReadable = Atomics.load(kernel.u32, H_VERSION >>> 2) !== 0;
    this.#answers.clear();
    this.#unpublishedBytes = 0;
    this.#direct?.close();
    this.#direct = this.#newDirectCommit(kernel);
  }

  #newDirectCommit(kernel: Kernel): DirectCommit | undefined {
    const directory = this.#logDirectory;
    if (directory === undefined) return undefined;
    return new DirectCommit({
      fs: nodeFileSystem,
      directory,
      shard: this.shard,
      client: this.#client,
      kernel,
      control: this.#control,
      wallMs: Date.now,
      recordBytesMax: this.valueInlineBytesMax,
    });
  }

  /** Which of the shard's workers this is the memory of. */
  get generation(): number {
    return this.#generation;
  }

  // ---- reads from memory --------------------------------------------------------

  /** Looks the key up on this thread; the answer is a GET_* of the kernel. */
  lookup(key: KeyScratch, snapshot: number): number {
    if (!this.#isReadable) throw unavailable('none');
    const { kernel } = this;
    const words = kernel.i32;
    // The hint, a cache miss, is on its way while the call is made. Missing keys do without it.
    if (this.#wasPresent) {
      this.touchedHint = words[
        this.#hintWord + ((key.hash & (words[H_HINT_MASK >>> 2] as number)) << 4)
      ] as number;
    }
    key.copyToWords(words, this.#keyWord);
    const status = kernel.exports.get(key.length, snapshot, key.hash);
    this.#wasPresent = status !== GET_ABSENT;
    if (status !== GET_UNSETTLED) return status;
    return getSettled(this.kernel, this.#client, key.length, this.#control.transactions);
  }

  /** As `lookup`; blocks that are not cached are read on this thread, if that can be done. */
  lookupSync(key: KeyScratch, snapshot: number): number {
    let status = this.lookup(key, snapshot);
    if (status !== GET_NEED_BLOCK || this.#ownReads === undefined) return status;
    for (let reads = 0; reads < OWN_READS_MAX && status === GET_NEED_BLOCK; reads++) {
      if (!this.#ownReads.read()) return status;
      status = this.lookup(key, snapshot);
    }
    if (status === GET_FOUND) this.#ownReads.offer(key.length);
    return status;
  }

  /** Throws when there is nothing that could be read: the shard's worker has never come up. */
  checkReadable(): void {
    if (!this.#isReadable) throw unavailable('none');
  }

  /** Leaves the epoch that a lookup with a value held in place stays in. */
  leave(): void {
    this.kernel.exports.readerLeave(this.#client);
  }

  /** Every commit of this shard up to this sequence number is applied. */
  visibleSequence(): number {
    return Number(Atomics.load(this.kernel.u64, H_VISIBLE >>> 3));
  }

  /** Counts the turns of the shard worker's loop. */
  heartbeat(): number {
    return Atomics.load(this.kernel.i32, H_HEARTBEAT >>> 2);
  }

  // ---- requests -----------------------------------------------------------------

  /** Requests without an answer. */
  get pending(): number {
    return this.#answers.count;
  }

  /** Bytes of requests that wait, for room in the ring or behind a commit. */
  get queuedBytes(): number {
    return this.#queue.bytes + this.#held.bytes;
  }

  /** Files of tables that this thread has open. */
  get openFiles(): number {
    return this.#ownReads?.openFiles ?? 0;
  }

  /** True while something is written that the shard cannot see yet. */
  get isDirty(): boolean {
    return this.#unpublishedBytes > 0 || this.#queue.length > 0;
  }

  /** True while requests wait for room. */
  get hasQueued(): boolean {
    return this.#queue.length > 0;
  }

  put(key: KeyScratch, value: string | Uint8Array, flags: number, sink: ResponseSink): void {
    this.#checkServing();
    const bytesMax = putBytesMax(key.length, value);
    if (bytesMax <= this.valueInlineBytesMax && !this.#held.isHolding) {
      const address = this.#reserve(bytesMax);
      if (address !== FULL) {
        const end = writePut(this, address, key, value);
        this.#commit(REQUEST_WRITE, flags, 1, end - address, sink);
        return;
      }
    }
    this.#putSlowly(key, value, flags, sink);
  }

  delete(key: KeyScratch, flags: number, sink: ResponseSink): void {
    this.#checkServing();
    const address = this.#held.isHolding ? FULL : this.#reserve(key.length + 8);
    if (address !== FULL) {
      const end = writeDelete(this, address, key);
      this.#commit(REQUEST_WRITE, flags, 1, end - address, sink);
      return;
    }
    const target = privateTarget(key.length + 8);
    const end = writeDelete(target, 0, key);
    this.#enqueue(REQUEST_WRITE, flags, 1, target.bytes.subarray(0, end), EMPTY, sink);
  }

  /** A value that is large, or may be, or found the ring full. */
  #putSlowly(key: KeyScratch, value: string | Uint8Array, flags: number, sink: ResponseSink): void {
    const valueBytes = typeof value === 'string' ? Buffer.byteLength(value) : value.length;
    checkValueBytes(valueBytes);
    if (valueBytes > this.valueInlineBytesMax) {
      const head = encodeBlobHead(valueBytes, key.bytes.subarray(0, key.length));
      // The caller may change its bytes before they are sent.
      const body = typeof value === 'string' ? Buffer.from(value) : Buffer.from(value);
      this.#enqueue(REQUEST_BLOB_BEGIN, flags, 0, head, body, sink);
      return;
    }
    const target = privateTarget(putBytesMax(key.length, value));
    const end = writePut(target, 0, key, value);
    this.send(REQUEST_WRITE, flags, 1, target.bytes.subarray(0, end), sink);
  }

  /**
   * Sends a request with a payload that the caller gives away: it must not change any more. With
   * `first`, before everything that waits for room.
   */
  send(
    kind: number,
    flags: number,
    argument: number,
    payload: Uint8Array,
    sink: ResponseSink,
    first = false,
  ): void {
    this.#checkServing();
    const address = this.#held.holds(kind) ? FULL : this.#reserve(payload.length);
    if (address === FULL) {
      this.#enqueue(kind, flags, argument, payload, EMPTY, sink, first);
      return;
    }
    this.bytes.set(payload, address);
    this.#commit(kind, flags, argument, payload.length, sink);
  }

  /** Sends a request that `write` puts into the ring at once; false when there is no room for it. */
  trySend(
    kind: number,
    argument: number,
    payloadBytes: number,
    sink: ResponseSink,
    write: (address: number) => void,
  ): boolean {
    const address = this.#reserve(payloadBytes);
    if (address === FULL) return false;
    write(address);
    this.#commit(kind, 0, argument, payloadBytes, sink);
    return true;
  }

  /**
   * Sends a request whose payload is `head`, then the operations of `part`. What does not fit at once
   * waits: `head` is copied then, the part's bytes are lent. With `isBehind` it goes, like a write, behind
   * commits that wait.
   */
  sendJoined(
    kind: number,
    flags: number,
    argument: number,
    head: Uint8Array,
    part: BatchPart | undefined,
    sink: ResponseSink,
    isBehind: boolean,
  ): void {
    this.#checkServing();
    const bodyBytes = part?.length ?? 0;
    const isHeld = isBehind && this.#held.isHolding;
    const address = isHeld ? FULL : this.#reserve(head.length + bodyBytes);
    if (address === FULL) {
      const body = part === undefined ? EMPTY : part.lend();
      // A copy: `slice` of a Buffer is not one, and the next request is written over the head.
      this.#enqueue(kind, flags, argument, Buffer.from(head), body, sink, false, isHeld);
      return;
    }
    this.bytes.set(head, address);
    if (part !== undefined && bodyBytes > 0) {
      this.bytes.set(part.bytes.subarray(0, bodyBytes), address + head.length);
    }
    this.#commit(kind, flags, argument, head.length + bodyBytes, sink);
  }

  /** True when a payload of this size would go into the ring at once, so that no copy is needed. */
  fits(payloadBytes: number): boolean {
    return !this.#held.isHolding && this.#reserve(payloadBytes) !== FULL;
  }

  /** Room in the ring for a whole request, in turn; FULL when it has to queue. */
  #reserve(payloadBytes: number): number {
    if (payloadBytes > this.#requests.payloadBytesMax) return FULL;
    if (this.#queue.length > 0) {
      // The caller makes requests without a pause: use the room that came up meanwhile.
      this.flush();
      if (this.#queue.length > 0) return FULL;
    }
    const address = this.#requests.reserve(payloadBytes);
    if (address !== FULL) return address;
    this.flush();
    return this.#requests.reserve(payloadBytes);
  }

  #commit(
    kind: number,
    flags: number,
    argument: number,
    payloadBytes: number,
    sink: ResponseSink,
  ): void {
    this.#requests.commit(kind, flags, this.#answers.expect(sink), argument, payloadBytes);
    this.#unpublishedBytes += payloadBytes;
    this.#listener.requestMade();
    if (this.#unpublishedBytes > UNPUBLISHED_BYTES_MAX) this.flush();
  }

  #enqueue(
    kind: number,
    flags: number,
    argument: number,
    head: Uint8Array,
    body: Uint8Array,
    sink: ResponseSink,
    first = false,
    isHeld = this.#held.holds(kind),
  ): void {
    if (!first && (isHeld ? this.#held.isFull : this.#queue.isFull)) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        'Too many operations are under way: await some of them before starting more',
      );
    }
    const requestId = this.#answers.expect(sink);
    const request = { kind, flags, requestId, argument, head, body, sent: 0 };
    if (isHeld) {
      this.#held.push(request);
      // For the one who looks whether the shard is still there.
      this.#listener.requestMade();
      return;
    }
    if (first) this.#queue.pushFirst(request);
    else this.#queue.push(request);
    this.#listener.requestMade();
    this.flush();
  }

  /** A commit with a part for the shard waits to be sent: later writes go behind it. */
  holdBehind(commit: number): void {
    this.#held.begin(commit);
  }

  /** The commit was sent, or given up. */
  releaseBehind(commit: number): void {
    const released = this.#held.end(commit);
    if (released.length === 0) return;
    for (const request of released) this.#queue.push(request);
    this.#listener.requestMade();
  }

  /** Publishes what was written, moves what waits as far as it fits, wakes the shard if it sleeps. */
  flush(): void {
    const ring = this.#requests;
    if (this.#queue.length > 0 && !this.#queue.pump(ring, this.bytes)) {
      ring.publish();
      ring.block();
      // Room may have come up before the mark was there to be seen.
      if (this.#queue.pump(ring, this.bytes)) ring.unblock();
    }
    ring.publish();
    this.#unpublishedBytes = 0;
    this.ring();
  }

  /** As `flush`; what can be committed on this thread, since the shard is on offer, is committed. */
  commit(): void {
    if (this.#direct === undefined || this.#queue.length > 0) {
      this.flush();
      return;
    }
    this.#requests.publish();
    this.#unpublishedBytes = 0;
    if (this.#direct.commit(this.#answers) === 'away') this.ring();
  }

  /** What commits here on this thread, unless something that was asked for before has yet to be taken. */
  get idleDirect(): DirectCommit | undefined {
    if (this.isDirty || this.#held.isHolding || !this.#requests.isDrained()) return undefined;
    return this.#direct;
  }

  /** The id of a request that the shard worker learns of in another way than the ring. */
  expect(sink: ResponseSink): number {
    const requestId = this.#answers.expect(sink);
    this.#listener.requestMade();
    return requestId;
  }

  /** Whether answers are there already, for `receive` to hand out. */
  get hasReady(): boolean {
    return this.#answers.hasReady;
  }

  /** Wakes the shard worker if it sleeps. Whatever it is to see must be published before. */
  ring(): void {
    const words = this.kernel.i32;
    if (Atomics.load(words, H_SLEEPING >>> 2) !== 0) ringDoorbell(words);
  }

  /** Makes the shard worker take a turn, whether it sleeps or is about to. */
  wake(): void {
    ringDoorbell(this.kernel.i32);
  }

  // ---- responses ----------------------------------------------------------------

  /** Hands out the answers that have arrived; returns how many records they were. */
  receive(): number {
    const responses = this.#responses;
    let count = 0;
    while (responses.next()) {
      count++;
      this.#answers.take(responses, this.bytes);
    }
    if (responses.release()) this.ring();
    return this.#answers.hasReady ? count + this.#answers.takeReady() : count;
  }

  // ---- the shard's health ---------------------------------------------------------

  /** True while the shard answers through this connection. */
  isServing(): boolean {
    const state = this.#control.shardState(this.shard);
    return (
      (state === SHARD_SERVING || state === SHARD_READ_ONLY) &&
      this.#control.shardGeneration(this.shard) === this.#generation
    );
  }

  /** Closes the files that were opened here. */
  close(): void {
    this.#ownReads?.close();
    this.#direct?.close();
    this.#direct = undefined;
  }

  #checkServing(): void {
    if (this.isServing()) return;
    const reason = this.#control.fencedReason(this.shard);
    throw reason === undefined ? unavailable('none') : fenced(this.shard, reason);
  }

  /** Fails everything that waits for an answer: the shard's worker is gone. */
  failAll(): void {
    this.receive();
    const unsent = this.#queue.unsentIds();
    for (const id of this.#held.takeIds()) unsent.add(id);
    this.#queue.clear();
    this.#answers.failAll((id) => unavailable(unsent.has(id) ? 'none' : 'unknown'));
  }
}

/** `outcome` 'none': nothing was applied; 'unknown': a write may have been. */
export function unavailable(outcome: 'none' | 'unknown'): ShardUnavailableError {
  const message =
    outcome === 'none'
      ? 'Part of the database is not available at present: try again later'
      : 'Part of the database stopped before it answered: a write may have been applied or not';
  return new ShardUnavailableError(message, { details: { outcome } });
}

function privateTarget(bytes: number): { bytes: StringBuffer; view: DataView } {
  const buffer = allocateStringBuffer(bytes);
  return { bytes: buffer, view: new DataView(buffer.buffer) };
}

const EMPTY = new Uint8Array(0);
