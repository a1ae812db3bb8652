/**
 * Commits what a batch or a transaction has gathered, whole or not at all.
 *
 * What touches one shard is committed by that shard alone.
 */

import { RECORD_FLAG_SYNC, REQUEST_WRITE } from '../kernel/assembly/layout.js';
import type { BatchPart } from './batch-part.js';
import type { Client } from './client.js';
import type { CommitRequest } from './commit-request.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { SequenceSink } from './response-sink.js';
import { unavailable } from './shard-client.js';

/**
 * Resolves with the sequence number of the commit once all of it is acknowledged and visible; 0 when
 * there was nothing to commit. Rejects with `ConflictError` when something that was to be validated
 * has been written since.
 */
export function commitTransaction(client: Client, request: CommitRequest): Promise<number> {
  const { parts, sync } = request;
  let involved = 0;
  for (let shard = 0; shard < parts.length; shard++) {
    if (!hasOperations(parts[shard])) continue;
    involved++;
    // Better no shard than some: nothing is sent when one is known to be away.
    if (client.shards[shard]?.isServing() === false) return Promise.reject(unavailable('none'));
  }
  if (involved === 0) return Promise.resolve(0);
  const promise = newPromise<number>();
  const sink = new SequenceSink(involved, resolvePart(), rejectPart());
  const flags = sync ? RECORD_FLAG_SYNC : 0;
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index];
    const shard = client.shards[index];
    if (!hasOperations(part) || shard === undefined) continue;
    // What fits is copied into the ring at once; what has to wait keeps the part's own bytes.
    const operations = shard.fits(part.length) ? part.bytes.subarray(0, part.length) : part.lend();
    try {
      shard.send(REQUEST_WRITE, flags, part.count, operations, sink);
    } catch (error) {
      sink.fail(error);
      continue;
    }
    shard.flush();
  }
  return promise;
}

function hasOperations(part: BatchPart | undefined): part is BatchPart {
  return part !== undefined && part.count > 0;
}
