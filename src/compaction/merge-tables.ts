/**
 * Job: runs of tables become tables. The host reads stretches of blocks; everything else, from the
 * check of a block to the compressed output, happens in the kernel.
 */

import { CorruptionError, InvalidArgumentError, LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import * as job from '../kernel/assembly/job-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { TableRef } from '../sstable/table-info.js';
import { type TableTarget, TableWriter } from '../sstable/table-writer.js';
import { type BuildResult, runBuild } from './build-result.js';
import { JobMemory } from './job-memory.js';
import { type KeyRange, MergeSource, type SourceTable, surveyTables } from './merge-source.js';
import { applyRetention, RETENTION_BYTES, type Retention } from './retention.js';

export interface MergeInput {
  /** Newest first; within a run in key order. */
  readonly runs: readonly (readonly TableRef[])[];
  /** Keys below are left out. */
  readonly start?: Uint8Array | undefined;
  /** This key and those above are left out. */
  readonly end?: Uint8Array | undefined;
  /** Ascending keys at each of which a table of the result ends. */
  readonly cuts?: readonly Uint8Array[] | undefined;
}

const NO_BOUND = -1;
/** `JOB_CORRUPT` and `JOB_DISORDER` both mean that a file's bytes are wrong. */
const MESSAGES: ReadonlyMap<number, string> = new Map([
  [job.JOB_CORRUPT, 'A block of a table is not what was written'],
  [job.JOB_DISORDER, 'A key of a table is out of order'],
]);

/**
 * Merges runs into tables, in a pool thread's private memory. Deletes what it wrote when it throws.
 * `beforeWrite` may hold up what is about to be written.
 */
export function mergeTables(
  fs: FileSystem,
  kernel: Kernel,
  input: MergeInput,
  target: TableTarget,
  retention: Retention,
  beforeWrite?: (bytes: number) => void,
): BuildResult {
  const { exports } = kernel;
  const memory = new JobMemory(kernel);
  const range = { start: input.start, end: input.end };
  const runs = input.runs
    .map((refs) => surveyTables(fs, refs, range))
    .filter((tables) => tables.length > 0);
  if (runs.length > job.MERGE_SOURCES_MAX) {
    throw new InvalidArgumentError(
      `Cannot merge ${runs.length} runs at once: ${job.MERGE_SOURCES_MAX} are allowed`,
    );
  }
  applyRetention(kernel, memory.allocate(RETENTION_BYTES), retention);
  const writer = new TableWriter(fs, kernel, memory.builderRegion(), target, beforeWrite);
  placeCuts(kernel, memory, input.cuts ?? []);
  const bounds = placeRange(kernel, memory, range);
  beginMerge(kernel, memory, runs, bounds);
  const sources = runs.map((tables, i) => new MergeSource(fs, kernel, memory, i, tables, bounds));
  try {
    const result = runBuild(
      kernel,
      writer,
      () => (sources.length === 0 ? job.JOB_DONE : exports.mergeRun()),
      (status) => {
        const source = sources[exports.mergeSource()] as MergeSource;
        if (status === job.JOB_INPUT) source.feed();
        else if (status === job.JOB_RAW) source.reserveRaw(exports.mergeRawBytes() >>> 0);
        else throw failure(status, source, exports.mergeBlock());
      },
    );
    return { ...result, bytesRead: exports.mergeBytesIn() };
  } finally {
    for (const source of sources) source.close();
  }
}

/** A key range in the kernel's memory. */
function placeRange(kernel: Kernel, memory: JobMemory, range: KeyRange) {
  const place = (key: Uint8Array | undefined) => {
    if (key === undefined) return { address: 0, bytes: NO_BOUND };
    const address = memory.allocate(key.length);
    kernel.bytes.set(key, address);
    return { address, bytes: key.length };
  };
  return { start: place(range.start), end: place(range.end) };
}

/** Tells the kernel's builder, which has been initialized, where tables end. */
function placeCuts(kernel: Kernel, memory: JobMemory, cuts: readonly Uint8Array[]): void {
  if (cuts.length === 0) return;
  const list = memory.allocate(cuts.length * 8);
  for (const [i, key] of cuts.entries()) {
    const address = memory.allocate(key.length);
    kernel.bytes.set(key, address);
    kernel.u32[(list >>> 2) + 2 * i] = address;
    kernel.u32[(list >>> 2) + 2 * i + 1] = key.length;
  }
  kernel.exports.builderCuts(list, cuts.length);
}

function beginMerge(
  kernel: Kernel,
  memory: JobMemory,
  runs: readonly (readonly SourceTable[])[],
  bounds: ReturnType<typeof placeRange>,
): void {
  const { exports } = kernel;
  const prefix = commonPrefix(runs.flat());
  const prefixAddress = memory.allocate(prefix.length);
  kernel.bytes.set(prefix, prefixAddress);
  exports.mergeInit(
    memory.allocate(exports.mergeBytes(runs.length)),
    runs.length,
    prefixAddress,
    prefix.length,
    bounds.start.address,
    bounds.start.bytes,
    bounds.end.address,
    bounds.end.bytes,
  );
}

/** The bytes that all keys of the tables begin with. */
function commonPrefix(tables: readonly SourceTable[]): Uint8Array {
  const [first] = tables;
  if (first === undefined) return new Uint8Array(0);
  let prefix = first.info.smallest;
  for (const { info } of tables) {
    for (const key of [info.smallest, info.largest]) {
      let same = 0;
      while (same < prefix.length && same < key.length && prefix[same] === key[same]) same++;
      prefix = prefix.subarray(0, same);
    }
  }
  return prefix;
}

function failure(status: number, source: MergeSource, block: number): LightningError {
  const message = MESSAGES.get(status);
  if (message === undefined) {
    return new LightningError('LIGHTNING_ABORTED', `A merge ended with status ${status}`);
  }
  return new CorruptionError(message, source.placeOf(block));
}
