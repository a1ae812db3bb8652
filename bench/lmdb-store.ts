/** lmdb: a B+ tree in a memory map; reads on the caller's thread, one writer at a time. */

import { join } from 'node:path';
import type {
  BatchSink,
  BenchClient,
  BenchStore,
  ClientAccess,
  Durability,
  StoreKind,
  Visit,
} from '../src/cli/bench/store.js';
import { loadPeer, PEER_BULK_RECORDS_MAX, peerVersion } from './peer-package.js';

export const LMDB = 'lmdb';

interface Database {
  getBinaryFast(key: Buffer): Buffer | undefined;
  getAsync(key: Buffer): Promise<Buffer | undefined>;
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  put(key: Buffer, value: Buffer): Promise<boolean>;
  putSync(key: Buffer, value: Buffer): void;
  remove(key: Buffer): Promise<boolean>;
  removeSync(key: Buffer): boolean;
  transactionSync<T>(action: () => T): T;
  getRange(options: { start?: Buffer; limit?: number }): Iterable<{ key: Buffer; value: Buffer }>;
  readonly flushed: Promise<boolean>;
  close(): Promise<void>;
}

interface Lmdb {
  open(options: Readonly<Record<string, unknown>>): Database;
}

/** Address space, not memory: enough for 100 M records. */
const MAP_BYTES = 64 * 2 ** 30;
const BULK_OPERATIONS = 100_000;

function openDatabase(path: string, durability: Durability): Database {
  return loadPeer<Lmdb>('lmdb').open({
    path: join(path, 'data'),
    encoding: 'binary',
    keyEncoding: 'binary',
    mapSize: MAP_BYTES,
    noMemInit: true,
    ...(durability === 'async'
      ? { noSync: true, useWritemap: true }
      : // The promise of a write then stands for the medium.
        { overlappingSync: false }),
  });
}

export const lmdbKind: StoreKind = {
  name: LMDB,
  bulkRecordsMax: PEER_BULK_RECORDS_MAX,
  describe: () => ({
    version: peerVersion('lmdb'),
    configuration:
      'async: noSync, useWritemap, noMemInit; fillsync: overlappingSync off; binary keys and ' +
      'values, getBinaryFast, transactionSync with putSync for batches, getAsync and getMany',
  }),
  open: async (path, durability) => new LmdbStore(openDatabase(path, durability), path),
  async bulkLoad(path, records) {
    const db = openDatabase(path, 'async');
    for (let i = 0; i < records.count; ) {
      db.transactionSync(() => {
        for (const end = Math.min(records.count, i + BULK_OPERATIONS); i < end; i++) {
          const id = records.shuffled(i);
          db.putSync(records.key(id), records.value(id, 0));
        }
      });
    }
    await db.close();
  },
};

/** An environment of its own on the same path. */
export async function openLmdbClient({ path }: ClientAccess): Promise<BenchClient> {
  return new LmdbStore(openDatabase(path, 'async'), path);
}

class LmdbStore implements BenchStore {
  readonly #db: Database;
  readonly #path: string;
  readonly #sink: BatchSink;

  constructor(db: Database, path: string) {
    this.#db = db;
    this.#path = path;
    this.#sink = {
      put: (key, value) => db.putSync(key, value),
      delete: (key) => db.removeSync(key),
    };
  }

  getSync(key: Buffer): Buffer | undefined {
    return this.#db.getBinaryFast(key);
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.#db.getAsync(key);
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#db.getMany(keys);
  }

  put(key: Buffer, value: Buffer): Promise<boolean> {
    return this.#db.put(key, value);
  }

  delete(key: Buffer): Promise<boolean> {
    return this.#db.remove(key);
  }

  async writeBatch(fill: (sink: BatchSink) => void): Promise<void> {
    this.#db.transactionSync(() => fill(this.#sink));
  }

  scanSync(from: Buffer | undefined, limit: number, visit: Visit): void {
    const range = this.#db.getRange({
      ...(from === undefined ? {} : { start: from }),
      ...(Number.isFinite(limit) ? { limit } : {}),
    });
    for (const { key, value } of range) visit(key, value);
  }

  async scan(from: Buffer | undefined, limit: number, visit: Visit): Promise<void> {
    this.scanSync(from, limit, visit);
  }

  async settle(): Promise<number> {
    await this.#db.flushed;
    return 0;
  }

  /** There is nothing to compact in place. */
  async compact(): Promise<void> {
    await this.settle();
  }

  clientAccess(): ClientAccess {
    return { store: LMDB, path: this.#path, handle: undefined };
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
