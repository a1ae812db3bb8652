/** What a repair found, saved and could not save. */

import type { RepairProgress } from './counted-reads.js';

/** Something that was not what had been written. */
export interface RepairProblem {
  readonly file: string;
  readonly offset: number;
  readonly message: string;
}

/** Something that could not be saved. Where keys are known, they are `from` (inclusive) to `to`. */
export interface RepairLoss extends RepairProblem {
  readonly from?: Uint8Array;
  readonly to?: Uint8Array;
  /** Whether `to` itself may be lost too. */
  readonly isToIncluded?: boolean;
}

export interface RepairOptions {
  /** Only says what would be done. Default: false. */
  readonly dryRun?: boolean | undefined;
  /**
   * Called some ten times a second, on this thread, which a repair otherwise keeps to itself.
   * An error that it throws ends the repair: nothing is lost.
   */
  readonly onProgress?: ((progress: RepairProgress) => void) | undefined;
}

export interface RepairReport {
  readonly path: string;
  readonly dryRun: boolean;
  /** Everything is as it was written: nothing was changed. */
  readonly isHealthy: boolean;
  readonly problems: readonly RepairProblem[];
  /** Empty when all that had been written could be saved. */
  readonly losses: readonly RepairLoss[];
  /** Files that were taken out of the database, or replaced, are here, by the same names. */
  readonly originals: string | undefined;
  readonly saved: {
    /** Tables that are good and stay as they are. */
    readonly tablesKept: number;
    /** Tables that were read block by block, or whose order had to be found again. */
    readonly tablesRewritten: number;
    /** Versions of keys in the tables that were written for them. */
    readonly entries: number;
    /** Groups of the log that were copied to a new segment, and the commits in them. */
    readonly logGroups: number;
    readonly logCommits: number;
  };
}

export class RepairFindings {
  readonly problems: RepairProblem[] = [];
  readonly losses: RepairLoss[] = [];
  tablesKept = 0;
  tablesRewritten = 0;
  entries = 0;
  logGroups = 0;
  logCommits = 0;

  problem(file: string, offset: number, message: string): void {
    this.problems.push({ file, offset, message });
  }

  /** Notes an error that a reader threw, and that repairing goes on after. */
  problemOf(error: Error & { readonly details?: Readonly<Record<string, unknown>> }, file: string) {
    const offset = Number(error.details?.['offset'] ?? 0);
    this.problem(String(error.details?.['file'] ?? file), offset, error.message);
  }

  lose(file: string, offset: number, message: string): void {
    this.losses.push({ file, offset, message });
  }
}
