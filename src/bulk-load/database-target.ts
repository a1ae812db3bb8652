/** An open database as the target of a bulk load. */

import type { OpenDatabase } from '../router/open-database.js';
import type { BulkJob, BulkJobResult } from './load-jobs.js';
import type { BulkLoadTarget } from './load-target.js';

/** `openMs`: how long it took to open it. Nobody else writes to it meanwhile. */
export function databaseTarget(database: OpenDatabase, openMs: number): BulkLoadTarget {
  const { directory, module, session, supervisor } = database;
  const { config, keyCodec, valueCodec } = session;
  const { control } = session.client;
  return {
    openMs,
    path: directory,
    config,
    keyEncoding: keyCodec,
    valueEncoding: valueCodec,
    module,
    jobThreads: config.compactionThreads,
    runJob: async <J extends BulkJob>(job: J) =>
      (await supervisor.runBulkJob(job)) as BulkJobResult<J>,
    reserveFiles: (shard, count) => supervisor.reserveFiles(shard, count),
    nextCommit: async () => ({
      sequence: control.lastSequence() + 1,
      timestampUs: control.nextTimestamp(Date.now() * 1000),
    }),
    flush: () => supervisor.flush(),
    link: (intent) => supervisor.link(intent),
  };
}
