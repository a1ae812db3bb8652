/** Commits a batch: blind, since it has read nothing. */

import type { BatchPart } from './batch-part.js';
import type { Client } from './client.js';
import { commitTransaction } from './transaction-commit.js';

/** `parts`: by shard; empty ones are left out. */
export async function commitBatch(
  client: Client,
  parts: readonly (BatchPart | undefined)[],
  sync: boolean,
): Promise<void> {
  await commitTransaction(client, { parts, validateWrites: false, snapshot: 0, sync });
}
