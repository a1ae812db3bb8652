import type { Command } from 'commander';
import { toJson } from '../output.js';
import { escapeField } from '../text-escape.js';
import {
  type CommandContext,
  type CommonOptions,
  jsonField,
  newCommand,
  openForReading,
  wholeNumber,
  withDatabase,
} from './command.js';
import { addRangeOptions, type RangeArguments, readRange } from './range.js';

interface ScanCommandOptions extends CommonOptions, RangeArguments {
  readonly reverse: boolean;
  readonly limit?: number;
  readonly keys: boolean;
  readonly values: boolean;
}

export function scanCommand({ output }: CommandContext): Command {
  const command = newCommand(
    'scan',
    'Print entries in the order of keys: key, tab, value. With --json, one object a line.',
    'lightning-db scan --path ./data --prefix user: --limit 10\n' +
      'lightning-db scan --path ./data --gte a --lt b --reverse --keys | wc -l',
  );
  return addRangeOptions(command)
    .option('--reverse', 'from the last key to the first', false)
    .option('--limit <count>', 'most entries to print', wholeNumber(0))
    .option('--keys', 'print keys only', false)
    .option('--values', 'print values only', false)
    .action(async (options: ScanCommandOptions) => {
      const { reverse, limit } = options;
      const print = lineOf(options);
      const range = { ...readRange(options), reverse, ...(limit === undefined ? {} : { limit }) };
      await withDatabase(openForReading(options), async (db) => {
        for await (const entries of db.scan(range).batches()) {
          let text = '';
          for (const [key, value] of entries) text += print(key, value);
          await output.write(text);
          if (output.closed) return;
        }
      });
    });
}

/** How one entry is printed, newline included. */
function lineOf(options: ScanCommandOptions): (key: Buffer, value: Buffer) => string {
  // Both, or neither: the whole entry.
  const keys = options.keys || !options.values;
  const values = options.values || !options.keys;
  if (options.json) {
    return (key, value) =>
      `${toJson({ ...(keys ? jsonField('key', key) : {}), ...(values ? jsonField('value', value) : {}) })}\n`;
  }
  if (!values) return (key) => `${escapeField(key)}\n`;
  if (!keys) return (_, value) => `${escapeField(value)}\n`;
  return (key, value) => `${escapeField(key)}\t${escapeField(value)}\n`;
}
