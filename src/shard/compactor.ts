/**
 * Merges runs as the picker chooses: plans the jobs, has them run, installs their tables part by
 * part. Several compactions may run at once, of runs that have nothing to do with each other.
 *
 * Parts share no keys. Each is installed when its own jobs are done, and its inputs are deleted: so a
 * merge of everything needs room for the parts under way alone, of which no more are started than
 * make up a set share of the shard. A compaction that fails leaves the parts that were not installed
 * as they were and is tried again later, with growing pauses; when it was a damaged table that it
 * failed for, the next choice is made around that table's run.
 */
import { alignedFrom, rangeStarts } from '../compaction/clusters.js';
import type { BuildResult, MergeJob } from '../compaction/jobs.js';
import { PICK_DEFAULTS, type Pick, pickCompaction } from '../compaction/pick-compaction.js';
import { type MergePlan, type Plan, type PlanPart, planMerge } from '../compaction/plan-merge.js';
import type { Retention } from '../compaction/retention.js';
import { deserializeError, LightningError, serializeError } from '../errors.js';
import type { TableInfo } from '../sstable/table-info.js';
import { BOTTOM_ORDER, type Run } from '../version/version.js';
import { Backoff } from './backoff.js';
import { carryCache } from './carry-cache.js';
import { DiskFailures } from './disk-failures.js';
import { deleteTables, JobCounters, reserveTables } from './flusher.js';
import type { ShardState } from './shard-state.js';
import type { TableReads } from './table-reads.js';

/** Compactions of one shard at a time: none of any size must wait for a longer one to end. */
const CONCURRENT_MAX = 4;
/** Parts under way, in parts of all tables; one may always be. */
const UNDER_WAY_SHARE = 1 / 8;
const UNDER_WAY_BYTES_MIN = 64 * 1024 * 1024;
/** How often tables that keep old versions for snapshots are looked at again. */
const RECHECK_MS = 500;
/** Weight of what the latest part of a bottom merge has shown. */
const REPLACING_WEIGHT = 0.3;

/** Runs that become one. */
interface Choice {
  readonly runs: readonly Run[];
  /** Order of the run they become. */
  readonly order: number;
  readonly isBottom: boolean;
  readonly only?: ReadonlySet<number> | undefined;
  /** Keys at which tables of the result end. */
  readonly cuts?: readonly Uint8Array[] | undefined;
  /** Whether every old version that can go is to go. */
  readonly thorough?: boolean;
}

export class Compactor {
  readonly #state: ShardState;
  readonly #reads: TableReads;
  readonly #onCompacted: () => void;
  readonly counters = new JobCounters();
  readonly #backoff = new Backoff();
  readonly #diskFailures: DiskFailures;
  readonly #busyOrders = new Set<number>();
  readonly #running = new Set<Promise<void>>();
  #isClosed = false;
  /** A full merge waits for the others to end; no new ones are started. */
  #isExclusive = false;
  #failure: LightningError | undefined;
  /** Share of upper entries that replaced one of the bottom run, lately; undefined: not known. */
  #replacing: number | undefined;
  #recheckAtMs: number | undefined;
  /** Bytes of the parts of running compactions that are not installed. */
  #runningBytes = 0;

  constructor(state: ShardState, reads: TableReads, onCompacted: () => void) {
    this.#state = state;
    this.#reads = reads;
    this.#onCompacted = onCompacted;
    this.#diskFailures = new DiskFailures(state);
  }

  /** Why the last compaction failed, while no later one has succeeded. */
  get failure(): LightningError | undefined {
    return this.#failure;
  }

