/**
 * Job: checks what belongs to no shard: the DATABASE file, the coordinator's log up to where it has
 * been written, and intents of bulk loads.
 */
import { noteProblem, type Problem } from '../compaction/problem.js';
import { CorruptionError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import {
  COORDINATOR_DIRECTORY,
  DATABASE_NAME,
  readDatabaseFile,
} from '../version/database-file.js';
import { readLinkIntents } from '../version/link-intent.js';
import { logSegmentName, readDecisionLog } from './log-reader.js';

export interface VerifyDatabaseJob {
  readonly kind: 'verify-database';
  /** Directory of the database. */
  readonly path: string;
  readonly databaseId: string;
  /** What is written of the log; undefined: nobody writes it, what can be read is all. */
  readonly log: LogPlace | undefined;
}

/** A segment of the coordinator's log, and where its last frame ended when the check began. */
export interface LogPlace {
  readonly segment: number;
  readonly bytes: number;
}

export function verifyDatabase(fs: FileSystem, job: VerifyDatabaseJob): readonly Problem[] {
  const { path, databaseId, log } = job;
  const directory = `${path}/${COORDINATOR_DIRECTORY}`;
  const problems: Problem[] = [];
  const file = `${path}/${DATABASE_NAME}`;
  noteProblem(problems, file, () => checkIdentity(fs, job, file));
  const segment = log === undefined ? directory : `${directory}/${logSegmentName(log.segment)}`;
  noteProblem(problems, segment, () => checkLog(fs, directory, databaseId, log));
  noteProblem(problems, directory, () => readLinkIntents(fs, directory));
  return problems;
}

function checkIdentity(
  fs: FileSystem,
  { path, databaseId }: VerifyDatabaseJob,
  file: string,
): void {
  const found = readDatabaseFile(fs, path);
  if (found?.id === databaseId) return;
  throw new CorruptionError('The DATABASE file is not that of this database', {
    file,
    offset: 0,
    expected: databaseId,
    found: found?.id ?? 'no such file',
  });
}

function checkLog(
  fs: FileSystem,
  directory: string,
  databaseId: string,
  log: LogPlace | undefined,
): void {
  const found = readDecisionLog(fs, directory, databaseId, log);
  if (log === undefined || found === undefined || found.bytes === log.bytes) return;
  throw new CorruptionError('The coordinator log does not hold what was written to it', {
    file: `${directory}/${logSegmentName(log.segment)}`,
    offset: found.bytes,
    expected: log.bytes,
    found: found.bytes,
  });
}
