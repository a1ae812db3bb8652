/**
 * What stands behind a `LightningDb`: a session to read and write with, and the calls that go past
 * the rings. The thread that opened the database has one kind, attached threads another.
 */

import type { CheckBoard } from '../compaction/check-board.js';
import type { CheckReport } from '../coordinator/control-plane.js';
import type { LightningDbHandle } from './attach.js';
import type { DatabaseStats } from './reports.js';
import type { Session } from './session.js';

export interface Backend {
  readonly session: Session;
  flush(): Promise<void>;
  compact(): Promise<void>;
  /** Counts on the board, and stops when the board says so. */
  check(board?: CheckBoard): Promise<CheckReport>;
  stats(): Promise<DatabaseStats>;
  share(): LightningDbHandle;
  /** Ends the session and everything behind it. Called once. */
  close(): Promise<void>;
}
