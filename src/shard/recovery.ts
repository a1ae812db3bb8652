/**
 * Brings a shard back from its files: CURRENT → manifest → tables → WAL segments → serving.
 *
 * What a crash may have left is put in order here: an unfinished manifest frame and the torn end of
 * the log are cut, files that nothing refers to are deleted. What no crash can explain is thrown as
 * `CorruptionError`: the files are left as they are then. A table that has rotted is served as far as
 * it can be (`open-tables.ts`).
 *
 * Everything that was replayed is made durable before the shard serves, so that what was there at
 * open survives a later power cut, whatever the sync mode. Opened read-only, nothing is written.
 */
import { CorruptionError, LightningError } from '../errors.js';
import {
  CURRENT_NAME,
  parseShardFileName,
  shardFileName,
  TEMPORARY_SUFFIX,
} from '../file-system/file-names.js';
import { systemRunNumber } from '../file-system/system-identity.js';
import type { TableInfo } from '../sstable/table-info.js';
import { linkEdit } from '../version/link-intent.js';
import { Manifest, readCurrent, readManifest } from '../version/manifest.js';
import { Version } from '../version/version.js';
import { firstUsedSegment } from '../wal/segment-files.js';
import { Wal } from '../wal/wal.js';
import type { ShardState } from './shard-state.js';
import { type CommitOutcome, replaySegments } from './wal-replay.js';

export interface RecoveryResult {
  readonly lastSequence: number;
  readonly lastTimestampUs: number;
  readonly lastEpoch: number;
  /** Commits found in the log. */
  readonly commits: number;
}

export interface RecoveryOptions {
  /** What became of a commit over several shards that the shard's log leaves in doubt. */
  readonly resolve: (id: number) => Promise<CommitOutcome | undefined>;
  /** Frees a memtable by flushing the oldest full one; called when all are full. */
  readonly makeRoom: () => Promise<void>;
}

/** Files of a shard, by kind, ascending. */
interface ShardFiles {
  readonly tables: readonly number[];
  readonly manifests: readonly number[];
  readonly segments: readonly number[];
  readonly blobs: readonly number[];
  readonly temporaries: readonly string[];
}

export async function recoverShard(
  state: ShardState,
  options: RecoveryOptions,
): Promise<RecoveryResult> {
  const { fs, directory } = state;
  const { shard, config, databaseId } = state.options;
  const { readOnly } = config;
  const hash = (bytes: Uint8Array, seed?: bigint): bigint => state.staging.hash(bytes, seed);
  const location = { fs, directory, shard, hash };
  const files = listFiles(state);
  const current = readCurrent(location);
  if (current === undefined) refuseLostManifest(state, files);
  const found = current === undefined ? undefined : readManifest(location, current);
  const version = found?.version ?? Version.EMPTY;
  const pending = pendingTables(state, version);
  state.files.raise(Math.max(version.state.nextFile, highestNumber(files) + 1));
  const tables = [...version.tables()];
  // A later release that wrote any has written the newest.
  const [newest] = tables.toSorted((left, right) => right.id - left.id);
  if (newest !== undefined) state.tables.refuseLaterFormat(newest);
  state.tables.loadLater(tables);

  if (readOnly) {
    state.adoptReadOnly(version, found);
  } else {
    const trimmed = withoutEmptySegments(state, version, files);
    // It syncs the directory before it counts: the names that are relied on must not go away again.
    const manifest = Manifest.create(location, trimmed, state.files.allocate(1));
    state.files.raise(manifest.version.state.nextFile);
    state.adopt(manifest.version, manifest);
    deleteLeftovers(state, files, { manifest: manifest.number, pending });
  }
  state.publish();

  const segments = files.segments.filter((segment) => segment >= state.version.state.walMin);
  const replay = await replaySegments(state, segments, {
    isFirstOpen: current === undefined,
    hasBlobs: files.blobs.length > 0,
    makeRoom: options.makeRoom,
    cutSequence: state.options.cutSequence,
    resolve: options.resolve,
  });
  state.segmentsFound = replay.segments;
  adoptBlobs(state, files.blobs, pending);
  const lastSequence = Math.max(version.state.lastSequence, replay.lastSequence);
  if (!readOnly) {
    const bootId = systemRunNumber(fs.systemIdentity()) ?? state.options.bootId;
    const identity = { shard, databaseId, bootId };
    const unlink = (path: string): void => state.held.unlink(path);
    const writesAhead = config.walSync === 'sync';
    const place = { fs, directory, identity, unlink, writesAhead };
    const wal = Wal.create(place, state.files.allocate(1), replay.segments);
    state.commit.openLog(wal, lastSequence);
    // From here on the log says so itself.
    if (replay.resolved.length > 0) state.commit.writeOutcomes(replay.resolved, lastSequence);
  }
  return {
    lastSequence,
    lastTimestampUs: Math.max(version.state.lastTimestampUs, replay.lastTimestampUs),
    lastEpoch: Math.max(version.state.lastEpoch, replay.lastEpoch),
    commits: replay.commits,
  };
}

