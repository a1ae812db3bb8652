/**
 * `npm start [-- ADDRESS …]`: loads the networks of the internet, says which of them owns an
 * address, and measures the database on them. Everything it says it has checked.
 */

import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type BulkLoadProgress, LightningDb, LightningError, VERSION } from '../../index.js';
import { EXIT_INTERNAL, EXIT_USAGE, exitCodeOf } from '../exit-codes.js';
import { formatCount, formatRate, formatSeconds } from '../number-format.js';
import { bar, LiveLines, painterFor } from '../terminal.js';
import { type IpAddress, parseIpAddress } from './ip-address.js';
import { type Measured, type MeasureName, measure } from './measurements.js';
import {
  ATTRIBUTION,
  findNetwork,
  formatRange,
  type NetworkTable,
  readNetworks,
} from './networks.js';
import { SecondClient } from './second-client.js';
import { type DiskUse, padVisible, type RateRow, rateTable, sizeLines } from './summary.js';

const USAGE = `Usage: npm start [-- [options] ADDRESS …]

Loads the IP-to-network tables of the internet into ./data/ip-networks, says which
network owns some well-known addresses and the given ones, and measures the database.

Options:
  --shards N      shards of the database (default: one per core)
  --seconds S     time for each measurement (default: 1)
  --help          this text

Example: npm start -- 9.9.9.9 2606:4700:4700::1111
`;

const DIRECTORY = join('data', 'ip-networks');
const WELL_KNOWN = ['8.8.8.8', '1.1.1.1', '2001:4860:4860::8888', '192.168.1.1'] as const;

interface DemoOptions {
  readonly addresses: readonly (readonly [text: string, address: IpAddress])[];
  readonly shards: number | undefined;
  readonly seconds: number;
}

const paint = painterFor(process.stdout);
const live = process.stdout.isTTY ? new LiveLines(process.stdout) : undefined;
const say = (line = ''): void => {
  process.stdout.write(`${line}\n`);
};

async function run(options: DemoOptions): Promise<void> {
  const startedAtMs = performance.now();
  const shards = options.shards ?? availableParallelism();
  say(
    `${paint('bold', paint('yellow', '⚡ Lightning DB'))} ${VERSION}  ` +
      paint(
        'dim',
        `Node ${process.versions.node}, ${availableParallelism()} cores, ${shards} shards`,
      ),
  );
  say();
  const table = await readNetworks();
  await load(table, options.shards);
  const loaded = diskUse(DIRECTORY);
  const db = await LightningDb.open(DIRECTORY, { createIfMissing: false });
  try {
    say();
    sayOwners(db, options.addresses);
    say();
    const rows = await measureAll(db, table, options.seconds);
    for (const line of rateTable(rows, paint)) say(`  ${line}`);
    await db.flush();
  } finally {
    await db.close();
  }
  say();
  saySizes(table, loaded);
  say(paint('dim', ATTRIBUTION));
  say(paint('dim', `Done in ${formatSeconds((performance.now() - startedAtMs) / 1000)}.`));
}

/** Builds the database anew from the table. */
async function load(table: NetworkTable, shards: number | undefined): Promise<void> {
  await removeOwnData();
  const records = table.keys.length;
  const onProgress = ({ phase, records: taken, mergedShare }: BulkLoadProgress): void => {
    const share = phase === 'done' ? 1 : (taken / records) * 0.7 + mergedShare * 0.3;
    live?.draw([
      `  ${paint('cyan', bar(share, 40, '·'))} ${formatCount(taken)} of ${formatCount(records)}`,
    ]);
  };
  const result = await LightningDb.bulkLoad(DIRECTORY, entriesOf(table), {
    ...(shards === undefined ? {} : { shards }),
    onProgress,
    progressIntervalMs: 50,
  });
  live?.clear();
  say(
    `Loaded ${paint('bold', formatCount(result.records))} networks in ` +
      `${formatSeconds(result.seconds.total)} (${formatRate(result.recordsPerSecond)}) ` +
      `into ${formatCount(result.tables)} sorted tables.`,
  );
}

function* entriesOf({ keys, values }: NetworkTable): Generator<[string, string]> {
  for (let i = 0; i < keys.length; i++) yield [keys[i] ?? '', values[i] ?? ''];
}

/** Removes what an earlier run left; never a directory that is something else. */
async function removeOwnData(): Promise<void> {
  if (!existsSync(DIRECTORY)) return;
  const names = readdirSync(DIRECTORY);
  if (names.length > 0 && !names.includes('DATABASE') && !names.includes('LOCK')) {
    throw new LightningError(
      'LIGHTNING_NOT_A_DATABASE',
      `"${DIRECTORY}" is not a database of an earlier run: move it away and start again`,
    );
  }
  await refuseIfOpen();
  rmSync(DIRECTORY, { recursive: true });
}

