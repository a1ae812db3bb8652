import { parentPort, workerData } from 'node:worker_threads';
import { type LoadThreadData, startLoadThread } from '../src/bulk-load/load-thread.js';

if (parentPort === null) throw new Error('This file is the entry of a worker thread');
startLoadThread(workerData as LoadThreadData, parentPort);
