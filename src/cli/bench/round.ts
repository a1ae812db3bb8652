/**
 * One round of one store: fresh databases, every workload that is asked for, measured one after the
 * other in an order in which each finds the state it needs.
 *
 *   fillseq      a database of its own
 *   bulkload     a database of its own, checked
 *   fillsync     a database of its own, every write on the medium before it is acknowledged
 *   fillrandom   the database of all that follow: reads of compacted data, YCSB, writes, deletes
 */

import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeCsv } from './csv-file.js';
import { type KeyChoice, uniform, zipfian } from './key-choice.js';
import { LatencyHistogram } from './latency-histogram.js';
import { type Measurement, measure, type ThreadCensus } from './measurement.js';
import { Pace } from './pace.js';
import { diskBytes } from './process-counters.js';
import { ANY_VERSION, RECORD_BYTES, Records } from './records.js';
import { FOREVER, type RoundOptions, Stage } from './stage.js';
import type { BenchStore, Durability, StoreKind } from './store.js';
import { OPEN_AFTER_KILL, WORKLOAD_NAMES, YCSB_NAMES } from './suites.js';
import * as workloads from './workloads.js';
import { Inserted, ycsb } from './ycsb.js';

const SYNC_RECORDS_MAX = 100_000;
/** With so many records, popular ones are in the cache before any are measured. */
const POPULAR_AT_ONCE = 5_000_000;
/** It goes on until a stretch brings hardly more reads than the one before. */
const LEARNING_SECONDS = 20;
const LEARNING_STRETCHES_MAX = 15;
const LEARNING_GAIN = 1.02;

export async function runRound(kind: StoreKind, options: RoundOptions): Promise<Measurement[]> {
  const round = new Round(kind, options);
  await round.run();
  return round.stage.measurements;
}

class Round {
  readonly stage: Stage;
  readonly #kind: StoreKind;
  readonly #options: RoundOptions;
  readonly #records: Records;
  readonly #census: ThreadCensus;

  constructor(kind: StoreKind, options: RoundOptions) {
    this.stage = new Stage(kind, options);
    this.#kind = kind;
    this.#options = options;
    this.#records = options.records;
    this.#census = this.stage.census;
  }

  async run(): Promise<void> {
    if (this.stage.wants('fillseq batch 1000')) {
      await this.stage.withStore('seq', 'async', (store) => this.#fillSequential(store));
    }
    if (this.stage.wants('bulkload random order')) {
      const { kind, records } = this.#bulkRecords();
      await this.#bulkLoad('bulkload random order', records, (path) =>
        kind.bulkLoad(path, records),
      );
    }
    if (this.stage.wants('bulkload csv')) await this.#bulkLoadCsv();
    const syncs = ['fillsync awaited 64 in flight', 'fillsync awaited alone'] as const;
    if (this.stage.mayWantExtras() || syncs.some((name) => this.stage.wants(name))) {
      await this.stage.withStore('sync', 'sync', async (store) => {
        await this.stage.puts(store, syncs[0], 64, 'sync');
        await this.stage.puts(store, syncs[1], 1, 'sync');
        await this.#syncExtras(store);
      });
    }
    const first = WORKLOAD_NAMES.indexOf('fillrandom batch 1000');
    if (
      this.stage.mayWantExtras() ||
      WORKLOAD_NAMES.slice(first).some((name) => this.stage.wants(name))
    ) {
      await this.stage.withStore(
        'db',
        'async',
        (store) => this.#main(store),
        (path) => this.#opens(path),
      );
    }
  }

  // ---- fills --------------------------------------------------------------------------

