/**
 * Merges runs as the picker chooses: plans the jobs, has them run, installs all their tables in one
 * edit. Several compactions may run at once, of runs that have nothing to do with each other.
 *
 * A compaction that fails leaves everything as it was and is tried again later, with growing pauses;
 * when it was a damaged table that it failed for, the next choice is made around that table's run.
 */
import type { BuildResult, MergeJob } from '../compaction/jobs.js';
import { type Pick, pickCompaction } from '../compaction/pick-compaction.js';
import { type MergePlan, type Plan, planMerge } from '../compaction/plan-merge.js';
import { deserializeError, LightningError, serializeError } from '../errors.js';
import type { TableInfo } from '../sstable/table-info.js';
import { BOTTOM_ORDER, type Run } from '../version/version.js';
import { Backoff } from './backoff.js';
import { deleteTables, JobCounters, reserveTables } from './flusher.js';
import type { ShardState } from './shard-state.js';

/** Compactions of one shard at a time: a long one must not hold up the small ones. */
const CONCURRENT_MAX = 2;

/** Runs that become one. */
interface Choice {
  readonly runs: readonly Run[];
  /** Order of the run they become. */
  readonly order: number;
  readonly isBottom: boolean;
}

export class Compactor {
  readonly #state: ShardState;
  readonly #onCompacted: () => void;
  readonly counters = new JobCounters();
  readonly #backoff = new Backoff();
  readonly #busyOrders = new Set<number>();
  readonly #running = new Set<Promise<void>>();
  #isClosed = false;
  /** A full merge waits for the others to end; no new ones are started. */
  #isExclusive = false;
  #failure: LightningError | undefined;

  constructor(state: ShardState, onCompacted: () => void) {
    this.#state = state;
    this.#onCompacted = onCompacted;
  }

  /** Why the last compaction failed, while no later one has succeeded. */
  get failure(): LightningError | undefined {
    return this.#failure;
  }

  /** Starts what the picker chooses, unless enough is running. */
  maybeSchedule(): void {
    while (this.#mayStart()) {
      const choice = this.#pick();
      if (choice === undefined || !this.#start(choice)) return;
    }
  }

  /** Merges everything into the bottom run. Rejects when that fails. */
  async compactAll(): Promise<void> {
    while (this.#isExclusive) await Promise.race(this.#running);
    this.#isExclusive = true;
    try {
      while (this.#running.size > 0) await Promise.race(this.#running);
      while (!this.#isClosed && (await this.#mergeAll()));
      const damage = this.#state.tables.damage.find(({ extent }) => extent !== 'filter');
      if (damage !== undefined) throw damage.error;
    } finally {
      this.#isExclusive = false;
      this.#onCompacted();
    }
  }

  /** Merges what stands between damaged runs. True: one more was found meanwhile, so start again. */
  async #mergeAll(): Promise<boolean> {
    const { runs } = this.#state.version;
    const stretches: Run[][] = [[]];
    for (const run of runs) {
      if (this.#isDamaged(run)) stretches.push([]);
      else stretches.at(-1)?.push(run);
    }
    try {
      for (const stretch of stretches) {
        const oldest = stretch.at(-1);
        if (oldest === undefined) continue;
        const isBottom = stretch === stretches.at(-1);
        const order = isBottom ? BOTTOM_ORDER : oldest.order;
        const choice = { runs: stretch, order, isBottom };
        await this.#compact(choice, this.#plan(choice));
      }
      return false;
    } catch (error) {
      if (this.#state.tables.noteDamage(error)) return true;
      throw error;
    }
  }

  #isDamaged({ tables }: Run): boolean {
    return tables.some(({ id }) => this.#state.tables.isDamaged(id));
  }

  /** No more compactions are started, and what running ones make is not installed any more. */
  close(): void {
    this.#isClosed = true;
    this.#backoff.cancel();
  }

  #mayStart(): boolean {
    return (
      !this.#isClosed &&
      !this.#isExclusive &&
      !this.#backoff.isWaiting &&
      this.#running.size < CONCURRENT_MAX &&
      this.#state.manifest !== undefined &&
      this.#state.readOnlyReason === undefined
    );
  }

  #pick(): Choice | undefined {
    const { runs } = this.#state.version;
    const hasBottom = runs.at(-1)?.order === BOTTOM_ORDER;
    const bottom: Run = { order: BOTTOM_ORDER, tables: [] };
    const all = hasBottom ? runs : [...runs, bottom];
    const pick: Pick | undefined = pickCompaction({
      runs: all.map((run) => ({
        tables: run.tables,
        busy: this.#busyOrders.has(run.order),
        damaged: this.#isDamaged(run),
      })),
      floor: this.#floor(),
    });
    if (pick === undefined) return undefined;
    const chosen = all.slice(pick.from, pick.to);
    const oldest = chosen.at(-1);
    if (oldest === undefined) return undefined;
    return { runs: chosen, order: oldest.order, isBottom: pick.to === all.length };
  }

  #floor(): number {
    const { horizon, snapshots } = this.#state.options.control.liveSnapshots();
    return Math.min(horizon, snapshots[0] ?? horizon);
  }

  #plan({ runs, isBottom }: Choice): Plan {
    const { tableBytesMax, compactionThreads } = this.#state.options.config;
    return planMerge(
      runs.map(({ tables }) => tables),
      { bottom: isBottom, floor: this.#floor(), tableBytesMax, parallelism: compactionThreads },
    );
  }

  /** False when the choice would change nothing. */
  #start(choice: Choice): boolean {
    const plan = this.#plan(choice);
    if (plan.jobs.length === 0 && movesOf(plan, choice).length === 0) return false;
    const running: Promise<void> = this.#compact(choice, plan).then(
      () => this.#ended(running, undefined),
      (error: unknown) => this.#ended(running, error),
    );
    this.#running.add(running);
    return true;
  }

