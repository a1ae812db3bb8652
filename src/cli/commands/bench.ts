import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { InvalidArgumentError } from '../../index.js';
import { lightningKind } from '../bench/lightning-store.js';
import type { Measurement } from '../bench/measurement.js';
import { NULL_STORE, nullKind, UncheckedRecords } from '../bench/null-store.js';
import { KEY_BYTES, RECORDS_MAX, Records, VALUE_BYTES } from '../bench/records.js';
import { reportPage } from '../bench/report/page.js';
import { type BenchResult, RESULT_FORMAT, type StoreResult, thisMachine } from '../bench/result.js';
import { resultTable } from '../bench/result-table.js';
import { runRound } from '../bench/round.js';
import { OPEN_AFTER_KILL, WORKLOAD_NAMES } from '../bench/suites.js';
import { formatCount, formatRate } from '../number-format.js';
import { type CommandContext, wholeNumber } from './command.js';

interface BenchOptions {
  readonly path: string;
  readonly json: boolean;
  readonly records: number;
  readonly shards: number;
  readonly cache: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly only?: string;
  readonly report?: string;
}

/** Nothing here is killed. */
const WORKLOADS = WORKLOAD_NAMES.filter((name) => name !== OPEN_AFTER_KILL);
const SEED = 42;
const CACHE_MIB = 1024;
const MEMTABLE_BYTES = 32 << 20;
const OPEN_LOOP_PER_SECOND = 10_000;

/** Measures this machine: fresh databases below `--path`, removed again. */
export function benchCommand(context: CommandContext): Command {
  return new Command('bench')
    .description(
      'Measure the database on this machine. Fills fresh databases in a new directory below ' +
        '--path, reads, scans and overwrites them, verifies what it reads, and removes them.',
    )
    .summary('Measure the database on this machine')
    .option('-p, --path <directory>', 'where the databases are made', tmpdir())
    .option('--records <count>', 'records of 250 bytes', wholeNumber(1), 200_000)
    .option('--shards <count>', 'shards', wholeNumber(1), availableParallelism())
    .option('--cache <MiB>', 'size of the block cache', wholeNumber(1), CACHE_MIB)
    .option('--rounds <count>', 'rounds; the median counts', wholeNumber(1), 1)
    .addOption(
      new Option('--seconds <count>', 'how long each workload without an end of its own goes on')
        .argParser(positiveNumber)
        .default(1),
    )
    .option('--only <names>', 'workloads: beginnings of their names, separated by commas')
    .option('--report <file>', 'write a report with charts: one HTML file')
    .option('--json', 'print JSON, for programs', false)
    .addHelpText('after', `\nWorkloads:\n  ${WORKLOADS.join('\n  ')}\n\n${EXAMPLE}`)
    .action((options: BenchOptions) => bench(context, options));
}

const EXAMPLE =
  'Example:\n  lightning-db bench --records 1000000 --only fillrandom,readrandom --report bench.html';

function positiveNumber(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError(
    `Option "--seconds" must be a number above 0, but it is "${text}"`,
  );
}

async function bench({ output, notes }: CommandContext, options: BenchOptions): Promise<void> {
  const only = checkOnly(options.only);
  if (options.records > RECORDS_MAX) {
    throw new InvalidArgumentError(
      `Option "--records" must be at most ${formatCount(RECORDS_MAX)}, but it is ${options.records}`,
    );
  }
  mkdirSync(options.path, { recursive: true });
  const directory = mkdtempSync(join(options.path, 'lightning-db-bench-'));
  const { records: count, shards, rounds, seconds } = options;
  const cacheBytes = options.cache * 2 ** 20;
  const kind = lightningKind({
    shards,
    cacheBytes,
    memtableBytes: MEMTABLE_BYTES,
  });
  const store: StoreResult = { name: kind.name, ...kind.describe(), rounds: [] };
  const harness: StoreResult = { name: NULL_STORE, version: '', configuration: '', rounds: [] };
  const startedAt = new Date().toISOString();
  const shared = {
    directory,
    seconds,
    seed: SEED,
    only,
    suite: 'all',
    openLoopPerSecond: OPEN_LOOP_PER_SECOND,
  } as const;
  const note = ({ name, perSecond }: Measurement): void => {
    if (!options.json) notes.write(`${name.padEnd(34)} ${formatRate(perSecond)}\n`);
  };
  try {
    for (let round = 0; round < rounds; round++) {
      store.rounds.push(
        await runRound(kind, {
          ...shared,
          records: new Records(count, SEED),
          clientEntry: new URL('./bench-client.js', import.meta.url),
          onMeasured: note,
        }),
      );
    }
    const records = new UncheckedRecords(count, SEED);
    harness.rounds.push(
      await runRound(nullKind(records), {
        ...shared,
        records,
        seconds: Math.min(0.25, seconds),
        clientEntry: undefined,
      }),
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const result: BenchResult = {
    format: RESULT_FORMAT,
    startedAt,
    machine: thisMachine(),
    settings: {
      records: count,
      keyBytes: KEY_BYTES,
      valueBytes: VALUE_BYTES,
      shards,
      rounds,
      secondsPerWorkload: seconds,
      seed: SEED,
      openLoopPerSecond: OPEN_LOOP_PER_SECOND,
      cacheBytes,
    },
    stores: [store, harness],
  };
  if (options.report !== undefined) writeFileSync(options.report, reportPage([result]));
  if (options.json) await output.json(result);
  else await output.line(resultTable(store).join('\n'));
}

/** Refuses names that no workload begins with: a slip would measure nothing. */
function checkOnly(only: string | undefined): string[] | undefined {
  const names = only?.split(',').map((name) => name.trim());
  for (const name of names ?? []) {
    if (name !== '' && WORKLOADS.some((workload) => workload.startsWith(name))) continue;
    throw new InvalidArgumentError(
      `Option "--only" must be beginnings of workloads' names, but it has "${name}"`,
    );
  }
  return names;
}
