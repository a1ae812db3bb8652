/**
 * The DATABASE file: what a directory is. Written once, when the database is created; the number of
 * shards and the hash that chooses one never change afterwards.
 */
import { dirname } from 'node:path';
import { checkFormatVersion } from '../encoding/format-version.js';
import { xxh64 } from '../encoding/xxh64.js';
import { CorruptionError, InvalidArgumentError, LightningError } from '../errors.js';
import { shardDirectoryName } from '../file-system/file-names.js';
import { type FileSystem, isNotFound, replaceFile } from '../file-system/file-system.js';

export const DATABASE_NAME = 'DATABASE';
export const COORDINATOR_DIRECTORY = 'coordinator';
export const LOCK_NAME = 'LOCK';

const MAGIC = 'LDBDATA1';
const FORMAT_VERSION = 1;
const FRAME_HEAD_BYTES = 24;
const HASH_NAME = 'murmur3-32';
const SHARDS_MAX = 1024;

/** Names that do not make a directory somebody else's. */
const HARMLESS_NAME = /^(\..*|lost\+found|LOCK|.*\.tmp)$/;

export interface DatabaseFile {
  /** uuid */
  readonly id: string;
  readonly shards: number;
  readonly createdAtMs: number;
}

export interface OpenDatabaseOptions {
  /** Checked when the database exists; the count to create it with when it does not. */
  readonly shards?: number | undefined;
  readonly createIfMissing: boolean;
  readonly errorIfExists: boolean;
  readonly readOnly: boolean;
  readonly nowMs?: number;
}

export interface OpenedDatabase extends DatabaseFile {
  readonly created: boolean;
}

/** Creates a directory and, where they are missing, those above it; each is durable in its parent. */
export function createDirectories(fs: FileSystem, path: string): void {
  if (fs.exists(path)) return;
  const parent = dirname(path);
  if (parent !== path) createDirectories(fs, parent);
  fs.mkdir(path);
  fs.syncDirectory(parent);
}

/**
 * Reads what the directory is, or makes it a database with its directories for shards and
 * coordinator. Throws errors that say what to do: no such database, not a database, exists already,
 * written by a newer release, another number of shards.
 */
export function openDatabaseFile(
  fs: FileSystem,
  path: string,
  options: OpenDatabaseOptions,
): OpenedDatabase {
  const found = readDatabaseFile(fs, path);
  if (found !== undefined) {
    if (options.errorIfExists) {
      throw new LightningError(
        'LIGHTNING_ALREADY_EXISTS',
        `There is a database at "${path}" already: choose another path, or open it without "errorIfExists"`,
        { details: { path } },
      );
    }
    checkShards(path, found.shards, options.shards);
    checkLayout(fs, path, found.shards);
    return { ...found, created: false };
  }
  if (!options.createIfMissing || options.readOnly)
    throw missingDatabase(fs, path, options.readOnly);
  refuseForeignDirectory(fs, path);
  return { ...createDatabase(fs, path, options), created: true };
}

/** The directory's DATABASE file; undefined when there is none. */
export function readDatabaseFile(fs: FileSystem, path: string): DatabaseFile | undefined {
  const file = `${path}/${DATABASE_NAME}`;
  let bytes: Buffer;
  try {
    bytes = fs.readFile(file);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  return decodeDatabaseFile(bytes, file);
}

export function encodeDatabaseFile(database: DatabaseFile): Buffer {
  const payload = Buffer.from(JSON.stringify({ ...database, hash: HASH_NAME }));
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.write(MAGIC, 0, 'latin1');
  head.writeUInt32LE(FORMAT_VERSION, 8);
  head.writeUInt32LE(payload.length, 12);
  head.writeBigUInt64LE(xxh64(payload), 16);
  return Buffer.concat([head, payload]);
}

export function decodeDatabaseFile(bytes: Buffer, file: string): DatabaseFile {
  if (bytes.length < FRAME_HEAD_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) {
    throw new LightningError(
      'LIGHTNING_NOT_A_DATABASE',
      `"${file}" does not identify a Lightning DB database: choose the directory of one, or an empty one`,
      { details: { path: file } },
    );
  }
  checkFormatVersion(bytes.readUInt32LE(8), FORMAT_VERSION, file);
  const payload = bytes.subarray(FRAME_HEAD_BYTES);
  if (bytes.readUInt32LE(12) !== payload.length) {
    throw new CorruptionError('DATABASE file has a wrong length', {
      file,
      offset: 12,
      expected: bytes.readUInt32LE(12),
      found: payload.length,
    });
  }
  if (bytes.readBigUInt64LE(16) !== xxh64(payload)) {
    throw new CorruptionError('DATABASE file has a wrong checksum', { file, offset: 16 });
  }
  const fields = parsed(payload);
  if (!isDatabaseFile(fields)) {
    throw new CorruptionError('DATABASE file lacks fields', { file, offset: FRAME_HEAD_BYTES });
  }
  return { id: fields.id, shards: fields.shards, createdAtMs: fields.createdAtMs };
}

function parsed(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString());
  } catch {
    return undefined;
  }
}