  async #fillSequential(store: BenchStore): Promise<void> {
    await this.stage.batches(store, 'fillseq batch 1000', (index) => index, 0, 'put');
  }

  /** What is loaded in bulk: everything, or as much as a slow store gets. */
  #bulkRecords(): { readonly kind: StoreKind; readonly records: Records } {
    const kind = this.#kind;
    const most = kind.bulkRecordsMax ?? FOREVER;
    const { count, seed } = this.#records;
    return { kind, records: count <= most ? this.#records : new Records(most, seed) };
  }

  async #bulkLoad(
    name: string,
    records: Records,
    load: (path: string) => Promise<void>,
    bytesPerOperation?: number,
  ): Promise<void> {
    const path = this.stage.fresh('bulk');
    const pace = new Pace({ seconds: FOREVER, operationsMax: FOREVER });
    const note =
      records.count === this.#records.count ? undefined : `${records.count} records, not all`;
    const options = { name, note, store: undefined, census: this.#census, bytesPerOperation };
    this.stage.keep(
      await measure(options, pace, async () => {
        await load(path);
        pace.more(records.count);
      }),
    );
    const store = await this.#kind.open(path, 'async');
    await workloads.checkAll(store, records, 0);
    await store.close();
    rmSync(path, { recursive: true, force: true });
  }

  async #bulkLoadCsv(): Promise<void> {
    const load = this.#kind.bulkLoadCsv?.bind(this.#kind);
    if (load === undefined) return;
    const records = this.#records;
    const file = join(this.#options.directory, 'records.csv');
    writeCsv(records, file);
    const { size } = statSync(file);
    await this.#bulkLoad('bulkload csv', records, (path) => load(path, file), size / records.count);
    rmSync(file);
  }

  // ---- the main database --------------------------------------------------------------

  async #main(store: BenchStore): Promise<void> {
    const records = this.#records;
    const { count } = records;
    await this.stage.batches(store, 'fillrandom batch 1000', (i) => records.shuffled(i), 0, 'put');
    await this.#compacted(store);
    await this.#reads(store);
    await this.#threads(store);
    await this.stage.openLoop(store, 'readrandom open loop', 'get');
    const inserted = new Inserted(count);
    for (const name of YCSB_NAMES) {
      await this.stage.timed(`ycsb ${name}`, store, ANY_VERSION, (context) =>
        ycsb(context, name, inserted),
      );
    }
    await this.#extras(store, 'async', count);
    await this.#readWhileWriting(store);
    await this.#writingThreads(store);
    await this.stage.puts(store, 'overwrite awaited 64 in flight', 64, 'async');
    await this.stage.puts(store, 'overwrite awaited 256 in flight', 256, 'async');
    await this.stage.puts(store, 'overwrite awaited alone', 1, 'async');
    await this.stage.openLoop(store, 'overwrite open loop', 'put');
    if (this.stage.wants('overwrite batch 1000')) {
      await this.stage.batches(store, 'overwrite batch 1000', (i) => records.shuffled(i), 2, 'put');
    }
    if (this.stage.wants('deleterandom batch 1000')) {
      const half = Math.max(1, count >> 1);
      const idAt = (index: number): number => records.shuffled(count - 1 - index);
      await this.stage.batches(store, 'deleterandom batch 1000', idAt, 0, 'delete', half);
      const absent = await store.get(records.key(records.shuffled(count - 1)));
      if (absent !== undefined) throw new Error('A deleted record is still there');
    }
  }

  /** Compacts, reads everything, which warms the caches and checks every byte, and weighs it. */
  async #compacted(store: BenchStore): Promise<void> {
    const records = this.#records;
    const pace = new Pace({ seconds: FOREVER, operationsMax: FOREVER });
    const measurement = await measure(
      { name: 'compacted', store, census: this.#census },
      pace,
      async () => {
        await store.compact();
        pace.more(records.count);
      },
    );
    const bytes = diskBytes(join(this.#options.directory, 'db'));
    await workloads.checkAll(store, records, 0);
    if (!this.stage.wants('compacted')) return;
    this.stage.keep({
      ...measurement,
      figures: {
        diskBytesPerRecord: bytes / records.count,
        spaceAmplification: bytes / (records.count * RECORD_BYTES),
      },
    });
  }

  async #reads(store: BenchStore): Promise<void> {
    const { count } = this.#records;
    const sync = store.getSync !== undefined;
    const instead = sync ? undefined : 'no synchronous get: awaited, 64 in flight';
    await this.stage.timed(
      'readrandom sync',
      store,
      0,
      (context) =>
        sync ? workloads.readRandomSync(store, context) : workloads.awaitedGets(context, 64),
      instead,
    );
    if (sync) {
      await this.stage.timed('readrandom sync borrowed', store, 0, (context) =>
        workloads.readBorrowedSync(store, context),
      );
    }
    await this.stage.timed(
      'readmissing sync',
      store,
      0,
      (context) =>
        sync ? workloads.readMissingSync(context) : workloads.awaitedGets(context, 64, true),
      instead,
    );
    if (!store.readsAreSynchronous) await this.#awaitedReads(store);
    await this.stage.timed(
      'readseq sync',
      store,
      0,
      (context) => workloads.readSequential(context, 'sync'),
      store.scanSync === undefined ? 'no synchronous iterator: the asynchronous one' : undefined,
      'one',
    );
    await this.stage.timed(
      'readseq async',
      store,
      0,
      (context) => workloads.readSequential(context, 'async'),
      undefined,
      'one',
    );
    await this.stage.timed('seekrandom', store, 0, (context) => workloads.seekRandom(context));
    if (this.stage.wants('readrandom sync zipfian') && sync) {
      const choose = zipfian(count, this.#options.seed);
      await this.#learnPopular(store, choose);
      await this.stage.timed('readrandom sync zipfian', store, 0, (context) =>
        workloads.readRandomSync(store, { ...context, choose }),
      );
    }
  }

  /** Reads until a cache that is smaller than the data has found out what is popular. */
  async #learnPopular(store: BenchStore, choose: KeyChoice): Promise<void> {
    const records = this.#records;
    if (records.count <= POPULAR_AT_ONCE) return;
    let before = 0;
    for (let stretch = 0; stretch < LEARNING_STRETCHES_MAX; stretch++) {
      const pace = new Pace({ seconds: LEARNING_SECONDS, operationsMax: FOREVER });
      pace.start();
      workloads.readRandomSync(store, { records, pace, version: 0, choose });
      if (pace.operations < before * LEARNING_GAIN) return;
      before = pace.operations;
    }
  }

  async #awaitedReads(store: BenchStore): Promise<void> {
    for (const lanes of [256, 64]) {
      await this.stage.timed(`readrandom awaited ${lanes} in flight`, store, 0, (context) =>
        workloads.awaitedGets(context, lanes),
      );
    }
    await this.stage.timed('readrandom awaited alone', store, 0, (context) =>
      workloads.awaitedGets(context, 1),
    );
    await this.stage.timed('multireadrandom 256 keys', store, 0, (context) =>
      workloads.multiReadRandom(context),
    );
  }

  /** Fills a part of what there is, which is enough, and runs the program's workloads on it. */
  async #syncExtras(store: BenchStore): Promise<void> {
    const wanted = this.#options.extras?.(store, 'sync').some(({ name }) => this.stage.wants(name));
    if (!wanted) return;
    const records = this.#records;
    const count = Math.min(SYNC_RECORDS_MAX, records.count);
    const pace = new Pace({ seconds: FOREVER, operationsMax: count });
    pace.start();
    await workloads.writeBatches({ store, records, pace }, (index) => index, 0);
    await this.#extras(store, 'sync', count);
  }

  async #extras(store: BenchStore, durability: Durability, count: number): Promise<void> {
    const { seconds, seed, extras } = this.#options;
    const records = this.#records;
    for (const extra of extras?.(store, durability) ?? []) {
      const { name } = extra;
      if (!this.stage.wants(name)) continue;
      const pace = new Pace({ seconds, operationsMax: FOREVER, histogram: new LatencyHistogram() });
      let failed: string | undefined;
      // The other workloads are worth measuring even so.
      const attempt = async (step: (() => Promise<void>) | undefined): Promise<void> => {
        if (failed !== undefined) return;
        await step?.().catch((error: unknown) => {
          failed = String(error);
        });
      };
      await attempt(extra.prepare);
      const measurement = await measure(
        { name, store, census: this.#census, durability },
        pace,
        () => attempt(() => extra.run({ records, pace, seed, count })),
      );
      await attempt(extra.check);
      const note = failed === undefined ? await extra.note?.() : undefined;
      this.stage.keep({
        ...measurement,
        ...(note === undefined ? {} : { note }),
        ...(failed === undefined ? {} : { failed }),
      });
    }
  }

  // ---- opening ------------------------------------------------------------------------

  async #opens(path: string): Promise<void> {
    if (this.#kind.keepsNothing) return;
    await this.#open(path, 'open after close');
    const { crash } = this.#options;
    if (crash === undefined || !this.stage.wants(OPEN_AFTER_KILL)) return;
    await crash(path);
    await this.#open(path, OPEN_AFTER_KILL);
  }

  /** From nothing to the first answer. */
  async #open(path: string, name: string): Promise<void> {
    if (!this.stage.wants(name)) return;
    const records = this.#records;
    const pace = new Pace({ seconds: FOREVER, operationsMax: FOREVER });
    const opened: { store?: BenchStore } = {};
    const measurement = await measure(
      { name, store: undefined, census: this.#census },
      pace,
      async () => {
        opened.store = await this.#kind.open(path, 'async');
        const found = await opened.store.get(records.key(0));
        if (found !== undefined) records.verify(found, 0, ANY_VERSION);
        pace.more(1);
      },
    );
    await opened.store?.close();
    this.stage.keep(measurement);
  }

  // ---- client threads -----------------------------------------------------------------

  async #threads(store: BenchStore): Promise<void> {
    const { clientEntry, seconds } = this.#options;
    const runs = [
      // While the cache still knows what is popular.
      { threads: 2, name: 'readrandom sync zipfian 2 threads', work: 'readzipfian' },
      { threads: 1, name: 'readrandom sync 1 thread' },
      { threads: 2, name: 'readrandom sync 2 threads' },
      { threads: 2, name: 'readrandom sync borrowed 2 threads', work: 'readborrowed' },
      { threads: 4, name: 'readrandom sync 4 threads' },
    ] as const;
    for (const run of runs) {
      const { threads, name } = run;
      if (!this.stage.wants(name) || clientEntry === undefined) continue;
      const work = 'work' in run ? run.work : 'readrandom';
      const clients = await this.stage.startClients(store, work, threads);
      if (clients === undefined) {
        const lanes = threads;
        await this.stage.timed(
          name,
          store,
          0,
          (context) => workloads.multiReadRandom(context, lanes),
          `one handle a process: getMany of 256 keys, ${lanes} in flight, on the library's threads`,
        );
        continue;
      }
      const pace = new Pace({ seconds, operationsMax: FOREVER });
      const measurement = await measure({ name, store, census: this.#census }, pace, async () => {
        clients.go();
        for (const { operations } of await clients.done()) pace.more(operations);
      });
      this.stage.keep(measurement);
      await clients.end();
    }
  }

  /** Threads that write batches of 100, each awaiting one before the next but one. */
  async #writingThreads(store: BenchStore): Promise<void> {
    for (const threads of [1, 2, 4]) {
      const name = `overwrite batch 100 ${threads} thread${threads === 1 ? '' : 's'}`;
      if (!this.stage.wants(name)) continue;
      const clients = await this.stage.startClients(store, 'overwrite', threads);
      if (clients === undefined) return;
      const pace = new Pace({ seconds: FOREVER, operationsMax: FOREVER });
      const measurement = await measure(
        { name, store, census: this.#census, durability: 'async' },
        pace,
        async () => {
          clients.go();
          await sleep(this.#options.seconds * 1000);
          clients.finish();
          for (const { operations } of await clients.done()) pace.more(operations);
        },
      );
      this.stage.keep(measurement);
      await clients.end();
    }
  }

  /** Reads on this thread while another writes batches as fast as it can. */
  async #readWhileWriting(store: BenchStore): Promise<void> {
    const name = 'readwhilewriting';
    if (!this.stage.wants(name)) return;
    if (store.getSync === undefined) return;
    const writer = await this.stage.startClients(store, 'overwrite', 1);
    if (writer === undefined) return;
    const records = this.#records;
    const { seconds, seed } = this.#options;
    const pace = new Pace({ seconds, operationsMax: FOREVER, histogram: new LatencyHistogram() });
    writer.go();
    const measurement = await measure({ name, store, census: this.#census }, pace, () =>
      workloads.readRandomSync(store, {
        records,
        pace,
        version: ANY_VERSION,
        choose: uniform(records.count, seed),
      }),
    );
    writer.finish();
    const written = (await writer.done()).reduce(
      (sum, done) => sum + done.operations / done.seconds,
      0,
    );
    this.stage.keep({ ...measurement, figures: { writesPerSecond: written } });
    await writer.end();
  }
}
