import type { WriteStream } from 'node:tty';
import { type Command, Option } from 'commander';
import {
  type BulkLoadFormat,
  type BulkLoadOptions,
  type BulkLoadResult,
  type BulkLoadSelector,
  InvalidArgumentError,
  LightningDb,
} from '../../index.js';
import { EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED } from '../exit-codes.js';
import { LoadProgress } from '../load-progress.js';
import {
  formatBytes,
  formatCount,
  formatPlural,
  formatRate,
  formatSeconds,
} from '../number-format.js';
import { type CommandContext, type CommonOptions, newCommand, wholeNumber } from './command.js';

interface LoadOptions extends CommonOptions {
  readonly format?: BulkLoadFormat;
  readonly key?: string;
  readonly value?: string;
  readonly header?: boolean;
  readonly delimiter?: string;
  readonly onError: 'stop' | 'skip';
  readonly rejects?: string;
  readonly shards?: number;
}

/** Ctrl-C, and SIGTERM, leave the database as it was. */
export function loadCommand(context: CommandContext): Command {
  return newCommand(
    'load',
    'Load a file of records (CSV, TSV, NDJSON, JSON; gzip too), or standard input with "-". ' +
      'All of it becomes visible at once at the end; stopped before, the database stays as it was.',
    'lightning-db load users.csv --path ./data --key id\n' +
      'lightning-db load events.ndjson.gz --path ./data --key "event:{time}:{id}" --on-error skip\n' +
      'zcat dump.csv.gz | lightning-db load - --path ./data --format csv',
  )
    .argument('<file>', 'the file, or - for standard input')
    .addOption(
      new Option('--format <format>', 'default: guessed from name and content').choices([
        'csv',
        'tsv',
        'ndjson',
        'json',
      ]),
    )
    .option('--key <column>', 'column number (from 0), name, field path or template "user:{id}"')
    .option('--value <column>', 'likewise; default: the whole record as JSON')
    .option('--header', 'CSV, TSV: the first row names the columns (default: guessed)')
    .option('--no-header', 'CSV, TSV: the first row is a record')
    .option('--delimiter <character>', 'CSV: what stands between columns')
    .addOption(
      new Option('--on-error <action>', 'what a record that cannot be read does')
        .choices(['stop', 'skip'])
        .default('stop'),
    )
    .option('--rejects <file>', 'with --on-error skip: write rejected records there')
    .option('--shards <count>', 'shards of a new database; default: one per core', wholeNumber(1))
    .action((file: string, options: LoadOptions) => load(context, file, options));
}

async function load(
  { input, output, notes, setExitCode }: CommandContext,
  file: string,
  options: LoadOptions,
): Promise<void> {
  if (options.rejects !== undefined && options.onError !== 'skip') {
    throw new InvalidArgumentError('Option "--rejects" needs "--on-error skip"');
  }
  const interruption = new AbortController();
  const interrupt = (signal: NodeJS.Signals): void => {
    setExitCode(signal === 'SIGTERM' ? EXIT_TERMINATED : EXIT_INTERRUPTED);
    interruption.abort();
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const progress = new LoadProgress(notes as WriteStream, { quiet: options.json });
  try {
    const result = await LightningDb.bulkLoad(options.path, file === '-' ? input : file, {
      ...bulkLoadOptions(options),
      signal: interruption.signal,
      onProgress: (report) => progress.show(report),
    });
    progress.end();
    // The interruption came too late: everything is in.
    setExitCode(EXIT_OK);
    if (options.json) await output.json({ path: options.path, ...result });
    else await output.line(summaryOf(result, options));
  } finally {
    progress.end();
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

function bulkLoadOptions(options: LoadOptions): BulkLoadOptions & { readonly shards?: number } {
  const { format, key, value, header, delimiter, onError, rejects, shards } = options;
  return {
    ...(format === undefined ? {} : { format }),
    ...(key === undefined ? {} : { key: selectorOf(key) }),
    ...(value === undefined ? {} : { value: selectorOf(value) }),
    ...(header === undefined ? {} : { header }),
    ...(delimiter === undefined ? {} : { delimiter }),
    ...(rejects === undefined ? {} : { rejectsFile: rejects }),
    ...(shards === undefined ? {} : { shards }),
    onError,
  };
}

function selectorOf(text: string): BulkLoadSelector {
  return /^\d{1,6}$/.test(text) ? Number(text) : text;
}

function summaryOf(result: BulkLoadResult, { path, rejects }: LoadOptions): string {
  const { records, duplicates, rejected, tables, bytesOut, seconds, recordsPerSecond } = result;
  const lines = [
    `Loaded ${formatPlural(records, 'record')} into "${path}" in ${formatSeconds(seconds.total)} ` +
      `(${formatRate(recordsPerSecond)}): ${formatBytes(bytesOut)} in ` +
      `${formatPlural(tables, 'table')}, ${formatPlural(result.shards.length, 'shard')}`,
  ];
  if (duplicates > 0) {
    lines.push(`${formatCount(duplicates)} replaced by a later record with the same key`);
  }
  if (rejected > 0) {
    const where = rejects === undefined ? '' : `; they are in "${rejects}"`;
    lines.push(`${formatCount(rejected)} could not be read and left out${where}`);
    for (const { file, line, reason } of result.rejects.slice(0, 5)) {
      lines.push(`  ${file}:${line}: ${reason}`);
    }
  }
  return lines.join('\n');
}
