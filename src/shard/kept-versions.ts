/**
 * Why tables hold versions that a newer one shadows, or tombstones over nothing: which snapshots were
 * live when the table was built. Once one of these is closed, a rewrite of the table may drop some.
 *
 * Each build notes it anew, so a table is not rewritten again before another snapshot is closed.
 * Of tables that another process built nothing is known: they are worth one try.
 */
import type { Retention } from '../compaction/retention.js';
import type { LiveSnapshots } from '../router/control-block.js';
import type { TableInfo } from '../sstable/table-info.js';

interface Reason {
  readonly horizon: number;
  /** Live snapshots below the table's newest entry. */
  readonly snapshots: readonly number[];
}

export class KeptVersions {
  readonly #reasons = new Map<number, Reason>();

  /** Tables were built under these rules. */
  note(tables: readonly TableInfo[], { horizon, snapshots }: Retention): void {
    for (const { id, entries, keys, tombstones, sequenceMax } of tables) {
      if (entries === keys && tombstones === 0) continue;
      const below = snapshots.filter((snapshot) => snapshot < sequenceMax);
      this.#reasons.set(id, { horizon, snapshots: below });
    }
  }

  /** The tables are gone. */
  forget(tables: readonly number[]): void {
    for (const table of tables) this.#reasons.delete(table);
  }

  /** Whether some of what the table keeps may go now. */
  isCollectable(table: TableInfo, live: LiveSnapshots): boolean {
    const { horizon, snapshots } = live;
    // Nothing that is shadowed is needed. Rewritten under these rules, the table keeps none.
    if (table.sequenceMax <= Math.min(horizon, snapshots[0] ?? horizon)) return true;
    const reason = this.#reasons.get(table.id);
    if (reason === undefined) return table.sequenceMax <= horizon;
    if (reason.horizon < table.sequenceMax && horizon >= table.sequenceMax) return true;
    return reason.snapshots.some((snapshot) => !snapshots.includes(snapshot));
  }
}
