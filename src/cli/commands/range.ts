/** The range options of `scan` and `count`. */

import type { Command } from 'commander';
import type { ScanOptions } from '../../index.js';
import { argumentBytes, escapesOption } from './command.js';

export interface RangeArguments {
  readonly prefix?: string;
  readonly gte?: string;
  readonly gt?: string;
  readonly lte?: string;
  readonly lt?: string;
  readonly escapes: boolean;
}

const BOUNDS = ['prefix', 'gte', 'gt', 'lte', 'lt'] as const;

export function addRangeOptions(command: Command): Command {
  return command
    .option('--prefix <text>', 'keys that begin with this')
    .option('--gte <key>', 'keys from this one on')
    .option('--gt <key>', 'keys after this one')
    .option('--lte <key>', 'keys up to this one')
    .option('--lt <key>', 'keys before this one')
    .addOption(escapesOption());
}

/** The bounds that were given, as bytes. */
export function readRange(options: RangeArguments): ScanOptions<Buffer> {
  const range: { -readonly [K in (typeof BOUNDS)[number]]?: Buffer } = {};
  for (const bound of BOUNDS) {
    const text = options[bound];
    if (text !== undefined) range[bound] = argumentBytes(text, options.escapes);
  }
  return range;
}
