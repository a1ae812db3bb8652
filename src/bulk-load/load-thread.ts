/** A thread of a bulk load, from its own side: runs one job at a time. */

import type { MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import { JOB_MEMORY_BYTES } from '../compaction/job-memory.js';
import { comlinkEndpoint } from '../coordinator/comlink-endpoint.js';
import { type Outcome, outcomeOf } from '../coordinator/control-plane.js';
import { nodeFileSystem } from '../file-system/node.js';
import { Kernel } from '../kernel/kernel.js';
import { createJobMemory } from '../kernel/shard-memory.js';
import type { BulkJob, BulkJobResult } from './load-jobs.js';
import { type JobHost, runBulkJob } from './run-job.js';

/** `workerData` of the thread. */
export interface LoadThreadData {
  readonly module: WebAssembly.Module;
}

export interface LoadThreadControl {
  /** Answers when the thread has started. */
  start(): Promise<Outcome<void>>;
  run(job: BulkJob): Promise<Outcome<BulkJobResult<BulkJob>>>;
}

export function startLoadThread({ module }: LoadThreadData, parentPort: MessagePort): void {
  let privateKernel: Kernel | undefined;
  let loadKernel: Kernel | undefined;
  const host: JobHost = {
    fs: nodeFileSystem,
    // The thread works for one load, whose jobs are all over one memory.
    kernelOf: (memory) => {
      loadKernel ??= new Kernel(module, memory);
      return loadKernel;
    },
    privateKernel: () => {
      privateKernel ??= new Kernel(module, createJobMemory(JOB_MEMORY_BYTES));
      return privateKernel;
    },
  };
  const control: LoadThreadControl = {
    start: () => outcomeOf(() => {}),
    run: (job) => outcomeOf(() => runBulkJob(host, job)),
  };
  expose(control, comlinkEndpoint(parentPort));
}
