/**
 * Bulk load: parse and sort on threads of its own, build tables outside WAL and memtable, link them at once.
 *
 *   source → slots of memory, sorted by shard and key → tables of one run per shard → link intent
 *
 * Nothing of a load is visible before its intent is durable, and everything is as soon as `bulkLoad`
 * returns. A load that is killed, aborted or fails leaves the database as it was; its files are deleted
 * at once or at the next open. The database must be held exclusively meanwhile.
 */

import { randomUUID } from 'node:crypto';
import { freemem } from 'node:os';
import { deserializeError, type LightningError, serializeError } from '../errors.js';
import type { TableInfo } from '../sstable/table-info.js';
import { COORDINATOR_DIRECTORY } from '../version/database-file.js';
import {
  type LinkIntent,
  mayHaveLinkIntent,
  removeLinkIntent,
  writeLinkIntent,
} from '../version/link-intent.js';
import { checkBulkLoadOptions } from './check-options.js';
import { LoadSession } from './load-session.js';
import type { BulkLoadTarget } from './load-target.js';
import type { BulkLoadOptions, BulkLoadResult, BulkLoadSource } from './options.js';
import { LoadProgress } from './progress.js';
import { abortedError } from './record-sink.js';
import { RejectLog, STREAM_NAME } from './reject-log.js';
import { pathOf, readSource } from './source.js';
import { TablePhase } from './table-phase.js';
import type { TextFormat } from './text-format.js';

const MIB = 1024 * 1024;
const MEMORY_BYTES_DEFAULT_MIN = 64 * MIB;
const MEMORY_BYTES_DEFAULT_MAX = 1024 * MIB;

/** For tests: sizes that make little input take all the ways that much input does. */
export interface BulkLoadTuning {
  /** Most bytes of a piece of text. */
  readonly rangeBytes?: number;
  /** Least bytes of a piece of a file. */
  readonly rangeBytesMin?: number;
}

/**
 * Loads a source into the target. Throws `InvalidArgumentError` for options, `ParseError` for the
 * source, `LIGHTNING_ABORTED` after the signal, `IoError` and `NoSpaceError` for files.
 */
export async function bulkLoad(
  target: BulkLoadTarget,
  source: BulkLoadSource,
  options: BulkLoadOptions = {},
  tuning: BulkLoadTuning = {},
): Promise<BulkLoadResult> {
  checkBulkLoadOptions(options);
  const path = pathOf(source);
  const rejects = new RejectLog(options, path ?? STREAM_NAME);
  const progress = new LoadProgress(options, target.config.shards, target.openMs);
  // The database may be still on its way to open.
  const commit = target.nextCommit();
  commit.catch(() => {});
  let phase: TablePhase | undefined;
  const session = new LoadSession({
    target,
    options,
    rejects,
    progress,
    memoryBytes: options.memoryBytes ?? defaultMemoryBytes(),
    tuning,
    spill: async (chunks) => phase?.spill(chunks),
  });
  phase = new TablePhase(
    session,
    commit.then(({ sequence }) => sequence),
  );
  commit.catch((error: unknown) => session.fail(error));
  const onAbort = (): void => session.fail(abortedError());
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    if (options.signal?.aborted === true) onAbort();
    session.checkAborted();
    rejects.begin(path);
    progress.enter('read');
    const format = await withFailure(session, readSource(session, source, path));
    const chunks = await withFailure(session, session.store.finish());
    progress.enter('merge');
    progress.expectMerge(progress.records - progress.duplicates);
    const tables = await withFailure(session, phase.finish(chunks));
    session.checkAborted();
    progress.enter('link');
    await link(session, tables, await commit);
    progress.enter('done');
    return resultOf(session, { tables, format, spills: phase.spillCount });
  } catch (error) {
    // What fails because others have failed fails with the first error.
    session.fail(error);
    await session.end();
    if (session.isCommitted) throw error;
    discard(session);
    session.checkAborted();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    rejects.close();
  }
}

