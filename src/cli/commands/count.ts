import type { Command } from 'commander';
import {
  type CommandContext,
  type CommonOptions,
  newCommand,
  openForReading,
  withDatabase,
} from './command.js';
import { addRangeOptions, type RangeArguments, readRange } from './range.js';

interface CountOptions extends CommonOptions, RangeArguments {}

export function countCommand({ output }: CommandContext): Command {
  const command = newCommand(
    'count',
    'Count the keys of a range, or all. Reads them: the time grows with the range.',
    'lightning-db count --path ./data --prefix user:',
  );
  return addRangeOptions(command).action(async (options: CountOptions) => {
    const count = await withDatabase(openForReading(options), async (db) => {
      let entries = 0;
      for await (const batch of db.scan({ ...readRange(options), values: false }).batches()) {
        entries += batch.length;
      }
      return entries;
    });
    await (options.json ? output.json({ count }) : output.line(String(count)));
  });
}
