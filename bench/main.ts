/**
 * `npm run bench -- [--records N] [--rounds N] [--shards N] [--only a,b] [--json FILE] …`
 *
 * Runs the workloads, on Lightning DB alone or with `--peers` beside other stores: round after round,
 * the stores taking turns, each in a process of its own. See bench/README.md.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { LIGHTNING } from '../src/cli/bench/lightning-store.js';
import { NULL_STORE } from '../src/cli/bench/null-store.js';
import { KEY_BYTES, VALUE_BYTES } from '../src/cli/bench/records.js';
import { excerptImage } from '../src/cli/bench/report/excerpt.js';
import { reportPage } from '../src/cli/bench/report/page.js';
import {
  type BenchResult,
  RESULT_FORMAT,
  type StoreResult,
  thisMachine,
} from '../src/cli/bench/result.js';
import { resultTable } from '../src/cli/bench/result-table.js';
import type { Suite } from '../src/cli/bench/suites.js';
import { markdownOf } from './markdown.js';
import { projectionSection } from './projection.js';
import {
  inRoundProcess,
  type RoundOutcome,
  runCrashProcess,
  runRoundProcess,
} from './round-process.js';
import { installedPeers } from './stores.js';
import { targetOutcomes, targetTable, targetText } from './target-table.js';

const { values: args } = parseArgs({
  options: {
    records: { type: 'string', default: '1000000' },
    rounds: { type: 'string' },
    shards: { type: 'string', default: '2' },
    cache: { type: 'string', default: '1024' },
    seconds: { type: 'string' },
    rate: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '42' },
    only: { type: 'string' },
    suite: { type: 'string' },
    peers: { type: 'boolean', default: false },
    stores: { type: 'string' },
    json: { type: 'string' },
    report: { type: 'string' },
    svg: { type: 'string' },
    markdown: { type: 'string' },
    merge: { type: 'string' },
    directory: { type: 'string', default: tmpdir() },
    round: { type: 'string' },
    crash: { type: 'string' },
  },
});

/** Beyond so many records, one round of fewer workloads is the default. */
const LARGE_RECORDS = 5_000_000;
/** Of Lightning DB; the other stores have 1 GiB. */
const CACHE_BYTES = Number(args.cache) * 2 ** 20;
const MEMTABLE_BYTES = 32 << 20;

async function main(): Promise<void> {
  if (args.round !== undefined) return runRoundProcess(args.round);
  if (args.crash !== undefined) return runCrashProcess(args.crash);
  if (args.merge !== undefined) return mergeReports(args.merge.split(','));
  const result = await runAll();
  const text = args.peers || args.stores !== undefined ? targetTable(result) : [];
  const [own] = result.stores;
  const tables = own === undefined ? [] : resultTable(own);
  process.stdout.write(`${[...tables, '', ...text].join('\n')}\n`);
  if (args.json !== undefined) writeFileSync(args.json, `${JSON.stringify(result, null, 1)}\n`);
  writeAll([result]);
  const all = result.stores.flatMap(({ rounds }) => rounds.flat());
  if (all.some(({ failed }) => failed !== undefined)) process.exitCode = 1;
}

function mergeReports(files: readonly string[]): void {
  const results = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as BenchResult);
  writeAll(results);
}

/** What is made from results: the page, the image, the tables as Markdown. */
function writeAll(results: readonly BenchResult[]): void {
  const [main] = results;
  if (args.report !== undefined) writeReport(args.report, results);
  const image = main === undefined ? undefined : excerptImage(main);
  if (args.svg !== undefined && image !== undefined) writeFileSync(args.svg, image);
  if (args.markdown !== undefined) writeFileSync(args.markdown, markdownOf(results));
}

