import type { Command } from 'commander';
import {
  argumentBytes,
  type CommandContext,
  type CommonOptions,
  escapesOption,
  newCommand,
  openBytes,
  withDatabase,
} from './command.js';

interface DeleteOptions extends CommonOptions {
  readonly escapes: boolean;
}

export function deleteCommand({ output }: CommandContext): Command {
  return newCommand(
    'delete',
    'Delete keys, all of them or none. A key that is missing is no error. ' +
      'Done when it is on the medium.',
    'lightning-db delete --path ./data user:42 user:43',
  )
    .argument('<key...>')
    .addOption(escapesOption())
    .action(async (texts: readonly string[], options: DeleteOptions) => {
      const config = { createIfMissing: false, walSyncMode: 'sync' as const };
      await withDatabase(openBytes(options.path, config), async (db) => {
        const batch = db.batch();
        for (const text of texts) batch.delete(argumentBytes(text, options.escapes));
        await batch.write();
      });
      if (options.json) await output.json({ keys: texts.length });
    });
}