  #ended(running: Promise<void>, error: unknown): void {
    this.#running.delete(running);
    if (error === undefined) {
      this.#backoff.succeed();
      this.#failure = undefined;
    } else {
      this.#failure = asLightningError(error);
      const isNews = this.#state.tables.noteDamage(error);
      if (!this.#isClosed && !isNews) this.#backoff.retry(() => this.maybeSchedule());
    }
    this.#onCompacted();
  }

  async #compact(choice: Choice, plan: Plan): Promise<void> {
    for (const { order } of choice.runs) this.#busyOrders.add(order);
    this.#busyOrders.add(choice.order);
    this.counters.running++;
    try {
      const results = await this.#runJobs(choice, plan);
      this.#install(choice, plan, results);
      for (const result of results) this.counters.add(result);
    } catch (error) {
      this.counters.failed++;
      throw error;
    } finally {
      this.counters.running--;
      for (const { order } of choice.runs) this.#busyOrders.delete(order);
      this.#busyOrders.delete(choice.order);
    }
  }

  /** All results, or none: when a job fails, what the others made is deleted. */
  async #runJobs(choice: Choice, plan: Plan): Promise<BuildResult[]> {
    const { jobs, control } = this.#state.options;
    const { horizon, snapshots } = control.liveSnapshots();
    const retention = { horizon, snapshots, bottom: choice.isBottom };
    const outcomes = await Promise.allSettled(
      plan.jobs.map((merge) => jobs.merge(this.#job(merge, retention, choice.isBottom))),
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

  #job(merge: MergePlan, retention: MergeJob['retention'], isBottom: boolean): MergeJob {
    const { tables, options } = this.#state;
    const { start, end } = merge;
    return {
      kind: 'merge',
      shard: options.shard,
      input: {
        runs: merge.runs.map((run) => run.map(({ id }) => ({ id, path: tables.path(id) }))),
        ...(start === undefined ? {} : { start }),
        ...(end === undefined ? {} : { end }),
      },
      target: reserveTables(this.#state, merge.tableIds),
      retention,
      isBottom,
    };
  }

  #install(choice: Choice, plan: Plan, results: readonly BuildResult[]): void {
    const state = this.#state;
    const tables = results.flatMap((result) => result.tables);
    const droppedBlobs = results.flatMap((result) => result.droppedBlobs);
    try {
      if (this.#isClosed) throw new LightningError('LIGHTNING_ABORTED', 'The shard was closed');
      if (tables.length > 0) state.fs.syncDirectory(state.directory);
      state.install(
        {
          removed: plan.replaced.map(({ id }) => id),
          moved: movesOf(plan, choice),
          ...(tables.length > 0 ? { added: [{ order: choice.order, tables }] } : {}),
        },
        { droppedBlobs },
      );
    } catch (error) {
      // A manifest that failed may name them after all: then recovery decides.
      if (state.readOnlyReason === undefined) deleteTables(state, idsOf(results));
      throw error;
    }
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

function idsOf(results: readonly BuildResult[]): number[] {
  return results.flatMap(({ tables }) => tables.map(({ id }) => id));
}

function asLightningError(error: unknown): LightningError {
  return error instanceof LightningError ? error : deserializeError(serializeError(error));
}
