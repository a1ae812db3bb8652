/** rocksdb, the npm package of that name: RocksDB behind callbacks, on libuv's threads. */

import type {
  BatchSink,
  BenchStore,
  Durability,
  StoreKind,
  Visit,
} from '../src/cli/bench/store.js';
import { untilIdle } from './idle.js';
import { loadPeer, PEER_BULK_RECORDS_MAX, peerVersion } from './peer-package.js';

export const ROCKSDB = 'rocksdb';

type Callback<T> = (error: Error | null | undefined, value: T) => void;

interface ChainedBatch {
  put(key: Buffer, value: Buffer): unknown;
  del(key: Buffer): unknown;
  write(callback: Callback<void>): void;
}

interface Iterator {
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): void;
  end(callback: Callback<void>): void;
}

interface Rocks {
  open(options: Readonly<Record<string, unknown>>, callback: Callback<void>): void;
  get(key: Buffer, callback: Callback<Buffer>): void;
  getMany(keys: Buffer[], callback: Callback<(Buffer | undefined)[]>): void;
  put(key: Buffer, value: Buffer, options: { sync: boolean }, callback: Callback<void>): void;
  del(key: Buffer, options: { sync: boolean }, callback: Callback<void>): void;
  batch(): ChainedBatch;
  iterator(options: Readonly<Record<string, unknown>>): Iterator;
  compactRange(start: Buffer, end: Buffer, callback: Callback<void>): void;
  close(callback: Callback<void>): void;
}

const BULK_OPERATIONS = 1000;

export const rocksdbKind: StoreKind = {
  name: ROCKSDB,
  bulkRecordsMax: PEER_BULK_RECORDS_MAX,
  describe: () => ({
    version: peerVersion('rocksdb'),
    configuration:
      'writeBufferSize 64 MiB, cacheSize 1 GiB, Snappy, Bloom filter; chained batches, get and ' +
      'getMany, { sync: true } for fillsync; the package is archived and has no synchronous calls',
  }),
  open: openStore,
  async bulkLoad(path, records) {
    const store = await openStore(path, 'async');
    for (let i = 0; i < records.count; ) {
      await store.writeBatch((sink) => {
        for (const end = Math.min(records.count, i + BULK_OPERATIONS); i < end; i++) {
          const id = records.shuffled(i);
          sink.put(records.key(id), records.value(id, 0));
        }
      });
    }
    await store.close();
  },
};

async function openStore(path: string, durability: Durability): Promise<RocksdbStore> {
  const db = loadPeer<(path: string) => Rocks>('rocksdb')(path);
  await promised<void>((callback) =>
    db.open({ cacheSize: 1 << 30, writeBufferSize: 64 << 20, infoLogLevel: null }, callback),
  );
  return new RocksdbStore(db, durability);
}

function promised<T>(call: (callback: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(error) : resolve(value)));
  });
}

class RocksdbStore implements BenchStore {
  readonly #db: Rocks;
  readonly #options: { readonly sync: boolean };

  constructor(db: Rocks, durability: Durability) {
    this.#db = db;
    this.#options = { sync: durability === 'sync' };
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return new Promise((resolve, reject) => {
      this.#db.get(key, (error, value) => {
        if (!error) resolve(value);
        else if (/NotFound/.test(error.message)) resolve(undefined);
        else reject(error);
      });
    });
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return promised((callback) => this.#db.getMany(keys, callback));
  }

  put(key: Buffer, value: Buffer): Promise<void> {
    return promised((callback) => this.#db.put(key, value, this.#options, callback));
  }

  delete(key: Buffer): Promise<void> {
    return promised((callback) => this.#db.del(key, this.#options, callback));
  }

  writeBatch(fill: (sink: BatchSink) => void): Promise<void> {
    const batch = this.#db.batch();
    fill({ put: (key, value) => batch.put(key, value), delete: (key) => batch.del(key) });
    return promised((callback) => batch.write(callback));
  }

  async scan(from: Buffer | undefined, limit: number, visit: Visit): Promise<void> {
    const iterator = this.#db.iterator({
      ...(from === undefined ? {} : { gte: from }),
      ...(Number.isFinite(limit) ? { limit } : {}),
      highWaterMark: 1 << 20,
    });
    await new Promise<void>((resolve, reject) => {
      const next = (): void =>
        iterator.next((error, key, value) => {
          if (error) reject(error);
          else if (key === undefined || value === undefined) resolve();
          else {
            visit(key, value);
            next();
          }
        });
      next();
    });
    await promised<void>((callback) => iterator.end(callback));
  }

  settle(): Promise<number> {
    return untilIdle();
  }

  async compact(): Promise<void> {
    await promised<void>((callback) =>
      this.#db.compactRange(Buffer.of(0), Buffer.of(0xff), callback),
    );
    await untilIdle();
  }

  close(): Promise<void> {
    return promised((callback) => this.#db.close(callback));
  }
}
