/**
 * What stands behind a `LightningDb`: a session to read and write with, and the calls that go past
 * the rings. The thread that opened the database has one kind, attached threads another.
 */

import type { CheckReport } from '../coordinator/control-plane.js';
import type { LightningDbHandle } from './attach.js';
import type { DatabaseStats } from './reports.js';
import type { Session } from './session.js';

export interface Backend {
  readonly session: Session;
  flush(): Promise<void>;
  compact(): Promise<void>;
  check(): Promise<CheckReport>;
  stats(): Promise<DatabaseStats>;
  share(): LightningDbHandle;
  /** Ends the session and everything behind it. Called once. */
  close(): Promise<void>;
}
