/** One shard's part of a commit over several: see prepared-commits.ts. */

import type { PrepareHead } from '../protocol/prepare.js';
import type { ClientSession } from './client-session.js';
import type { HeldRange } from './held-range.js';

export type PreparedStage = 'gathered' | 'voted' | 'doubtful';

export class PreparedCommit {
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
  isBlind = true;
  /** Memory of the shard that is given back at the end; 0: none. */
  block = 0;
  /** The operations, in the shard's memory (0: elsewhere, or none). */
  address = 0;
  bytes = 0;
  /** Keys that were read, and operations that tell the keys that are written: see `Validation`. */
  keysAt = 0;
  keyBytes = 0;
  lockAt = 0;
  lockBytes = 0;
  /** Its keys are in the lock table. */
  isEntered = false;
  ranges: readonly HeldRange[] = NO_RANGES;
  /** The operations, when they are too many to be applied from one place. */
  operations: Uint8Array | undefined;
  /** Blob files that the operations refer to. */
  blobs: readonly number[] = NO_BLOBS;
  /** Log segment of the PREPARE; 0: there is none. */
  segment = 0;
  stage: PreparedStage = 'gathered';
  sequence = 0;
  timestampUs = 0;
  /** The key by which a plain write wounded it, where that is known. */
  woundedBy: Buffer | undefined;
  /** How far applying has come, for `operations`. */
  pieceStart = 0;
  pieceEnd = 0;

  constructor(
    { slot, word, id }: Pick<PrepareHead, 'slot' | 'word' | 'id'>,
    session: ClientSession | undefined,
    requestId: number,
    isSync: boolean,
  ) {
    this.slot = slot;
    this.word = word;
    this.id = id;
    this.session = session;
    this.requestId = requestId;
    this.isSync = isSync;
  }
}

const NO_RANGES: readonly HeldRange[] = [];
const NO_BLOBS: readonly number[] = [];
