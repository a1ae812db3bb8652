/**
 * One round of one store: fresh databases, every workload that is asked for, measured one after the
 * other in an order in which each finds the state it needs.
 *
 *   fillseq      a database of its own
 *   bulkload     a database of its own, checked
 *   fillsync     a database of its own, every write on the medium before it is acknowledged
 *   fillrandom   the database of all that follow: reads of compacted data, YCSB, writes, deletes
 */

import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClientThreads, type ClientWork } from './client-thread.js';
import { writeCsv } from './csv-file.js';
import { uniform, zipfian } from './key-choice.js';
import { LatencyHistogram } from './latency-histogram.js';
import { type Measurement, measure, ThreadCensus } from './measurement.js';
import { Pace } from './pace.js';
import { diskBytes, residentBytes } from './process-counters.js';
import { ANY_VERSION, RECORD_BYTES, Records } from './records.js';
import type { BenchStore, Durability, StoreKind } from './store.js';
import { isInSuite, OPEN_AFTER_KILL, type Suite, WORKLOAD_NAMES, YCSB_NAMES } from './suites.js';
import type { WorkloadContext } from './workloads.js';
import * as workloads from './workloads.js';
import { Inserted, ycsb } from './ycsb.js';

export interface RoundOptions {
  readonly directory: string;
  readonly records: Records;
  /** How long a workload that has no end of its own goes on. */
  readonly seconds: number;
  readonly seed: number;
  /** Workloads to run: beginnings of their names. Undefined: `suite` decides. */
  readonly only?: readonly string[] | undefined;
  readonly suite: Suite;
  /** Operations a second of the open loops. */
  readonly openLoopPerSecond: number;
  /** The program that runs client threads; undefined: none. */
  readonly clientEntry: URL | undefined;
  /** Writes to the database at a path and dies without closing it; undefined: that is left out. */
  readonly crash?: ((path: string) => Promise<void>) | undefined;
  readonly onMeasured?: (measurement: Measurement) => void;
}

const FOREVER = Number.POSITIVE_INFINITY;
/** Of the workload's time: the pass that records the latency of each operation. */
const LATENCY_SHARE = 0.4;
const WARM_UP_SECONDS = 0.15;

export async function runRound(kind: StoreKind, options: RoundOptions): Promise<Measurement[]> {
  const round = new Round(kind, options);
  await round.run();
  return round.measurements;
}

class Round {
  readonly measurements: Measurement[] = [];
  readonly #kind: StoreKind;
  readonly #options: RoundOptions;
  readonly #records: Records;
  readonly #census = new ThreadCensus();

  constructor(kind: StoreKind, options: RoundOptions) {
    this.#kind = kind;
    this.#options = options;
    this.#records = options.records;
  }

