/**
 * Job: a piece of text becomes entries in a slot, and the slot is sorted.
 *
 * A parse ends early when the slot is full, when it needs numbers for blobs, or at a record that it
 * cannot read and may not skip; the result says where it would go on, and the main thread hands the
 * rest of the piece to another job.
 */

import type { FileSystem } from '../file-system/file-system.js';
import { RUN_RECORD_BYTES } from '../kernel/assembly/load-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { parseCsvPiece } from './csv-piece.js';
import { parseJsonPiece } from './json-piece.js';
import type { ChunkJob, ChunkResult, RunPlace } from './load-jobs.js';
import { isAbortRequested, RUN_ALIGNMENT, slotAddress } from './load-memory.js';
import { abortedError, RecordSink } from './record-sink.js';
import { TextWindow } from './text-piece.js';
import { WorkArea } from './work-area.js';

export function runChunkJob(fs: FileSystem, kernel: Kernel, job: ChunkJob): ChunkResult {
  const work = new WorkArea(job.layout, job.work);
  const parsed = job.input === undefined ? undefined : parse(fs, kernel, work, job, job.input);
  if (isAbortRequested(kernel.i32)) throw abortedError();
  const sorted = sort(kernel, work, job);
  const runs = job.packAt === undefined ? sorted.runs : packRuns(kernel, sorted.runs, job.packAt);
  return { ...(parsed ?? NOTHING_PARSED), ...sorted, runs };
}

/** Moves runs to the heap, each behind the other. Returns where they are then. */
export function packRuns(kernel: Kernel, runs: readonly RunPlace[], address: number): RunPlace[] {
  let end = address;
  return runs.map(({ address: from, records }) => {
    const run = { address: end, records };
    end = kernel.exports.runPack(from, records, end) >>> 0;
    return run;
  });
}

type Parsed = Omit<ChunkResult, 'runs' | 'duplicates' | 'packedBytes'>;

const NOTHING_PARSED: Parsed = {
  end: 'done',
  first: 0,
  next: 0,
  lines: 0,
  loaded: 0,
  records: 0,
  rejects: [],
  blobsUsed: [],
};

function parse(
  fs: FileSystem,
  kernel: Kernel,
  work: WorkArea,
  job: ChunkJob,
  input: NonNullable<ChunkJob['input']>,
): Parsed {
  const { format, piece } = input;
  const window = new TextWindow(fs, kernel, job.layout, piece);
  try {
    const sink = new RecordSink({ fs, kernel, work, job, input, window });
    const quotes = format.kind === 'csv' && format.plan.quotes;
    const start = window.findFirst(quotes);
    if (start === undefined) {
      return { ...NOTHING_PARSED, first: undefined, next: piece.stop, loaded: window.loaded };
    }
    sink.begin(start);
    const { end, cursor } =
      format.kind === 'csv'
        ? parseCsvPiece(sink, format.plan, start)
        : parseJsonPiece(sink, format, start);
    return {
      end,
      first: window.placeOf(start),
      next: window.placeOf(cursor),
      lines: window.linesBetween(start, Math.min(cursor, window.end)),
      loaded: window.loaded,
      records: sink.writer.count,
      rejects: sink.rejects,
      blobsUsed: sink.blobsUsed,
    };
  } finally {
    window.close();
  }
}

function sort(
  kernel: Kernel,
  work: WorkArea,
  { layout, slot, shards }: ChunkJob,
): Pick<ChunkResult, 'runs' | 'duplicates' | 'packedBytes'> {
  const chunk = slotAddress(layout, slot);
  const out = work.allocate(shards * 8);
  const temporary = work.allocate(kernel.exports.chunkSortRoom(chunk));
  const duplicates = kernel.exports.chunkSort(chunk, shards, temporary, out);
  const runs: RunPlace[] = [];
  for (let shard = 0; shard < shards; shard++) {
    const word = (out >>> 2) + shard * 2;
    runs.push({ address: kernel.u32[word] as number, records: kernel.u32[word + 1] as number });
  }
  const records = runs.reduce((sum, run) => sum + run.records, 0);
  const packedBytes =
    records * RUN_RECORD_BYTES + kernel.exports.chunkKeptBytes() + shards * RUN_ALIGNMENT;
  return { runs, duplicates, packedBytes };
}
