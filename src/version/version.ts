/**
 * A Version: which tables a shard consists of. Immutable; an edit makes the next one.
 *
 * Runs stand newest first. Within a run tables do not overlap and stand in key order; a key in a
 * newer run shadows the same key in every older one. Order 0 is the bottom run, below which nothing
 * is.
 */
import type { TableInfo } from '../sstable/table-info.js';
import type { VersionEdit } from './version-edit.js';

export const BOTTOM_ORDER = 0;

export interface Run {
  readonly order: number;
  readonly tables: readonly TableInfo[];
}

/** Scalars that edits carry forward beside the tables. */
export interface VersionState {
  readonly nextFile: number;
  readonly nextOrder: number;
  readonly lastSequence: number;
  readonly lastTimestampUs: number;
  readonly lastEpoch: number;
  readonly walMin: number;
  readonly linked: readonly string[];
}

/** How many bulk loads are remembered: enough to outlive their intents. */
const LINKED_MAX = 1024;

const EMPTY_STATE: VersionState = {
  nextFile: 1,
  nextOrder: BOTTOM_ORDER + 1,
  lastSequence: 0,
  lastTimestampUs: 0,
  lastEpoch: 0,
  walMin: 0,
  linked: [],
};

/** An edit that does not fit the Version it is applied to. */
export class EditConflictError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'EditConflictError';
  }
}

export class Version {
  static readonly EMPTY = new Version([], EMPTY_STATE);

  /** Newest first. */
  readonly runs: readonly Run[];
  readonly state: VersionState;

  private constructor(runs: readonly Run[], state: VersionState) {
    this.runs = runs;
    this.state = state;
  }

  /** All tables, newest run first. */
  *tables(): Generator<TableInfo> {
    for (const run of this.runs) yield* run.tables;
  }

  get tableCount(): number {
    return this.runs.reduce((count, run) => count + run.tables.length, 0);
  }

  get tableBytes(): number {
    let bytes = 0;
    for (const table of this.tables()) bytes += table.bytes;
    return bytes;
  }

  hasTable(id: number): boolean {
    return this.runs.some((run) => run.tables.some((table) => table.id === id));
  }

  /** The Version after `edit`. Throws `EditConflictError` when the edit does not fit. */
  apply(edit: VersionEdit): Version {
    const byOrder = new Map<number, Map<number, TableInfo>>();
    const orderOf = new Map<number, number>();
    for (const run of this.runs) {
      byOrder.set(run.order, new Map(run.tables.map((table) => [table.id, table])));
      for (const table of run.tables) orderOf.set(table.id, run.order);
    }
    const remove = (id: number): TableInfo => {
      const order = orderOf.get(id);
      const table = order === undefined ? undefined : byOrder.get(order)?.get(id);
      if (order === undefined || table === undefined) {
        throw new EditConflictError(`removes table ${id}, which is not there`);
      }
      byOrder.get(order)?.delete(id);
      orderOf.delete(id);
      return table;
    };
    const changed = new Set<number>();
    const add = (table: TableInfo, order: number): void => {
      if (orderOf.has(table.id)) throw new EditConflictError(`adds table ${table.id} twice`);
      let run = byOrder.get(order);
      if (run === undefined) {
        run = new Map();
        byOrder.set(order, run);
      }
      run.set(table.id, table);
      orderOf.set(table.id, order);
      changed.add(order);
    };
    for (const id of edit.removed ?? []) remove(id);
    for (const { table, order } of edit.moved ?? []) add(remove(table), order);
    for (const { order, tables } of edit.added ?? []) for (const table of tables) add(table, order);

    const runs: Run[] = [];
    for (const [order, tables] of byOrder) {
      if (tables.size === 0) continue;
      const list = [...tables.values()];
      if (changed.has(order)) sortRun(list, order);
      runs.push({ order, tables: list });
    }
    runs.sort((left, right) => right.order - left.order);
    return new Version(runs, this.#nextState(edit));
  }

  /** The edit that makes this Version from the empty one. */
  toEdit(): VersionEdit {
    return { added: this.runs.map(({ order, tables }) => ({ order, tables })), ...this.state };
  }

  #nextState(edit: VersionEdit): VersionState {
    const { state } = this;
    return {
      nextFile: Math.max(state.nextFile, edit.nextFile ?? 0),
      nextOrder: Math.max(state.nextOrder, edit.nextOrder ?? 0),
      lastSequence: Math.max(state.lastSequence, edit.lastSequence ?? 0),
      lastTimestampUs: Math.max(state.lastTimestampUs, edit.lastTimestampUs ?? 0),
      lastEpoch: Math.max(state.lastEpoch, edit.lastEpoch ?? 0),
      walMin: Math.max(state.walMin, edit.walMin ?? 0),
      linked: [...state.linked, ...(edit.linked ?? [])].slice(-LINKED_MAX),
    };
  }
}

function sortRun(tables: TableInfo[], order: number): void {
  tables.sort((left, right) => Buffer.compare(left.smallest, right.smallest));
  for (let i = 1; i < tables.length; i++) {
    const left = tables[i - 1] as TableInfo;
    const right = tables[i] as TableInfo;
    if (Buffer.compare(left.largest, right.smallest) >= 0) {
      throw new EditConflictError(
        `makes tables ${left.id} and ${right.id} overlap in run ${order}`,
      );
    }
  }
}