function writeReport(file: string, results: readonly BenchResult[]): void {
  const [main] = results;
  const rows = main === undefined || main.stores.length < 3 ? [] : targetOutcomes(main);
  writeFileSync(
    file,
    reportPage(
      results,
      rows.map(({ target, ...row }) => ({
        ...row,
        title: target.title,
        target: targetText(target),
      })),
      [projectionSection(results)],
    ),
  );
}

async function runAll(): Promise<BenchResult> {
  const large = Number(args.records) > LARGE_RECORDS;
  const rounds = Number(args.rounds ?? (large ? 1 : 3));
  const shards = Number(args.shards);
  const suite = suiteOf(args.suite ?? (args.peers ? 'targets' : large ? 'large' : 'all'));
  const names = args.stores?.split(',') ?? [LIGHTNING, ...(args.peers ? installedPeers() : [])];
  const spec = {
    settings: { shards, cacheBytes: CACHE_BYTES, memtableBytes: MEMTABLE_BYTES },
    records: Number(args.records),
    seed: Number(args.seed),
    // Many stores, and ten minutes for all of them.
    seconds: Number(args.seconds ?? (args.peers ? 0.7 : 1)),
    only: args.only?.split(','),
    suite,
    openLoopPerSecond: Number(args.rate),
  };
  const stores = names.map(
    (name): StoreResult => ({ name, version: '', configuration: '', rounds: [], peakBytes: [] }),
  );
  const startedAt = new Date().toISOString();
  process.stderr.write(`${NULL_STORE}\n`);
  const alone = {
    ...spec,
    store: NULL_STORE,
    // It costs the same, however many there are.
    records: Math.min(1_000_000, spec.records),
    seconds: Math.min(0.3, spec.seconds),
  };
  const harness = await inRoundProcess(alone, args.directory);
  for (let round = 0; round < rounds; round++) {
    for (const [index, store] of stores.entries()) {
      process.stderr.write(`round ${round + 1} of ${rounds}: ${store.name}\n`);
      const startedAtMs = performance.now();
      const outcome = await inRoundProcess({ ...spec, store: store.name }, args.directory);
      process.stderr.write(`  ${((performance.now() - startedAtMs) / 1000).toFixed(0)} s\n`);
      stores[index] = withRound(stores[index] as StoreResult, outcome);
      if (store.name === LIGHTNING) noteResident(outcome, harness, shards);
    }
  }
  const none: StoreResult = { name: NULL_STORE, version: '', configuration: '', rounds: [] };
  return {
    format: RESULT_FORMAT,
    startedAt,
    machine: thisMachine(),
    settings: {
      records: spec.records,
      keyBytes: KEY_BYTES,
      valueBytes: VALUE_BYTES,
      shards,
      rounds,
      secondsPerWorkload: spec.seconds,
      seed: spec.seed,
      openLoopPerSecond: spec.openLoopPerSecond,
      cacheBytes: CACHE_BYTES,
    },
    stores: [...stores, withRound(none, harness)],
  };
}

function suiteOf(name: string): Suite {
  if (name === 'targets' || name === 'all' || name === 'large') return name;
  throw new Error(`--suite is "targets", "all" or "large", not "${name}"`);
}

function withRound(store: StoreResult, outcome: RoundOutcome): StoreResult {
  return {
    ...store,
    version: outcome.version,
    configuration: outcome.configuration,
    rounds: [...store.rounds, outcome.measurements],
    peakBytes: [...(store.peakBytes ?? []), outcome.peakBytes],
  };
}

/** The bound that the README promises, beside what a round of a store that does nothing ends with. */
function noteResident({ endBytes }: RoundOutcome, harness: RoundOutcome, shards: number): void {
  const bound = CACHE_BYTES + 2 * MEMTABLE_BYTES * shards + 150 * 2 ** 20;
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  process.stdout.write(
    `  resident: ${mebibytes(endBytes - harness.endBytes)} over what the benchmark itself takes ` +
      `(bound: cache + 2 × memtables + 150 MB = ${mebibytes(bound)})\n`,
  );
}

await main();
