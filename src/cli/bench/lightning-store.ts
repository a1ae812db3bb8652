/** Lightning DB as the workloads see it: Buffers in, Buffers out. */

import { type Batch, LightningDb, type LightningDbHandle, VERSION } from '../../index.js';
import type { Records } from './records.js';
import type {
  BatchSink,
  BenchClient,
  BenchStore,
  ClientAccess,
  Durability,
  StoreCounters,
  StoreKind,
  Visit,
} from './store.js';

export const LIGHTNING = 'lightning-db';

export interface LightningSettings {
  readonly shards: number;
  readonly cacheBytes: number;
  readonly memtableBytes: number;
}

const ENCODINGS = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const;

/** How often `settle` looks, and how often in a row nothing must be under way. */
const SETTLE_POLL_MS = 4;
const SETTLED_POLLS = 3;

export function lightningKind(settings: LightningSettings): StoreKind {
  const config = {
    ...ENCODINGS,
    shards: settings.shards,
    cacheSize: settings.cacheBytes,
    memtableSize: settings.memtableBytes,
  };
  return {
    name: LIGHTNING,
    describe: () => ({
      version: VERSION,
      configuration:
        `${settings.shards} shards, cacheSize ${settings.cacheBytes / 2 ** 20} MiB, ` +
        `memtableSize ${settings.memtableBytes >> 20} MiB, LZ4`,
    }),
    open: async (path, durability: Durability) =>
      new LightningStore(
        await LightningDb.open(path, { ...config, walSyncMode: durability }),
        path,
        settings.shards,
      ),
    async bulkLoad(path, records) {
      await LightningDb.bulkLoad(path, entriesOf(records), config);
    },
    async bulkLoadCsv(path, file) {
      await LightningDb.bulkLoad(path, file, { ...config, key: 'key', value: 'value' });
    },
  };
}

/** Joins from another thread. */
export async function attachLightning({ handle, path }: ClientAccess): Promise<BenchClient> {
  const db = await LightningDb.attach(handle as LightningDbHandle, ENCODINGS);
  return new LightningStore(db, path, 0);
}

function* entriesOf(records: Records): Generator<[Buffer, Buffer]> {
  for (let i = 0; i < records.count; i++) {
    const id = records.shuffled(i);
    yield [records.key(id), records.value(id, 0)];
  }
}

export class LightningStore implements BenchStore {
  readonly threadRoles: readonly string[];
  readonly db: LightningDb<Buffer, Buffer>;
  readonly #path: string;
  /** Those of which one is made while the other is written. */
  #batches: readonly [Batch<Buffer, Buffer>, Batch<Buffer, Buffer>];

  constructor(db: LightningDb<Buffer, Buffer>, path: string, shards: number) {
    this.db = db;
    this.#path = path;
    this.#batches = [db.batch(), db.batch()];
    // In the order in which they are started.
    this.threadRoles = ['coordinator', ...Array.from({ length: shards }, () => 'shard')];
  }

  getSync(key: Buffer): Buffer | undefined {
    return this.db.getSync(key);
  }

  getBorrowedSync(key: Buffer): Buffer | undefined {
    return this.db.getBorrowedSync(key);
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.db.get(key);
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.db.getMany(keys);
  }

  put(key: Buffer, value: Buffer): Promise<void> {
    return this.db.put(key, value);
  }

  delete(key: Buffer): Promise<void> {
    return this.db.delete(key);
  }

  writeBatch(fill: (sink: BatchSink) => void): Promise<void> {
    const [batch, other] = this.#batches;
    this.#batches = [other, batch];
    fill(batch.clear());
    return batch.write();
  }

  scanSync(from: Buffer | undefined, limit: number, visit: Visit): void {
    for (const [key, value] of this.db.scanSync(rangeOf(from, limit))) visit(key, value);
  }

  async scan(from: Buffer | undefined, limit: number, visit: Visit): Promise<void> {
    for await (const entries of this.db.scan(rangeOf(from, limit)).batches()) {
      for (const [key, value] of entries) visit(key, value);
    }
  }

  async settle(): Promise<number> {
    await this.db.flush();
    let idleSinceMs = performance.now();
    for (let idle = 0; idle < SETTLED_POLLS; ) {
      const { background, shards } = await this.db.stats();
      const running = shards.some((shard) => shard.flushes.running + shard.compactions.running > 0);
      idle = running || background.queued + background.running > 0 ? 0 : idle + 1;
      if (idle === 0) idleSinceMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, SETTLE_POLL_MS));
    }
    return performance.now() - idleSinceMs;
  }

  async compact(): Promise<void> {
    await this.db.compact();
    await this.settle();
  }

  async counters(): Promise<StoreCounters> {
    const { shards } = await this.db.stats();
    type Shard = (typeof shards)[number];
    const sum = (value: (shard: Shard) => number): number =>
      shards.reduce((total, shard) => total + value(shard), 0);
    return {
      cacheHits: sum(({ reads }) => reads.cacheHits),
      cacheMisses: sum(({ reads }) => reads.cacheMisses),
      stallMs: sum(({ stalls }) => stalls.delayedMs),
      backgroundRead: sum(({ flushes, compactions }) => flushes.bytesRead + compactions.bytesRead),
      backgroundWritten: sum(
        ({ flushes, compactions }) => flushes.bytesWritten + compactions.bytesWritten,
      ),
      walWritten: sum(({ wal }) => wal.bytesWritten),
      walGroups: sum(({ wal }) => wal.groups),
    };
  }

  clientAccess(): ClientAccess {
    return { store: LIGHTNING, path: this.#path, handle: this.db.share() };
  }

  close(): Promise<void> {
    return this.db.close();
  }
}

function rangeOf(from: Buffer | undefined, limit: number) {
  return {
    ...(from === undefined ? {} : { gte: from }),
    ...(Number.isFinite(limit) ? { limit } : {}),
  };
}