/** Whoever has the data open would lose it under its feet. Any other trouble with it ends now. */
async function refuseIfOpen(): Promise<void> {
  try {
    const db = await LightningDb.open(DIRECTORY, { readOnly: true });
    await db.close();
  } catch (error) {
    if (error instanceof LightningError && error.code === 'LIGHTNING_LOCKED') throw error;
  }
}

function sayOwners(db: LightningDb, addresses: DemoOptions['addresses']): void {
  const width = Math.max(...addresses.map(([text]) => text.length));
  say(`Who owns it? ${paint('dim', 'One backward step from the address, in the order of keys.')}`);
  for (const [text, address] of addresses) {
    const network = findNetwork(db, address);
    const owner =
      network === undefined
        ? paint('dim', 'no network')
        : `${paint('green', padVisible(`AS${network.asn}`, 9))} ${network.organization}  ` +
          paint('dim', formatRange(network));
    say(`  ${text.padEnd(width)}  ${owner}`);
  }
}

const MEASUREMENTS: readonly (readonly [label: string, name: MeasureName, twice: boolean])[] = [
  ['full scan', 'scan', false],
  ['getSync, random', 'sync', true],
  ['get, 256 in flight', 'in flight', true],
  ['get, one at a time', 'alone', true],
  ['getMany of 256', 'many', true],
  ['owner of an address', 'lookup', true],
  ['overwrite, batches of 1000', 'overwrite', true],
];

async function measureAll(
  db: LightningDb,
  table: NetworkTable,
  seconds: number,
): Promise<RateRow[]> {
  const rounds = new Int32Array(new SharedArrayBuffer(table.keys.length * 4));
  const context = { db, table, rounds, client: 0, clients: 1, seconds };
  say(`Measured on these records. ${paint('dim', 'Every answer is compared with the source.')}`);
  const client = await SecondClient.start(db.share(), table, rounds);
  try {
    const rows: RateRow[] = [];
    for (const [label, name, twice] of MEASUREMENTS) {
      live?.draw([paint('dim', `  ${label} …`)]);
      const one = await measure(name, context);
      const two = twice ? await together(client, name, { ...context, clients: 2 }) : undefined;
      rows.push({ label, one, two });
    }
    // What the overwrites left must be what both clients think they wrote.
    await measure('scan', context);
    return rows;
  } finally {
    live?.clear();
    await client.close();
  }
}

/** Both clients at once; their operations over the longer of the two times. */
async function together(
  client: SecondClient,
  name: MeasureName,
  context: Parameters<typeof measure>[1],
): Promise<Measured> {
  const [theirs, ours] = await Promise.all([
    client.measure(name, context.seconds),
    measure(name, context),
  ]);
  return {
    operations: theirs.operations + ours.operations,
    seconds: Math.max(theirs.seconds, ours.seconds),
  };
}

function saySizes({ keys, values }: NetworkTable, loaded: DiskUse): void {
  let rawBytes = 0;
  for (const text of [keys, values]) {
    for (const part of text) rawBytes += Buffer.byteLength(part);
  }
  for (const line of sizeLines(keys.length, rawBytes, loaded, diskUse(DIRECTORY))) say(line);
  say(`Files  ${DIRECTORY}`);
  say(`Try    node dist/cli.js scan --path ${DIRECTORY} --prefix 4:0808 --limit 5`);
}

function diskUse(directory: string): DiskUse {
  let bytes = 0;
  let files = 0;
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const entry = statSync(join(directory, name));
    if (!entry.isFile()) continue;
    bytes += entry.size;
    files++;
  }
  return { bytes, files };
}

/** Reads the command line; undefined when only help was asked for. */
function readOptions(args: string[]): DemoOptions | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      shards: { type: 'string' },
      seconds: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  return {
    addresses: [...WELL_KNOWN, ...positionals].map((text) => [text, parseIpAddress(text)]),
    shards: values.shards === undefined ? undefined : wholeNumber('--shards', values.shards),
    seconds: wholeNumber('--seconds', values.seconds),
  };
}

function wholeNumber(name: string, text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new LightningError(
    'LIGHTNING_INVALID_ARGUMENT',
    `${name} takes a whole number, not "${text}"`,
  );
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) say(USAGE.trimEnd());
  else await run(options);
} catch (error) {
  const usage = error instanceof TypeError && 'code' in error;
  const known = error instanceof LightningError;
  const text = known || usage ? error.message : error instanceof Error ? error.stack : error;
  process.stderr.write(`${paint('red', 'error')}: ${text}\n`);
  process.exitCode = known ? exitCodeOf(error.code) : usage ? EXIT_USAGE : EXIT_INTERNAL;
}
