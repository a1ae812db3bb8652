/** Runs a fake shard on a thread of its own, as a shard worker would: it sleeps when nothing comes. */

import { workerData } from 'node:worker_threads';
import { H_DOORBELL, H_SLEEPING } from '../../src/kernel/assembly/layout.js';
import { ControlBlock, SHARD_DOWN } from '../../src/router/control-block.js';
import { FakeShard } from './fake-shard.js';

export interface FakeWorkerData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: SharedArrayBuffer;
  readonly shard: number;
  readonly clients: readonly number[];
  /** 1: go on; 0: end; 2: die without a word at the next request. */
  readonly run: Int32Array;
}

const { module, memory, control, shard, clients, run } = workerData as FakeWorkerData;
const block = new ControlBlock(control);
const fake = new FakeShard(module, memory, block, shard, clients);
const words = fake.kernel.i32;
while (Atomics.load(run, 0) !== 0) {
  // In this order: a request that was made after `run` was set is not served.
  const hasRequests = fake.hasRequests();
  const hasWork = fake.hasWork();
  const mode = Atomics.load(run, 0);
  if (mode === 2 && hasRequests) {
    block.setShardState(shard, SHARD_DOWN);
    break;
  }
  if (mode === 1 && hasWork && fake.serve()) continue;
  Atomics.store(words, H_SLEEPING >>> 2, 1);
  const rings = Atomics.load(words, H_DOORBELL >>> 2);
  if (!fake.hasWork()) Atomics.wait(words, H_DOORBELL >>> 2, rings, 50);
  Atomics.store(words, H_SLEEPING >>> 2, 0);
}
