/**
 * Where workloads are run: fresh directories, stores that are opened and closed again, and the ways
 * in which a workload is measured. A round says which workloads, and in which order.
 */

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ClientThreads, type ClientWork } from './client-thread.js';
import { uniform } from './key-choice.js';
import { LatencyHistogram } from './latency-histogram.js';
import { type Measurement, measure, ThreadCensus } from './measurement.js';
import { Pace } from './pace.js';
import { residentBytes } from './process-counters.js';
import { ANY_VERSION, RECORD_BYTES, type Records } from './records.js';
import type { BenchStore, Durability, StoreKind } from './store.js';
import { type ExtraWorkload, isInSuite, type Suite, WORKLOAD_NAMES } from './suites.js';
import type { WorkloadContext } from './workloads.js';
import * as workloads from './workloads.js';

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
  /** Workloads of the program's own, for a store that has just been filled. */
  readonly extras?:
    | ((store: BenchStore, durability: Durability) => readonly ExtraWorkload[])
    | undefined;
  readonly onMeasured?: (measurement: Measurement) => void;
}

export const FOREVER = Number.POSITIVE_INFINITY;
/** Of the workload's time: the pass that records the latency of each operation. */
const LATENCY_SHARE = 0.4;
const WARM_UP_SECONDS = 0.15;

export class Stage {
  readonly measurements: Measurement[] = [];
  readonly kind: StoreKind;
  readonly options: RoundOptions;
  readonly records: Records;
  readonly census = new ThreadCensus();

  constructor(kind: StoreKind, options: RoundOptions) {
    this.kind = kind;
    this.options = options;
    this.records = options.records;
  }

  wants(name: string): boolean {
    const { only, suite } = this.options;
    if (only !== undefined) return only.some((beginning) => name.startsWith(beginning));
    return isInSuite(name, suite);
  }

  /** Names of the program's own workloads are known once the store is open. */
  mayWantExtras(): boolean {
    const { extras, only, suite } = this.options;
    if (extras === undefined) return false;
    if (only === undefined) return suite === 'all';
    return only.some((wanted) => !WORKLOAD_NAMES.some((name) => name.startsWith(wanted)));
  }

  keep(measurement: Measurement): void {
    this.measurements.push(measurement);
    this.options.onMeasured?.(measurement);
  }

  async withStore(
    name: string,
    durability: Durability,
    use: (store: BenchStore) => Promise<void>,
    useClosed?: (path: string) => Promise<void>,
  ): Promise<void> {
    const path = this.fresh(name);
    try {
      const store = await this.kind.open(path, durability);
      this.census.enlist(store.threadRoles ?? []);
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

  fresh(name: string): string {
    const path = join(this.options.directory, name);
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** A fill in batches; counted until nothing is left to do in the background. */
  async batches(
    store: BenchStore,
    name: string,
    idAt: (index: number) => number,
    version: number,
    operation: 'put' | 'delete',
    operations = this.records.count,
  ): Promise<Measurement> {
    const records = this.records;
    const residentSamples: number[] = [];
    const pace = new Pace({
      seconds: FOREVER,
      operationsMax: operations,
      histogram: new LatencyHistogram(),
      onSample: () => residentSamples.push(residentBytes()),
    });
    let acknowledgedSeconds = 0;
    const measurement = await measure(
      { name, store, census: this.census, durability: 'async', samples: true },
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
    this.keep(kept);
    return kept;
  }

  /** A pass to warm up, one for throughput, and a shorter one that records the latency of every operation. */
  async timed(
    name: string,
    store: BenchStore,
    version: number,
    run: (context: WorkloadContext) => void | Promise<void>,
    note?: string,
    passes: 'all' | 'one' = 'all',
  ): Promise<void> {
    if (!this.wants(name)) return;
    const { seconds, seed } = this.options;
    const records = this.records;
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
    const measurement = await measure({ name, store, census: this.census, note }, pace, () =>
      run(context(pace)),
    );
    if (passes === 'one') return this.keep(measurement);
    const histogram = new LatencyHistogram();
    await pass(seconds * LATENCY_SHARE, histogram);
    this.keep({ ...measurement, latency: histogram.summary() });
  }

  async puts(
    store: BenchStore,
    name: string,
    lanes: number,
    durability: Durability,
  ): Promise<void> {
    if (!this.wants(name)) return;
    const { seconds, seed } = this.options;
    const records = this.records;
    const pace = new Pace({ seconds, operationsMax: FOREVER, histogram: new LatencyHistogram() });
    this.keep(
      await measure({ name, store, census: this.census, durability }, pace, () =>
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

  async openLoop(store: BenchStore, name: string, operation: 'get' | 'put'): Promise<void> {
    if (!this.wants(name)) return;
    const { seconds, seed, openLoopPerSecond } = this.options;
    const records = this.records;
    const pace = new Pace({ seconds, operationsMax: FOREVER, histogram: new LatencyHistogram() });
    const choose = uniform(records.count, seed);
    const measurement = await measure({ name, store, census: this.census }, pace, () =>
      workloads.openLoop(
        { store, records, pace, seed, version: ANY_VERSION, choose },
        operation,
        openLoopPerSecond,
      ),
    );
    this.keep({ ...measurement, figures: { perSecondDue: openLoopPerSecond } });
  }

  async startClients(
    store: BenchStore,
    work: ClientWork,
    threads: number,
  ): Promise<ClientThreads | undefined> {
    const { clientEntry, seconds, seed } = this.options;
    const access = store.clientAccess?.();
    if (access === undefined || clientEntry === undefined) return undefined;
    const clients = await ClientThreads.start({
      entry: clientEntry,
      threads,
      access,
      work,
      count: this.records.count,
      recordsSeed: this.records.seed,
      seed: seed + 17,
      seconds,
      version: work === 'overwrite' ? 1 : 0,
    });
    for (const id of clients.threadIds) this.census.enlistClient(id);
    return clients;
  }
}
