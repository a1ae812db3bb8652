/**
 * A shard without data: tables are lists of keys, so that compaction policies can run to the end.
 * Everything is planned, divided and installed as the compactor does it, one compaction at a time.
 */

import { rangeStarts } from '../../src/compaction/clusters.js';
import {
  type Pick,
  type PickOptions,
  pickCompaction,
} from '../../src/compaction/pick-compaction.js';
import { planMerge } from '../../src/compaction/plan-merge.js';
import type { TableInfo } from '../../src/sstable/table-info.js';

interface SimulatedTable extends TableInfo {
  readonly list: readonly number[];
}

export interface SimulatedShardOptions {
  readonly entryBytes?: number;
  readonly tableEntries?: number;
  readonly pickOptions?: Partial<PickOptions>;
  /** Instead of the product's picker. Runs stand newest first, the last is the bottom run. */
  readonly policy?: (runs: readonly (readonly TableInfo[])[]) => Pick | undefined;
}

export class SimulatedShard {
  /** Newest first, the last is the bottom run. */
  runs: SimulatedTable[][] = [[]];
  upperRunsMax = 0;
  spaceAmplificationMax = 0;
  /**
   * Most room that an installation needed beside what was there, in parts of that, once there was
   * more than a GiB.
   */
  transientMax = 0;
  entriesFlushed = 0;
  entriesWritten = 0;
  picks = new Map<string, number>();
  readonly #options: Required<Omit<SimulatedShardOptions, 'policy'>>;
  readonly #policy: SimulatedShardOptions['policy'];
  readonly #live = new Set<number>();
  #nextId = 1;
  #replacing: number | undefined;
  #runsSum = 0;
  #flushes = 0;

  constructor({ policy, ...options }: SimulatedShardOptions = {}) {
    this.#options = { entryBytes: 32 * 1024, tableEntries: 128, pickOptions: {}, ...options };
    this.#policy = policy;
  }

  flush(keys: readonly number[]): void {
    const made = this.#tables(keys, []);
    this.runs.unshift(made);
    this.entriesFlushed += keys.length;
    this.entriesWritten += made.reduce((total, { entries }) => total + entries, 0);
    for (const key of keys) this.#live.add(key);
    for (let steps = 0; this.#compact(); steps++) {
      if (steps > 100) throw new Error('The policy does not come to rest');
    }
    this.upperRunsMax = Math.max(this.upperRunsMax, this.runs.length - 1);
    this.spaceAmplificationMax = Math.max(this.spaceAmplificationMax, this.spaceAmplification);
    this.#runsSum += this.runs.length;
    this.#flushes++;
  }

  get entries(): number {
    return this.runs.flat().reduce((total, table) => total + table.entries, 0);
  }

  get writeAmplification(): number {
    return this.entriesWritten / this.entriesFlushed;
  }

  get spaceAmplification(): number {
    return this.entries / this.#live.size;
  }

  /** Runs that a read of a missing key asks, in the mean over all flushes. */
  get runsMean(): number {
    return this.#runsSum / this.#flushes;
  }

  #pick(): Pick | undefined {
    if (this.#policy !== undefined) return this.#policy(this.runs);
    return pickCompaction({
      runs: this.runs.map((tables) => ({ tables })),
      replacing: this.#replacing,
      isCollectable: () => true,
      options: this.#options.pickOptions,
    });
  }

  #compact(): boolean {
    const pick = this.#pick();
    if (pick === undefined) return false;
    this.picks.set(pick.reason, (this.picks.get(pick.reason) ?? 0) + 1);
    const chosen = this.runs.slice(pick.from, pick.to);
    const isBottom = pick.to === this.runs.length;
    const { entryBytes, tableEntries } = this.#options;
    const { kept, parts } = planMerge(chosen, {
      bottom: isBottom,
      isCollectable: () => true,
      tableBytesMax: tableEntries * entryBytes,
      parallelism: 2,
      cuts: isBottom ? [] : rangeStarts(this.runs.slice(pick.to)),
      only: pick.only,
    });
    const below = new Set(isBottom ? chosen.at(-1) : []);
    let result = [...(kept as SimulatedTable[])];
    for (const part of parts) {
      const made = part.jobs.flatMap((job) => {
        const inRange = (key: Uint8Array): boolean =>
          (job.start === undefined || Buffer.compare(key, job.start) >= 0) &&
          (job.end === undefined || Buffer.compare(key, job.end) < 0);
        const keys = job.runs
          .flatMap((tables) => tables.flatMap((table) => (table as SimulatedTable).list))
          .filter((key) => inRange(keyOf(key)));
        return this.#tables(keys, job.cuts);
      });
      const written = made.reduce((total, table) => total + table.entries, 0);
      this.entriesWritten += written;
      if (this.entries * entryBytes > 2 ** 30) {
        this.transientMax = Math.max(this.transientMax, written / this.entries);
      }
      result.push(...made);
      const upper = part.replaced.filter((table) => !below.has(table as SimulatedTable));
      if (isBottom && upper.length > 0 && upper.length < part.replaced.length) {
        const share = Math.min((entriesOf(part.replaced) - written) / entriesOf(upper), 1);
        this.#replacing = (this.#replacing ?? share) * 0.7 + share * 0.3;
      }
    }
    const replaced = new Set(parts.flatMap((part) => part.replaced));
    const rest = chosen.map((run) => run.filter((table) => !replaced.has(table)));
    if (pick.only !== undefined) result = [...result, ...(rest.pop() ?? [])];
    else rest.length = 0;
    result.sort((left, right) => Buffer.compare(left.smallest, right.smallest));
    for (let i = 1; i < result.length; i++) {
      const [left, right] = [result[i - 1], result[i]] as [SimulatedTable, SimulatedTable];
      if (Buffer.compare(left.largest, right.smallest) >= 0) throw new Error('tables overlap');
    }
    const newer = rest.filter((run) => run.length > 0);
    this.runs.splice(pick.from, pick.to - pick.from, ...newer, result);
    return true;
  }

  #tables(keys: readonly number[], cuts: readonly Uint8Array[]): SimulatedTable[] {
    const sorted = [...new Set(keys)].sort((left, right) => left - right);
    const { tableEntries, entryBytes } = this.#options;
    const tables: SimulatedTable[] = [];
    let cut = 0;
    for (let i = 0; i < sorted.length; ) {
      const isBeforeCut = (key: number): boolean =>
        cut === cuts.length || Buffer.compare(keyOf(key), cuts[cut] as Uint8Array) < 0;
      while (!isBeforeCut(sorted[i] as number)) cut++;
      let end = i + 1;
      while (end < sorted.length && end - i < tableEntries && isBeforeCut(sorted[end] as number)) {
        end++;
      }
      const part = sorted.slice(i, end);
      i = end;
      tables.push({
        id: this.#nextId++,
        bytes: part.length * entryBytes,
        entries: part.length,
        tombstones: 0,
        keys: part.length,
        smallest: keyOf(part[0] as number),
        largest: keyOf(part[part.length - 1] as number),
        sequenceMin: 1,
        sequenceMax: 1,
        rawBytes: part.length * entryBytes,
        blobs: [],
        createdAtMs: 0,
        list: part,
      });
    }
    return tables;
  }
}

function entriesOf(tables: readonly TableInfo[]): number {
  return tables.reduce((total, { entries }) => total + entries, 0);
}

function keyOf(key: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(key));
  return bytes;
}
