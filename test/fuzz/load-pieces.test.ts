/**
 * The parsers of a bulk load over hostile text, a piece at a time. Each input is parsed twice, with
 * other bytes around it: these must be untouched, and must not make a difference. Entries lie inside
 * of their slot.
 */
import { describe, expect, it } from 'vitest';
import { runChunkJob } from '../../src/bulk-load/chunk-job.js';
import type { RecordFormat } from '../../src/bulk-load/load-jobs.js';
import {
  createLoadMemory,
  planLoadLayout,
  slotAddress,
  textAddress,
} from '../../src/bulk-load/load-memory.js';
import type { BulkLoadOptions } from '../../src/bulk-load/options.js';
import { RejectLog } from '../../src/bulk-load/reject-log.js';
import { decideTextFormat } from '../../src/bulk-load/text-format.js';
import { WorkArea } from '../../src/bulk-load/work-area.js';
import { LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { kernelModule, readRun } from '../bulk-load/load-kernel.js';
import { INPUTS, Mutator, SEED } from './mutations.js';

const MIB = 1024 * 1024;
const SHARDS = 2;
const SLOT = 0;
const WORK = 0;
const TEXT = 1;
const layout = planLoadLayout({ memoryBytes: 16 * MIB, jobs: 1 });
const memory = createLoadMemory(layout);
const kernel = new Kernel(kernelModule, memory);
const { bytes } = kernel;
const fs = new MemoryFileSystem();
/** In the room of the text before it, and behind the input. */
const CANARY_BYTES = 2048;
const address = textAddress(layout, TEXT);
const slot = slotAddress(layout, SLOT);

interface Piece {
  readonly input: Buffer;
  readonly format: RecordFormat;
  readonly stop: number;
  readonly first: number | undefined;
  readonly inQuotes: boolean;
  readonly final: boolean;
}

/** Between canaries of two kinds; both outcomes must be the same. */
function betweenCanaries(input: Buffer, parse: () => unknown): string {
  const end = address + input.length;
  const run = (canary: number): string => {
    bytes.fill(canary, address - CANARY_BYTES, address);
    bytes.fill(canary, end, end + CANARY_BYTES);
    bytes.set(input, address);
    const outcome = JSON.stringify(parse());
    for (const [from, to] of [
      [address - CANARY_BYTES, address],
      [end, end + CANARY_BYTES],
    ] as const) {
      for (let at = from; at < to; at++) {
        if (bytes[at] !== canary) throw new Error(`Wrote at ${at - address} of ${input.length}`);
      }
    }
    if (Buffer.compare(bytes.subarray(address, end), input) !== 0)
      throw new Error('Wrote the input');
    return outcome;
  };
  const first = run(0x22);
  const second = run(0x0a);
  if (first !== second) throw new Error(`Bytes behind the text make a difference: ${second}`);
  return first;
}

function parsePiece({ input, format, stop, first, inQuotes, final }: Piece): unknown {
  const piece = { text: TEXT, offset: 0, loaded: input.length, path: undefined };
  const result = runChunkJob(fs, kernel, {
    kind: 'bulk-chunk',
    packAt: undefined,
    memory,
    layout,
    slot: SLOT,
    work: WORK,
    shards: SHARDS,
    input: {
      piece: { ...piece, stop, first, inQuotes, final },
      format,
      onError: 'skip',
      rejectBytes: 20,
      valueBytesMax: 64,
      blobs: [],
    },
  });
  const entries = result.runs.flatMap((run) => {
    const isInside = run.address >= slot && run.address < slot + layout.slotBytes;
    if (run.records > 0 && !isInside) throw new Error('A run lies outside of its slot');
    return readRun(kernel, run.address, run.records).map(({ key, value }) => [
      key.toString('latin1'),
      value.toString('latin1'),
    ]);
  });
  if (result.records !== entries.length + result.duplicates) {
    throw new Error(`${result.records} records are ${entries.length} entries`);
  }
  if (result.next > input.length) throw new Error(`Went on at ${result.next} of ${input.length}`);
  return { ...result, runs: entries };
}

const FORMATS: readonly [string, BulkLoadOptions, string][] = [
  [
    'csv',
    { format: 'csv', key: 'id', value: '*' },
    'id,name\n1,"a ""quoted"" one"\n2,plain\r\n"3","over\ntwo lines"\n',
  ],
  ['csv without a header', { format: 'csv', header: false, key: 0, value: 1 }, '1,"a ""b"""\n2,\n'],
  ['tsv', { format: 'tsv', key: 'id', value: 'name' }, 'id\tname\n1\tone\n2\ttwo\n'],
  [
    'ndjson',
    { format: 'ndjson', key: 'id', value: 'x' },
    '{"id":"1","x":[1,2,{"y":"\\u00e9"}]}\n{"id":"2","x":"\\ud83d\\ude00"}\n',
  ],
  [
    'json',
    { format: 'json', key: 'id' },
    '{"id":"1","text":"\\"}"},{"id":"2","n":-1.5e3,"a":[{},[","]]},{"id":"é"}',
  ],
];

function head(input: Buffer) {
  const work = new WorkArea(layout, WORK);
  const whole = { kernel, address, bytes: input.length, isWhole: true, work };
  return { ...whole, name: undefined, keyAsJson: false, valueAsJson: false };
}

const rejects = new RejectLog({ onError: 'skip' }, 'input');

describe.each(FORMATS)('a piece of hostile %s', (_, options, sample) => {
  const samples = [Buffer.from(sample), Buffer.from('","\n\\\r\t{}[]:\ufeff\u0000')];

  it('gives entries and rejects, whatever stands around it', () => {
    const mutator = new Mutator(SEED);
    const outcomes = { entries: 0, rejects: 0 };
    bytes.set(Buffer.from(sample), address);
    const { records } = decideTextFormat(head(Buffer.from(sample)), options, rejects);
    for (let i = 0; i < INPUTS; i++) {
      const input = mutator.mutate(samples);
      const isWhole = mutator.random() < 0.7;
      const piece: Piece = {
        input,
        format:
          records.kind === 'elements' ? { ...records, last: mutator.random() < 0.7 } : records,
        stop: isWhole ? input.length : mutator.below(input.length + 1),
        first: isWhole || records.kind === 'elements' ? 0 : undefined,
        inQuotes: mutator.random() < 0.3,
        final: mutator.random() < 0.7,
      };
      try {
        const outcome = JSON.parse(betweenCanaries(input, () => parsePiece(piece)));
        outcomes.entries += outcome.runs.length;
        outcomes.rejects += outcome.rejects.length;
      } catch (error) {
        throw new Error(`Input ${i}, seed ${SEED}: ${input.toString('hex')}`, { cause: error });
      }
    }
    expect(outcomes.entries).toBeGreaterThan(0);
    expect(outcomes.rejects).toBeGreaterThan(0);
  }, 36_000_000);

  it('has a format, or none that can be told', () => {
    const mutator = new Mutator(SEED + 1);
    let decided = 0;
    for (let i = 0; i < INPUTS; i++) {
      const input = mutator.mutate(samples);
      const { format: _format, ...others } = options;
      const given = mutator.random() < 0.5 ? options : others;
      betweenCanaries(input, () => {
        try {
          const { dataOffset, ...format } = decideTextFormat(head(input), given, rejects);
          if (dataOffset > input.length) throw new Error(`Records begin at ${dataOffset}`);
          decided++;
          return format;
        } catch (error) {
          if (error instanceof LightningError) return error.message;
          throw new Error(`Input ${i}, seed ${SEED}: ${input.toString('hex')}`, { cause: error });
        }
      });
    }
    expect(decided).toBeGreaterThan(0);
  }, 36_000_000);
});
