/**
 * Where the parts of a batch are committed. One shard: it commits alone. Several: each commits its
 * part, and the promise resolves when all have.
 */

import { RECORD_FLAG_SYNC, REQUEST_WRITE } from '../kernel/assembly/layout.js';
import type { BatchPart } from './batch-part.js';
import type { Client } from './client.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { GroupSink } from './response-sink.js';
import { unavailable } from './shard-client.js';

/** `parts`: by shard; empty ones are left out. */
export function commitBatch(
  client: Client,
  parts: readonly (BatchPart | undefined)[],
  sync: boolean,
): Promise<void> {
  let involved = 0;
  for (let shard = 0; shard < parts.length; shard++) {
    if (!hasOperations(parts[shard])) continue;
    involved++;
    // Better no shard than some: nothing is sent when one is known to be away.
    if (client.shards[shard]?.isServing() === false) return Promise.reject(unavailable('none'));
  }
  if (involved === 0) return Promise.resolve();
  return commitParts(client, parts, involved, sync);
}

/** The seam for two-phase commit: everything a batch over several shards needs passes here. */
function commitParts(
  client: Client,
  parts: readonly (BatchPart | undefined)[],
  involved: number,
  sync: boolean,
): Promise<void> {
  const promise = newPromise<void>();
  const sink = new GroupSink(involved, resolvePart(), rejectPart());
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
