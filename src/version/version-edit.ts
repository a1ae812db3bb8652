/**
 * Version edits: what changes from one Version of a shard to the next, and how that is written to
 * the manifest (JSON; docs/FORMAT.md). The first edit of a manifest holds the whole state.
 *
 * Decoding is strict: a field that is missing, unknown or of the wrong type is corruption, since
 * guessing here could lose tables.
 */
import type { TableInfo } from '../sstable/table-info.js';

/** Tables that join the run of that order, which comes into being with them if it must. */
export interface AddedTables {
  /** Runs are ordered by age: higher is newer, 0 is the bottom run. */
  readonly order: number;
  readonly tables: readonly TableInfo[];
}

export interface VersionEdit {
  readonly added?: readonly AddedTables[];
  /** Ids of tables that leave. Applied before `added`. */
  readonly removed?: readonly number[];
  /** Tables that move to another run as they are. */
  readonly moved?: readonly { readonly table: number; readonly order: number }[];
  /** No file with this number or a higher one exists. */
  readonly nextFile?: number;
  /** Order of the next run. */
  readonly nextOrder?: number;
  /** Everything in tables is at or below this sequence number. */
  readonly lastSequence?: number;
  /** Timestamp of the newest commit in tables, microseconds. */
  readonly lastTimestampUs?: number;
  /** Commit epoch of the newest commit in tables. */
  readonly lastEpoch?: number;
  /** Segments below this number are in tables: never replayed again. */
  readonly walMin?: number;
  /** Bulk loads that are part of this shard from now on. */
  readonly linked?: readonly string[];
}

/** A fault in an edit, for the manifest to report with its place. */
export class EditFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'EditFormatError';
  }
}

export function encodeVersionEdit(edit: VersionEdit): Buffer {
  return Buffer.from(
    JSON.stringify({
      ...edit,
      added: edit.added?.map(({ order, tables }) => ({
        order,
        tables: tables.map(encodeTableInfo),
      })),
    }),
  );
}

/** Throws `EditFormatError`. */
export function decodeVersionEdit(bytes: Uint8Array): VersionEdit {
  const json: unknown = parseJson(Buffer.from(bytes).toString());
  const fields = object(json, EDIT_FIELDS, 'edit');
  const edit: { -readonly [Field in keyof VersionEdit]: VersionEdit[Field] } = {};
  if (fields['added'] !== undefined) {
    edit.added = array(fields['added'], 'added').map((item) => {
      const run = object(item, ['order', 'tables'], 'added run');
      return {
        order: natural(run['order'], 'order'),
        tables: array(run['tables'], 'tables').map(decodeTableInfo),
      };
    });
  }
  if (fields['removed'] !== undefined) edit.removed = naturals(fields['removed'], 'removed');
  if (fields['moved'] !== undefined) {
    edit.moved = array(fields['moved'], 'moved').map((item) => {
      const move = object(item, ['table', 'order'], 'move');
      return { table: natural(move['table'], 'table'), order: natural(move['order'], 'order') };
    });
  }
  for (const name of NUMBER_FIELDS) {
    if (fields[name] !== undefined) edit[name] = natural(fields[name], name);
  }
  if (fields['linked'] !== undefined) {
    edit.linked = array(fields['linked'], 'linked').map((id) => text(id, 'linked'));
  }
  return edit;
}

const NUMBER_FIELDS = [
  'nextFile',
  'nextOrder',
  'lastSequence',
  'lastTimestampUs',
  'lastEpoch',
  'walMin',
] as const;
const EDIT_FIELDS: readonly string[] = ['added', 'removed', 'moved', 'linked', ...NUMBER_FIELDS];

const TABLE_FIELDS = [
  'id',
  'bytes',
  'entries',
  'tombstones',
  'keys',
  'smallest',
  'largest',
  'sequenceMin',
  'sequenceMax',
  'rawBytes',
  'blobs',
  'createdAtMs',
] as const satisfies readonly (keyof TableInfo)[];

export function encodeTableInfo(table: TableInfo): Record<string, unknown> {
  return {
    id: table.id,
    bytes: table.bytes,
    entries: table.entries,
    tombstones: table.tombstones,
    keys: table.keys,
    smallest: Buffer.from(table.smallest).toString('base64'),
    largest: Buffer.from(table.largest).toString('base64'),
    sequenceMin: table.sequenceMin,
    sequenceMax: table.sequenceMax,
    rawBytes: table.rawBytes,
    blobs: table.blobs,
    createdAtMs: table.createdAtMs,
  };
}

export function decodeTableInfo(json: unknown): TableInfo {
  const fields = object(json, TABLE_FIELDS, 'table');
  const entries = natural(fields['entries'], 'entries');
  return {
    id: natural(fields['id'], 'id'),
    bytes: natural(fields['bytes'], 'bytes'),
    entries,
    tombstones: natural(fields['tombstones'], 'tombstones'),
    // Earlier builds did not write it.
    keys: fields['keys'] === undefined ? entries : natural(fields['keys'], 'keys'),
    smallest: base64(fields['smallest'], 'smallest'),
    largest: base64(fields['largest'], 'largest'),
    sequenceMin: natural(fields['sequenceMin'], 'sequenceMin'),
    sequenceMax: natural(fields['sequenceMax'], 'sequenceMax'),
    rawBytes: natural(fields['rawBytes'], 'rawBytes'),
    blobs: naturals(fields['blobs'], 'blobs'),
    createdAtMs: natural(fields['createdAtMs'], 'createdAtMs'),
  };
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new EditFormatError('is not JSON');
  }
}

function object(
  json: unknown,
  names: readonly string[],
  what: string,
): Readonly<Record<string, unknown>> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new EditFormatError(`has a ${what} that is not an object`);
  }
  const stranger = Object.keys(json).find((name) => !names.includes(name));
  if (stranger !== undefined) throw new EditFormatError(`has an unknown field "${stranger}"`);
  return json as Record<string, unknown>;
}

function array(json: unknown, what: string): unknown[] {
  if (!Array.isArray(json)) throw new EditFormatError(`has "${what}" that is not a list`);
  return json;
}

function natural(json: unknown, what: string): number {
  if (typeof json === 'number' && Number.isSafeInteger(json) && json >= 0) return json;
  throw new EditFormatError(`has "${what}" that is not a whole number`);
}

function naturals(json: unknown, what: string): number[] {
  return array(json, what).map((item) => natural(item, what));
}

function text(json: unknown, what: string): string {
  if (typeof json === 'string') return json;
  throw new EditFormatError(`has "${what}" that is not text`);
}

function base64(json: unknown, what: string): Uint8Array {
  const encoded = text(json, what);
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') === encoded) return new Uint8Array(bytes);
  throw new EditFormatError(`has "${what}" that is not base64`);
}
