/** classic-level: LevelDB, an LSM tree; asynchronous calls run on libuv's threads. */

import type {
  BatchSink,
  BenchStore,
  Durability,
  StoreKind,
  Visit,
} from '../src/cli/bench/store.js';
import { untilIdle } from './idle.js';
import { loadPeer, PEER_BULK_RECORDS_MAX, peerVersion } from './peer-package.js';

export const CLASSIC_LEVEL = 'classic-level';

interface ChainedBatch {
  put(key: Buffer, value: Buffer): unknown;
  del(key: Buffer): unknown;
  write(): Promise<void>;
}

interface Iterator {
  nextv(size: number): Promise<[Buffer, Buffer][]>;
  close(): Promise<void>;
}

interface Level {
  open(): Promise<void>;
  getSync(key: Buffer): Buffer | undefined;
  get(key: Buffer): Promise<Buffer | undefined>;
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  put(key: Buffer, value: Buffer, options: { sync: boolean }): Promise<void>;
  del(key: Buffer, options: { sync: boolean }): Promise<void>;
  batch(): ChainedBatch;
  iterator(options: Readonly<Record<string, unknown>>): Iterator;
  compactRange(start: Buffer, end: Buffer): Promise<void>;
  close(): Promise<void>;
}

type LevelClass = new (path: string, options: Readonly<Record<string, unknown>>) => Level;

const SCAN_ENTRIES = 1000;
const BULK_OPERATIONS = 1000;

export const levelKind: StoreKind = {
  name: CLASSIC_LEVEL,
  bulkRecordsMax: PEER_BULK_RECORDS_MAX,
  describe: () => ({
    version: peerVersion('classic-level'),
    configuration:
      'writeBufferSize 64 MiB, cacheSize 1 GiB, maxFileSize 16 MiB, Snappy, Bloom filter; ' +
      'getSync, chained batches, iterator.nextv of 1000, { sync: true } for fillsync',
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

async function openStore(path: string, durability: Durability): Promise<LevelStore> {
  const { ClassicLevel } = loadPeer<{ ClassicLevel: LevelClass }>('classic-level');
  const db = new ClassicLevel(path, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    cacheSize: 1 << 30,
    writeBufferSize: 64 << 20,
    maxFileSize: 16 << 20,
  });
  await db.open();
  return new LevelStore(db, durability);
}

class LevelStore implements BenchStore {
  readonly #db: Level;
  readonly #options: { readonly sync: boolean };

  constructor(db: Level, durability: Durability) {
    this.#db = db;
    this.#options = { sync: durability === 'sync' };
  }

  getSync(key: Buffer): Buffer | undefined {
    return this.#db.getSync(key);
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.#db.get(key);
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#db.getMany(keys);
  }

  put(key: Buffer, value: Buffer): Promise<void> {
    return this.#db.put(key, value, this.#options);
  }

  delete(key: Buffer): Promise<void> {
    return this.#db.del(key, this.#options);
  }

  writeBatch(fill: (sink: BatchSink) => void): Promise<void> {
    const batch = this.#db.batch();
    fill({ put: (key, value) => batch.put(key, value), delete: (key) => batch.del(key) });
    return batch.write();
  }

  async scan(from: Buffer | undefined, limit: number, visit: Visit): Promise<void> {
    const iterator = this.#db.iterator({
      ...(from === undefined ? {} : { gte: from }),
      ...(Number.isFinite(limit) ? { limit } : {}),
      highWaterMarkBytes: 1 << 20,
    });
    const size = Math.min(limit, SCAN_ENTRIES);
    for (;;) {
      const entries = await iterator.nextv(size);
      if (entries.length === 0) break;
      for (const [key, value] of entries) visit(key, value);
    }
    await iterator.close();
  }

  settle(): Promise<number> {
    return untilIdle();
  }

  async compact(): Promise<void> {
    await this.#db.compactRange(Buffer.of(0), Buffer.of(0xff));
    await untilIdle();
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
