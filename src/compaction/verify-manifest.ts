/** Checks a shard's CURRENT, and its manifest up to where the shard has written it. */
import { CorruptionError } from '../errors.js';
import { CURRENT_NAME, shardFileName } from '../file-system/file-names.js';
import type { FileSystem } from '../file-system/file-system.js';
import { readCurrent, readManifest } from '../version/manifest.js';
import { noteProblem, type Problem } from './problem.js';

export interface ManifestToVerify {
  readonly directory: string;
  readonly shard: number;
  readonly number: number;
  /** Where it ended when the check began; it may have grown since. */
  readonly bytes: number;
  /** Tables of the Version that it described then. */
  readonly tables: number;
}

export function verifyManifest(fs: FileSystem, expected: ManifestToVerify): readonly Problem[] {
  const { directory } = expected;
  const problems: Problem[] = [];
  const current = `${directory}/${CURRENT_NAME}`;
  noteProblem(problems, current, () => checkCurrent(fs, expected, current));
  const path = `${directory}/${shardFileName('manifest', expected.number)}`;
  noteProblem(problems, path, () => checkFrames(fs, expected, path));
  return problems;
}

/** It may name a manifest that was begun since. */
function checkCurrent(fs: FileSystem, expected: ManifestToVerify, file: string): void {
  const { number } = expected;
  const found = readCurrent({ fs, ...expected });
  if (found !== undefined && found >= number) return;
  throw new CorruptionError('CURRENT does not name the manifest in use', {
    file,
    offset: found === undefined ? 0 : 8,
    expected: number,
    found: found ?? 'no such file',
  });
}

function checkFrames(fs: FileSystem, expected: ManifestToVerify, file: string): void {
  const { number, bytes, tables } = expected;
  const found = readManifest({ fs, ...expected }, number, bytes);
  if (found.bytes === bytes && found.version.tableCount === tables) return;
  throw new CorruptionError('Manifest does not hold what was written to it', {
    file,
    offset: found.bytes,
    expected: `${tables} tables in ${bytes} bytes`,
    found: `${found.version.tableCount} tables in ${found.bytes} bytes`,
  });
}
