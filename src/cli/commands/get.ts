import type { Command } from 'commander';
import { EXIT_NEGATIVE } from '../exit-codes.js';
import {
  argumentBytes,
  type CommandContext,
  type CommonOptions,
  escapesOption,
  jsonField,
  newCommand,
  openForReading,
  withDatabase,
} from './command.js';

interface GetOptions extends CommonOptions {
  readonly escapes: boolean;
  readonly raw: boolean;
}

/** Exit code 1 when the key is missing. */
export function getCommand({ output, setExitCode }: CommandContext): Command {
  return newCommand(
    'get',
    'Print the value of a key. Exit code 1 when the key is missing.',
    'lightning-db get --path ./data user:42',
  )
    .argument('<key>')
    .addOption(escapesOption())
    .option('--raw', 'print the bytes of the value and nothing else, no newline', false)
    .action(async (text: string, options: GetOptions) => {
      const key = argumentBytes(text, options.escapes);
      const value = await withDatabase(openForReading(options), (db) => db.get(key));
      if (value === undefined) setExitCode(EXIT_NEGATIVE);
      if (options.json) {
        const found = value === undefined ? {} : jsonField('value', value);
        await output.json({ ...jsonField('key', key), found: value !== undefined, ...found });
      } else if (value !== undefined) {
        await output.write(value);
        if (!options.raw) await output.write('\n');
      }
    });
}
