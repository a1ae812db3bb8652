/** Runs a job of a bulk load on a pool thread. */

import type { FileSystem } from '../file-system/file-system.js';
import { Kernel } from '../kernel/kernel.js';
import { runBuildJob, runMergeJob } from './build-job.js';
import { runChunkJob } from './chunk-job.js';
import type {
  BulkJob,
  BulkJobResult,
  PackJob,
  PackResult,
  ScanJob,
  ScanResult,
} from './load-jobs.js';
import { textAddress } from './load-memory.js';

const QUOTE = 0x22;

export interface JobHost {
  readonly fs: FileSystem;
  readonly module: WebAssembly.Module;
  /** A kernel over the thread's private memory, for merges of tables. */
  readonly privateKernel: () => Kernel;
}

export function runBulkJob(host: JobHost, job: BulkJob): BulkJobResult<BulkJob> {
  const { fs, module } = host;
  switch (job.kind) {
    case 'bulk-scan':
      return runScanJob(fs, new Kernel(module, job.memory), job);
    case 'bulk-chunk':
      return runChunkJob(fs, new Kernel(module, job.memory), job);
    case 'bulk-pack':
      return runPackJob(new Kernel(module, job.memory), job);
    case 'bulk-build':
      return runBuildJob(fs, new Kernel(module, job.memory), job);
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

/** Moves runs, each behind the other. */
function runPackJob(kernel: Kernel, job: PackJob): PackResult {
  let address = job.address;
  const runs = job.runs.map(({ address: from, records }) => {
    const run = { address, records };
    address = kernel.exports.runPack(from, records, address) >>> 0;
    return run;
  });
  return { runs };
}
