import { buffer } from 'node:stream/consumers';
import type { Command } from 'commander';
import {
  argumentBytes,
  type CommandContext,
  type CommonOptions,
  escapesOption,
  jsonField,
  newCommand,
  openBytes,
  withDatabase,
} from './command.js';

interface PutOptions extends CommonOptions {
  readonly escapes: boolean;
  readonly create: boolean;
}

export function putCommand({ output, input }: CommandContext): Command {
  return newCommand(
    'put',
    'Set the value of a key. The value comes from standard input when it is left out. ' +
      'Done when it is on the medium.',
    'lightning-db put --path ./data user:42 \'{"name":"Ada"}\'\n' +
      'lightning-db put --path ./data logo < logo.png',
  )
    .argument('<key>')
    .argument('[value]')
    .addOption(escapesOption())
    .option('--create', 'create the database when there is none', false)
    .action(async (text: string, valueText: string | undefined, options: PutOptions) => {
      const key = argumentBytes(text, options.escapes);
      const value =
        valueText === undefined ? await buffer(input) : argumentBytes(valueText, options.escapes);
      const config = { createIfMissing: options.create, walSyncMode: 'sync' as const };
      await withDatabase(openBytes(options.path, config), (db) => db.put(key, value));
      if (options.json) await output.json({ ...jsonField('key', key), valueBytes: value.length });
    });
}
