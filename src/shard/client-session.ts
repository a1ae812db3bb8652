/**
 * What the shard worker keeps for one client: its ends of the two rings, requests of which only a
 * part has come, and values that are being streamed in.
 */

import type { BlobWriter } from '../blob/blob-file.js';
import { REQUEST_PAD } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { RequestAssembler } from '../protocol/request-assembler.js';
import type { BlobRequestReader } from '../protocol/requests.js';
import { ResponseWriter } from '../protocol/response-writer.js';
import {
  type RingLocation,
  requestRing,
  responseRing,
  takeBlocked,
} from '../ring/ring-location.js';
import { RingReader } from '../ring/ring-reader.js';

/** Most bytes of requests in pieces that one client may have under way. */
export const ASSEMBLED_BYTES_MAX = 1024 * 1024 * 1024;

/** A large value on its way into a blob file. */
export interface BlobUpload {
  readonly reader: BlobRequestReader;
  writer: BlobWriter | undefined;
  /** Why it will be refused; the pieces that still come are dropped. */
  error: unknown;
}

export class ClientSession {
  readonly client: number;
  readonly requests: RingReader;
  readonly responses: ResponseWriter;
  readonly assembler = new RequestAssembler(ASSEMBLED_BYTES_MAX);
  readonly uploads = new Map<number, BlobUpload>();
  /** Requests in pieces, blobs left out, whose last piece has not come. */
  readonly partial = new Set<number>();
  /** Its commits over several shards that are prepared and not decided. */
  undecided = 0;
  /** Its next request waits for one of them. */
  isStalled = false;
  readonly #kernel: Kernel;
  readonly #location: RingLocation;
  readonly #responseBlockedWord: number;

  constructor(kernel: Kernel, client: number) {
    this.client = client;
    this.#kernel = kernel;
    this.#location = requestRing(kernel, client);
    this.#responseBlockedWord = responseRing(kernel, client).blockedWord;
    this.requests = new RingReader(kernel, this.#location);
    this.responses = new ResponseWriter(kernel, client);
  }

  /** Whether answers wait for room in the response ring, the kernel's or the host's. */
  get isResponseBlocked(): boolean {
    return Atomics.load(this.#kernel.i32, this.#responseBlockedWord) !== 0;
  }

  /** Whether nothing of it is under way: its next records mean what they say. */
  get isPlain(): boolean {
    const isWhole = this.partial.size === 0 && this.uploads.size === 0;
    return isWhole && this.undecided === 0 && !this.isStalled && !this.responses.isBlocked;
  }

  /** Kind of the next record, which is not taken; REQUEST_PAD when there is none. */
  nextKind(): number {
    this.requests.reload();
    const kind = this.requests.next() ? this.requests.kind : REQUEST_PAD;
    this.requests.reload();
    return kind;
  }

  /** True when the client waits for room in the request ring and should look again. */
  takeBlocked(): boolean {
    return takeBlocked(this.#kernel, this.#location);
  }

  /** Forgets everything: the client is gone. */
  clear(): void {
    for (const { writer } of this.uploads.values()) writer?.abort();
    this.uploads.clear();
    this.partial.clear();
    this.isStalled = false;
    this.assembler.clear();
    this.responses.clear();
    this.requests.reload();
    this.requests.skipAll();
    // What it has not read must not meet the next client of the slot: nobody else moves the tail now.
    new RingReader(this.#kernel, responseRing(this.#kernel, this.client)).skipAll();
  }
}
