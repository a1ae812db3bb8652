/** Entry of a client thread of any store. */

import { parentPort, workerData } from 'node:worker_threads';
import { type ClientThreadData, runClientThread } from '../src/cli/bench/client-thread.js';
import { openClient } from './stores.js';

if (parentPort === null) throw new Error('This file is the entry of a worker thread');
await runClientThread(workerData as ClientThreadData, parentPort, openClient);
