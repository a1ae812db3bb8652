/**
 * An open database on one thread: the client and everything that reads and writes are made from.
 * `LightningDb`, its batches and its snapshots share one session; it ends once.
 */

import type { ResolvedConfig } from '../config.js';
import { type EncodingOption, resolveEncoding } from '../encoding/encoding.js';
import { ClosedError } from '../errors.js';
import type { Client } from './client.js';
import type { Codec } from './codec.js';
import { Reader } from './reader.js';
import { ScanBuffers } from './scan-stream.js';
import { SnapshotRegistry } from './snapshot-registry.js';

export interface SessionEncodings {
  readonly keyEncoding?: EncodingOption | undefined;
  readonly valueEncoding?: EncodingOption | undefined;
}

export class Session {
  readonly client: Client;
  readonly config: ResolvedConfig;
  readonly reader: Reader;
  readonly buffers = new ScanBuffers();
  readonly snapshots: SnapshotRegistry;
  readonly keyCodec: Codec;
  readonly valueCodec: Codec;
  #open = true;

  constructor(client: Client, config: ResolvedConfig, encodings: SessionEncodings) {
    this.client = client;
    this.config = config;
    this.reader = new Reader(client);
    this.snapshots = new SnapshotRegistry(client);
    this.keyCodec = resolveEncoding('keyEncoding', encodings.keyEncoding);
    this.valueCodec = resolveEncoding('valueEncoding', encodings.valueEncoding);
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Throws `ClosedError` once the session has ended. */
  checkOpen(): void {
    if (!this.#open) throw new ClosedError();
  }

  /** Takes no more calls. What is under way goes on. */
  end(): void {
    this.#open = false;
    this.snapshots.releaseAll();
  }
}
