/**
 * Link intents: how the tables of a bulk load become part of all shards at once.
 *
 * The load writes all its tables and makes them durable. Then it writes an intent that names them:
 * that file's rename into place is the moment of the commit. Then every shard adds its tables to its
 * manifest, and the intent is removed. Whatever is killed in between:
 * - before the rename, nothing refers to the tables, and they are deleted at the next open;
 * - after it, the next open finds the intent, every shard that has not linked yet does so before it
 *   serves, and the intent is removed.
 *
 * A shard remembers the ids it has linked (`linked` in its version edits): a second time does
 * nothing, even when the tables have been compacted away since.
 *
 * File `coordinator/bulk-<id>.json`, a frame: magic `LDBBULK1`, u32 format version, u32 payload
 * bytes, u64 xxh64(payload, 0), payload: JSON (docs/FORMAT.md).
 */

import { checkFormatVersion } from '../encoding/format-version.js';
import { xxh64 } from '../encoding/xxh64.js';
import { CorruptionError, LightningError } from '../errors.js';
import { TEMPORARY_SUFFIX } from '../file-system/file-names.js';
import { type FileSystem, isNotFound, replaceFile } from '../file-system/file-system.js';
import type { TableInfo } from '../sstable/table-info.js';
import { BOTTOM_ORDER, type Version } from './version.js';
import {
  decodeTableInfo,
  EditFormatError,
  encodeTableInfo,
  type VersionEdit,
} from './version-edit.js';

const MAGIC = 'LDBBULK1';
const FORMAT_VERSION = 1;
const HEAD_BYTES = 24;
const NAME_PATTERN = /^bulk-([0-9a-z-]{1,64})\.json$/;

export interface LinkIntent {
  readonly id: string;
  /** Sequence number of every entry. */
  readonly sequence: number;
  readonly timestampUs: number;
  /** What each shard links; shards that get nothing are listed too. */
  readonly shards: readonly ShardLink[];
}

export interface ShardLink {
  readonly shard: number;
  /** Tables of one run: they do not overlap. */
  readonly tables: readonly TableInfo[];
  /** No file of the load has this number or a higher one. */
  readonly nextFile: number;
}

export function linkIntentName(id: string): string {
  return `bulk-${id}.json`;
}

/** Commits the load. The tables are durable, and so are their names. */
export function writeLinkIntent(fs: FileSystem, directory: string, intent: LinkIntent): void {
  replaceFile(fs, directory, linkIntentName(intent.id), encodeLinkIntent(intent));
}

/** Whether the intent has its name, or nobody can say, and so may be on the medium. */
export function mayHaveLinkIntent(fs: FileSystem, directory: string, id: string): boolean {
  try {
    return fs.exists(`${directory}/${linkIntentName(id)}`);
  } catch (error) {
    if (!(error instanceof LightningError)) throw error;
    return true;
  }
}

/**
 * Makes durable what intents an earlier run has left, before anybody relies on them: the sync of their
 * names may have failed then, and another sync would not show that.
 */
export function renewLinkIntents(fs: FileSystem, directory: string): void {
  for (const name of fs.readdir(directory).filter(isLinkIntentName)) {
    replaceFile(fs, directory, name, fs.readFile(`${directory}/${name}`));
  }
}