function listFiles({ fs, directory }: ShardState): ShardFiles {
  const files = {
    tables: [] as number[],
    manifests: [] as number[],
    segments: [] as number[],
    blobs: [] as number[],
    temporaries: [] as string[],
  };
  for (const name of fs.readdir(directory)) {
    if (name.endsWith(TEMPORARY_SUFFIX)) files.temporaries.push(name);
    const parsed = parseShardFileName(name);
    if (parsed?.kind === 'table') files.tables.push(parsed.number);
    else if (parsed?.kind === 'manifest') files.manifests.push(parsed.number);
    else if (parsed?.kind === 'wal') files.segments.push(parsed.number);
    else if (parsed?.kind === 'blob') files.blobs.push(parsed.number);
  }
  for (const list of [files.tables, files.manifests, files.segments, files.blobs]) {
    list.sort((left, right) => left - right);
  }
  return files;
}

function highestNumber({ tables, manifests, segments, blobs, temporaries }: ShardFiles): number {
  let highest = 0;
  for (const list of [tables, manifests, segments, blobs]) {
    highest = Math.max(highest, list.at(-1) ?? 0);
  }
  for (const name of temporaries) {
    const parsed = parseShardFileName(name.slice(0, -TEMPORARY_SUFFIX.length));
    highest = Math.max(highest, parsed?.number ?? 0);
  }
  return highest;
}

/** Tables and segments come only after CURRENT: where they are, it has been lost. */
function refuseLostManifest({ directory }: ShardState, files: ShardFiles): void {
  if (files.tables.length === 0 && files.segments.length === 0) return;
  throw new CorruptionError('Shard has data but no CURRENT file', {
    file: `${directory}/${CURRENT_NAME}`,
    offset: 0,
  });
}

/** Tables of bulk loads that are committed but not yet part of the shard: they are linked later. */
function pendingTables({ options }: ShardState, version: Version): TableInfo[] {
  const { intents = [], shard } = options;
  return intents.flatMap((intent) =>
    (linkEdit(version, intent, shard)?.added ?? []).flatMap(({ tables }) => tables),
  );
}

/** Opens that wrote nothing leave a segment each: the log begins behind those. */
function withoutEmptySegments(
  { fs, directory }: ShardState,
  version: Version,
  { segments }: ShardFiles,
): Version {
  const needed = segments.filter((segment) => segment >= version.state.walMin);
  const walMin = firstUsedSegment(fs, directory, needed);
  // A first segment may be half made: it is not promised that there is one.
  return walMin === undefined || walMin === needed[0] ? version : version.apply({ walMin });
}

function deleteLeftovers(
  state: ShardState,
  files: ShardFiles,
  { manifest, pending }: { readonly manifest: number; readonly pending: readonly TableInfo[] },
): void {
  const { fs, directory, version } = state;
  const live = new Set<number>();
  for (const table of [...version.tables(), ...pending]) live.add(table.id);
  const names = [
    ...files.temporaries,
    ...files.manifests.filter((n) => n !== manifest).map((n) => shardFileName('manifest', n)),
    ...files.tables.filter((n) => !live.has(n)).map((n) => shardFileName('table', n)),
    ...files.segments.filter((n) => n < version.state.walMin).map((n) => shardFileName('wal', n)),
  ];
  for (const name of names) {
    try {
      fs.unlink(`${directory}/${name}`);
    } catch (error) {
      // It does no harm; the next open tries again.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}

/** Keeps the blob files that tables or memtables refer to, and deletes the others. */
function adoptBlobs(
  state: ShardState,
  blobs: readonly number[],
  pending: readonly TableInfo[],
): void {
  if (blobs.length === 0) return;
  const { version, memtables } = state;
  for (const blob of blobs) state.blobs.adopt(blob);
  if (state.options.config.readOnly) return;
  const live = new Set<number>();
  for (const table of [...version.tables(), ...pending]) {
    for (const blob of table.blobs) live.add(blob);
  }
  for (const blob of blobs) {
    if (!live.has(blob) && !memtables.refersToBlob(blob)) state.blobs.delete(blob);
  }
}
