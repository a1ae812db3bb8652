import { parentPort, workerData } from 'node:worker_threads';
import type { ShardInit } from '../src/coordinator/control-plane.js';
import { startShardWorker } from '../src/shard/shard-worker.js';

if (parentPort === null) throw new Error('This file is the entry of a worker thread');
startShardWorker(workerData as ShardInit, parentPort);
