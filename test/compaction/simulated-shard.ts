/** A shard without data: tables are key lists, so that compaction policies can run to the end. */

import { pickCompaction } from '../../src/compaction/pick-compaction.js';
import { planMerge } from '../../src/compaction/plan-merge.js';
import type { TableInfo } from '../../src/sstable/table-info.js';

const ENTRY_BYTES = 32 * 1024;
const TABLE_ENTRIES = 128;

interface SimulatedTable extends TableInfo {
  readonly keys: readonly number[];
}

export class SimulatedShard {
  /** Newest first, the last is the bottom run. */
  runs: SimulatedTable[][] = [[]];
  upperRunsMax = 0;
  spaceAmplificationMax = 0;
  entriesFlushed = 0;
  entriesWritten = 0;
  picks = new Map<string, number>();
  readonly #live = new Set<number>();
  #nextId = 1;

  flush(keys: readonly number[]): void {
    this.runs.unshift(this.#tables(keys));
    this.entriesFlushed += keys.length;
    this.entriesWritten += keys.length;
    for (const key of keys) this.#live.add(key);
    while (this.#compact()) {
      // until in good shape
    }
    this.upperRunsMax = Math.max(this.upperRunsMax, this.runs.length - 1);
    this.spaceAmplificationMax = Math.max(
      this.spaceAmplificationMax,
      this.entries / this.#live.size,
    );
  }

  get entries(): number {
    return this.runs.flat().reduce((total, table) => total + table.entries, 0);
  }

  get writeAmplification(): number {
    return this.entriesWritten / this.entriesFlushed;
  }

  #compact(): boolean {
    const runs = this.runs.map((tables) => ({ tables }));
    const pick = pickCompaction({ runs, floor: Number.MAX_SAFE_INTEGER });
    if (pick === undefined) return false;
    this.picks.set(pick.reason, (this.picks.get(pick.reason) ?? 0) + 1);
    const chosen = this.runs.slice(pick.from, pick.to);
    const plan = planMerge(chosen, {
      bottom: pick.to === runs.length,
      floor: Number.MAX_SAFE_INTEGER,
      tableBytesMax: TABLE_ENTRIES * ENTRY_BYTES,
      parallelism: 2,
    });
    const made = plan.jobs.flatMap((job) => {
      const inRange = (key: Uint8Array): boolean =>
        (job.start === undefined || Buffer.compare(key, job.start) >= 0) &&
        (job.end === undefined || Buffer.compare(key, job.end) < 0);
      const keys = job.runs
        .flatMap((tables) => tables.flatMap((table) => (table as SimulatedTable).keys))
        .filter((key) => inRange(keyOf(key)));
      return this.#tables(keys);
    });
    this.entriesWritten += made.reduce((total, table) => total + table.entries, 0);
    const result = [...(plan.kept as SimulatedTable[]), ...made].sort((left, right) =>
      Buffer.compare(left.smallest, right.smallest),
    );
    for (let i = 1; i < result.length; i++) {
      const [left, right] = [result[i - 1], result[i]] as [SimulatedTable, SimulatedTable];
      if (Buffer.compare(left.largest, right.smallest) >= 0) throw new Error('tables overlap');
    }
    this.runs.splice(pick.from, pick.to - pick.from, result);
    return true;
  }

  #tables(keys: readonly number[]): SimulatedTable[] {
    const sorted = [...new Set(keys)].sort((left, right) => left - right);
    const tables: SimulatedTable[] = [];
    for (let i = 0; i < sorted.length; i += TABLE_ENTRIES) {
      const part = sorted.slice(i, i + TABLE_ENTRIES);
      tables.push({
        id: this.#nextId++,
        bytes: part.length * ENTRY_BYTES,
        entries: part.length,
        tombstones: 0,
        smallest: keyOf(part[0] as number),
        largest: keyOf(part[part.length - 1] as number),
        sequenceMin: 1,
        sequenceMax: 1,
        rawBytes: part.length * ENTRY_BYTES,
        blobs: [],
        createdAtMs: 0,
        keys: part,
      });
    }
    return tables;
  }
}

function keyOf(key: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(key));
  return bytes;
}
