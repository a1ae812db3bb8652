/**
 * A store that does nothing, to measure what the harness itself costs: choosing records, making keys
 * and values, calling, comparing what comes back. It answers with the same value whatever the key.
 */

import { difference, idOf, KEY_BYTES, MISSING_CODE, Records, VALUE_BYTES } from './records.js';
import type { BatchSink, BenchStore, StoreKind, Visit } from './store.js';

export const NULL_STORE = 'harness alone';

/** Records that are compared like any, without a consequence. */
export class UncheckedRecords extends Records {
  /** Keeps the comparisons from being optimised away. */
  differences = 0;

  override lane(index: number, of: number): UncheckedRecords {
    return new UncheckedRecords(this.count, this.seed, this.share(index, of));
  }

  override verify(found: Uint8Array | undefined, id: number, version: number): void {
    if (found?.length === VALUE_BYTES) this.differences |= difference(found, id, version);
  }

  override verifyWhole(found: Uint8Array | undefined, id: number, version: number): void {
    this.verify(found, id, version);
  }

  override verifyKey(found: Uint8Array, id: number): void {
    this.differences |= idOf(found) ^ id;
  }
}

export function nullKind(records: Records): StoreKind {
  const store = new NullStore(records);
  return {
    name: NULL_STORE,
    keepsNothing: true,
    describe: () => ({ version: '', configuration: 'answers at once and keeps nothing' }),
    open: async () => store,
    bulkLoad: () =>
      store.writeBatch((sink) => {
        for (let i = 0; i < records.count; i++) {
          const id = records.shuffled(i);
          sink.put(records.key(id), records.value(id, 0));
        }
      }),
  };
}

class NullStore implements BenchStore {
  readonly #count: number;
  readonly #key: Buffer;
  readonly #value: Buffer;
  #answer: Promise<Uint8Array | undefined>;
  readonly #written = Promise.resolve();
  readonly #sink: BatchSink = {
    put: () => undefined,
    // Who deletes may look whether it is gone.
    delete: () => {
      this.#answer = GONE;
    },
  };

  constructor(records: Records) {
    this.#count = records.count;
    this.#key = Buffer.from(records.key(0));
    this.#value = Buffer.from(records.value(0, 0));
    this.#answer = Promise.resolve<Uint8Array | undefined>(this.#value);
  }

  getSync(key: Buffer): Uint8Array | undefined {
    return key[KEY_BYTES - 1] === MISSING_CODE ? undefined : this.#value;
  }

  get(_key: Buffer): Promise<Uint8Array | undefined> {
    return this.#answer;
  }

  async getMany(keys: Buffer[]): Promise<Uint8Array[]> {
    return keys.map(() => this.#value);
  }

  put(_key: Buffer, _value: Buffer): Promise<void> {
    return this.#written;
  }

  delete(_key: Buffer): Promise<void> {
    return this.#written;
  }

  writeBatch(fill: (sink: BatchSink) => void): Promise<void> {
    fill(this.#sink);
    return this.#written;
  }

  scanSync(_from: Buffer | undefined, limit: number, visit: Visit): void {
    for (let n = Math.min(limit, this.#count); n > 0; n--) visit(this.#key, this.#value);
  }

  async scan(from: Buffer | undefined, limit: number, visit: Visit): Promise<void> {
    this.scanSync(from, limit, visit);
  }

  async settle(): Promise<number> {
    return 0;
  }

  async compact(): Promise<void> {}

  async close(): Promise<void> {}
}

const GONE = Promise.resolve(undefined);