/** Every intent in the coordinator's directory, oldest load first. Unfinished ones are no intents. */
export function readLinkIntents(fs: FileSystem, directory: string): LinkIntent[] {
  let names: string[];
  try {
    names = fs.readdir(directory);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
  return names
    .filter(isLinkIntentName)
    .map((name) => readLinkIntent(fs, directory, name))
    .sort((left, right) => left.sequence - right.sequence);
}

export function isLinkIntentName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/** Throws `CorruptionError`. */
export function readLinkIntent(fs: FileSystem, directory: string, name: string): LinkIntent {
  const file = `${directory}/${name}`;
  const intent = decodeLinkIntent(fs.readFile(file), file);
  if (linkIntentName(intent.id) === name) return intent;
  throw new CorruptionError('Link intent belongs to another load', {
    file,
    offset: HEAD_BYTES,
    expected: name,
    found: intent.id,
  });
}

/** Forgets an intent that every shard has linked durably. */
export function removeLinkIntent(fs: FileSystem, directory: string, id: string): void {
  fs.unlink(`${directory}/${linkIntentName(id)}`);
  fs.syncDirectory(directory);
}

/**
 * After an open, when every shard has linked all intents durably: forgets them, and deletes what is
 * left of loads that ended before they committed.
 */
export function forgetLinkIntents(fs: FileSystem, directory: string): void {
  const names = fs.readdir(directory).filter(isIntentFile);
  if (names.length === 0) return;
  for (const name of names) fs.unlink(`${directory}/${name}`);
  fs.syncDirectory(directory);
}

function isIntentFile(name: string): boolean {
  const isUnfinished = name.endsWith(TEMPORARY_SUFFIX);
  return NAME_PATTERN.test(isUnfinished ? name.slice(0, -TEMPORARY_SUFFIX.length) : name);
}

/**
 * What a shard adds to its manifest for an intent; undefined when it has done so already. The
 * memtables are flushed: nothing older than the load may stand above its run.
 */
export function linkEdit(
  version: Version,
  intent: LinkIntent,
  shard: number,
): VersionEdit | undefined {
  if (version.state.linked.includes(intent.id)) return undefined;
  const link = intent.shards.find((candidate) => candidate.shard === shard);
  const tables = link?.tables ?? [];
  const isFirst = version.runs.length === 0;
  const order = isFirst ? BOTTOM_ORDER : version.state.nextOrder;
  return {
    ...(tables.length === 0 ? {} : { added: [{ order, tables }] }),
    ...(tables.length === 0 || isFirst ? {} : { nextOrder: order + 1 }),
    nextFile: link?.nextFile ?? 0,
    lastSequence: intent.sequence,
    lastTimestampUs: intent.timestampUs,
    linked: [intent.id],
  };
}

export function encodeLinkIntent(intent: LinkIntent): Buffer {
  const payload = Buffer.from(
    JSON.stringify({
      ...intent,
      shards: intent.shards.map(({ shard, tables, nextFile }) => ({
        shard,
        nextFile,
        tables: tables.map(encodeTableInfo),
      })),
    }),
  );
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(MAGIC, 0, 'latin1');
  head.writeUInt32LE(FORMAT_VERSION, 8);
  head.writeUInt32LE(payload.length, 12);
  head.writeBigUInt64LE(xxh64(payload), 16);
  return Buffer.concat([head, payload]);
}

/** Throws `CorruptionError`: the file was renamed into place whole, so any fault is damage. */
export function decodeLinkIntent(bytes: Buffer, file: string): LinkIntent {
  if (bytes.length < HEAD_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) {
    throw new CorruptionError('Link intent has a wrong magic', { file, offset: 0 });
  }
  checkFormatVersion(bytes.readUInt32LE(8), FORMAT_VERSION, file);
  const payload = bytes.subarray(HEAD_BYTES);
  if (bytes.readUInt32LE(12) !== payload.length) {
    throw new CorruptionError('Link intent has a wrong length', {
      file,
      offset: 12,
      expected: bytes.readUInt32LE(12),
      found: payload.length,
    });
  }
  if (bytes.readBigUInt64LE(16) !== xxh64(payload)) {
    throw new CorruptionError('Link intent has a wrong checksum', { file, offset: 16 });
  }
  try {
    return intentOf(JSON.parse(payload.toString()));
  } catch (error) {
    if (!(error instanceof EditFormatError) && !(error instanceof SyntaxError)) throw error;
    throw new CorruptionError(`Link intent ${error.message}`, { file, offset: HEAD_BYTES }, error);
  }
}

function intentOf(json: unknown): LinkIntent {
  const { id, sequence, timestampUs, shards } = fieldsOf(json);
  if (typeof id !== 'string') throw new EditFormatError('has no id');
  if (!Array.isArray(shards)) throw new EditFormatError('has no list of shards');
  return {
    id,
    sequence: natural(sequence, 'sequence'),
    timestampUs: natural(timestampUs, 'timestampUs'),
    shards: shards.map((item: unknown) => {
      const { shard, tables, nextFile } = fieldsOf(item);
      if (!Array.isArray(tables)) throw new EditFormatError('has no list of tables');
      return {
        shard: natural(shard, 'shard'),
        tables: tables.map(decodeTableInfo),
        nextFile: natural(nextFile, 'nextFile'),
      };
    }),
  };
}

function fieldsOf(json: unknown): Readonly<Record<string, unknown>> {
  if (typeof json === 'object' && json !== null) return json as Record<string, unknown>;
  throw new EditFormatError('has a part that is not an object');
}

function natural(json: unknown, what: string): number {
  if (typeof json === 'number' && Number.isSafeInteger(json) && json >= 0) return json;
  throw new EditFormatError(`has "${what}" that is not a whole number`);
}
