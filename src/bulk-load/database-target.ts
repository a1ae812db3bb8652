/**
 * A database as the target of a bulk load. The load reads and sorts while the database is still being
 * opened: what needs its threads waits for them.
 */

import type { ResolvedConfig } from '../config.js';
import { resolveEncoding } from '../encoding/encoding.js';
import { identifyDatabase, type OpenDatabase, startDatabase } from '../router/open-database.js';
import type { SessionEncodings } from '../router/session.js';
import { bulkLoad } from './bulk-load.js';
import type { BulkJob, BulkJobResult } from './load-jobs.js';
import { LOAD_JOBS_MAX } from './load-memory.js';
import type { BulkLoadTarget } from './load-target.js';
import { LoadThreads } from './load-threads.js';
import type { BulkLoadOptions, BulkLoadResult, BulkLoadSource } from './options.js';

/** Opens the database, loads the source and closes it again. Throws as `bulkLoad` does, and as an open. */
export async function loadIntoDatabase(
  database: {
    readonly path: string;
    readonly config: ResolvedConfig;
    readonly encodings: SessionEncodings;
  },
  source: BulkLoadSource,
  options: BulkLoadOptions,
): Promise<BulkLoadResult> {
  const startedAtMs = performance.now();
  const { encodings } = database;
  const keyEncoding = resolveEncoding('keyEncoding', encodings.keyEncoding);
  const valueEncoding = resolveEncoding('valueEncoding', encodings.valueEncoding);
  const identified = await identifyDatabase(database.path, database.config);
  const opening = startDatabase(identified, encodings);
  // It is awaited by whoever needs it, and at the end.
  opening.catch(() => {});
  let threads: LoadThreads | undefined;
  try {
    const { artifacts, config, directory, module } = identified;
    const jobs = Math.min(config.compactionThreads, LOAD_JOBS_MAX);
    const started = new LoadThreads({
      location: artifacts.loadWorker,
      module,
      threads: jobs,
      threadsMax: jobs + 1,
    });
    threads = started;
    const target: BulkLoadTarget = {
      openMs: performance.now() - startedAtMs,
      path: directory,
      config,
      keyEncoding,
      valueEncoding,
      module,
      jobThreads: config.compactionThreads,
      runJob: async <J extends BulkJob>(job: J) => (await started.run(job)) as BulkJobResult<J>,
      expectJobs: (count) => started.startThreads(count),
      ...whenOpen(opening),
    };
    return await bulkLoad(target, source, options);
  } finally {
    const ended = threads?.end();
    try {
      await (await opening).close();
    } finally {
      await ended;
    }
  }
}

/** Nobody else writes to it meanwhile. */
function whenOpen(
  opening: Promise<OpenDatabase>,
): Pick<BulkLoadTarget, 'reserveFiles' | 'nextCommit' | 'flush' | 'link'> {
  return {
    reserveFiles: async (shard, count) => (await opening).supervisor.reserveFiles(shard, count),
    nextCommit: async () => {
      const { control } = (await opening).session.client;
      return {
        sequence: control.lastSequence() + 1,
        timestampUs: control.nextTimestamp(Date.now() * 1000),
      };
    },
    flush: async () => (await opening).supervisor.flush(),
    link: async (intent) => (await opening).supervisor.link(intent),
  };
}
