/** One shard's part of a commit over several: see prepared-commits.ts. */

import type { ClientSession } from './client-session.js';
import type { HeldRange } from './held-range.js';

export type PreparedStage = 'gathered' | 'voted' | 'doubtful' | 'applied' | 'recording';

export interface PreparedCommit {
  readonly slot: number;
  /** The slot's word when it was PREPARING. */
  readonly word: number;
  readonly id: number;
  /** Who asked for it; undefined when the client is gone. */
  session: ClientSession | undefined;
  readonly requestId: number;
  /** The client is told only when the commit is on the medium. */
  readonly isSync: boolean;
  /** It validates nothing. */
  readonly isBlind: boolean;
  /** Memory of the shard that is given back at the end; 0: none. */
  readonly block: number;
  /** The operations, in the shard's memory (0: elsewhere, or none). */
  readonly address: number;
  readonly bytes: number;
  /** Keys that were read, and operations that tell the keys that are written: see `Validation`. */
  readonly keysAt: number;
  readonly keyBytes: number;
  readonly lockAt: number;
  readonly lockBytes: number;
  /** Its keys are in the lock table. */
  isEntered: boolean;
  ranges: readonly HeldRange[];
  /** The operations, when they are too many to be applied from one place. */
  readonly operations: Uint8Array | undefined;
  /** Blob files that the operations refer to. */
  readonly blobs: readonly number[];
  /** Log segment of the PREPARE; 0: there is none. */
  segment: number;
  stage: PreparedStage;
  sequence: number;
  timestampUs: number;
  /** How far applying has come, for `operations`. */
  pieceStart: number;
  pieceEnd: number;
}