/** What the parts that nobody waits for make of it counts too. */
function withFailure<T>(session: LoadSession, work: Promise<T>): Promise<T> {
  return Promise.race([work, session.failure]);
}

function defaultMemoryBytes(): number {
  const quarter = Math.floor(freemem() / 4);
  return Math.max(MEMORY_BYTES_DEFAULT_MIN, Math.min(MEMORY_BYTES_DEFAULT_MAX, quarter));
}

// ---- linking ----------------------------------------------------------------------------

/** The commit: from the moment that the intent is in place the load is part of the database. */
async function link(
  session: LoadSession,
  tables: readonly (readonly TableInfo[])[],
  commit: { readonly sequence: number; readonly timestampUs: number },
): Promise<void> {
  const { fs, numbers, target } = session;
  const coordinator = `${target.path}/${COORDINATOR_DIRECTORY}`;
  tables.forEach((kept, shard) => {
    numbers.deleteAllBut(fs, shard, kept);
    fs.syncDirectory(numbers.directoryOf(shard));
  });
  const intent: LinkIntent = {
    id: randomUUID(),
    sequence: commit.sequence,
    timestampUs: commit.timestampUs,
    shards: tables.map((kept, shard) => ({
      shard,
      tables: kept,
      nextFile: numbers.nextFile(shard),
    })),
  };
  if (tables.every((kept) => kept.length === 0)) return;
  // Nothing is written meanwhile: where the intent is, no log holds anything that is to be replayed.
  await target.flush();
  session.checkAborted();
  try {
    writeLinkIntent(fs, coordinator, intent);
  } catch (error) {
    if (!mayHaveLinkIntent(fs, coordinator, intent.id)) throw error;
    session.isCommitted = true;
    throw outcomeUnknown(error);
  }
  session.isCommitted = true;
  await target.link(intent);
  removeLinkIntent(fs, coordinator, intent.id);
}

/** The intent has its name, and the medium may have it: then its tables are wanted. */
function outcomeUnknown(cause: unknown): LightningError {
  const { code, message, details } = deserializeError(serializeError(cause));
  return deserializeError({
    code,
    message: `The load may or may not survive, as a whole, when the database is opened again: ${message}`,
    details: { ...details, outcome: 'unknown' },
  });
}

/** After a failure: nothing refers to the load's files. */
function discard(session: LoadSession): void {
  for (let shard = 0; shard < session.shards; shard++) {
    session.numbers.deleteAllBut(session.fs, shard, []);
  }
}

function resultOf(
  session: LoadSession,
  load: {
    readonly tables: readonly (readonly TableInfo[])[];
    readonly format: TextFormat | undefined;
    readonly spills: number;
  },
): BulkLoadResult {
  const { progress, rejects } = session;
  const all = load.tables.flat();
  const total = progress.seconds;
  return {
    records: progress.records,
    duplicates: progress.duplicates,
    rejected: rejects.count,
    rejects: rejects.listed,
    bytesIn: progress.bytes,
    bytesOut: all.reduce((sum, { bytes }) => sum + bytes, 0),
    tables: all.length,
    spills: load.spills,
    format: load.format?.format,
    header: load.format?.header,
    seconds: {
      open: progress.secondsOf('open'),
      read: progress.secondsOf('read'),
      merge: progress.secondsOf('merge'),
      link: progress.secondsOf('link'),
      total,
    },
    recordsPerSecond: total > 0 ? progress.records / total : 0,
    shards: load.tables.map((tables, shard) => ({
      shard,
      entries: tables.reduce((sum, { entries }) => sum + entries, 0),
      tables: tables.length,
      bytes: tables.reduce((sum, { bytes }) => sum + bytes, 0),
    })),
  };
}

export type {
  BulkLoadEntry,
  BulkLoadFormat,
  BulkLoadOptions,
  BulkLoadPhase,
  BulkLoadProgress,
  BulkLoadReject,
  BulkLoadResult,
  BulkLoadSelector,
  BulkLoadShardResult,
  BulkLoadSource,
} from './options.js';