  /** Bytes of tables that compactions under way, and the next one, have yet to read. */
  get pendingBytes(): number {
    const next = this.#isClosed ? undefined : this.#pick();
    if (next === undefined) return this.#runningBytes;
    const { parts } = this.#plan(next);
    return this.#runningBytes + parts.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Starts what the picker chooses, unless enough is running. */
  maybeSchedule(): void {
    while (this.#mayStart()) {
      const choice = this.#pick();
      if (choice === undefined || !this.#start(choice)) break;
    }
    this.#recheckAtMs = this.#keepsGarbage()
      ? this.#state.options.clock.nowMs() + RECHECK_MS
      : undefined;
  }

  /** Looks again at what snapshots have kept, when it is time for that. */
  poll(): void {
    if (this.#recheckAtMs === undefined) return;
    if (this.#state.options.clock.nowMs() >= this.#recheckAtMs) this.maybeSchedule();
  }

  /** Milliseconds until `poll` has something to do; undefined: not before something else happens. */
  pollsInMs(nowMs: number): number | undefined {
    return this.#recheckAtMs === undefined ? undefined : Math.max(0, this.#recheckAtMs - nowMs);
  }

  /** Merges everything into the bottom run. Rejects when that fails. */
  async compactAll(): Promise<void> {
    while (this.#isExclusive) await new Promise((resolve) => setImmediate(resolve));
    this.#isExclusive = true;
    let orders: number[] = [];
    try {
      while (this.#running.size > 0) await Promise.race(this.#running);
      if (this.#state.version.runs.length === 0 || this.#isClosed) return;
      orders = this.#hold(this.#runs());
      // Younger runs may be merged meanwhile, or a long merge would hold up writes in the end.
      this.#isExclusive = false;
      const running = this.#compactHeld(new Set(orders));
      const ended = running.catch(() => {}).finally(() => this.#running.delete(ended));
      this.#running.add(ended);
      await running;
    } finally {
      this.#isExclusive = false;
      this.#letGo(orders);
      this.#onCompacted();
    }
  }

  /** No more compactions are started, and what running ones make is not installed any more. */
  close(): void {
    this.#isClosed = true;
    this.#recheckAtMs = undefined;
    this.#backoff.cancel();
  }

  #mayStart(): boolean {
    return (
      !this.#isClosed &&
      !this.#isExclusive &&
      !this.#backoff.isWaiting &&
      this.#running.size < CONCURRENT_MAX &&
      this.#state.manifest !== undefined &&
      this.#state.readOnlyReason === undefined &&
      // What is wrong with tables decides what is merged.
      !this.#state.tables.isLoading
    );
  }

  // ---- choosing -------------------------------------------------------------------------

  /** All runs; the last is the bottom run, also while there is nothing in it. */
  #runs(): readonly Run[] {
    const { runs } = this.#state.version;
    if (runs.at(-1)?.order === BOTTOM_ORDER) return runs;
    return [...runs, { order: BOTTOM_ORDER, tables: [] }];
  }

  #pick(): Choice | undefined {
    const all = this.#runs();
    const pick: Pick | undefined = pickCompaction({
      runs: all.map((run) => ({
        tables: run.tables,
        busy: this.#busyOrders.has(run.order),
        damaged: this.#isDamaged(run),
      })),
      replacing: this.#replacing,
      isCollectable: this.#collectable(),
    });
    if (pick === undefined) return undefined;
    return this.#choice(all, pick.from, pick.to, pick.only);
  }

  #choice(
    all: readonly Run[],
    from: number,
    to: number,
    only?: ReadonlySet<number>,
  ): Choice | undefined {
    const runs = all.slice(from, to);
    const oldest = runs.at(-1);
    if (oldest === undefined) return undefined;
    const isBottom = to === all.length;
    return {
      runs,
      order: oldest.order,
      isBottom,
      only,
      cuts: isBottom ? undefined : rangeStarts(all.slice(to).map(({ tables }) => tables)),
    };
  }

  #collectable(): (table: TableInfo) => boolean {
    const { kept, options } = this.#state;
    const live = options.control.liveSnapshots();
    return (table) => kept.isCollectable(table, live);
  }

  /** Whether some table is worth a rewrite as soon as snapshots allow it. */
  #keepsGarbage(): boolean {
    if (this.#isClosed || this.#state.manifest === undefined) return false;
    const runs = this.#runs().map((run) => ({
      tables: run.tables,
      damaged: this.#isDamaged(run),
    }));
    const pick = pickCompaction({ runs, replacing: this.#replacing, isCollectable: () => true });
    return pick !== undefined && (pick.reason === 'garbage' || pick.reason === 'deleted');
  }

  #plan({ runs, isBottom, only, cuts, thorough }: Choice): Plan {
    const { tableBytesMax, compactionThreads } = this.#state.options.config;
    return planMerge(
      runs.map(({ tables }) => tables),
      {
        bottom: isBottom,
        isCollectable: this.#collectable(),
        tableBytesMax,
        parallelism: compactionThreads,
        cuts,
        only,
        thorough,
      },
    );
  }

  // ---- running ----------------------------------------------------------------------------

  /** False when the choice would change nothing. */
  #start(choice: Choice): boolean {
    const plan = this.#plan(choice);
    if (plan.parts.length === 0 && movesOf(plan, choice).length === 0) return false;
    const orders = this.#hold([...choice.runs]);
    const running: Promise<void> = this.#compact(choice, plan)
      .finally(() => this.#letGo(orders))
      .then(
        () => this.#ended(running, undefined),
        (error: unknown) => this.#ended(running, error),
      );
    this.#running.add(running);
    return true;
  }

  /** The runs belong to one compaction until they are let go. */
  #hold(runs: readonly Run[]): number[] {
    const orders = runs.map(({ order }) => order);
    for (const order of orders) this.#busyOrders.add(order);
    return orders;
  }

