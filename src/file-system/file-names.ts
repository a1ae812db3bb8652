/** Names of the files in a shard's directory. One counter per shard numbers them all. */

export type ShardFileKind = 'manifest' | 'wal' | 'table' | 'blob';

const NUMBER_DIGITS = 10;
const NAME_PATTERN = /^(\d{10,16})\.(manifest|wal|table|blob)$/;

export const CURRENT_NAME = 'CURRENT';
export const TEMPORARY_SUFFIX = '.tmp';

export function shardFileName(kind: ShardFileKind, number: number): string {
  return `${String(number).padStart(NUMBER_DIGITS, '0')}.${kind}`;
}

export interface ShardFileName {
  readonly kind: ShardFileKind;
  readonly number: number;
}

/** What a file is, by its name; undefined for names that are not a numbered file's. */
export function parseShardFileName(name: string): ShardFileName | undefined {
  const match = NAME_PATTERN.exec(name);
  if (match === null) return undefined;
  const number = Number(match[1]);
  const kind = match[2] as ShardFileKind;
  // "00000000007" is not how 7 is written: such a file is not ours.
  return shardFileName(kind, number) === name ? { kind, number } : undefined;
}

export function shardDirectoryName(shard: number): string {
  return `shard-${String(shard).padStart(3, '0')}`;
}
