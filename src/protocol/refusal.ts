import { type LightningError, NoSpaceError, ReadOnlyError } from '../errors.js';

/** The error that a refused write is answered with. */
export function refusalOf(error: unknown): LightningError {
  if (error instanceof NoSpaceError || error instanceof ReadOnlyError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new ReadOnlyError(
    `The write failed and may or may not survive; the shard takes no writes until the database is reopened: ${reason}`,
    { cause: error, details: { outcome: 'unknown' } },
  );
}
