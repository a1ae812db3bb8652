/** What a client is told about a commit that did not take place. */

import {
  ConflictError,
  commitTimeout,
  LightningError,
  ReadOnlyError,
  ShardUnavailableError,
} from '../errors.js';
import {
  ABORT_LOCKED,
  ABORT_LOG,
  ABORT_NEWER,
  ABORT_RANGE,
  ABORT_TIMEOUT,
  ABORT_UNAVAILABLE,
  ABORT_WOUNDED,
} from '../router/transaction-table.js';

const REASONS: Readonly<Record<number, string>> = {
  [ABORT_NEWER]: 'newer-version',
  [ABORT_LOCKED]: 'locked',
  [ABORT_RANGE]: 'range',
  [ABORT_WOUNDED]: 'wounded',
};

/** The error for a commit that was aborted for `reason` (ABORT_*), by whomever. `key`: as for `conflict`. */
export function abortError(reason: number, key?: Uint8Array): LightningError {
  if (reason === ABORT_LOG) {
    return new LightningError(
      'LIGHTNING_ABORTED',
      'The commit was given up: its decision could not be written. Nothing of it was applied',
    );
  }
  if (reason === ABORT_TIMEOUT) return commitTimeout();
  if (reason === ABORT_UNAVAILABLE || REASONS[reason] === undefined) {
    return new ShardUnavailableError(
      'The commit was given up, since a part of the database did not take part: nothing of it was applied',
      { details: { outcome: 'none' } },
    );
  }
  return conflict(reason, key);
}

/** `key`: the one to blame, when that is known. */
export function conflict(reason: number, key: Uint8Array | undefined): ConflictError {
  const text = key === undefined ? undefined : Buffer.from(key).toString();
  return new ConflictError(
    'The transaction met one that wrote or read the same: nothing of it was applied; run it again',
    {
      details: {
        reason: REASONS[reason] ?? 'locked',
        ...(key === undefined ? {} : { key: text, keyHex: Buffer.from(key).toString('hex') }),
      },
    },
  );
}

/** The error for writes that the next open finds, or does not: they are not seen before. */
export function unknownOutcome(): ReadOnlyError {
  return new ReadOnlyError(
    'The decision about a commit could not be written, and may or may not survive: this write takes effect wholly or not at all when the database is reopened, and no other is taken until then',
    { details: { outcome: 'unknown' } },
  );
}
