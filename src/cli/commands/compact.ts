import type { Command } from 'commander';
import { formatSeconds } from '../number-format.js';
import {
  type CommandContext,
  type CommonOptions,
  newCommand,
  openBytes,
  withDatabase,
} from './command.js';

export function compactCommand({ output }: CommandContext): Command {
  return newCommand(
    'compact',
    'Rewrite the database without what was deleted or replaced.',
    'lightning-db compact --path ./data',
  ).action(async (options: CommonOptions) => {
    const startedAtMs = performance.now();
    await withDatabase(openBytes(options.path, { createIfMissing: false }), async (db) => {
      await db.compact();
    });
    const seconds = (performance.now() - startedAtMs) / 1000;
    await (options.json
      ? output.json({ path: options.path, seconds })
      : output.line(`Compacted "${options.path}" in ${formatSeconds(seconds)}`));
  });
}