function isDatabaseFile(fields: unknown): fields is DatabaseFile & { hash: string } {
  if (typeof fields !== 'object' || fields === null) return false;
  const { id, shards, createdAtMs, hash } = fields as Record<string, unknown>;
  return (
    typeof id === 'string' &&
    /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) &&
    typeof shards === 'number' &&
    Number.isInteger(shards) &&
    shards >= 1 &&
    shards <= SHARDS_MAX &&
    typeof createdAtMs === 'number' &&
    hash === HASH_NAME
  );
}

function checkShards(path: string, found: number, wanted: number | undefined): void {
  if (wanted === undefined || wanted === found) return;
  throw new InvalidArgumentError(
    `The database at "${path}" has ${found} shards and cannot be opened with ${wanted}: the number is fixed when a database is created; leave "shards" out, or copy the data to a new database`,
    { details: { path, option: 'shards', found, wanted } },
  );
}

function missingDatabase(fs: FileSystem, path: string, readOnly: boolean): LightningError {
  const hint = readOnly
    ? 'open it once without "readOnly" to create it'
    : 'pass createIfMissing: true to create it';
  if (fs.exists(path) && fs.readdir(path).some((name) => !HARMLESS_NAME.test(name))) {
    return new LightningError(
      'LIGHTNING_NOT_A_DATABASE',
      `"${path}" is not a Lightning DB database: there is no ${DATABASE_NAME} file in it`,
      { details: { path } },
    );
  }
  return new LightningError('LIGHTNING_NOT_FOUND', `There is no database at "${path}": ${hint}`, {
    details: { path },
  });
}

/** A database is not spread over a directory that holds something else. */
function refuseForeignDirectory(fs: FileSystem, path: string): void {
  if (!fs.exists(path)) return;
  const names = fs.readdir(path).filter((name) => !HARMLESS_NAME.test(name));
  const foreign = names.find((name) => !isUnfinished(fs, path, name));
  if (foreign === undefined) return;
  throw new LightningError(
    'LIGHTNING_NOT_A_DATABASE',
    `Cannot create a database in "${path}": it holds "${foreign}" but no ${DATABASE_NAME} file; choose an empty directory, or restore the ${DATABASE_NAME} file`,
    { details: { path, found: foreign } },
  );
}

/** An empty directory of a shard or of the coordinator: a creation that did not get to its end. */
function isUnfinished(fs: FileSystem, path: string, name: string): boolean {
  if (name !== COORDINATOR_DIRECTORY && !/^shard-\d{3,}$/.test(name)) return false;
  return fs.readdir(`${path}/${name}`).length === 0;
}

function createDatabase(fs: FileSystem, path: string, options: OpenDatabaseOptions): DatabaseFile {
  const shards = options.shards;
  if (shards === undefined) {
    throw new InvalidArgumentError(
      `Cannot create a database at "${path}" without a number of shards`,
    );
  }
  createDirectories(fs, path);
  // Also when the directory was there: nobody may have synced its name yet.
  fs.syncDirectory(dirname(path));
  fs.mkdir(`${path}/${COORDINATOR_DIRECTORY}`);
  for (let shard = 0; shard < shards; shard++) fs.mkdir(`${path}/${shardDirectoryName(shard)}`);
  fs.syncDirectory(path);
  const database = { id: crypto.randomUUID(), shards, createdAtMs: options.nowMs ?? Date.now() };
  // Last: only a directory with everything in place is a database.
  replaceFile(fs, path, DATABASE_NAME, encodeDatabaseFile(database));
  return database;
}

/** Directories are made before the DATABASE file: one that is missing has been lost with its data. */
function checkLayout(fs: FileSystem, path: string, shards: number): void {
  const names = new Set(fs.readdir(path));
  for (let shard = 0; shard < shards; shard++) {
    const name = shardDirectoryName(shard);
    if (names.has(name)) continue;
    throw new CorruptionError('Directory of a shard is missing', {
      file: `${path}/${name}`,
      offset: 0,
    });
  }
}
