/**
 * What is asked of a commit: the seam between those who make transactions and batches, and the
 * protocol that commits them.
 *
 * Everything is encoded already, and by shard: the lists' index is the shard. Nothing of a request
 * may change before the commit's promise is settled, but for the parts, which are copied or lent.
 */

import type { BatchPart } from './batch-part.js';

/** Keys of one shard, back to back: u32 length, bytes. */
export interface KeyList {
  readonly bytes: Uint8Array;
  /** Bytes used. */
  readonly length: number;
  /** Keys in them. */
  readonly count: number;
}

/**
 * Ranges of keys, back to back: flags u8 (RANGE_*), start length u32, start, end length u32, end. A
 * bound that is not there has length 0. The start is the lower bound, whatever the scan's direction.
 */
export interface RangeList {
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly count: number;
}

export interface CommitRequest {
  /** Operations; shards without any may be left out. */
  readonly parts: readonly (BatchPart | undefined)[];
  /** Keys that nobody may have written after `snapshot`. */
  readonly reads?: readonly (KeyList | undefined)[] | undefined;
  /** Ranges in which nobody may have written after `snapshot`; the same list for every shard. */
  readonly ranges?: readonly (RangeList | undefined)[] | undefined;
  /** Whether nobody may have written the keys of `parts` after `snapshot`. False and no reads: blind. */
  readonly validateWrites: boolean;
  /** What was read was read as of this sequence number. */
  readonly snapshot: number;
  /** Acknowledge only when the commit is on the medium. */
  readonly sync: boolean;
}
