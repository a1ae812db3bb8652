import type { Command } from 'commander';
import { formatCount } from '../number-format.js';
import {
  type CommandContext,
  type CommonOptions,
  newCommand,
  openForReading,
  withDatabase,
} from './command.js';

export function statsCommand({ output }: CommandContext): Command {
  return newCommand(
    'stats',
    'Print what the database consists of: shards, tables, sizes.',
    'lightning-db stats --path ./data --json',
  ).action(async (options: CommonOptions) => {
    const stats = await withDatabase(openForReading(options), async (db) => db.stats());
    if (options.json) await output.json(stats);
    else await output.line(treeOf(stats, '').join('\n'));
  });
}

/** `name  value` lines; what belongs together is indented under its name. */
function treeOf(value: object, indent: string): string[] {
  const entries = Object.entries(value) as [string, unknown][];
  const width = Math.max(0, ...entries.map(([name]) => name.length));
  return entries.flatMap(([name, part]) => {
    if (typeof part !== 'object' || part === null) {
      return [`${indent}${name.padEnd(width)}  ${textOf(part)}`];
    }
    return [`${indent}${name}`, ...treeOf(part, `${indent}  `)];
  });
}

function textOf(value: unknown): string {
  if (typeof value === 'number' && Number.isInteger(value)) return formatCount(value);
  return typeof value === 'number' ? value.toFixed(2) : String(value);
}
