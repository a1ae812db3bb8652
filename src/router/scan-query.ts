/**
 * What a scan is asked for, checked and encoded: byte bounds, direction, what to hand out, how much.
 */

import { InvalidArgumentError } from '../errors.js';
import { PREFETCH_BLOCKS_MAX } from '../limits.js';
import { booleanOption, checkOptionNames, integerOption, invalidOption } from '../options.js';
import { type Codec, encodeKey } from './codec.js';
import type { KeyScratch } from './key-scratch.js';

/** Options of a scan. Bounds are keys; all that are given hold at once. */
export interface ScanOptions<K = string> {
  /** Greater than. */
  readonly gt?: K | undefined;
  /** Greater than or equal. */
  readonly gte?: K | undefined;
  /** Less than. */
  readonly lt?: K | undefined;
  /** Less than or equal. */
  readonly lte?: K | undefined;
  /**
   * Keys that begin with these bytes. Encodings other than 'utf8' and 'buffer' rarely keep a key's
   * beginning at the beginning of its bytes: with those, pass the bytes.
   */
  readonly prefix?: K | Uint8Array | undefined;
  /** From the largest key to the smallest. Default: false. */
  readonly reverse?: boolean | undefined;
  /** Most entries. Default: all. */
  readonly limit?: number | undefined;
  /** False: values only. Default: true. */
  readonly keys?: boolean | undefined;
  /** False: keys only; values are not even read. Default: true. */
  readonly values?: boolean | undefined;
  /** Blocks read ahead from disk, 0 to 1024. Default: the database's `prefetch`. */
  readonly prefetch?: number | undefined;
}

const OPTION_NAMES = Object.keys({
  gt: true,
  gte: true,
  lt: true,
  lte: true,
  prefix: true,
  reverse: true,
  limit: true,
  keys: true,
  values: true,
  prefetch: true,
} satisfies Record<keyof ScanOptions, true>);

/** One end of a range. */
export interface Bound {
  readonly key: Buffer;
  readonly inclusive: boolean;
}

export type ScanSelect = 'entries' | 'keys' | 'values';

export interface ScanQuery {
  readonly lower: Bound | undefined;
  readonly upper: Bound | undefined;
  readonly reverse: boolean;
  /** Infinity when there is none. */
  readonly limit: number;
  readonly select: ScanSelect;
  readonly prefetchBlocks: number;
  /** No key can lie between the bounds. */
  readonly empty: boolean;
}

/** Checks the options of a scan. Throws `InvalidArgumentError`. */
export function scanQuery(
  options: unknown,
  codec: Codec,
  scratch: KeyScratch,
  prefetchBlocks: number,
): ScanQuery {
  if (options === undefined) return { ...EVERYTHING, prefetchBlocks };
  checkOptionNames(options, OPTION_NAMES, 'the scan options');
  const bound = (name: 'gt' | 'gte' | 'lt' | 'lte'): Bound | undefined => {
    const value = options[name];
    if (value === undefined) return undefined;
    encodeKey(scratch, codec, value, name);
    return { key: scratch.toBuffer(), inclusive: name.length === 3 };
  };
  const prefix = prefixBytes(options['prefix'], codec, scratch);
  const lower = tighter(
    tighter(bound('gt'), bound('gte'), 1),
    prefix && prefix.length > 0 ? { key: prefix, inclusive: true } : undefined,
    1,
  );
  const upper = tighter(tighter(bound('lt'), bound('lte'), -1), prefix && prefixEnd(prefix), -1);
  const limit = integerOption('limit', options['limit'], { min: 0, max: Number.MAX_SAFE_INTEGER });
  return {
    lower,
    upper,
    reverse: booleanOption('reverse', options['reverse']) ?? false,
    limit: limit ?? Number.POSITIVE_INFINITY,
    select: selectOf(options),
    prefetchBlocks:
      integerOption('prefetch', options['prefetch'], {
        min: 0,
        max: PREFETCH_BLOCKS_MAX,
        unit: 'blocks',
      }) ?? prefetchBlocks,
    empty: limit === 0 || isEmptyRange(lower, upper),
  };
}

const EVERYTHING = {
  lower: undefined,
  upper: undefined,
  reverse: false,
  limit: Number.POSITIVE_INFINITY,
  select: 'entries',
  empty: false,
} as const;

function selectOf(options: Readonly<Record<string, unknown>>): ScanSelect {
  const keys = booleanOption('keys', options['keys']) ?? true;
  const values = booleanOption('values', options['values']) ?? true;
  if (keys && values) return 'entries';
  if (keys) return 'keys';
  if (values) return 'values';
  throw new InvalidArgumentError(
    'Options "keys" and "values" cannot both be false: nothing would be handed out',
    { details: { option: 'keys' } },
  );
}

function prefixBytes(prefix: unknown, codec: Codec, scratch: KeyScratch): Buffer | undefined {
  if (prefix === undefined) return undefined;
  if (prefix instanceof Uint8Array && codec.kind !== 'custom') {
    scratch.setBytes(prefix);
  } else if (codec.kind === 'utf8' || codec.kind === 'custom') {
    encodeKey(scratch, codec, prefix, 'prefix');
  } else {
    throw invalidOption('prefix', prefix, 'bytes (a Buffer or Uint8Array)');
  }
  return scratch.toBuffer();
}

/** The first key after all that begin with the prefix: exclusive upper bound, if there is one. */
function prefixEnd(prefix: Buffer): Bound | undefined {
  let last = prefix.length - 1;
  while (last >= 0 && prefix[last] === 0xff) last--;
  if (last < 0) return undefined;
  const key = Buffer.from(prefix.subarray(0, last + 1));
  key[last] = (key[last] as number) + 1;
  return { key, inclusive: false };
}

/** The bound that leaves less: of two lower bounds (`sign` 1) the larger, of two upper (-1) the smaller. */
function tighter(a: Bound | undefined, b: Bound | undefined, sign: 1 | -1): Bound | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  const order = Buffer.compare(a.key, b.key) * sign;
  if (order === 0) return a.inclusive ? b : a;
  return order > 0 ? a : b;
}

function isEmptyRange(lower: Bound | undefined, upper: Bound | undefined): boolean {
  if (lower === undefined || upper === undefined) return false;
  const order = Buffer.compare(lower.key, upper.key);
  return order > 0 || (order === 0 && !(lower.inclusive && upper.inclusive));
}
