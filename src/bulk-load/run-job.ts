/** Runs a job of a bulk load on one of its threads. */

import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import { runBuildJob, runMergeJob } from './build-job.js';
import { packRuns, runChunkJob } from './chunk-job.js';
import type { BulkJob, BulkJobResult, ScanJob, ScanResult } from './load-jobs.js';
import { textAddress } from './load-memory.js';

const QUOTE = 0x22;

export interface JobHost {
  readonly fs: FileSystem;
  /** A kernel over the load's memory. */
  readonly kernelOf: (memory: WebAssembly.Memory) => Kernel;
  /** A kernel over the thread's private memory, for merges of tables. */
  readonly privateKernel: () => Kernel;
}

export function runBulkJob(
  host: JobHost,
  job: BulkJob,
): BulkJobResult<BulkJob> | Promise<BulkJobResult<BulkJob>> {
  const { fs, kernelOf } = host;
  switch (job.kind) {
    case 'bulk-scan':
      return runScanJob(fs, kernelOf(job.memory), job);
    case 'bulk-chunk':
      return runChunkJob(fs, kernelOf(job.memory), job);
    case 'bulk-pack':
      return { runs: packRuns(kernelOf(job.memory), job.runs, job.address) };
    case 'bulk-build':
      return runBuildJob(fs, kernelOf(job.memory), job);
    case 'bulk-merge':
      return runMergeJob(fs, host.privateKernel(), job);
  }
}

/** Reads a piece into its text area and counts the quotation marks, which tell where records end. */
function runScanJob(fs: FileSystem, kernel: Kernel, job: ScanJob): ScanResult {
  const address = textAddress(job.layout, job.text);
  const file = fs.open(job.path, 'r');
  try {
    const target = kernel.bytes.subarray(address, address + job.bytes);
    const loaded = file.read(target, job.offset);
    return { loaded, quotes: kernel.exports.textCount(address, loaded, QUOTE) };
  } finally {
    file.close();
  }
}