  async run(): Promise<void> {
    if (this.#wants('fillseq batch 1000')) {
      await this.#withStore('seq', 'async', (store) => this.#fillSequential(store));
    }
    if (this.#wants('bulkload random order')) {
      const { kind, records } = this.#bulkRecords();
      await this.#bulkLoad('bulkload random order', records, (path) =>
        kind.bulkLoad(path, records),
      );
    }
    if (this.#wants('bulkload csv')) await this.#bulkLoadCsv();
    const sync = ['fillsync awaited 64 in flight', 'fillsync awaited alone'] as const;
    if (sync.some((name) => this.#wants(name))) {
      await this.#withStore('sync', 'sync', async (store) => {
        await this.#puts(store, sync[0], 64, 'sync');
        await this.#puts(store, sync[1], 1, 'sync');
      });
    }
    const first = WORKLOAD_NAMES.indexOf('fillrandom batch 1000');
    if (WORKLOAD_NAMES.slice(first).some((name) => this.#wants(name))) {
      await this.#withStore(
        'db',
        'async',
        (store) => this.#main(store),
        (path) => this.#opens(path),
      );
    }
  }

  #wants(name: string): boolean {
    const { only, suite } = this.#options;
    if (only !== undefined) return only.some((beginning) => name.startsWith(beginning));
    return isInSuite(name, suite);
  }

  #keep(measurement: Measurement): void {
    this.measurements.push(measurement);
    this.#options.onMeasured?.(measurement);
  }

  async #withStore(
    name: string,
    durability: Durability,
    use: (store: BenchStore) => Promise<void>,
    useClosed?: (path: string) => Promise<void>,
  ): Promise<void> {
    const path = this.#fresh(name);
    try {
      const store = await this.#kind.open(path, durability);
      this.#census.enlist(store.threadRoles ?? []);
      try {
        await use(store);
      } finally {
        await store.close();
      }
      await useClosed?.(path);
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  }

  #fresh(name: string): string {
    const path = join(this.#options.directory, name);
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true });
    return path;
  }

  // ---- fills --------------------------------------------------------------------------

  async #fillSequential(store: BenchStore): Promise<void> {
    await this.#batches(store, 'fillseq batch 1000', (index) => index, 0, 'put');
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
    const path = this.#fresh('bulk');
    const pace = new Pace({ seconds: FOREVER, operationsMax: FOREVER });
    const note =
      records.count === this.#records.count ? undefined : `${records.count} records, not all`;
    const options = { name, note, store: undefined, census: this.#census, bytesPerOperation };
    this.#keep(
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

  /** A fill in batches; counted until nothing is left to do in the background. */
  async #batches(
    store: BenchStore,
    name: string,
    idAt: (index: number) => number,
    version: number,
    operation: 'put' | 'delete',
    operations = this.#records.count,
  ): Promise<Measurement> {
    const records = this.#records;
    const residentSamples: number[] = [];
    const pace = new Pace({
      seconds: FOREVER,
      operationsMax: operations,
      histogram: new LatencyHistogram(),
      onSample: () => residentSamples.push(residentBytes()),
    });
    let acknowledgedSeconds = 0;
    const measurement = await measure(
      { name, store, census: this.#census, durability: 'async', samples: true },
      pace,
      async () => {
        await workloads.writeBatches({ store, records, pace }, idAt, version, operation);
        acknowledgedSeconds = (performance.now() - pace.startedAtMs) / 1000;
        pace.discount(await store.settle());
      },
    );
    const raw = operations * RECORD_BYTES;
    const kept = {
      ...measurement,
      residentSamples,
      figures: {
        perSecondAcknowledged: operations / acknowledgedSeconds,
        settleSeconds: measurement.seconds - acknowledgedSeconds,
        ...(measurement.io === undefined
          ? {}
          : {
              writeAmplification: measurement.io.deviceWritten / raw,
              writeAmplificationCalls: measurement.io.callWritten / raw,
            }),
      },
    };
    this.#keep(kept);
    return kept;
  }

  // ---- the main database --------------------------------------------------------------

  async #main(store: BenchStore): Promise<void> {
    const records = this.#records;
    const { count } = records;
    await this.#batches(store, 'fillrandom batch 1000', (i) => records.shuffled(i), 0, 'put');
    await this.#compacted(store);
    await this.#reads(store);
    await this.#threads(store);
    await this.#openLoop(store, 'readrandom open loop', 'get');
    const inserted = new Inserted(count);
    for (const name of YCSB_NAMES) {
      await this.#timed(`ycsb ${name}`, store, ANY_VERSION, (context) =>
        ycsb(context, name, inserted),
      );
    }
    await this.#readWhileWriting(store);
    await this.#writingThreads(store);
    await this.#puts(store, 'overwrite awaited 64 in flight', 64, 'async');
    await this.#puts(store, 'overwrite awaited 256 in flight', 256, 'async');
    await this.#puts(store, 'overwrite awaited alone', 1, 'async');
    await this.#openLoop(store, 'overwrite open loop', 'put');
    if (this.#wants('overwrite batch 1000')) {
      await this.#batches(store, 'overwrite batch 1000', (i) => records.shuffled(i), 2, 'put');
    }
    if (this.#wants('deleterandom batch 1000')) {
      const half = Math.max(1, count >> 1);
      const idAt = (index: number): number => records.shuffled(count - 1 - index);
      await this.#batches(store, 'deleterandom batch 1000', idAt, 0, 'delete', half);
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
    if (!this.#wants('compacted')) return;
    this.#keep({
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
    await this.#timed(
      'readrandom sync',
      store,
      0,
      (context) =>
        sync ? workloads.readRandomSync(store, context) : workloads.awaitedGets(context, 64),
      instead,
    );
    await this.#timed(
      'readmissing sync',
      store,
      0,
      (context) =>
        sync ? workloads.readMissingSync(context) : workloads.awaitedGets(context, 64, true),
      instead,
    );
    if (!store.readsAreSynchronous) await this.#awaitedReads(store);
    await this.#timed(
      'readseq sync',
      store,
      0,
      (context) => workloads.readSequential(context, 'sync'),
      store.scanSync === undefined ? 'no synchronous iterator: the asynchronous one' : undefined,
      'one',
    );
    await this.#timed(
      'readseq async',
      store,
      0,
      (context) => workloads.readSequential(context, 'async'),
      undefined,
      'one',
    );
    await this.#timed('seekrandom', store, 0, (context) => workloads.seekRandom(context));
    if (this.#wants('readrandom sync zipfian') && sync) {
      const choose = zipfian(count, this.#options.seed);
      await this.#timed('readrandom sync zipfian', store, 0, (context) =>
        workloads.readRandomSync(store, { ...context, choose }),
      );
    }
  }

  async #awaitedReads(store: BenchStore): Promise<void> {
    for (const lanes of [256, 64]) {
      await this.#timed(`readrandom awaited ${lanes} in flight`, store, 0, (context) =>
        workloads.awaitedGets(context, lanes),
      );
    }
    await this.#timed('readrandom awaited alone', store, 0, (context) =>
      workloads.awaitedGets(context, 1),
    );
    await this.#timed('multireadrandom 256 keys', store, 0, (context) =>
      workloads.multiReadRandom(context),
    );
  }

  /** A pass to warm up, one for throughput, and a shorter one that records the latency of every operation. */
  async #timed(
    name: string,
    store: BenchStore,
    version: number,
    run: (context: WorkloadContext) => void | Promise<void>,
    note?: string,
    passes: 'all' | 'one' = 'all',
  ): Promise<void> {
    if (!this.#wants(name)) return;
    const { seconds, seed } = this.#options;
    const records = this.#records;
    const context = (pace: Pace): WorkloadContext => ({
      store,
      records,
      pace,
      version,
      seed,
      choose: uniform(records.count, seed),
    });
    const pass = async (passSeconds: number, histogram?: LatencyHistogram): Promise<void> => {
      const pace = new Pace({ seconds: passSeconds, operationsMax: FOREVER, histogram });
      pace.start();
      await run(context(pace));
    };
    if (passes === 'all') await pass(Math.min(WARM_UP_SECONDS, seconds));
    const pace = new Pace({ seconds, operationsMax: FOREVER });
    const measurement = await measure({ name, store, census: this.#census, note }, pace, () =>
      run(context(pace)),
    );
    if (passes === 'one') return this.#keep(measurement);
    const histogram = new LatencyHistogram();
    await pass(seconds * LATENCY_SHARE, histogram);
    this.#keep({ ...measurement, latency: histogram.summary() });
  }

  async #puts(
    store: BenchStore,
    name: string,
    lanes: number,
    durability: Durability,
  ): Promise<void> {
    if (!this.#wants(name)) return;
    const { seconds, seed } = this.#options;
    const records = this.#records;
    const pace = new Pace({ seconds, operationsMax: FOREVER, histogram: new LatencyHistogram() });
    this.#keep(
      await measure({ name, store, census: this.#census, durability }, pace, () =>
        workloads.awaitedPuts(
          {
            store,
            records,
            pace,
            seed,
            version: ANY_VERSION,
            choose: uniform(records.count, seed + 5),
          },
          lanes,
          1,
        ),
      ),
    );
  }

  async #openLoop(store: BenchStore, name: string, operation: 'get' | 'put'): Promise<void> {
    if (!this.#wants(name)) return;
    const { seconds, seed, openLoopPerSecond } = this.#options;
    const records = this.#records;
    const pace = new Pace({ seconds, operationsMax: FOREVER, histogram: new LatencyHistogram() });
    const choose = uniform(records.count, seed);
    const measurement = await measure({ name, store, census: this.#census }, pace, () =>
      workloads.openLoop(
        { store, records, pace, seed, version: ANY_VERSION, choose },
        operation,
        openLoopPerSecond,
      ),
    );
    this.#keep({ ...measurement, figures: { perSecondDue: openLoopPerSecond } });
  }

  // ---- opening ------------------------------------------------------------------------

  async #opens(path: string): Promise<void> {
    if (this.#kind.keepsNothing) return;
    await this.#open(path, 'open after close');
    const { crash } = this.#options;
    if (crash === undefined || !this.#wants(OPEN_AFTER_KILL)) return;
    await crash(path);
    await this.#open(path, OPEN_AFTER_KILL);
  }

  /** From nothing to the first answer. */
  async #open(path: string, name: string): Promise<void> {
    if (!this.#wants(name)) return;
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
    this.#keep(measurement);
  }

  // ---- client threads -----------------------------------------------------------------

  async #threads(store: BenchStore): Promise<void> {
    const { clientEntry, seconds } = this.#options;
    for (const threads of [1, 2, 4]) {
      const name = `readrandom sync ${threads} thread${threads === 1 ? '' : 's'}`;
      if (!this.#wants(name) || clientEntry === undefined) continue;
      const clients = await this.#startClients(store, 'readrandom', threads);
      if (clients === undefined) {
        const lanes = threads;
        await this.#timed(
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
      this.#keep(measurement);
      await clients.end();
    }
  }

  /** Threads that write batches of 100, each awaiting one before the next but one. */
  async #writingThreads(store: BenchStore): Promise<void> {
    for (const threads of [1, 2, 4]) {
      const name = `overwrite batch 100 ${threads} thread${threads === 1 ? '' : 's'}`;
      if (!this.#wants(name)) continue;
      const clients = await this.#startClients(store, 'overwrite', threads);
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
      this.#keep(measurement);
      await clients.end();
    }
  }

  async #startClients(
    store: BenchStore,
    work: ClientWork,
    threads: number,
  ): Promise<ClientThreads | undefined> {
    const { clientEntry, seconds, seed } = this.#options;
    const access = store.clientAccess?.();
    if (access === undefined || clientEntry === undefined) return undefined;
    const clients = await ClientThreads.start({
      entry: clientEntry,
      threads,
      access,
      work,
      count: this.#records.count,
      recordsSeed: this.#records.seed,
      seed: seed + 17,
      seconds,
      version: work === 'readrandom' ? 0 : 1,
    });
    for (const id of clients.threadIds) this.#census.enlistClient(id);
    return clients;
  }

  /** Reads on this thread while another writes batches as fast as it can. */
  async #readWhileWriting(store: BenchStore): Promise<void> {
    const name = 'readwhilewriting';
    if (!this.#wants(name)) return;
    if (store.getSync === undefined) return;
    const writer = await this.#startClients(store, 'overwrite', 1);
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
    this.#keep({ ...measurement, figures: { writesPerSecond: written } });
    await writer.end();
  }
}