  #letGo(orders: readonly number[]): void {
    for (const order of orders) this.#busyOrders.delete(order);
  }

  #ended(running: Promise<void>, error: unknown): void {
    this.#running.delete(running);
    if (error === undefined) {
      this.#backoff.succeed();
      this.#diskFailures.succeed();
      this.#failure = undefined;
    } else {
      this.#failure = asLightningError(error);
      this.#diskFailures.note(this.#failure);
      const isNews = this.#state.tables.noteDamage(error);
      if (!this.#isClosed && !isNews) this.#backoff.retry(() => this.maybeSchedule());
    }
    this.#onCompacted();
  }

  /** Merges the runs of these orders, around those that are damaged. */
  async #compactHeld(orders: ReadonlySet<number>): Promise<void> {
    for (;;) {
      try {
        await this.#mergeStretches(orders);
        break;
      } catch (error) {
        // One more was found: start again.
        if (this.#isClosed || !this.#state.tables.noteDamage(error)) throw error;
      }
    }
    const damage = this.#state.tables.damage.find(({ extent }) => extent !== 'filter');
    if (damage !== undefined) throw damage.error;
  }

  /** Merges what stands between damaged runs; the oldest stretch into the bottom run. */
  async #mergeStretches(orders: ReadonlySet<number>): Promise<void> {
    const stretches: number[][] = [[]];
    for (const run of this.#runs()) {
      if (!orders.has(run.order)) continue;
      if (this.#isDamaged(run)) stretches.push([]);
      else stretches.at(-1)?.push(run.order);
    }
    for (const stretch of stretches) {
      if (stretch.at(-1) === BOTTOM_ORDER) await this.#mergeToBottom(stretch);
      else await this.#mergeYoung(stretch);
    }
  }

  /** Merges the runs into the bottom run, range by range: those that span ranges are cut up first. */
  async #mergeToBottom(orders: readonly number[]): Promise<void> {
    const runs = this.#held(orders).map(({ tables }) => tables);
    const from = alignedFrom(runs);
    // Named, so that even a single run is rewritten.
    const spanning = runs.slice(0, from).flatMap((tables) => tables.map(({ id }) => id));
    await this.#mergeYoung(orders.slice(0, from), new Set(spanning));
    const choice = {
      runs: this.#held(orders),
      order: BOTTOM_ORDER,
      isBottom: true,
      thorough: true,
    };
    await this.#compact(choice, this.#plan(choice));
  }

  /** Makes one run of upper runs. */
  async #mergeYoung(orders: readonly number[], only?: ReadonlySet<number>): Promise<void> {
    const all = this.#runs();
    const from = all.findIndex(({ order }) => order === orders[0]);
    if (from < 0) return;
    const choice = this.#choice(all, from, from + orders.length, only);
    if (choice !== undefined) {
      await this.#compact(choice, this.#plan({ ...choice, thorough: true }));
    }
  }

  #held(orders: readonly number[]): Run[] {
    return this.#runs().filter(({ order }) => orders.includes(order));
  }

  #isDamaged({ tables }: Run): boolean {
    return tables.some(({ id }) => this.#state.tables.isDamaged(id));
  }

  async #compact(choice: Choice, plan: Plan): Promise<void> {
    this.counters.running++;
    try {
      this.#move(choice, plan);
      await this.#runParts(choice, plan.parts);
    } catch (error) {
      this.counters.failed++;
      throw error;
    } finally {
      this.counters.running--;
    }
  }

  /** Tables that stay as they are join the run first: the parts have no keys of theirs. */
  #move(choice: Choice, plan: Plan): void {
    const moved = movesOf(plan, choice);
    if (moved.length > 0) this.#state.install({ moved });
  }

  /** Runs all parts, a few at a time. After one has failed, no more are started. */
  async #runParts(choice: Choice, parts: readonly PlanPart[]): Promise<void> {
    const bytesMax = Math.max(
      this.#state.version.tableBytes * UNDER_WAY_SHARE,
      UNDER_WAY_BYTES_MIN,
    );
    const underWay = new Set<Promise<void>>();
    let bytes = 0;
    let failure: { readonly error: unknown } | undefined;
    const totalBytes = parts.reduce((sum, part) => sum + part.bytes, 0);
    let waitingBytes = totalBytes;
    this.#runningBytes += waitingBytes;
    for (const part of parts) {
      while (underWay.size > 0 && bytes + part.bytes > bytesMax) await Promise.race(underWay);
      if (failure !== undefined || this.#isClosed) break;
      bytes += part.bytes;
      waitingBytes -= part.bytes;
      const running: Promise<void> = this.#runPart(choice, part, totalBytes)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => {
          bytes -= part.bytes;
          this.#runningBytes -= part.bytes;
          underWay.delete(running);
        });
      underWay.add(running);
    }
    // What was not started after a failure.
    this.#runningBytes -= waitingBytes;
    await Promise.all(underWay);
    if (failure !== undefined) throw failure.error;
  }

  /** `totalBytes`: of all parts. */
  async #runPart(choice: Choice, part: PlanPart, totalBytes: number): Promise<void> {
    const live = this.#state.options.control.liveSnapshots();
    const retention = { ...live, bottom: choice.isBottom };
    const results = await this.#runJobs(part, retention, totalBytes);
    await this.#warm(part, results);
    this.#install(choice, part, results);
    const tables = results.flatMap((result) => result.tables);
    this.#state.kept.note(tables, retention);
    for (const result of results) this.counters.add(result);
    this.#learn(choice, part, results);
  }

  /** All results, or none: when a job fails, what the others made is deleted. */
  async #runJobs(part: PlanPart, retention: Retention, totalBytes: number): Promise<BuildResult[]> {
    const { jobs } = this.#state.options;
    const outcomes = await Promise.allSettled(
      part.jobs.map((merge) => jobs.merge(this.#job(merge, retention, totalBytes))),
    );
    const results: BuildResult[] = [];
    let failure: { readonly error: unknown } | undefined;
    for (const outcome of outcomes) {
      if (outcome.status === 'fulfilled') results.push(outcome.value);
      else failure ??= { error: outcome.reason };
    }
    if (failure === undefined) return results;
    deleteTables(this.#state, idsOf(results));
    throw failure.error;
  }

  #job(merge: MergePlan, retention: Retention, compactionBytes: number): MergeJob {
    const { tables, options } = this.#state;
    const { start, end, cuts } = merge;
    return {
      kind: 'merge',
      shard: options.shard,
      input: {
        runs: merge.runs.map((run) => run.map(({ id }) => ({ id, path: tables.path(id) }))),
        ...(start === undefined ? {} : { start }),
        ...(end === undefined ? {} : { end }),
        cuts,
      },
      target: reserveTables(this.#state, merge.tableIds),
      retention,
      isBottom: retention.bottom,
      compactionBytes,
      isUrgent: this.#state.version.runs.length > PICK_DEFAULTS.upperRunsMax,
    };
  }

  /** Nobody reads the new tables yet: what is read of the old ones is brought into the cache. */
  async #warm(part: PlanPart, results: readonly BuildResult[]): Promise<void> {
    const state = this.#state;
    const tables = results.flatMap((result) => result.tables);
    try {
      state.tables.load(tables);
      await carryCache({
        state,
        reads: this.#reads,
        from: part.replaced,
        to: tables,
        isCancelled: () => this.#isClosed,
      });
    } catch (error) {
      this.#discard(idsOf(results));
      throw error;
    }
  }

  /** Takes back tables that no Version names. */
  #discard(ids: readonly number[]): void {
    for (const id of ids) this.#state.tables.unload(id);
    deleteTables(this.#state, ids);
  }

  #install(choice: Choice, part: PlanPart, results: readonly BuildResult[]): void {
    const state = this.#state;
    const tables = results.flatMap((result) => result.tables);
    const droppedBlobs = results.flatMap((result) => result.droppedBlobs);
    try {
      if (this.#isClosed) throw new LightningError('LIGHTNING_ABORTED', 'The shard was closed');
      if (tables.length > 0) state.syncDirectory();
      state.install(
        {
          removed: part.replaced.map(({ id }) => id),
          ...(tables.length > 0 ? { added: [{ order: choice.order, tables }] } : {}),
        },
        { droppedBlobs },
      );
      // A parked worker would delete what was replaced only at its next turn.
      state.options.wake();
    } catch (error) {
      // A manifest that failed may name them after all: then recovery decides.
      if (state.readOnlyReason === undefined) this.#discard(idsOf(results));
      throw error;
    }
  }

  /** How many of the entries from above replaced, or deleted, one of the bottom run. */
  #learn(choice: Choice, part: PlanPart, results: readonly BuildResult[]): void {
    if (!choice.isBottom || choice.runs.length < 2) return;
    const below = new Set(choice.runs.at(-1)?.tables.map(({ id }) => id));
    const upper = entriesOf(part.replaced.filter(({ id }) => !below.has(id)));
    if (upper === 0 || upper === entriesOf(part.replaced)) return;
    const dropped = results.reduce((sum, result) => sum + result.entriesIn - result.entriesOut, 0);
    const share = Math.min(dropped / upper, 1);
    const known = this.#replacing ?? share;
    this.#replacing = known + (share - known) * REPLACING_WEIGHT;
  }
}

/** Tables that the plan keeps and that are not in the resulting run already. */
function movesOf(plan: Plan, choice: Choice): { table: number; order: number }[] {
  const inPlace = choice.runs.find(({ order }) => order === choice.order)?.tables ?? [];
  const staying = new Set(inPlace.map(({ id }) => id));
  return plan.kept
    .filter(({ id }: TableInfo) => !staying.has(id))
    .map(({ id }) => ({ table: id, order: choice.order }));
}

function entriesOf(tables: readonly TableInfo[]): number {
  return tables.reduce((total, { entries }) => total + entries, 0);
}

function idsOf(results: readonly BuildResult[]): number[] {
  return results.flatMap(({ tables }) => tables.map(({ id }) => id));
}

function asLightningError(error: unknown): LightningError {
  return error instanceof LightningError ? error : deserializeError(serializeError(error));
}
