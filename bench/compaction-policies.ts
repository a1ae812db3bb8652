/**
 * `node dist/dev/compaction-policies.js [--flushes N] [--fanout N] [--upper-runs N]`
 *
 * Compares compaction policies on simulated shards: tables are lists of keys, planned, cut and merged
 * as the product does it. One flush is 7.5 MB of table, as a memtable of 32 MiB makes it of records
 * of 250 bytes that compress to about half; 925 flushes are 50 million records, a shard's half of 100
 * million. Write amplification is in bytes of tables written for each byte of table flushed: to have
 * it in bytes of records, multiply by what compression leaves (0.55).
 */

import { parseArgs } from 'node:util';
import { PICK_DEFAULTS, type Pick, type PickOptions } from '../src/compaction/pick-compaction.js';
import { seededRandom } from '../src/file-system/memory.js';
import type { TableInfo } from '../src/sstable/table-info.js';
import { SimulatedShard, type SimulatedShardOptions } from '../test/compaction/simulated-shard.js';

const { values: args } = parseArgs({
  options: {
    flushes: { type: 'string', default: '925' },
    fanout: { type: 'string', default: String(PICK_DEFAULTS.fanout) },
    'upper-runs': { type: 'string', default: String(PICK_DEFAULTS.upperRunsMax) },
    waste: { type: 'string', default: String(PICK_DEFAULTS.wasteShare) },
    upper: { type: 'string', default: String(PICK_DEFAULTS.upperShare) },
    only: { type: 'string' },
  },
});
const flushes = Number(args.flushes);

const FLUSH_KEYS = 64;
const ENTRY_BYTES = Math.round(7.5e6 / FLUSH_KEYS);
const TABLE_ENTRIES = Math.round((16 * 1024 * 1024) / ENTRY_BYTES);

type Runs = readonly (readonly TableInfo[])[];
const bytesOf = (tables: readonly TableInfo[]): number =>
  tables.reduce((total, { bytes }) => total + bytes, 0);

/** Levels of one run each, ten times as large from one to the next; a full one goes down whole. */
function leveled(runs: Runs): Pick | undefined {
  const levelOf = (bytes: number): number => {
    let level = 0;
    while (bytes > 7.5e6 * 4 * 10 ** level) level++;
    return level;
  };
  const upper = runs.slice(0, -1);
  const fresh = upper.findIndex((tables) => levelOf(bytesOf(tables)) > 0);
  const young = fresh < 0 ? upper.length : fresh;
  if (young >= 4) {
    const next = upper[young];
    const joins = next !== undefined && levelOf(bytesOf(next)) === 1;
    return { from: 0, to: young + (joins ? 1 : 0), reason: 'similar' };
  }
  for (let i = 0; i + 1 < upper.length; i++) {
    const [a, b] = [bytesOf(upper[i] ?? []), bytesOf(upper[i + 1] ?? [])];
    if (levelOf(a) > 0 && levelOf(a) === levelOf(b))
      return { from: i, to: i + 2, reason: 'similar' };
  }
  return undefined;
}

/** Runs of similar size become one, at every size: nothing is ever leveled. */
function tiered(fanout: number) {
  return (runs: Runs): Pick | undefined => {
    const upper = runs.slice(0, -1);
    for (let from = 0; from + fanout <= upper.length; from++) {
      let bytes = 0;
      let to = from;
      for (; to < upper.length; to++) {
        const next = bytesOf(upper[to] ?? []);
        if (to > from && next * (to - from) > 2 * bytes) break;
        bytes += next;
      }
      if (to - from >= fanout) return { from, to, reason: 'similar' };
    }
    return undefined;
  };
}

const own: Partial<PickOptions> = {
  fanout: Number(args.fanout),
  upperRunsMax: Number(args['upper-runs']),
  wasteShare: Number(args.waste),
  upperShare: Number(args.upper),
};
const policies: Readonly<Record<string, SimulatedShardOptions>> = {
  'leveled, ratio 10': { policy: leveled },
  'lazy leveling, share 0.25, fanout 4': {
    pickOptions: { fanout: 4, wasteShare: 0.25, upperShare: 0.25, upperRunsMax: 10 },
  },
  'tiered, fanout 8': { policy: tiered(8) },
  'lazy leveling by waste (the product)': { pickOptions: own },
};

/** Keys of the n-th flush. */
const workloads: Readonly<Record<string, (random: () => number) => number>> = {
  'new keys': (random) => Math.floor(random() * 2 ** 40),
  overwrites: (random) => Math.floor(random() * ((flushes * FLUSH_KEYS) / 4)),
};

process.stdout.write(
  `${'workload'.padEnd(12)} ${'policy'.padEnd(38)} ${'write'.padStart(7)} ${'space end'.padStart(9)} ` +
    `${'space max'.padStart(9)} ${'runs mean'.padStart(9)} ${'runs max'.padStart(8)} ${'transient'.padStart(9)}\n`,
);
for (const [workload, keyOf] of Object.entries(workloads)) {
  for (const [name, options] of Object.entries(policies)) {
    if (args.only !== undefined && !name.includes(args.only)) continue;
    const shard = new SimulatedShard({
      entryBytes: ENTRY_BYTES,
      tableEntries: TABLE_ENTRIES,
      ...options,
    });
    const random = seededRandom(1);
    for (let i = 0; i < flushes; i++) {
      shard.flush(Array.from({ length: FLUSH_KEYS }, () => keyOf(random)));
    }
    const row = [
      shard.writeAmplification.toFixed(2).padStart(7),
      shard.spaceAmplification.toFixed(2).padStart(9),
      shard.spaceAmplificationMax.toFixed(2).padStart(9),
      shard.runsMean.toFixed(1).padStart(9),
      String(shard.upperRunsMax + 1).padStart(8),
      shard.transientMax.toFixed(2).padStart(9),
    ];
    process.stdout.write(`${workload.padEnd(12)} ${name.padEnd(38)} ${row.join(' ')}\n`);
    if (process.env['PICKS']) console.log(shard.picks);
  }
}
