/** Jobs that make tables: from sorted slots, and from tables that were spilled. */

import { mergeTables } from '../compaction/merge-tables.js';
import type { FileSystem } from '../file-system/file-system.js';
import { JOB_DONE, JOB_DRAIN } from '../kernel/assembly/job-layout.js';
import { RUNS_DROPPED, RUNS_EMITTED } from '../kernel/assembly/load-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import { type TableTarget, TableWriter } from '../sstable/table-writer.js';
import type { BuildJob, MergeJob, RunPlace, TablesResult } from './load-jobs.js';
import { isAbortRequested, progressWord } from './load-memory.js';
import { abortedError } from './record-sink.js';
import { WorkArea } from './work-area.js';

const LIST_ENTRY_BYTES = 8;

/** Merges runs in the load's memory into tables. Deletes what it wrote when it throws. */
export async function runBuildJob(
  fs: FileSystem,
  kernel: Kernel,
  job: BuildJob,
): Promise<TablesResult> {
  const { exports } = kernel;
  const { runs, part, parts, sequence } = job;
  const work = new WorkArea(job.layout, job.work);
  const list = work.allocate(runs.length * LIST_ENTRY_BYTES);
  placeList(kernel, list, runs);
  if (parts > 1) {
    const room = work.allocate(exports.runsSplitRoom(runs.length, parts));
    exports.runsSplit(list, runs.length, part, parts, room, list);
  }
  const state = work.allocate(exports.runsRoom(runs.length));
  exports.runsOpen(list, runs.length, state);
  const count = (field: number): number => kernel.f64[(state + field) >>> 3] as number;
  const progress = progressWord(job.work);
  const tables = await write(fs, kernel, work, job.target, () => {
    const status = exports.runsMerge(sequence);
    kernel.u32[progress] = count(RUNS_EMITTED) + count(RUNS_DROPPED);
    if (status === JOB_DRAIN && isAbortRequested(kernel.i32)) throw abortedError();
    return status;
  });
  return { tables, duplicates: count(RUNS_DROPPED) };
}

async function write(
  fs: FileSystem,
  kernel: Kernel,
  work: WorkArea,
  target: TableTarget,
  step: () => number,
): Promise<TablesResult['tables']> {
  const writer = new TableWriter(fs, kernel, work.rest(), target);
  try {
    const status = writer.run(step);
    if (status !== JOB_DONE) throw new Error(`A table could not be built: status ${status}`);
    return await writer.finishLater();
  } catch (error) {
    writer.abort();
    throw error;
  }
}

function placeList(kernel: Kernel, list: number, runs: readonly RunPlace[]): void {
  runs.forEach(({ address, records }, index) => {
    const word = (list + index * LIST_ENTRY_BYTES) >>> 2;
    kernel.u32[word] = address;
    kernel.u32[word + 1] = records;
  });
}

/** Merges spilled tables; of equal keys the one in the newest run stays. */
export function runMergeJob(fs: FileSystem, kernel: Kernel, job: MergeJob): TablesResult {
  const { input, target, sequence } = job;
  const { tables, entriesIn, entriesOut } = mergeTables(fs, kernel, input, target, {
    horizon: sequence,
    snapshots: [],
    bottom: false,
  });
  return { tables, duplicates: entriesIn - entriesOut };
}
